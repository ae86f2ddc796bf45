"""What becomes of single images that change, vanish, are forbidden or too large; hostile ones: faults/."""

from __future__ import annotations

import json
import os
import urllib.request
from pathlib import Path

import boto3
import pytest

from jobs import image
from jobs.formats import Record
from tests.conftest import Bucket
from tests.jobs.helpers import Boxcar, encoded, records_of, write_photos


def _by_name(output: Path) -> dict[str, Record]:
    return {record.image.rpartition("/")[2]: record for record in records_of(output)}


def test_changed_and_vanished_in_a_folder(boxcar: Boxcar, artifact: Path, tmp_path: Path) -> None:
    photos, output = write_photos(tmp_path / "photos", 9), tmp_path / "run"
    (photos / "nowhere.png").symlink_to(photos / "gone.png")
    boxcar("plan", photos, output, "--model", artifact)
    (photos / "0001.png").write_bytes(encoded(50))
    (photos / "0002.png").unlink()
    touched = photos / "0004.png"  # the same size, another time
    os.utime(touched, ns=(1, 1))
    (photos / "0005.png").unlink()
    (photos / "0005.png").mkdir()
    boxcar("work", output)
    statuses = {name: record.status for name, record in _by_name(output).items() if record.status != "ok"}
    assert statuses == {
        "0001.png": "changed", "0002.png": "missing", "0004.png": "changed", "0005.png": "changed",
        "nowhere.png": "missing",
    }  # fmt: skip
    assert _by_name(output)["0002.png"].etag is None  # it was never read


def test_changed_and_vanished_in_a_bucket(boxcar: Boxcar, bucket: Bucket, artifact: Path, tmp_path: Path) -> None:
    bucket.upload(write_photos(tmp_path / "photos", 6), "photos")
    boxcar("plan", f"{bucket.uri}/photos", tmp_path / "run", "--model", artifact)
    bucket.put("photos/0001.png", encoded(50))
    bucket.delete("photos/0002.png")
    boxcar("work", tmp_path / "run")
    records = _by_name(tmp_path / "run")
    assert {name: record.status for name, record in records.items() if record.status != "ok"} == {
        "0001.png": "changed", "0002.png": "missing",
    }  # fmt: skip
    assert records["0001.png"].etag  # the version that was planned


def test_changed_by_if_match(boxcar: Boxcar, moto: str, artifact: Path, tmp_path: Path) -> None:
    """A server that knows If-Match answers 412 and sends no body."""
    client = boto3.session.Session().client("s3")
    client.create_bucket(Bucket="photos")
    for name in ("a.png", "b.png"):
        client.put_object(Bucket="photos", Key=name, Body=encoded(1))
    boxcar("plan", "s3://photos", tmp_path / "run", "--model", artifact)
    client.put_object(Bucket="photos", Key="a.png", Body=encoded(2))
    boxcar("work", tmp_path / "run")
    assert [record.status for record in records_of(tmp_path / "run")] == ["changed", "ok"]


def _ask_who_is_calling(moto: str, after: float) -> None:
    """moto checks permissions only after a number of calls."""
    url, headers = f"{moto}/moto-api/reset-auth", {"Content-Type": "text/plain"}
    urllib.request.urlopen(urllib.request.Request(url, str(after).encode(), headers, method="POST")).close()


def test_forbidden_key(
    boxcar: Boxcar, moto: str, artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A policy denies one key: one record says so. Then the credentials are withdrawn: the run ends with exit 5."""
    s3, iam = (boto3.session.Session().client(service) for service in ("s3", "iam"))
    s3.create_bucket(Bucket="photos")
    for name in ("open.png", "secret.png"):
        s3.put_object(Bucket="photos", Key=name, Body=encoded(1))
    iam.create_user(UserName="reader")
    statements = [
        {"Effect": "Allow", "Action": "s3:*", "Resource": "*"},
        {"Effect": "Deny", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::photos/secret.png"},
    ]
    policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
    iam.put_user_policy(UserName="reader", PolicyName="p", PolicyDocument=policy)
    key = iam.create_access_key(UserName="reader")["AccessKey"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
    _ask_who_is_calling(moto, after=0)
    try:
        boxcar("plan", "s3://photos", tmp_path / "run", "--model", artifact, "--part-size", 1)
        boxcar("work", tmp_path / "run")
        assert [record.status for record in records_of(tmp_path / "run")] == ["ok", "forbidden"]

        (tmp_path / "run/stats/part-0000001.json").unlink()
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIANOBODY0000000000")
        assert "wrong credentials" in boxcar("work", tmp_path / "run", code=5).stderr
        assert not (tmp_path / "run/stats/part-0000001.json").exists()
    finally:
        _ask_who_is_calling(moto, after=float("inf"))


def test_too_many_bytes(boxcar: Boxcar, artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file too large for memory is not even fetched."""
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "small.png").write_bytes(encoded(1, 8, 8))
    (photos / "large.png").write_bytes(encoded(1, 100, 100))
    monkeypatch.setattr(image, "MAX_BYTES", 1000)
    boxcar("plan", photos, tmp_path / "run", "--model", artifact)
    boxcar("work", tmp_path / "run")
    large, small = records_of(tmp_path / "run")
    assert (large.status, large.etag, small.status) == ("too_large", None, "ok")
