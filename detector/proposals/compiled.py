"""Kernels: functions that Numba compiles at their first call and stores on disk for the next process.

Numba's own cache has three problems: it is not read if it is not writable, as in a container with a read-only root; it
compiles for seconds without a message; and it uses an old kernel if constants or callees in another file changed.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import inspect
import os
import pickle
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numba
from numba.core import config
from numba.core.caching import CompileResultCacheImpl, FunctionCache, _CacheLocator
from numba.core.registry import cpu_target
from numba.misc.appdirs import AppDirs

from detector.common.sources import imported_sources

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

_kernels: list[Any] = []
_announced = False


def compiled(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Return the function as a kernel, as `numba.njit(cache=True, nogil=True)` does, but with a better cache.

    It runs without the GIL. Machine code is read from every folder that Numba would use, writable or not, and stored in
    the first writable one of these: NUMBA_CACHE_DIR, `__pycache__` beside the source, the user's cache. If none is
    writable, the kernel is compiled for this process only. The first compilation of a process prints a line on stderr.
    """
    kernel: Any = numba.njit(nogil=True)(function)
    if kernel is not function:  # NUMBA_DISABLE_JIT
        kernel._cache = _KernelCache(function)
        _kernels.append(kernel)
    return kernel


@dataclass(frozen=True)
class Summary:
    """The numbers of kernel signatures that this process compiled, found and stored.

    cpu, features: stored machine code is found only for the same processor; NUMBA_CPU_NAME and NUMBA_CPU_FEATURES set
    both to the same values on different processors.
    """

    compiled: int
    found: int
    kept: tuple[str, ...]  # folders
    unkept: int
    cpu: str
    features: str


def summary() -> Summary:
    """Return the summary of all kernels called so far."""
    stats = [kernel.stats for kernel in _kernels]
    used = [each for each in stats if each.cache_hits or each.cache_misses]
    _, cpu, features = cpu_target.target_context.codegen().magic_tuple()
    return Summary(
        compiled=sum(sum(each.cache_misses.values()) for each in used),
        found=sum(sum(each.cache_hits.values()) for each in used),
        kept=tuple(sorted({each.cache_path for each in used if each.cache_path})),
        unkept=sum(each.cache_path is None for each in used),
        cpu=cpu,
        features=features,
    )


class _KernelCache:
    """One kernel's cache. Numba's dispatcher calls it under its compiler lock, one thread at a time."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self.cache_path: str | None = None  # the folder of the machine code, once there is any

    @functools.cached_property
    def _places(self) -> list[Any]:
        """Return Numba's caches in all folders, in its order."""
        file = inspect.getfile(self._function)
        try:
            processor = repr(cpu_target.target_context.codegen().magic_tuple()).encode()
            sources = _digest(self._function.__module__, file).encode()
            stamp = hashlib.sha256(sources + processor).hexdigest()
            return [_cache_in(folder, self._function, stamp) for folder in _folders(file)]
        except (OSError, RuntimeError):  # there is no source, or NUMBA_CACHE_LOCATOR_CLASSES refuses
            return []

    def load_overload(self, signature: Any, context: Any) -> Any:
        """Return the stored machine code, or None; then Numba compiles."""
        for place in self._places:
            found = None
            try:
                found = place.load_overload(signature, context)
            except OSError:  # the folder may not be read
                continue
            except (EOFError, pickle.UnpicklingError):  # the file was truncated by a crash or a full disk
                with contextlib.suppress(OSError):
                    place.flush()
            if found is not None:
                self.cache_path = place.cache_path
                return found
        self._announce()
        return None

    def save_overload(self, signature: Any, result: Any) -> None:
        """Store the machine code in the first possible folder; a full or read-only disk is not an error."""
        for place in self._places:
            with contextlib.suppress(OSError):
                place.save_overload(signature, result)
                self.cache_path = place.cache_path
                return
        self.cache_path = None

    def flush(self) -> None:
        """Delete the stored machine code."""
        for place in self._places:
            with contextlib.suppress(OSError):
                place.flush()

    def _announce(self) -> None:
        """Print once in a process why the program seems to stop for a while."""
        global _announced
        if _announced:
            return
        _announced = True
        from tqdm import tqdm

        folder = next((place.cache_path for place in self._places if _is_writable(place.cache_path)), None)
        kept = f"kept in {folder}" if folder else "not kept: no cache folder is writable, NUMBA_CACHE_DIR names another"
        # tqdm's own write does not damage progress bars.
        tqdm.write(f"compiling Numba kernels, up to half a minute; {kept}", file=sys.stderr)


def _folders(file: str) -> list[str]:
    """Return the folders that may hold the machine code of one source file, in Numba's order."""
    name = _CacheLocator.get_suitable_cache_subpath(file)  # type: ignore[no-untyped-call]
    named = config.CACHE_DIR  # type: ignore[attr-defined]
    user = AppDirs("numba", appauthor=False).user_cache_dir  # type: ignore[no-untyped-call]
    folders = [os.path.join(named, name)] if named else []
    folders.append(os.path.join(os.path.dirname(os.path.abspath(file)), "__pycache__"))
    return (
        [*folders, os.path.join(user, name)] if os.path.isabs(user) else folders
    )  # it is "~/.cache" if there is no home


def _is_writable(folder: str) -> bool:
    try:
        os.makedirs(folder, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return False
    return True


def _cache_in(folder: str, function: Callable[..., Any], stamp: str) -> Any:
    """Return Numba's cache of one kernel in one folder; whether the folder is writable is not tested before a write.

    The stamp is part of the files' names, so that machine code of other sources or for another processor is never
    opened, even if two processes write at the same time.
    """

    class Locator(_CacheLocator):  # type: ignore[misc]
        _py_file = inspect.getfile(function)

        @classmethod
        def from_function(cls, py_func: Any, py_file: str) -> Any:
            return cls()

        def get_cache_path(self) -> str:
            return folder

        def get_source_stamp(self) -> str:
            return stamp

        def get_disambiguator(self) -> str:
            return stamp[:16]

    class Implementation(CompileResultCacheImpl):  # type: ignore[misc]
        _locator_classes: list[Any] = [Locator]  # noqa: RUF012

    class Cache(FunctionCache):  # type: ignore[misc]
        _impl_class = Implementation

    return Cache(function)  # type: ignore[no-untyped-call]


@functools.cache
def _digest(module: str, file: str) -> str:
    """Return the digest of a module's source and of the sources in its package that it imports.

    Compiled kernels contain constants and other kernels, but Numba itself compares only their own file.
    """
    digest = hashlib.sha256()
    for name, source in sorted(imported_sources(module, Path(file)).items()):
        digest.update(b"%s\0%d\0%s" % (name.encode(), len(source), source))
    return digest.hexdigest()
