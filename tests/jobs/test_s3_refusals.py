"""What S3 servers, gateways and credentials answer, and what a person is then advised to do."""

from __future__ import annotations

import gzip
import json
import os
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.exceptions import ClientError

from jobs.errors import ItemError, StorageError, UsageError
from jobs.storage import Entry, S3Store, open_store
from tests.jobs.helpers import Boxcar, encoded, records_of, write_photos
from tests.support.local_s3 import ACCESS_KEY, SECRET_KEY

pytestmark = pytest.mark.slow


@pytest.fixture
def client(moto: str) -> Any:
    """A client of moto's server, which has the bucket `photos`."""
    made = boto3.session.Session(ACCESS_KEY, SECRET_KEY).client("s3")
    made.create_bucket(Bucket="photos")
    return made


def _refusal(code: str, words: str = "", status: int = 403) -> ClientError:
    answer: Any = {"Error": {"Code": code, "Message": words}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, "GetObject")


def _refusing(monkeypatch: pytest.MonkeyPatch, error: ClientError, *operations: str) -> list[str]:
    """Let requests be refused; returns a list of those that were sent."""
    asked: list[str] = []
    call = S3Store._call

    def refuse(self: S3Store, operation: str, **options: Any) -> dict[str, Any]:
        asked.append(operation)
        if operation in operations:
            raise error
        return call(self, operation, **options)

    monkeypatch.setattr(S3Store, "_call", refuse)
    return asked


# Credentials


def _process(script: str) -> Callable[[Path], str]:
    def settings(folder: Path) -> str:
        program = folder / "credentials.sh"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        return f"credential_process = {program}"

    return settings


CREDENTIALS = {
    "a program that is missing": lambda folder: f"credential_process = {folder / 'none'}",
    "a program that may not be run": lambda folder: f"credential_process = {folder}",
    "a program that fails": _process("echo first >&2; echo second >&2; exit 3"),
    "a program that prints something else": _process("echo hello"),
    "a token that is missing": lambda folder: (
        f"role_arn = arn:aws:iam::123456789012:role/r\nweb_identity_token_file = {folder / 'none'}"
    ),
    "a program that prints nothing to use": _process("echo null"),
    "a program whose credentials end at a number": _process(
        """echo '{"Version": 1, "AccessKeyId": "k", "SecretAccessKey": "s", "SessionToken": "t", "Expiration": 5}'"""
    ),
    "credentials that have expired": _process(
        """echo '{"Version": 1, "AccessKeyId": "k", "SecretAccessKey": "s", "SessionToken": "t", """
        """"Expiration": "2000-01-01T00:00:00Z"}'"""
    ),
    "a token that is a folder": lambda folder: (
        f"role_arn = arn:aws:iam::123456789012:role/r\nweb_identity_token_file = {folder}"
    ),
}


@pytest.fixture
def profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Writes the lines of the profile that is in use."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    return lambda lines: (tmp_path / "config").write_text(f"[default]\n{lines}\n") and None


@pytest.mark.parametrize("case", CREDENTIALS)
@pytest.mark.parametrize("command", ["run", "status", "doctor"])
def test_credentials_that_cannot_be_had(
    boxcar: Boxcar, artifact: Path, tmp_path: Path, profile: Callable[[str], None], case: str, command: str
) -> None:
    profile(CREDENTIALS[case](tmp_path))
    arguments = ["s3://photos/run"] if command == "status" else ["s3://photos", tmp_path / "run", "--model", artifact]
    result = boxcar(command, *arguments, code=5)
    said = result.stderr
    if command == "doctor":
        said = result.stdout
    else:
        assert said.startswith("error: s3://photos/") and len(said.splitlines()) == 1
    assert "AWS settings or credentials cannot be used" in said and "run again" in said


def test_no_credentials_at_all(tmp_path: Path, profile: Callable[[str], None]) -> None:
    with pytest.raises(StorageError, match=r"no AWS credentials were found.*--no-sign-request"):
        list(open_store("s3://photos").list())


