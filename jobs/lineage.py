"""Traces a record back to everything that made it: part, manifest, plan, artifact, code, settings, data."""

from __future__ import annotations

from jobs.errors import UsageError
from jobs.formats import Manifest, Plan, sha256
from jobs.lookup import find_record
from jobs.published_run import MANIFEST, PublishedRun

_SHIPPED = "cp settings/shipped.yaml params.yaml  # it says which files must be in data/"


def trace(run: PublishedRun, plan: Plan) -> dict[str, str]:
    """The origin of a published run, from its manifest to the artifact's training data; digests are SHA-256.

    Raises UsageError when OUTPUT's plan is not the one that was published.
    """
    manifest, lineage = run.manifest, run.manifest.lineage
    if plan.digest != lineage.plan_digest:
        raise UsageError(f"{run.store.uri}: its manifest is of another plan; publish with: boxcar finish")
    stored = run.store.read(MANIFEST) or b""
    since = plan.since
    return {
        "run": f"{manifest.run}, {manifest.status}, published {manifest.published_at}",
        "manifest": f"{run.store.uri}{MANIFEST}, sha256 {sha256(stored)}",
        "plan": f"{plan.images:,} images below {plan.input}, listed {plan.planned_at}, digest {plan.digest}",
        "inventory": plan.inventory or "none: INPUT itself was listed",
        "copied from": f"run {since.run}, {since.output}" if since and since.output else "no other run",
        "made by": f"boxcar {lineage.boxcar}, ONNX Runtime {', '.join(lineage.onnxruntime)}",
        "made on": ", ".join(lineage.devices),
        "artifact": f"{lineage.artifact_name}, {_named(plan)}",
        "tiles": "none"
        if plan.tile is None
        else f"{plan.tile} pixels, overlap {plan.overlap}; the artifact was measured without",
        "model.json": f"{run.store.uri}model/model.json, sha256 {lineage.artifact_sha256}",
        "model.onnx": f"{run.store.uri}model/model.onnx, sha256 {lineage.onnx_sha256}",
        "code": f"git {lineage.git_revision}" if lineage.git_revision else "not known: it was not built from git",
        "settings": f"params.yaml, digest {lineage.params_digest}" if lineage.params_digest else "not known",
        "data": f"annotations and images, digest {lineage.data_digest}" if lineage.data_digest else "not known",
    }


def trace_image(run: PublishedRun, plan: Plan, image: str) -> dict[str, str]:
    """The place of an image's record, and the version of the image that it describes; image: a URI or a key below
    INPUT.

    Raises what `find_record` raises.
    """
    found = find_record(run, plan, image)
    record, entry, previous = found.record, found.entry, found.planned.previous
    copied = previous is not None and plan.since is not None
    return {
        "image": record.image,
        "version": f"etag {record.etag}, version id {record.version_id}, {record.bytes:,} bytes",
        "record": f"{run.store.uri}{entry.key}, line {found.line}: {record.status}, {len(record.boxes)} boxes",
        "part": f"{entry.count:,} records, sha256 {entry.sha256}",
        "previous": f"may be copied from {previous} of run {plan.since.run}" if copied and plan.since else "none",
    }


def checks(manifest: Manifest, plan: Plan) -> list[str]:
    """Commands that restore the state of the detector's project in a clone of it, and print its digests."""
    revision = manifest.lineage.git_revision
    if revision is None:
        return []
    settings, data = (
        digest or "not known" for digest in (manifest.lineage.params_digest, manifest.lineage.data_digest)
    )
    commit, _, changes = revision.partition("+")
    comment = "  # with changes that were never committed: the digests show whether they matter" if changes else ""
    return [
        f"git checkout {commit}{comment}",
        # The project of the shipped artifact has no DVC remote: its settings say where its data come from.
        *([_SHIPPED, "dvc repro"] if plan.model is None else ["dvc pull"]),
        f"detector digests    # settings {settings:.12}, data {data:.12}",
    ]


def _named(plan: Plan) -> str:
    return "the shipped one" if plan.model is None else f"--model {plan.model}"
