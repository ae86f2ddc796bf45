"""A digest of the code that decides a result, so that a finished training is not repeated for a changed message."""

from __future__ import annotations

import ast
import hashlib
from importlib.util import find_spec
from pathlib import Path

from detector.common.sources import imported_sources

# Modules that cannot change a number: errors, progress bars and pages; and settings, whose values are compared instead.
_WITHOUT_EFFECT = ("detector.common.", "detector.params", "detector.data.settings")
# Functions whose texts are for people.
_SPEAKING = frozenset({"echo", "print", "progress", "warn"})


def computation_digest(module: str) -> str:
    """sha256 over the code of `module` and of all that it imports of this package.

    Comments, docstrings, the layout of the code, the texts of errors and of progress bars do not count.
    """
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise ValueError(f"{module} has no source file")
    digest = hashlib.sha256()
    for name, source in sorted(imported_sources(module, Path(spec.origin)).items()):
        if not name.startswith(_WITHOUT_EFFECT):
            digest.update(f"{name}\n{_essence(source)}\n".encode())
    return digest.hexdigest()


def _essence(source: bytes) -> str:
    """The source as a tree without what only people read."""
    tree = _Essence().visit(ast.parse(source))
    return ast.dump(tree)


class _Essence(ast.NodeTransformer):
    """Drops docstrings, the arguments of raised errors, and texts that are spoken to people."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        """Texts that stand alone are docstrings."""
        return None if _is_text(node.value) else self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        """An error counts by its type."""
        kind = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
        return ast.Raise(exc=kind, cause=None)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """Functions that speak to people keep only what is not a text."""
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", None)
        if name in _SPEAKING:
            node.args = [arg for arg in node.args if not _is_text(arg)]
        return self.generic_visit(node)


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))