def test_credentials_that_go_away_in_mid_run(
    boxcar: Boxcar, artifact: Path, tmp_path: Path, profile: Callable[[str], None], client: Any
) -> None:
    """Their program is gone when they expire: whole parts only, and the same command goes on."""
    for index in range(8):
        client.put_object(Bucket="photos", Key=f"{index}.png", Body=encoded(index))
    answer = {"Version": 1, "AccessKeyId": "k", "SecretAccessKey": "s", "SessionToken": "t"}
    # Credentials that are about to expire are renewed before every request.
    expiring = f"date -u -d '+5 seconds' +'{json.dumps(answer)[:-1]}, \"Expiration\": \"%Y-%m-%dT%H:%M:%SZ\"}}'"
    profile(_process(f"echo x >> {tmp_path}/calls; {expiring}")(tmp_path))
    command = ("run", "s3://photos", tmp_path / "run", "--model", artifact, "--part-size", 2)
    boxcar("plan", *command[1:])
    program = (tmp_path / "credentials.sh").read_text()
    (tmp_path / "credentials.sh").write_text(f'{program}[ $(wc -l < {tmp_path}/calls) -lt 5 ] || rm "$0"\n')
    (tmp_path / "calls").write_text("")
    said = boxcar(*command, code=5).stderr
    assert said.splitlines()[-1].startswith("error: s3://photos/: the AWS settings or credentials cannot be used")
    assert len(list((tmp_path / "run/boxes").glob("*"))) == len(list((tmp_path / "run/stats").glob("*")))
    (tmp_path / "credentials.sh").write_text(program)
    (tmp_path / "credentials.sh").chmod(0o755)
    boxcar(*command)
    assert [record.status for record in records_of(tmp_path / "run")] == ["ok"] * 8


# Servers that lack something


