# Three images of one project: `job` runs boxcar without torch, `job-gpu` runs it on a GPU, `train` runs the DVC pipeline
# with torch. docs/containers.md has the commands. A digest in place of the tag fixes the base for good: --build-arg BASE=debian:bookworm-slim@sha256:...
ARG BASE=debian:bookworm-slim

FROM ${BASE} AS python
# Debian's mirrors keep one version of a package, the newest of its release: a pin would break with the next repair.
# hadolint ignore=DL3008
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends python3 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --create-home --no-log-init boxcar
ENV PATH=/opt/boxcar/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1

# What installs and builds; neither image keeps it.
FROM python AS tools
ARG HATCHLING=1.33.0
ARG UV=0.13.9
# hadolint ignore=DL3008
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends python3-venv \
    && rm -rf /var/lib/apt/lists/* \
    && python3 -m venv /opt/tools \
    && /opt/tools/bin/pip install --no-cache-dir hatchling==${HATCHLING} uv==${UV}

# The project's own wheel: of all stages, only what comes of this one changes with the code.
FROM tools AS wheel
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY detector detector
COPY jobs jobs
RUN /opt/tools/bin/hatchling build --target wheel --directory /wheels

FROM python AS train
# hadolint ignore=DL3008
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends ca-certificates git \
    && rm -rf /var/lib/apt/lists/* \
    # A mounted project has another owner; git would refuse to read it.
    && git config --system --add safe.directory '*'
WORKDIR /src
# torch brings its CUDA libraries along; the driver comes with the NVIDIA runtime.
RUN --mount=type=bind,from=tools,source=/opt/tools,target=/opt/tools \
    --mount=type=bind,source=pyproject.toml,target=/src/pyproject.toml \
    --mount=type=bind,source=requirements.lock,target=/src/requirements.lock \
    /opt/tools/bin/uv venv --python /usr/bin/python3 /opt/boxcar \
    && /opt/tools/bin/uv pip install --no-cache --compile-bytecode --python /opt/boxcar \
        --requirements pyproject.toml --extra pipeline --constraints requirements.lock
RUN --mount=type=bind,from=tools,source=/opt/tools,target=/opt/tools \
    --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    /opt/tools/bin/uv pip install --no-cache --python /opt/boxcar --no-deps /wheels/*.whl
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    # Whoever owns a mounted project may run this, with a name and a home or without.
    HOME=/tmp \
    USER=boxcar \
    # The commands are the installed ones, the code that they run is the project's.
    PYTHONPATH=/project
# A clone holds what is committed and nothing else of the folder, so that an artifact names the code that made it.
RUN --mount=type=bind,target=/context \
    git clone --quiet --depth 1 file:///context /project \
    && git -C /project remote remove origin \
    && chown --recursive 10001:10001 /project
USER 10001:10001
WORKDIR /project
# A batch job answers nobody; its exit code says how it went.
HEALTHCHECK NONE
CMD ["dvc", "repro"]

# What both images of the job share: packages, and how they start.
FROM python AS job-packages
# Any value adds Numba, for artifacts that need Selective Search or sliding windows; the shipped one does not.
ARG PROPOSALS=
# Any value adds the reader of HEIC.
ARG HEIF=
WORKDIR /src
RUN --mount=type=bind,from=tools,source=/opt/tools,target=/opt/tools \
    --mount=type=bind,source=pyproject.toml,target=/src/pyproject.toml \
    --mount=type=bind,source=requirements.lock,target=/src/requirements.lock \
    /opt/tools/bin/uv venv --python /usr/bin/python3 /opt/boxcar \
    && /opt/tools/bin/uv pip install --no-cache --compile-bytecode --python /opt/boxcar \
        --requirements pyproject.toml --extra job --extra quality --extra parquet ${PROPOSALS:+--extra proposals} \
        ${HEIF:+--extra heif} \
        --constraints requirements.lock \
    # The packages' own tests are a seventh of the image, and no program imports them.
    && find /opt/boxcar -type d -name tests -prune -exec rm -r {} +
# One kind of processor, at build time and at run time: every x86-64 with AVX2 finds this machine code.
ENV NUMBA_CPU_NAME=x86-64-v3 \
    NUMBA_CPU_FEATURES=""
# Where the job may write; all else can be read-only. A mount here takes over the folder's permissions.
VOLUME ["/tmp"]
HEALTHCHECK NONE
ENTRYPOINT ["boxcar"]
CMD ["--help"]

FROM job-packages AS job-gpu
# Takes onnxruntime's place. Its releases lag behind those of onnxruntime, so that the lock cannot name it.
ARG ONNXRUNTIME_GPU=1.31.1
# CUDA and cuDNN come along as packages; the driver comes with the NVIDIA runtime.
RUN --mount=type=bind,from=tools,source=/opt/tools,target=/opt/tools \
    --mount=type=bind,source=requirements.lock,target=/src/requirements.lock \
    /opt/tools/bin/uv pip uninstall --python /opt/boxcar onnxruntime \
    && /opt/tools/bin/uv pip install --no-cache --compile-bytecode --python /opt/boxcar \
        "onnxruntime-gpu[cuda,cudnn]==${ONNXRUNTIME_GPU}" --constraints requirements.lock
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
# A stage sees no argument of another one.
ARG PROPOSALS=
RUN --mount=type=bind,from=tools,source=/opt/tools,target=/opt/tools \
    --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    /opt/tools/bin/uv pip install --no-cache --compile-bytecode --python /opt/boxcar --no-deps /wheels/*.whl \
    # Only a training reads the weights.
    && find /opt/boxcar -name weights.safetensors -delete \
    && if [ -n "$PROPOSALS" ]; then python -m detector.proposals.warm_up; fi
USER 10001:10001
WORKDIR /data

# The last target is the default.
FROM job-packages AS job
# A stage sees no argument of another one.
ARG PROPOSALS=
RUN --mount=type=bind,from=tools,source=/opt/tools,target=/opt/tools \
    --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    /opt/tools/bin/uv pip install --no-cache --compile-bytecode --python /opt/boxcar --no-deps /wheels/*.whl \
    # Only a training reads the weights.
    && find /opt/boxcar -name weights.safetensors -delete \
    && if [ -n "$PROPOSALS" ]; then python -m detector.proposals.warm_up; fi
USER 10001:10001
WORKDIR /data
