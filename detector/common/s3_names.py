"""Reads the names of S3 objects and of their versions, which programs and gateways write in several ways."""

from __future__ import annotations

import re

# An access point's ARN, which stands in place of a bucket's name, and the prefix after it.
_ACCESS_POINT = re.compile(r"(arn:[^/]+(?:/[^/]+/|:)accesspoint[:/][^/]+)(?:/(.*))?", re.DOTALL)
# What web servers between us and S3 add to an ETag when they compress an answer.
_COMPRESSED_SUFFIX = re.compile(r"[-:;+_.]{1,2}(gzip|gz|br|zstd|deflate|df)$")


def bucket_and_key(uri: str) -> tuple[str, str]:
    """Return the bucket, or the ARN of an access point, and the key of s3://bucket/key; either may be empty."""
    path = uri.removeprefix("s3://")
    point = _ACCESS_POINT.fullmatch(path)
    bucket, key = (point[1], point[2] or "") if point else path.partition("/")[::2]
    return bucket, key


def unquoted(etag: str) -> str:
    """Return the ETag without quotes, and without W/, which some servers and gateways put before it: HTTP quotes ETags,
    but some servers list them without."""
    return etag.removeprefix("W/").strip('"')


def is_same_version(planned: str | None, found: str | None) -> bool:
    """Return whether two ETags name the same bytes, whatever a gateway has made of them."""
    return planned is not None and found is not None and _plain(planned) == _plain(found)


def _plain(etag: str) -> str:
    return _COMPRESSED_SUFFIX.sub("", unquoted(etag).lower())
