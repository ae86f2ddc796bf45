"""Images and containers without a Docker engine, on Debian, as root.

debootstrap makes the base, buildah builds the Dockerfile as it is, and runc starts what was built: the program that
Docker itself starts containers with, so that a read-only root is one.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
BASE = "docker.io/library/debian:bookworm-slim"  # the name in the Dockerfile, spelled out
TOOLS = ("debootstrap", "buildah", "runc")
# What Docker's base leaves out, so that sizes can be compared.
DOCUMENTATION = ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info")
EXCLUDED = "".join(f"path-exclude /{folder}/*\n" for folder in DOCUMENTATION)
# As in Docker's base: apt keeps neither packages nor its own index of them.
CLEAN = """Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb || true"; };
"""
NAMESPACES = ("pid", "ipc", "uts", "mount")


def missing() -> list[str]:
    """What this machine lacks, in words; empty where images can be built and run."""
    lacks = [f"the Debian package {tool}" for tool in TOOLS if shutil.which(tool) is None]
    return lacks + ([] if os.geteuid() == 0 else ["root"])


@dataclass(frozen=True)
class Container:
    """How an image is started; the defaults are those of `docker run --read-only --cap-drop ALL --network none`."""

    command: tuple[str, ...] = ()  # in place of the image's own default command
    entrypoint: tuple[str, ...] | None = None  # in place of the image's own
    environment: Mapping[str, str] = field(default_factory=dict)
    mounts: Mapping[str, Path] = field(default_factory=dict)  # folders of this machine, by where they appear
    user: tuple[int, int] | None = None  # uid and gid in place of the image's own
    network: bool = False  # this machine's network, or none
    writable_root: bool = False


@dataclass(frozen=True)
class Image:
    """A built image, with its layers mounted at `root`."""

    name: str
    root: Path
    config: dict[str, Any]  # OCI's: User, Env, Entrypoint, Cmd, WorkingDir
    work: Path

    def start(self, container: Container) -> Started:
        """Start a container; its stdout and stderr are pipes."""
        name = f"boxcar-{uuid.uuid4().hex[:12]}"
        bundle = self.work / "bundles" / name
        bundle.mkdir(parents=True)
        (bundle / "config.json").write_text(json.dumps(self._specification(container)))
        process = subprocess.Popen(
            ["runc", "--root", str(self.work / "runc"), "run", "--bundle", str(bundle), name],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        return Started(name, bundle, process, self.work / "runc")

    def run(self, *command: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a container to its end; the options are those of `Container`."""
        return self.start(Container(command, **options)).finish()

    def _specification(self, container: Container) -> dict[str, Any]:
        """The container in the words of OCI's runtime specification."""
        uid, gid = container.user or tuple(map(int, self.config["User"].split(":")))
        entrypoint = self.config.get("Entrypoint") or [] if container.entrypoint is None else container.entrypoint
        command = container.command or (self.config.get("Cmd") or () if container.entrypoint is None else ())
        environment = dict(line.split("=", 1) for line in self.config["Env"]) | dict(container.environment)
        mounts: list[dict[str, Any]] = [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["mode=1777", "size=1g"]},
        ]
        mounts += [
            {"destination": place, "type": "bind", "source": str(folder), "options": ["bind", "rw"]}
            for place, folder in container.mounts.items()
        ]
        spaces = NAMESPACES if container.network else (*NAMESPACES, "network")
        return {
            "ociVersion": "1.0.2",
            "process": {
                "user": {"uid": uid, "gid": gid},
                "args": [*entrypoint, *command],
                "env": [f"{name}={value}" for name, value in environment.items()],
                "cwd": self.config.get("WorkingDir") or "/",
                "noNewPrivileges": True,
                "capabilities": {},
            },
            "root": {"path": str(self.root), "readonly": not container.writable_root},
            "mounts": mounts,
            "linux": {"namespaces": [{"type": space} for space in spaces]},
        }


@dataclass(frozen=True)
class Started:
    """A container that runs."""

    name: str
    bundle: Path
    process: subprocess.Popen[str]
    state: Path

    def signal(self, name: str) -> None:
        """Send a signal to the first process in the container, as `docker stop` does with TERM."""
        subprocess.run(["runc", "--root", str(self.state), "kill", self.name, name], check=True)

    def finish(self) -> subprocess.CompletedProcess[str]:
        """Wait for its end."""
        out, err = self.process.communicate()
        shutil.rmtree(self.bundle)
        return subprocess.CompletedProcess(self.process.args, self.process.returncode, out, err)


@dataclass(frozen=True)
class Layer:
    """One layer of an image; sizes in bytes."""

    step: str  # of the Dockerfile
    unpacked: int
    packed: int  # as a registry holds it