def test_one_refusal_of_a_conditional_write_is_enough(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[bool] = []

    def refuse(self: S3Store, operation: str, **options: Any) -> dict[str, Any]:
        sent.append("IfNoneMatch" in options)
        if sent[-1]:
            raise _refusal("NotImplemented", "A header you provided implies functionality that is not implemented", 501)
        return call(self, operation, **options)

    call = S3Store._call
    monkeypatch.setattr(S3Store, "_call", refuse)
    monkeypatch.setattr("jobs.storage.s3._UNCONDITIONAL", set())
    started = time.monotonic()
    for name in ("a", "b"):
        store = open_store(f"s3://photos/{name}")
        assert store.swap("plan.json", b"{}", None) and store.swap("manifest.json", b"{}", None)
        assert store.read("manifest.json") == b"{}"
    assert sent.count(True) == 1
    assert time.monotonic() - started < 60  # eight tries with their pauses would take longer for every write


ADVICE = [
    ("RequestTimeTooSkewed", "The difference is too large.", 403, "set the clock"),
    ("QuotaExceeded", "Bucket quota is used up", 403, "raise the quota"),
    ("XMinioStorageFull", "Storage backend has reached its minimum free drive threshold", 507, "raise the quota"),
    ("NotImplemented", "A header is not implemented", 501, "AWS_REQUEST_CHECKSUM_CALCULATION=when_required"),
    ("InvalidRequest", "Value for x-amz-checksum-crc32 is unknown", 400, "AWS_REQUEST_CHECKSUM_CALCULATION"),
    ("InvalidArgument", "aws-chunked encoding is not supported", 400, "AWS_REQUEST_CHECKSUM_CALCULATION"),
    ("AccessDenied", "not authorized to perform: kms:GenerateDataKey", 403, "kms:GenerateDataKey"),
    ("AccessDenied", "explicit deny in a VPC endpoint policy", 403, "check the policy"),
    ("PermanentRedirect", "Use the endpoint of eu-west-1", 301, "set AWS_REGION"),
    ("InvalidRequest", "Missing required header for this request: Content-MD5", 400, "leave AWS_REQUEST_CHECKSUM"),
    ("AccessDenied", "Bucket quota exceeded", 403, "raise the quota"),
    ("AllAccessDisabled", "All access to this object has been disabled", 403, "check the policy"),
    ("InvalidToken", "The provided token is malformed", 400, "AWS_SESSION_TOKEN"),
    ("ExpiredToken", "The provided token has expired.", 400, "renew them and run again"),
    ("TokenRefreshRequired", "The provided token must be refreshed.", 400, "renew them and run again"),
    ("SomethingNew", "The server's own words", 400, "S3 refused the request"),
]


@pytest.mark.parametrize(("code", "words", "status", "advice"), ADVICE)
def test_a_refusal_says_the_servers_words_and_what_helps(
    monkeypatch: pytest.MonkeyPatch, code: str, words: str, status: int, advice: str
) -> None:
    """To run again is advised only where that may help."""
    asked = _refusing(monkeypatch, _refusal(code, words, status), "put_object")
    with pytest.raises(StorageError) as caught:
        open_store("s3://boxes").write("a", b"")
    assert advice in str(caught.value) and f"({code}: {words})" in str(caught.value)
    assert "refused the request; run again" not in str(caught.value)
    assert asked == ["put_object"]


FORBIDDEN = [
    ("AccessDenied", "Access Denied", "s3:GetObject"),
    ("AccessDenied", "User: x is not authorized to perform: kms:Decrypt on resource: key/1", "kms:Decrypt"),
    ("KMS.AccessDeniedException", "The ciphertext refers to a key that may not be used", "kms:Decrypt"),
    ("AccessDenied", "The ciphertext references a key that does not exist", "kms:Decrypt"),
    ("InvalidObjectState", "The operation is not valid for the object's storage class", "restore"),
    ("InvalidRequest", "The object was stored using a form of Server Side Encryption", "SSE-C"),
    ("KMS.DisabledException", "key/1 is disabled", "enable the KMS key"),
]


@pytest.mark.parametrize(("code", "words", "advice"), FORBIDDEN)
def test_images_that_may_not_be_read_end_the_run_with_the_reason(
    boxcar: Boxcar, artifact: Path, tmp_path: Path, client: Any, monkeypatch: pytest.MonkeyPatch,
    code: str, words: str, advice: str,
) -> None:  # fmt: skip
    for index in range(12):
        client.put_object(Bucket="photos", Key=f"{index:02d}.png", Body=encoded(index))
    _refusing(monkeypatch, _refusal(code, words), "get_object")
    said = boxcar("run", "s3://photos", tmp_path / "run", "--model", artifact, code=5).stderr.splitlines()[-1]
    assert "access denied to 10 images in a row" in said and words in said and advice in said
    assert ("s3:GetObject" in said) == (advice == "s3:GetObject")


def test_files_that_may_not_be_read_end_the_run_with_the_reason(
    boxcar: Boxcar, artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = write_photos(tmp_path / "photos", 12)
    opened = os.open

    def denied(path: Any, *arguments: Any, **options: Any) -> int:
        if Path(path).is_relative_to(photos) and Path(path).is_file():
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *arguments, **options)

    monkeypatch.setattr(os, "open", denied)  # root, as which tests may run, may read everything
    said = boxcar("run", photos, tmp_path / "run", "--model", artifact, code=5).stderr.splitlines()[-1]
    assert "Permission denied; let this user read the files" in said and "s3:" not in said


# Gateways between us and the store


@pytest.fixture
def gateway(client: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Callable[[str], str]]]:
    """Changes the ETags of answers: by "list" those of listings, by "get" those of objects."""
    changes: dict[str, Callable[[str], str]] = {}
    call = S3Store._call

    def changed(self: S3Store, operation: str, **options: Any) -> dict[str, Any]:
        change = changes.get("get", str)
        if operation == "get_object" and "IfMatch" in options:
            head = call(self, "head_object", Key=options["Key"])
            if change(head["ETag"]) != options["IfMatch"]:  # it compares as strictly as HTTP demands
                raise _refusal("PreconditionFailed", status=412)
            del options["IfMatch"]
        answer = call(self, operation, **options)
        if "ETag" in answer:
            answer["ETag"] = change(answer["ETag"])
        for found in answer.get("Contents", []):
            found["ETag"] = changes.get("list", str)(found["ETag"])
        return answer

    monkeypatch.setattr(S3Store, "_call", changed)
    yield changes


def _weak(etag: str) -> str:
    return f"W/{etag}"


def _suffixed(suffix: str) -> Callable[[str], str]:
    return lambda etag: f'{etag[:-1]}{suffix}"'


@pytest.mark.parametrize(
    "change",
    [_weak, _suffixed("-gzip"), _suffixed(";gzip"), _suffixed("+gzip"), lambda etag: _weak(_suffixed("-br")(etag))],
)
@pytest.mark.parametrize("where", [("list",), ("get",), ("list", "get")])
def test_a_gateway_that_changes_etags(
    boxcar: Boxcar, artifact: Path, tmp_path: Path, client: Any, gateway: dict[str, Callable[[str], str]],
    change: Callable[[str], str], where: tuple[str, ...],
) -> None:  # fmt: skip
    for index in range(3):
        client.put_object(Bucket="photos", Key=f"{index}.png", Body=encoded(index))
    gateway |= dict.fromkeys(where, change)
    boxcar("plan", "s3://photos", tmp_path / "run", "--model", artifact)
    client.put_object(Bucket="photos", Key="1.png", Body=encoded(7))
    boxcar("work", tmp_path / "run")
    assert [record.status for record in records_of(tmp_path / "run")] == ["ok", "changed", "ok"]


