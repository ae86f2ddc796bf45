"""One small interface to S3 and to folders. Only this package reads and writes S3."""

from __future__ import annotations

from jobs.errors import UsageError
from jobs.storage.ahead import read_ahead
from jobs.storage.folder import FolderStore
from jobs.storage.s3 import S3Store
from jobs.storage.store import Content, Entry, Store

__all__ = ["Content", "Entry", "FolderStore", "S3Store", "Store", "open_store", "read_ahead", "split_uri"]


def open_store(uri: str) -> Store:
    """The store that `s3://bucket/prefix` or a folder's path names; nothing is read yet."""
    if uri.startswith("s3://"):
        return S3Store(uri)
    if "://" in uri:
        raise UsageError(f"{uri}: only s3://bucket/prefix and folders can be read; give one of these")
    return FolderStore(uri)


def split_uri(uri: str) -> tuple[Store, str]:
    """The store that holds an object, and the object's key there."""
    parent, _, key = uri.rpartition("/")
    if not key or parent in ("s3:/", "s3:"):
        raise UsageError(f"{uri}: names no object; give s3://bucket/name or a file's path")
    return open_store(parent or ("/" if uri.startswith("/") else ".")), key
