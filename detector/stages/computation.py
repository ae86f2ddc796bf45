"""Computes a digest of the code that decides a result, so that a changed message does not repeat a training."""

from __future__ import annotations

import ast
import hashlib
from importlib.util import find_spec
from pathlib import Path

from detector.common.digests import sha256_of
from detector.common.sources import imported_sources
from detector.runtime.shipped import SHIPPED

# Modules that cannot change a number: errors, progress bars, pages, and settings, whose values are compared instead.
_WITHOUT_EFFECT = ("detector.common.", "detector.params")
# Except for these: they decide how an image is called, and which bytes it has.
_WITH_EFFECT = ("detector.common.content_coding", "detector.common.file_names", "detector.common.s3_names")
# These settings also decide which source is split, for the stage that has the second module.
_SPLIT_SETTINGS, _SPLITS = "detector.data.settings", "detector.data.splitting"
# The file's name is repeated here because `detector.model` imports torch, which takes seconds.
SHIPPED_WEIGHTS = SHIPPED / "weights.safetensors"
STAGES = ("fetch", "propose", "train", "evaluate", "export")
# Functions with texts for people.
_SPEAKING = frozenset({"echo", "print", "progress", "warn"})


def computation_digest(module: str) -> str:
    """Return the sha256 of the code of `module` and of all modules of this package that it imports.

    Comments, docstrings, descriptions of settings, the layout of the code, and the texts of errors and progress bars do
    not count, nor do the empty fields that new versions of Python add to a syntax tree.
    """
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise ValueError(f"{module} has no source file")
    digest = hashlib.sha256()
    sources = imported_sources(module, Path(spec.origin))
    for name, source in sorted(sources.items()):
        counts = not name.startswith(_WITHOUT_EFFECT) or name in _WITH_EFFECT
        if counts and (name != _SPLIT_SETTINGS or _SPLITS in sources):
            digest.update(f"{name}\n{_essence(source)}\n".encode())
    return digest.hexdigest()


def write_digests(folder: Path, start: Path | None = None) -> None:
    """Write the digest of each stage's computation into a file of its name.

    start: the file of the shipped detector's weights if the training starts from them. Its digest belongs to `train`,
    because an upgrade may bring other weights.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for stage in STAGES:
        parts = [computation_digest(f"detector.stages.{stage}")]
        if stage == "train" and start is not None:
            parts.append(sha256_of(start))
        (folder / stage).write_text("".join(f"{part}\n" for part in parts))


def _essence(source: bytes) -> str:
    """Return the source as a syntax tree without the parts that only people read."""
    return _written(_Essence().visit(ast.parse(source)))


def _written(node: object) -> str:
    """Return a syntax tree as text, without empty fields: new versions of Python add such fields to old code."""
    if isinstance(node, ast.AST):
        fields = (f"{name}={_written(value)}" for name, value in ast.iter_fields(node) if value not in (None, []))
        return f"{type(node).__name__}({', '.join(fields)})"
    if isinstance(node, list):
        return f"[{', '.join(map(_written, node))}]"
    return repr(node)


class _Essence(ast.NodeTransformer):
    """Removes docstrings, the arguments of raised errors, and texts that are printed for people."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        """Remove texts that are statements, which are docstrings."""
        return None if _is_text(node.value) else self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        """Keep only the type of an error."""
        kind = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
        return ast.Raise(exc=kind, cause=None)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """Remove the texts from the arguments of functions that print for people, and descriptions."""
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", None)
        if name in _SPEAKING:
            node.args = [arg for arg in node.args if not _is_text(arg)]
        node.keywords = [keyword for keyword in node.keywords if keyword.arg != "description"]
        return self.generic_visit(node)


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))