def test_a_gateway_that_nobody_understands_is_named(
    boxcar: Boxcar, artifact: Path, tmp_path: Path, client: Any, gateway: dict[str, Callable[[str], str]],
) -> None:  # fmt: skip
    for index in range(12):
        client.put_object(Bucket="photos", Key=f"{index:02d}.png", Body=encoded(index))
    gateway["get"] = lambda etag: '"0"'
    result = boxcar("run", "s3://photos", tmp_path / "run", "--model", artifact, code=3)
    (said,) = [line for line in result.stderr.splitlines() if line.startswith("warning: s3://photos/: ")]
    assert "10 images in a row, up to" in said and "are not the version that was planned" in said and "gateway" in said


def test_objects_with_a_content_encoding(boxcar: Boxcar, artifact: Path, tmp_path: Path, client: Any) -> None:
    """As browsers read them; one that only says so is read as it is, and a bomb is too large."""
    photo, other = encoded(1), encoded(2)
    objects = {
        "a.png": (gzip.compress(photo), "gzip"),
        "b.png": (gzip.compress(photo), "aws-chunked,gzip"),
        "c.png": (other, "gzip"),
        "d.png": (gzip.compress(photo)[:2000], "gzip"),
        "e.png": (gzip.compress(bytes(200 * 2**20)), "gzip"),
        "f.png": (photo, ""),
        "g.png": (gzip.compress(photo[:100]) + gzip.compress(photo[100:]), "GZIP"),
        "h.png": (zlib.compress(photo), "deflate"),
        "i.png": (gzip.compress(gzip.compress(photo)), "gzip, gzip"),
        "j.png": (zlib.compress(bytes(200 * 2**20)), "deflate"),
    }
    for key, (data, encoding) in objects.items():
        client.put_object(Bucket="photos", Key=key, Body=data, **({"ContentEncoding": encoding} if encoding else {}))
    boxcar("plan", "s3://photos", tmp_path / "run", "--model", artifact)
    boxcar("work", tmp_path / "run")
    records = records_of(tmp_path / "run")
    assert [record.status for record in records] == [
        "ok", "ok", "ok", "unreadable", "too_large", "ok", "ok", "ok", "ok", "too_large",
    ]  # fmt: skip
    assert all(records[index].boxes == records[0].boxes for index in (1, 5, 6, 7, 8))
    assert records[0].bytes == len(objects["a.png"][0])


# Names of INPUT


@pytest.mark.parametrize(
    ("point", "prefix"),
    [
        ("arn:aws:s3:eu-west-1:123456789012:accesspoint/mine", ""),
        ("arn:aws:s3:eu-west-1:123456789012:accesspoint:mine", "a/b/"),
        ("arn:aws:s3-outposts:eu-west-1:123456789012:outpost/op-1/accesspoint/mine", "a/"),
        ("photos", "arn:aws:s3/"),
    ],
)
def test_access_points(point: str, prefix: str) -> None:
    store = S3Store(f"s3://{point}/{prefix}".removesuffix("/"))
    assert (store.bucket, store.prefix, store.uri) == (point, prefix, f"s3://{point}/{prefix}")


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("s3:/photos/2024", "only s3://"),
        ("s3:photos/2024", "only s3://"),
        ("s3//photos/2024", "only s3://"),
        ("arn:aws:s3:::photos/2024", "only s3://"),
        ("", "a variable is not set?"),
        ("S3://photos/2024", "only s3://"),
        ("gs://photos/2024", "only s3://"),
        ("https://photos.s3.amazonaws.com/2024", "only s3://"),
        ("s3:///2024", "names no bucket"),
    ],
)
def test_names_that_are_refused(boxcar: Boxcar, artifact: Path, tmp_path: Path, uri: str, said: str) -> None:
    assert said in boxcar("run", uri, tmp_path / "run", "--model", artifact, code=2).stderr
    photos = write_photos(tmp_path / "photos", 1)
    assert said in boxcar("run", photos, uri, "--model", artifact, code=2).stderr


