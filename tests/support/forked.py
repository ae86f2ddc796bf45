"""Run Python programs in forks of one process that has imported what they need.

torch, timm and Great Expectations take fifteen seconds of CPU time to import, and most smoke forms take less than that.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

_IMPORTED = (
    "torch", "torchvision", "timm", "great_expectations", "onnxruntime", "numba", "sklearn.linear_model", "skimage",
    "boto3", "faster_coco_eval", "onnx", "yaml",
)  # fmt: skip


@dataclass(frozen=True)
class Forks:
    """Starts programs, one after the other."""

    environment: Mapping[str, str]  # of every program
    _server: subprocess.Popen[str]

    def run(self, words: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
        """Run `python -m MODULE ...` or a command of this project in a folder, to its end."""
        assert self._server.stdin is not None and self._server.stdout is not None
        with tempfile.TemporaryDirectory() as name:
            streams = [Path(name, stream) for stream in ("stdout", "stderr")]
            self._server.stdin.write(json.dumps([list(words), str(folder), *map(str, streams)]) + "\n")
            self._server.stdin.flush()
            code = int(self._server.stdout.readline())
            return subprocess.CompletedProcess(words, code, *(stream.read_text() for stream in streams))


@contextlib.contextmanager
def forks(environment: Mapping[str, str]) -> Iterator[Forks]:
    """Start the process that forks; the programs have its environment."""
    with subprocess.Popen(
        [sys.executable, "-m", __name__], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        yield Forks(environment, server)
        server.stdin.close()  # type: ignore[union-attr]


def _serve() -> None:
    """Fork for every line of stdin, and answer with the exit code."""
    for module in _IMPORTED:
        importlib.import_module(module)
    for line in sys.stdin:
        words, folder, *streams = json.loads(line)
        if not (child := os.fork()):
            os.chdir(folder)
            for number, path in enumerate([os.devnull, *streams]):
                os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), number)
            return _run(words)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _run(words: list[str]) -> None:
    """Do what a process of its own would do."""
    name, *arguments = words
    if name == "python":
        sys.argv = arguments[1:]  # without -m
        _run_module(arguments[1])
    else:
        sys.argv = words
        (script,) = entry_points(group="console_scripts", name=name)
        sys.exit(script.load()())


def _run_module(name: str) -> None:
    """Run a module as `python -m` does, also for classes that multiprocessing looks up by the name of the main one."""
    spec = importlib.util.find_spec(name)
    if spec is not None and spec.submodule_search_locations is not None:
        spec = importlib.util.find_spec(f"{name}.__main__")
    assert spec is not None and isinstance(spec.loader, SourceFileLoader), name
    main = ModuleType("__main__")
    main.__spec__, main.__file__, main.__package__ = spec, spec.origin, spec.parent
    sys.modules["__main__"] = sys.modules["__mp_main__"] = main
    code = spec.loader.get_code(spec.name)
    assert code is not None, name
    exec(code, vars(main))


if __name__ == "__main__":
    _serve()
