"""Finds the source files that a module depends on: its own and those of its package that it imports, recursively."""

from __future__ import annotations

import ast
from pathlib import Path


def imported_sources(module: str, file: Path) -> dict[str, bytes]:
    """Return the source of `module`, which is in `file`, and of all modules of its package that it needs, by name.

    Imports inside functions are followed; relative imports are not.
    """
    sources = {module: file.read_bytes()}
    package, *inner = module.split(".")
    root = file.absolute().parents[len(inner) + (file.stem == "__init__")]
    waiting = _imports(sources[module])
    while waiting:
        name = waiting.pop()
        path = root.joinpath(*name.split("."))
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if name.split(".")[0] == package and name not in sources and path.is_file():
            sources[name] = path.read_bytes()
            waiting += _imports(sources[name])
    return sources


def _imports(source: bytes) -> list[str]:
    """Return all modules, and names that may be modules, that a source imports absolutely."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [node.module, *(f"{node.module}.{name.name}" for name in node.names)]
    return found
