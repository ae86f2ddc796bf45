"""Says what S3's errors mean: for one image, for the whole store, and for another try."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from jobs.errors import ItemError, StorageError, UsageError

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

# An answer that lacks what every S3 server sends may have been cut on its way, so it is asked for again; the login page
# of a proxy comes every time, so tries end after these.
GARBLED_ATTEMPTS = 5
# Errors that pass, besides most statuses from 500 on.
PASSING = frozenset({
    "BandwidthLimitExceeded", "InternalError", "KMS.DependencyTimeoutException", "KMS.KMSInternalException",
    "KMS.ThrottlingException", "RequestLimitExceeded", "RequestTimeout", "ServiceUnavailable", "SlowDown",
    "Throttling", "ThrottlingException", "TooManyRequestsException",
})  # fmt: skip
# Not Implemented and Insufficient Storage: the same request gets the same answer.
LASTING_STATUSES = frozenset({501, 507})
# What programs and files that give credentials raise, besides botocore's own errors, some of which are OSErrors too.
CREDENTIAL_ERRORS = (OSError, ValueError, RuntimeError, AttributeError, KeyError, TypeError)
# Most characters of a server's own words in a message.
MOST_WORDS = 300

_ELSEWHERE = "the bucket is in another region or at another endpoint; set AWS_REGION or AWS_ENDPOINT_URL"
_FULL = "the store is full; free some space or raise the quota, then run again"
_SKEWED = "this machine's clock differs from the server's; set the clock (NTP), then run again"
_CHECKSUMS = (
    "the server does not know the checksum headers that boto3 sends; set AWS_REQUEST_CHECKSUM_CALCULATION=when_required"
)
_DEMANDED = "the store demands a checksum; leave AWS_REQUEST_CHECKSUM_CALCULATION unset, or set it to when_supported"
_EXPIRED = "the credentials have expired; renew them and run again"
_DENIED = "access denied; check the policy of the bucket and of the role"
_ADVICE = {
    "NoSuchBucket": "the bucket does not exist; check its name, the region and AWS_ENDPOINT_URL",
    "AccessDenied": _DENIED,
    "AllAccessDisabled": _DENIED,
    "Forbidden": _DENIED,
    "403": _DENIED,
    "InvalidAccessKeyId": "wrong credentials; check AWS_ACCESS_KEY_ID or the profile",
    "SignatureDoesNotMatch": "wrong credentials; check AWS_SECRET_ACCESS_KEY or the profile",
    "InvalidToken": "wrong or expired credentials; check AWS_SESSION_TOKEN or the profile, renew them and run again",
    "ExpiredToken": _EXPIRED,
    "TokenRefreshRequired": _EXPIRED,
    # The answer to a HEAD has no code, only the status of one.
    "400": "the server does not say why, and often the credentials have expired: renew them and run again",
    "RequestTimeTooSkewed": _SKEWED,
    "RequestExpired": _SKEWED,
    "PermanentRedirect": _ELSEWHERE,
    "AuthorizationHeaderMalformed": _ELSEWHERE,
    "IllegalLocationConstraintException": _ELSEWHERE,
    "301": _ELSEWHERE,
    "InvalidBucketName": "no bucket can have this name; check the URI",
    "XAmzContentSHA256Mismatch": _CHECKSUMS,
}


class GarbledAnswer(Exception):
    """An answer lacks what every answer of S3 to this request has."""


def error_code(error: ClientError) -> str:
    """The code of a refusal, such as AccessDenied; an HTTP status where the answer had no body."""
    return error.response["Error"].get("Code", "")


def is_other_version(error: ClientError) -> bool:
    """Whether a request was refused because the object has another ETag than the request demands."""
    return error_code(error) in ("PreconditionFailed", "412")


def is_not_implemented(error: ClientError) -> bool:
    """Whether the server does not know this kind of request."""
    return error_code(error) in ("NotImplemented", "501") or _status(error) == 501


def may_be_unconditional(error: ClientError) -> bool:
    """Whether a conditional write may have been refused because the server does not know conditions."""
    return is_not_implemented(error) or error_code(error) in ("InvalidArgument", "InvalidRequest", "MethodNotAllowed")


def tries(error: ClientError) -> int:
    """The number of tries for a request that was refused in this way."""
    code, status = error_code(error), _status(error)
    if is_not_implemented(error) or status in LASTING_STATUSES:
        return 1
    if code in PASSING or status == 429 or status >= 500:
        return sys.maxsize
    # An error with an HTTP number alone: its body was probably lost, so try again. 412 normally has no body.
    return GARBLED_ATTEMPTS if code.isdigit() and code != "412" else 1


def item_error(error: ClientError, uri: str) -> ItemError | StorageError:
    """The error for a GET that was refused: either one of this object, or one of the store."""
    code, words = error_code(error), _words(error)
    if error.operation_name not in ("GetObject", "HeadObject"):  # a request for credentials, before that for the image
        return refused(uri, error)
    if code == "NoSuchKey":
        return ItemError("missing")
    if is_other_version(error):
        return ItemError("changed")
    # Bad credentials have codes of their own: InvalidAccessKeyId, ExpiredToken, ...
    remedy = None
    if code == "AccessDenied":
        remedy = _DECRYPT if _is_about_keys(words) else "allow this role to read them (s3:GetObject)"
    elif code == "InvalidObjectState":
        remedy = "they are archived: restore them first (aws s3api restore-object)"
    elif code == "InvalidRequest" and "ncrypt" in words:
        remedy = "they need a key with every request (SSE-C), which is not supported: copy them without it"
    elif code == "KMS.AccessDeniedException":
        remedy = _DECRYPT
    # The key that encrypts this object is out of use. Other KMS codes mean temporary limits or outages.
    elif code in (
        "KMS.DisabledException",
        "KMS.InvalidKeyUsageException",
        "KMS.KMSInvalidStateException",
        "KMS.NotFoundException",
    ):
        remedy = "enable the KMS key that encrypts them"
    return refused(uri, error) if remedy is None else ItemError("forbidden", f"{_quoted(error)}; {remedy}")


_DECRYPT = "allow this role to use the KMS key that encrypts them (kms:Decrypt)"


def refused(uri: str, error: ClientError) -> StorageError:
    """The error for a request that the store refused, with the server's own words."""
    code, words = error_code(error), _words(error)
    advice = _ADVICE.get(code)
    if error.operation_name == "ListObjectsV2" and advice == _DENIED:
        advice += " (a requester-pays INPUT needs --request-payer)"
    if "quota" in words.lower():
        advice = _FULL
    elif _is_about_keys(words):
        advice = "allow this role to use the KMS key of the bucket (kms:Decrypt, and kms:GenerateDataKey to write)"
    elif words.startswith("Missing required header"):
        advice = _DEMANDED
    elif _is_about_checksums(words):
        advice = _CHECKSUMS
    elif is_not_implemented(error):
        advice = f"the server does not support this request; if it is a write, {_CHECKSUMS.partition('; ')[2]}"
    elif _status(error) == 507 or "quota" in code.lower() or "storagefull" in code.lower():
        advice = _FULL
    elif advice is None:
        advice = "S3 refused the request"
        if tries(error) > 1:
            advice += "; run again"
    return StorageError(f"{uri}: {advice} ({_quoted(error)})")


