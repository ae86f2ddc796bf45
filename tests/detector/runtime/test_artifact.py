import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from detector.common.digests import sha256_of
from detector.common.errors import ArtifactError
from detector.runtime.artifact import load_artifact, save_artifact
from detector.runtime.kinds.rcnn import RcnnDecoding
from detector.runtime.preprocess import own_preprocessing
from tests.support.artifacts import write_as_version_4


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
    search = artifact.decoding.proposals
    assert artifact.classes == ("cat", "dog", "tree") and search and search.max_boxes == 20
    own = RcnnDecoding(proposals=None)
    changed = artifact.model_copy(update={"metrics": {"map": 0.5}, "classes": ("Bär", "dog", "tree"), "decoding": own})
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


@pytest.mark.parametrize("version", [0, 2, "5", 6, None, ...])
def test_another_schema_version_is_refused(folder: Path, version: object) -> None:
    # The other version may have other keys: they are not what is complained about.
    rewrite(folder, schema_version=version, classes=..., more=1)
    with pytest.raises(ArtifactError, match=r"schema_version .*; this release reads versions 4 and 5"):
        load_artifact(folder)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"more": 1}, "more"),
        ({"classes": ...}, "classes"),
        ({"classes": []}, "classes"),
        ({"image_size": 8}, "image_size"),
        ({"decoding": {"kind": "guess"}}, r"decoding\.kind"),
        ({"preprocessing": {"resize": "crop", "height": 9, "width": 9}}, r"preprocessing\.resize"),
        ({"preprocessing": {"resize": "stretch", "height": 9, "width": 10**9}}, r"preprocessing\.width"),
        ({"operating_score": 1.5}, "operating_score"),
        ({"calibration": {"slope": 1.0, "offset": float("nan")}}, r"calibration\.offset"),
        ({"preprocessing": {"resize": "none", "height": None, "width": None, "pad": 300}}, r"preprocessing\.pad"),
        (
            {"decoding": {"kind": "rcnn", "proposals": {"method": "guess", "max_boxes": 3}}},
            r"decoding\.proposals\.method",
        ),
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


def test_an_artifact_of_schema_4_is_read(folder: Path) -> None:
    artifact = load_artifact(folder)
    write_as_version_4(folder)
    older = load_artifact(folder)
    assert older.preprocessing == artifact.preprocessing == own_preprocessing(64)
    assert older.decoding == artifact.decoding
    assert older.boxes_digest() == artifact.boxes_digest()


@pytest.mark.parametrize("size", [None, "64", 8, 10**9])
def test_an_artifact_of_schema_4_with_a_wrong_size_is_refused(folder: Path, size: object) -> None:
    write_as_version_4(folder)
    rewrite(folder, image_size=size)
    with pytest.raises(ArtifactError, match=r"model\.json: preprocessing: "):
        load_artifact(folder)


def test_the_digest_of_what_decides_boxes(folder: Path) -> None:
    """Figures and names do not decide a box; whatever else differs, the digest does."""
    artifact = load_artifact(folder)
    same = {"name": "other", "metrics": {"map": 0.5}, "operating_score": 0.7, "git_revision": None}
    assert artifact.model_copy(update=same).boxes_digest() == artifact.boxes_digest()
    for change in (
        {"classes": ("cat", "dog", "bush")},
        {"preprocessing": own_preprocessing(96)},
        {"decoding": RcnnDecoding(proposals=None)},
        {"nms_threshold": 0.5},
        {"max_detections": 9},
        {"calibration": artifact.calibration.model_copy(update={"offset": 0.5})},
        {"onnx_sha256": "0" * 64},
    ):
        assert artifact.model_copy(update=change).boxes_digest() != artifact.boxes_digest(), change


def test_a_class_that_is_named_twice_is_refused(folder: Path) -> None:
    rewrite(folder, classes=["cat", "dog", "cat"])
    with pytest.raises(
        ArtifactError, match=r"model\.json: Value error, classes has a name twice; give two outputs one label with"
    ):
        load_artifact(folder)


def test_two_outputs_may_have_one_label(folder: Path) -> None:
    rewrite(folder, classes=["cat", "dog"], graph_classes=["dog", "cat", "dog"])
    columns = load_artifact(folder).columns()
    assert columns is not None and columns.kept.tolist() == [0, 1, 2] and columns.labels.tolist() == [1, 0, 1]


def _pixels(**changes: object) -> dict[str, object]:
    """A baseline with the pixels of 100 images, of which one value is wrong."""
    pixels = {"images": 100, "histograms": {"size": [40, 60]}, "sampled": 20, "near_duplicates": 4}
    return {"baseline": {"images": 100, "boxes": {}, "sizes": [[0] * 10] * 10, "pixels": pixels | changes}}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"classes": ["cat", "do\ng", "tree"]}, "has characters that cannot be shown"),
        ({"classes": ["cat", " ", "tree"]}, "is empty"),
        ({"name": "\x1b[31mred"}, "has characters that cannot be shown"),
        ({"graph_classes": [None, None, None]}, "drops every output"),
        ({"baseline": {"images": 5, "boxes": {}, "sizes": []}}, "has 0 rows, not 10"),
        (_pixels(histograms={"size": [0, 99]}), r"pixels: .*histograms\.size counts 99 images, not 100"),
        (_pixels(near_duplicates=21), r"near_duplicates \(21\) is above sampled \(20\)"),
        (_pixels(sampled=101), r"sampled \(101\), or that is above images \(100\)"),
    ],
)
def test_what_no_detector_has_is_refused(folder: Path, changes: dict[str, object], reason: str) -> None:
    rewrite(folder, **changes)
    with pytest.raises(ArtifactError, match=reason):
        load_artifact(folder)


def test_a_description_that_is_nested_without_end_is_refused(folder: Path) -> None:
    (folder / "model.json").write_text("[" * 100_000)
    with pytest.raises(ArtifactError, match="is not JSON"):
        load_artifact(folder)
