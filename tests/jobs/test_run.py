"""`boxcar run`, from a folder or a bucket to a published manifest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import boto3
import pytest

from detector.runtime.artifact import load_artifact
from detector.runtime.images import decode_image
from jobs.formats import Manifest, Validation
from tests.conftest import Bucket
from tests.jobs.helpers import Boxcar, encoded, part_bytes, records_of, write_photos
from tests.support.detecting import detect

pytestmark = pytest.mark.slow


def test_folder(boxcar: Boxcar, artifact: Path, tmp_path: Path) -> None:
    photos, output = write_photos(tmp_path / "photos", 7), tmp_path / "run"
    (photos / "notes.txt").write_text("not an image")
    (photos / ".hidden.png").write_bytes(encoded(99))
    result = boxcar("run", photos, output, "--model", artifact, "--part-size", 3)

    manifest = Manifest.model_validate_json((output / "manifest.json").read_bytes())
    assert (manifest.status, manifest.images, manifest.statuses["ok"]) == ("valid", 7, 7)
    assert [(part.key, part.count) for part in manifest.parts] == [
        ("boxes/part-0000000.jsonl", 3), ("boxes/part-0000001.jsonl", 3), ("boxes/part-0000002.jsonl", 1),
    ]  # fmt: skip
    for part in manifest.parts:
        data = (output / part.key).read_bytes()
        assert (part.bytes, part.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    # People point query engines at boxes/ as a whole.
    assert sorted(path.name for path in (output / "boxes").iterdir()) == [Path(p.key).name for p in manifest.parts]
    assert json.loads((output / "plan.json").read_bytes())["other_files"] == 1
    assert manifest.lineage.onnx_sha256 == hashlib.sha256((artifact / "model.onnx").read_bytes()).hexdigest()
    assert manifest.cost.bytes_read == sum(path.stat().st_size for path in photos.rglob("[0-9]*.png"))
    assert manifest.boxes == {
        label: sum(box.label == label for record in records_of(output) for box in record.boxes)
        for label in load_artifact(artifact).classes
    }
    assert "verdict   valid" in result.stdout and str(output / "manifest.json") in result.stdout

    keys = [record.image for record in records_of(output)]
    assert keys == sorted(str(path) for path in photos.rglob("[0-9]*.png"))


def test_records_carry_the_predictors_numbers(boxcar: Boxcar, artifact: Path, tmp_path: Path) -> None:
    photos, output = write_photos(tmp_path / "photos", 3), tmp_path / "run"
    boxcar("run", photos, output, "--model", artifact, "--min-score", 0.5)
    found = 0
    for record in records_of(output):
        data = Path(record.image).read_bytes()
        pixels = decode_image(data)
        expected = detect(artifact, pixels, 0.5)
        assert (record.height, record.width) == pixels.shape[:2]
        assert (record.etag, record.bytes) == (hashlib.md5(data).hexdigest(), len(data))
        assert [[b.x, b.y, b.x + b.width, b.y + b.height] for b in record.boxes] == expected.boxes.tolist()
        assert [b.score for b in record.boxes] == expected.scores.tolist()
        assert [b.label for b in record.boxes] == [load_artifact(artifact).classes[label] for label in expected.labels]
        found += len(record.boxes)
    assert found


def test_artifact_with_proposals(boxcar: Boxcar, make_artifact: Callable[..., Path], tmp_path: Path) -> None:
    model = make_artifact(tmp_path / "model")
    boxcar("run", write_photos(tmp_path / "photos", 2), tmp_path / "run", "--model", model)
    assert all(record.boxes for record in records_of(tmp_path / "run"))


def test_bucket(boxcar: Boxcar, bucket: Bucket, artifact: Path, tmp_path: Path) -> None:
    """From S3 to S3: the same boxes as from a folder of the same images."""
    photos = write_photos(tmp_path / "photos", 7)
    bucket.upload(photos, "photos")
    bucket.put("photos-of-others/1.png", encoded(1))  # the prefix is a folder, not the beginning of a name
    options = ("--model", artifact, "--part-size", 3)
    latest = f"{bucket.uri}/latest.json"
    boxcar("run", f"{bucket.uri}/photos", f"{bucket.uri}/run", *options, "--latest", latest)

    data = (bucket.folder / "run/manifest.json").read_bytes()
    manifest = Manifest.model_validate_json(data)
    assert manifest.status == "valid"
    assert json.loads((bucket.folder / "latest.json").read_bytes()) == {
        "schema": 1,
        "run": manifest.run,
        "planned_at": manifest.planned_at,
        "manifest": f"{bucket.uri}/run/manifest.json",
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    boxcar("run", photos, tmp_path / "run", *options)
    ours, theirs = records_of(bucket.folder / "run"), records_of(tmp_path / "run")
    assert len(ours) == 7
    for record, other in zip(ours, theirs, strict=True):
        assert record.image == f"{bucket.uri}/{Path(other.image).relative_to(tmp_path)}"
        # This server's ETag is the MD5, as that of S3's own single-part objects.
        assert (record.etag, record.boxes) == (other.etag, other.boxes)


def test_odd_names(boxcar: Boxcar, bucket: Bucket, artifact: Path, tmp_path: Path) -> None:
    """Keys come through as they are; the order is that of their UTF-8 bytes."""
    names = [
        "a b.png", "Ünïcode 雪.PNG", "it's \"quoted\".png", "50% & <more>+#?.png", "\u2028line.png",
        "\U0001f600.png", "\uff5e.png",  # the last one sorts before the emoji in UTF-8, after it in UTF-16
    ]  # fmt: skip
    photos = tmp_path / "photos"
    photos.mkdir()
    for index, name in enumerate(names):
        (photos / name).write_bytes(encoded(index))
    bucket.upload(photos, "photos")
    for source, output in ((f"{bucket.uri}/photos", f"{bucket.uri}/run"), (photos, tmp_path / "run")):
        boxcar("run", source, output, "--model", artifact)
    for source, output in ((f"{bucket.uri}/photos", bucket.folder / "run"), (photos, tmp_path / "run")):
        records = records_of(output)
        assert [record.image for record in records] == [f"{source}/{name}" for name in sorted(names, key=str.encode)]
        assert {record.status for record in records} == {"ok"}


def test_newlines_in_names(boxcar: Boxcar, artifact: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for index, name in enumerate(["a\nb.png", "a\r.png", "a\tb\\.png"]):
        (photos / name).write_bytes(encoded(index))
    boxcar("run", photos, tmp_path / "run", "--model", artifact)
    names = [Path(record.image).name for record in records_of(tmp_path / "run")]
    assert names == ["a\tb\\.png", "a\nb.png", "a\r.png"]


def test_no_images(boxcar: Boxcar, bucket: Bucket, artifact: Path, tmp_path: Path) -> None:
    """An empty run is valid, and says that it is empty."""
    bucket.put("photos/readme.txt", b"no images")
    result = boxcar("run", f"{bucket.uri}/photos", tmp_path / "run", "--model", artifact)
    manifest = Manifest.model_validate_json((tmp_path / "run/manifest.json").read_bytes())
    assert (manifest.status, manifest.images, manifest.parts) == ("valid", 0, [])
    assert "no images below" in result.stderr


def test_again_does_nothing(boxcar: Boxcar, artifact: Path, tmp_path: Path) -> None:
    photos, output = write_photos(tmp_path / "photos", 4), tmp_path / "run"
    boxcar("run", photos, output, "--model", artifact)
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*")}
    result = boxcar("run", photos, output, "--model", artifact)
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*")} == before
    assert "nothing to do" in result.stdout


@pytest.mark.parametrize("damage", ["lost", "changed", "not listed"])
def test_again_mends_a_published_run(boxcar: Boxcar, artifact: Path, tmp_path: Path, damage: str) -> None:
    """The manifest alone is not believed; what it lists is there again afterwards."""
    photos, output = write_photos(tmp_path / "photos", 4), tmp_path / "run"
    options = ("--model", artifact, "--part-size", 2)
    boxcar("run", photos, output, *options)
    whole, manifest = part_bytes(output), (output / "manifest.json").read_bytes()
    part = output / "boxes/part-0000001.jsonl"
    match damage:
        case "lost":
            part.unlink()
        case "changed":
            part.write_bytes(part.read_bytes().replace(b'"ok"', b'"no"'))
        case "not listed":
            content = json.loads(manifest)
            (output / "manifest.json").write_text(json.dumps(content | {"parts": content["parts"][:1]}))
    boxcar("run", photos, output, *options)
    assert part_bytes(output) == whole
    if damage == "not listed":
        assert len(json.loads((output / "manifest.json").read_bytes())["parts"]) == 2
    else:  # the same parts as it was published with: latest.json may name these bytes
        assert (output / "manifest.json").read_bytes() == manifest


def test_resume(boxcar: Boxcar, artifact: Path, tmp_path: Path) -> None:
    """Only what is missing is made; the bytes are those of the undisturbed run."""
    photos, output = write_photos(tmp_path / "photos", 10), tmp_path / "run"
    boxcar("run", photos, output, "--model", artifact, "--part-size", 3)
    whole = part_bytes(output)
    kept = (output / "boxes/part-0000000.jsonl").stat().st_mtime_ns
    (output / "manifest.json").unlink()
    (output / "boxes/part-0000001.jsonl").unlink()
    (output / "stats/part-0000003.json").unlink()  # killed between the two writes
    boxcar("run", photos, output, "--model", artifact, "--part-size", 3)
    assert part_bytes(output) == whole
    assert (output / "boxes/part-0000000.jsonl").stat().st_mtime_ns == kept


def test_progress_lines(boxcar: Boxcar, artifact: Path, tmp_path: Path) -> None:
    """Where no terminal is: one JSON line a part."""
    result = boxcar("run", write_photos(tmp_path / "p", 5), tmp_path / "run", "--model", artifact, "--part-size", 2)
    lines = [json.loads(line) for line in result.stderr.splitlines()]
    assert [(line["part"], line["images"], line["skipped"]) for line in lines] == [
        ("part-0000000", 2, False), ("part-0000001", 2, False), ("part-0000002", 1, False),
    ]  # fmt: skip


def test_rejected_is_published_and_leaves_latest(boxcar: Boxcar, artifact: Path, tmp_path: Path) -> None:
    photos, latest = write_photos(tmp_path / "photos", 4), tmp_path / "latest.json"
    options = ("--model", artifact, "--latest", latest)
    boxcar("run", photos, tmp_path / "good", *options)
    good = latest.read_bytes()

    (photos / "broken.png").write_bytes(b"no image")
    result = boxcar("run", photos, tmp_path / "bad", *options, code=3)
    manifest = Manifest.model_validate_json((tmp_path / "bad/manifest.json").read_bytes())
    validation = Validation.model_validate_json((tmp_path / "bad/quality/validation.json").read_bytes())
    assert (manifest.status, validation.status) == ("rejected", "rejected")
    assert [rule.rule for rule in validation.rules if rule.verdict == "rejected"] == ["failed_share"]
    assert latest.read_bytes() == good
    assert result.stderr.splitlines()[-1].startswith("error: ")
    assert "verdict   rejected" in result.stdout and "1 unreadable" in result.stdout

    boxcar("run", photos, tmp_path / "bad", *options, code=3)  # again: still rejected
    assert latest.read_bytes() == good
    boxcar("run", photos, tmp_path / "bad", *options, "--max-failed", 0.2)  # a person decides otherwise
    assert json.loads(latest.read_bytes())["manifest"] == f"{tmp_path}/bad/manifest.json"


def test_versioned_bucket(boxcar: Boxcar, moto: str, artifact: Path, tmp_path: Path) -> None:
    """Records name the version id of the bytes that were read."""
    client = boto3.session.Session().client("s3")
    client.create_bucket(Bucket="versions")
    client.put_bucket_versioning(Bucket="versions", VersioningConfiguration={"Status": "Enabled"})
    version = client.put_object(Bucket="versions", Key="photo.png", Body=encoded(1))["VersionId"]
    boxcar("run", "s3://versions", tmp_path / "run", "--model", artifact)
    (record,) = records_of(tmp_path / "run")
    assert (record.image, record.version_id, record.status) == ("s3://versions/photo.png", version, "ok")