class Engine:
    """A store of images in a folder. Whatever it holds is made again when the folder is removed."""

    def __init__(self, work: Path) -> None:
        self.work = work.absolute()
        self.work.mkdir(parents=True, exist_ok=True)

    def build(self, target: str) -> Image:
        """Build one target of the Dockerfile, the base first where it is not there yet."""
        if not self._buildah("images", "--quiet", "--filter", f"reference={BASE}").strip():
            self._make_base()
        name = f"localhost/boxcar-{target}"
        # chroot needs no runtime and no cgroups. Docker's own format, because OCI's has no HEALTHCHECK. Nothing is
        # taken from earlier builds: Debian's buildah 1.28 cannot mount a stage that it has not built anew.
        options = ["--isolation", "chroot", "--format", "docker", "--layers", "--no-cache", "--pull-never"]
        self._buildah("build", *options, *self._trusted(), "--target", target, "--tag", name, str(ROOT))
        container = self._buildah("from", "--pull-never", name).strip()
        root = Path(self._buildah("mount", container).strip())
        return Image(name, root, json.loads(self._buildah("inspect", name))["Docker"]["config"], self.work)

    def layers(self, image: Image) -> list[Layer]:
        """The layers of an image, the base first."""
        unpacked = json.loads(json.loads(self._buildah("inspect", image.name))["Manifest"])["layers"]
        folder = self.work / "pushed"
        shutil.rmtree(folder, ignore_errors=True)
        self._buildah("push", "--quiet", "--format", "oci", image.name, f"oci:{folder}")

        def blob(of: dict[str, Any]) -> Any:
            return json.loads((folder / "blobs" / of["digest"].replace(":", "/")).read_text())

        manifest = blob(json.loads((folder / "index.json").read_text())["manifests"][0])
        steps = [step["created_by"] for step in blob(manifest["config"])["history"] if not step.get("empty_layer")]
        shutil.rmtree(folder)
        return [
            Layer(step, layer["size"], packed["size"])
            for step, layer, packed in zip(steps, unpacked, manifest["layers"], strict=True)
        ]

    def close(self) -> None:
        """Unmount everything, and remove what no finished image needs."""
        self._buildah("rm", "--all")
        self._buildah("rmi", "--prune", "--force")

    def _make_base(self) -> None:
        folder = self.work / "base"
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run(
            ["debootstrap", "--variant=minbase", "bookworm", str(folder)],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        for place in (*DOCUMENTATION, "var/lib/apt/lists", "var/cache/apt"):
            for path in (folder / place).iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        (folder / "etc/dpkg/dpkg.cfg.d/excluded").write_text(EXCLUDED)
        (folder / "etc/apt/apt.conf.d/clean").write_text(CLEAN)
        sources = folder / "etc/apt/sources.list"
        mirror = sources.read_text().split()[1]  # debootstrap's own choice
        sources.write_text(
            f"deb {mirror} bookworm main\n"
            f"deb {mirror} bookworm-updates main\n"
            f"deb {mirror}-security bookworm-security main\n"
        )
        for name in ("hostname", "resolv.conf"):  # of this machine
            (folder / "etc" / name).unlink(missing_ok=True)
        recipe = self.work / "base.Dockerfile"
        recipe.write_text("FROM scratch\nADD . /\n")
        self._buildah("build", "--file", str(recipe), "--tag", BASE, str(folder))
        shutil.rmtree(folder)

    def _trusted(self) -> list[str]:
        """Options by which pip and uv trust SSL_CERT_FILE during the build, as networks that inspect TLS need it.

        Mounted, so that no layer holds it.
        """
        file = os.environ.get("SSL_CERT_FILE")
        if not file:
            return []
        settings = self.work / "trusted"
        (settings / "certs").mkdir(parents=True, exist_ok=True)
        # uv reads files with such names in some folders beside Debian's own.
        certificates, place = "00000000.0", "/etc/pki/tls/certs"
        shutil.copy(file, settings / "certs" / certificates)
        (settings / "pip.conf").write_text(f"[global]\ncert = {place}/{certificates}\n")
        (settings / "uv").mkdir(exist_ok=True)
        (settings / "uv" / "uv.toml").write_text("system-certs = true\n")
        mounts = {"certs": place, "pip.conf": "/etc/pip.conf", "uv": "/etc/uv"}
        return [f"--volume={settings / name}:{where}:ro" for name, where in mounts.items()]

    def _buildah(self, *arguments: str) -> str:
        """Return its stdout; the messages of the build go to stderr."""
        store = ["--root", str(self.work / "storage"), "--runroot", str(self.work / "run")]
        return subprocess.run(["buildah", *store, *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout
