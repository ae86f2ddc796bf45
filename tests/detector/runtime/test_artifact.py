import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from detector.common.digests import sha256_of
from detector.common.errors import ArtifactError
from detector.runtime.artifact import load_artifact, save_artifact


@pytest.fixture
def folder(make_artifact: Callable[..., Path], tmp_path: Path) -> Path:
    return make_artifact(tmp_path / "model")


def rewrite(folder: Path, **changes: object) -> None:
    """Change keys of model.json; ... removes one."""
    path = folder / "model.json"
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not ...}))


def test_an_artifact_comes_back(folder: Path) -> None:
    artifact = load_artifact(folder)
    assert artifact.classes == ("cat", "dog", "tree") and artifact.proposals and artifact.proposals.max_boxes == 20
    changed = artifact.model_copy(
        update={"metrics": {"map": 0.5}, "classes": ("Bär", "dog", "tree"), "proposals": None}
    )
    save_artifact(changed, folder)
    assert load_artifact(folder) == changed
    assert "Bär" in (folder / "model.json").read_text("utf-8")


def test_equal_artifacts_are_equal_bytes(folder: Path) -> None:
    before = (folder / "model.json").read_bytes()
    save_artifact(load_artifact(folder), folder)
    assert (folder / "model.json").read_bytes() == before and before.endswith(b"}\n")


@pytest.mark.parametrize("name", ["model.onnx", "model.json"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ArtifactError, match=f"{name} is missing"):
        load_artifact(folder)


def test_a_folder_that_does_not_exist_is_an_artifact_error(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="is missing"):
        load_artifact(tmp_path / "none")


def test_a_changed_graph_is_refused(folder: Path) -> None:
    data = bytearray((folder / "model.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "model.onnx").write_bytes(data)
    with pytest.raises(ArtifactError, match=r"model\.onnx has sha256 [0-9a-f]{64}.*copy both files of one export"):
        load_artifact(folder)


@pytest.mark.parametrize("version", [0, 2, "3", None, ...])
def test_another_schema_version_is_refused(folder: Path, version: object) -> None:
    # The other version may have other keys: they are not what is complained about.
    rewrite(folder, schema_version=version, classes=..., more=1)
    with pytest.raises(ArtifactError, match=r"schema_version .*; this release reads version 4"):
        load_artifact(folder)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"more": 1}, "more"),
        ({"classes": ...}, "classes"),
        ({"classes": []}, "classes"),
        ({"image_size": 8}, "image_size"),
        ({"operating_score": 1.5}, "operating_score"),
        ({"proposals": {"method": "guess", "max_boxes": 3}}, r"proposals\.method"),
        ({"calibration": {"slope": 0, "offset": 0}}, r"calibration\.slope"),
        ({"baseline": {"images": 1, "boxes": {"cat": [1, 2]}, "sizes": []}}, r"baseline\.boxes\.cat"),
        ({"baseline": {"images": 1, "boxes": {}, "sizes": [[0] * 9]}}, r"baseline\.sizes\.0"),
        ({"baseline": {"images": -1, "boxes": {}, "sizes": []}}, r"baseline\.images"),
    ],
)
def test_a_wrong_key_is_named(folder: Path, changes: dict[str, object], key: str) -> None:
    rewrite(folder, **changes)
    with pytest.raises(ArtifactError, match=rf"model\.json: {key}: "):
        load_artifact(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[1]"])
def test_a_description_that_is_no_json_object_is_refused(folder: Path, content: bytes) -> None:
    (folder / "model.json").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"model\.json (is not JSON|has schema_version None)"):
        load_artifact(folder)


def test_the_digest_is_of_the_whole_file(tmp_path: Path) -> None:
    data = bytes(range(256)) * 5000
    (tmp_path / "file").write_bytes(data)
    assert sha256_of(tmp_path / "file") == hashlib.sha256(data).hexdigest()
