"""Shared fixtures: a real S3 server over a temporary folder, and a small real artifact."""

from __future__ import annotations

import hashlib
import os
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest
from moto.server import ThreadedMotoServer
from onnx import TensorProto, helper, numpy_helper

from demo.local_s3 import ACCESS_KEY, SECRET_KEY, LocalS3, serve
from detector.runtime.artifact import Artifact, Baseline, Calibration, ProposalSettings, save_artifact

# As `detector.model.device.make_deterministic` does, here before any test uses MKL.
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")


@pytest.fixture(scope="session", autouse=True)
def aws_settings() -> Iterator[None]:
    """No test sees the user's own AWS settings, or reaches AWS."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        patch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        patch.setenv("AWS_REGION", "us-east-1")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_CONFIG_FILE", os.devnull)
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # the discard port: refuses
        yield


@pytest.fixture(scope="session")
def s3_server(aws_settings: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalS3]:
    """`rclone serve s3` on a free port."""
    with serve(tmp_path_factory.mktemp("s3"), tmp_path_factory.mktemp("rclone") / "log") as server:
        yield server


@dataclass(frozen=True)
class Bucket:
    """A bucket, and the folder in which the server keeps it; write through the server only, which caches listings."""

    uri: str  # without a slash at its end
    folder: Path

    def put(self, key: str, data: bytes) -> None:
        """Write one object."""
        self._client().put_object(Bucket=self.folder.name, Key=key, Body=data)

    def delete(self, key: str) -> None:
        """Remove one object."""
        self._client().delete_object(Bucket=self.folder.name, Key=key)

    def upload(self, folder: Path, prefix: str) -> None:
        """Write every file below a folder."""
        client = self._client()
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                key = f"{prefix}/{path.relative_to(folder).as_posix()}"
                client.put_object(Bucket=self.folder.name, Key=key, Body=path.read_bytes())

    def _client(self) -> Any:
        return boto3.session.Session().client("s3")


@pytest.fixture
def bucket(s3_server: LocalS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """A new, empty bucket."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server.endpoint)
    name = f"bucket-{tmp_path.name.replace('_', '-').lower()}"
    boto3.session.Session().client("s3").create_bucket(Bucket=name)
    return Bucket(f"s3://{name}", s3_server.root / name)


CLASSES = ("cat", "dog", "tree")


def make_artifact(
    folder: Path, *, bias: float = 0.0, proposals: bool = True, classes: tuple[str, ...] = CLASSES
) -> Path:
    """A small real artifact: scores depend on the picture's mean colour and on where the proposal lies.

    Without `proposals` the graph proposes two boxes of its own. bias: added to every logit; another one makes
    another artifact.
    """
    count = len(classes)
    weights = np.linspace(-0.03, 0.03, 4 * count, dtype=np.float32).reshape(4, count)
    colours = np.array([[2, -1, 0], [-1, 2, 0], [0, -1, 2]], np.float32)[:, np.arange(count) % 3]
    own = np.array([[2, 3, 20, 24], [8, 4, 40, 30]], np.float32)
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean"], axes=[2, 3], keepdims=0),  # (1, 3)
        helper.make_node("MatMul", ["mean", "colours"], ["by_colour"]),  # (1, C)
        helper.make_node("MatMul", ["proposals", "weights"], ["by_place"]),  # (N, C)
        helper.make_node("Add", ["by_colour", "by_place"], ["sum"]),
        helper.make_node("Add", ["sum", "bias"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["scores"]),  # (N, C)
        helper.make_node("Unsqueeze", ["proposals", "axis"], ["one"]),  # (N, 1, 4)
        helper.make_node("Concat", ["one"] * count, ["boxes"], axis=1),  # (N, C, 4)
    ]
    constants = {
        "weights": weights,
        "colours": colours,
        "bias": np.array([bias], np.float32),
        "axis": np.array([1], np.int64),
    }
    inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, "H", "W"])]
    if proposals:
        inputs.append(helper.make_tensor_value_info("proposals", TensorProto.FLOAT, ["N", 4]))
    else:
        constants["proposals"] = own
    outputs = [
        helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", count]),
        helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["N", count, 4]),
    ]
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    folder.mkdir(parents=True)
    data: bytes = model.SerializeToString()
    (folder / "model.onnx").write_bytes(data)
    save_artifact(
        Artifact(
            name="fast_rcnn" if proposals else "faster_rcnn",
            backbone="tiny",
            classes=classes,
            image_size=64,
            proposals=ProposalSettings(method="selective_search", mode="fast", max_boxes=20, batch=None)
            if proposals
            else None,
            nms_threshold=0.4,
            max_detections=10,
            calibration=Calibration(),
            operating_score=0.3,
            class_scores=dict.fromkeys(classes, 0.3),
            least_score=0.01,
            metrics={},
            class_ap={},
            baseline=Baseline(images=0, boxes={}, sizes=[]),
            onnx_sha256=hashlib.sha256(data).hexdigest(),
            git_revision="0" * 40,
            data_digest="d" * 64,
            params_digest="p" * 64,
        ),
        folder,
    )
    return folder


@pytest.fixture(scope="session", name="make_artifact")
def make_artifact_fixture() -> Callable[..., Path]:
    """`make_artifact` for tests that need an artifact of their own."""
    return make_artifact


@pytest.fixture(scope="session")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small artifact that needs no proposals."""
    return make_artifact(tmp_path_factory.mktemp("artifact") / "tiny", proposals=False)


@pytest.fixture
def moto(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """moto's S3, for what rclone's lacks: versions, conditional reads, permissions, control characters in keys."""
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    yield endpoint
    urllib.request.urlopen(urllib.request.Request(f"{endpoint}/moto-api/reset", method="POST")).close()
    server.stop()