@pytest.mark.parametrize("pattern", ["*.png", "d?", "d[01]", "{a,b}"])
def test_a_pattern_in_a_uri(boxcar: Boxcar, artifact: Path, tmp_path: Path, client: Any, pattern: str) -> None:
    """It is refused where nothing lies there; a key may have such signs."""
    command = ("plan", f"s3://photos/2024/{pattern}", tmp_path / "run", "--model", artifact)
    said = boxcar(*command, code=2).stderr
    assert "if it is a pattern" in said and "--include" in said
    client.put_object(Bucket="photos", Key=f"2024/{pattern}/a.png", Body=encoded(1))
    assert "images     1 in 1 parts" in boxcar(*command).stdout


@pytest.mark.parametrize("uri", ["s3://arn:aws:s3:::photos/", "s3://photos:2024/", "s3://no_such bucket/"])
def test_names_that_no_bucket_has(boxcar: Boxcar, artifact: Path, tmp_path: Path, uri: str) -> None:
    said = boxcar("run", uri, tmp_path / "run", "--model", artifact, code=2).stderr
    assert "check the URI" in said and "network" not in said


def test_a_file_of_certificates_that_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "none.pem"))
    with pytest.raises(StorageError, match=r"AWS_CA_BUNDLE .*none\.pem, which is not there"):
        open_store("s3://photos")


def test_a_refusal_of_credentials_is_no_matter_of_the_image(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    answer: Any = {"Error": {"Code": "AccessDenied", "Message": "not authorized to perform: sts:AssumeRole"}}
    _refusing(monkeypatch, ClientError(answer, "AssumeRole"), "get_object")
    with pytest.raises(StorageError, match="sts:AssumeRole"):
        open_store("s3://photos").fetch(Entry("a.png", 1, "e"))


def test_a_file_or_an_object_as_input(boxcar: Boxcar, artifact: Path, tmp_path: Path, client: Any) -> None:
    client.put_object(Bucket="photos", Key="a/1.png", Body=encoded(1))
    said = boxcar("run", "s3://photos/a/1.png", tmp_path / "run", "--model", artifact, code=2).stderr
    assert "is an object, not a prefix" in said and "--include" in said
    photo = write_photos(tmp_path / "photos", 3) / "0001.png"
    assert "is a file; give its folder" in boxcar("run", photo, tmp_path / "run", "--model", artifact, code=2).stderr


def test_who_pays_and_who_signs(
    boxcar: Boxcar, artifact: Path, tmp_path: Path, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every request to INPUT says it, in every process, and no request to OUTPUT does."""
    for index in range(3):
        client.put_object(Bucket="photos", Key=f"{index}.png", Body=encoded(index), ACL="public-read")
    client.create_bucket(Bucket="boxes")
    seen: set[tuple[str, bool, bool]] = set()
    made = boto3.session.Session.client

    def watched(self: Any, *arguments: Any, **options: Any) -> Any:
        client = made(self, *arguments, **options)

        def note(params: dict[str, Any], request_signer: Any, **_others: Any) -> None:
            bucket = urlsplit(params["url"]).path.split("/")[1]
            seen.add((bucket, "x-amz-request-payer" in params["headers"], request_signer.signature_version != "s3v4"))

        client.meta.events.register("before-call.s3", note)
        return client

    monkeypatch.setattr(boto3.session.Session, "client", watched)
    boxcar("run", "s3://photos", "s3://boxes/paid", "--model", artifact, "--request-payer")
    assert {(payer, unsigned) for bucket, payer, unsigned in seen if bucket == "photos"} == {(True, False)}
    assert {payer for bucket, payer, _ in seen if bucket == "boxes"} == {False}
    seen.clear()
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    boxcar("run", "s3://photos", tmp_path / "public", "--model", artifact, "--no-sign-request")
    assert {record.status for record in records_of(tmp_path / "public")} == {"ok"}
    said = boxcar("run", "s3://photos", tmp_path / "public", "--model", artifact, code=2).stderr
    assert "--no-sign-request is True there, False here" in said
    with pytest.raises(UsageError, match="for an INPUT in S3"):
        open_store(str(tmp_path), no_sign_request=True)


def test_what_reading_one_image_raises(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checksum header that a store refuses is no matter of the image."""
    _refusing(monkeypatch, _refusal("InvalidRequest", "x-amz-checksum-mode is not supported", 400), "get_object")
    with pytest.raises(StorageError, match="AWS_REQUEST_CHECKSUM_CALCULATION"):
        open_store("s3://photos").fetch(Entry("a.png", 1, "e"))
    _refusing(monkeypatch, _refusal("AccessDenied"), "get_object")
    with pytest.raises(ItemError):
        open_store("s3://photos").fetch(Entry("a.png", 1, "e"))
