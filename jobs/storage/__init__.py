"""One small interface to S3 and to folders. Only this package reads and writes S3."""

from __future__ import annotations

import re

from jobs.errors import UsageError
from jobs.storage.ahead import read_ahead
from jobs.storage.folder import FolderStore
from jobs.storage.s3 import S3Store
from jobs.storage.store import Content, Entry, Store, is_hidden

# Also s3:/bucket, s3:bucket and an ARN, which would name folders.
SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/|s3:|s3//|arn:", re.IGNORECASE)

__all__ = ["Content", "Entry", "FolderStore", "S3Store", "Store", "is_hidden", "open_store", "read_ahead", "split_uri"]


def open_store(uri: str, *, request_payer: bool = False, no_sign_request: bool = False) -> Store:
    """The store that `s3://bucket/prefix` or a folder's path names; nothing is read yet. See S3Store for the options,
    which a folder does not take."""
    if uri.startswith("s3://"):
        return S3Store(uri, request_payer=request_payer, no_sign_request=no_sign_request)
    if SCHEME.match(uri):
        raise UsageError(f"{uri}: only s3://bucket/prefix and folders can be read; give one of these")
    if not uri:
        raise UsageError("an empty name: a variable is not set? give s3://bucket/prefix or a folder")
    if request_payer or no_sign_request:
        raise UsageError(f"{uri}: --request-payer and --no-sign-request are for an INPUT in S3; leave them out")
    return FolderStore(uri)


def split_uri(uri: str) -> tuple[Store, str]:
    """The store that holds an object, and the object's key there."""
    parent, _, key = uri.rpartition("/")
    if not key or parent in ("s3:/", "s3:"):
        raise UsageError(f"{uri}: names no object; give s3://bucket/name or a file's path")
    return open_store(parent or ("/" if uri.startswith("/") else ".")), key