def unreachable(uri: str, error: Exception, service: str = "S3") -> StorageError | UsageError:
    """The error for requests that got no answer, or could not be sent."""
    from botocore import exceptions as aws

    reason = " ".join(str(error).split())
    if isinstance(error, aws.NoCredentialsError):
        return StorageError(
            f"{uri}: no AWS credentials were found; set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY "
            "(a public INPUT can be read with --no-sign-request)"
        )
    if isinstance(error, aws.CredentialRetrievalError | aws.SSOError | aws.TokenRetrievalError):
        return no_credentials(uri, error)
    if isinstance(error, aws.ParamValidationError | aws.MissingDependencyException | aws.UnsupportedS3ArnError):
        return UsageError(f"{uri}: {service} does not take this name: {reason}; check the URI")
    return StorageError(
        f"{uri}: {service} cannot be used: {reason}; check the network and the AWS settings, then run again"
    )


def no_credentials(uri: str, error: Exception) -> StorageError:
    """The error for settings that cannot be used, and for credentials that a program or a file should give."""
    reason = " ".join(str(error).split())
    return StorageError(
        f"{uri}: the AWS settings or credentials cannot be used: {reason}; check AWS_* and the profile in ~/.aws (its "
        "credential_process or web_identity_token_file), then run again"
    )


def not_s3(uri: str) -> StorageError:
    """An error for an answer that is not S3's: a proxy's login page, for example, may have status 200."""
    return StorageError(f"{uri}: the answer is not that of an S3 server; check AWS_ENDPOINT_URL and any proxy")


@contextlib.contextmanager
def storage_errors(uri: str) -> Iterator[None]:
    """Turn botocore's errors into StorageErrors, where no single image is the cause."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        raise refused(uri, error) from error
    except BotoCoreError as error:
        raise unreachable(uri, error) from error


def _status(error: ClientError) -> int:
    status: int = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return status


def _words(error: ClientError) -> str:
    return " ".join(str(error.response["Error"].get("Message") or "").split())[:MOST_WORDS]


def _quoted(error: ClientError) -> str:
    """The server's code and words."""
    return ": ".join(filter(None, (error_code(error) or "unknown", _words(error))))


def _is_about_keys(words: str) -> bool:
    return "kms:" in words or "ciphertext" in words


def _is_about_checksums(words: str) -> bool:
    return any(word in words.lower() for word in ("checksum", "trailer", "aws-chunked", "content-sha256", "x-amz-sdk"))
