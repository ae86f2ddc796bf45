"""Each test runs processes of its own: what one compiled, another must find, or do without."""

import dataclasses
import hashlib
import inspect
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from detector.proposals import Mode, selective_search, warm_up
from detector.proposals.compiled import Summary

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
KERNELS = """
from detector.proposals.compiled import compiled
from tiny.half import HALF

@compiled
def scaled(x):
    return x * 2 * HALF

@compiled
def squared(x):
    return x * x
"""
CALL = "from tiny.kernels import scaled; result = scaled(3)"
REPORT = """
import dataclasses, json
from detector.proposals.compiled import summary
print(json.dumps([result, dataclasses.asdict(summary())]))
"""
# Root reads and writes everywhere unless it gives up CAP_DAC_OVERRIDE (1) and CAP_DAC_READ_SEARCH (2), for good by
# PR_CAPBSET_DROP (24).
BOUND = """
import ctypes, os, sys
if os.geteuid() == 0:
    for capability in 1, 2:
        ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


@dataclasses.dataclass(frozen=True)
class Ran:
    """The output of one process."""

    result: Any
    summary: Summary
    said: list[str]  # lines on stderr


class Place:
    """A folder with a package of two kernels and a home; processes that import it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, folder / "home"
        self.package = folder / "code" / "tiny"
        self.package.mkdir(parents=True)
        self.home.mkdir()
        for name, source in {
            "__init__": "",
            "kernels": KERNELS,
            "half": "from tiny.number import NUMBER\nHALF = NUMBER / 2\n",
            "number": "NUMBER = 10\n",
            "stranger": "",
        }.items():
            (self.package / f"{name}.py").write_text(source)

    def python(self, *arguments: str, bound: bool = False, **settings: str) -> subprocess.CompletedProcess[str]:
        """A process; bound: one that obeys the folders' permissions even as root."""
        own = {name: value for name, value in os.environ.items() if not name.startswith(("NUMBA_", "XDG_"))}
        path = os.pathsep.join([str(self.package.parent), str(ROOT)])
        own |= {"HOME": str(self.home), "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, *(["-c", BOUND] if bound else []), *arguments]
        return subprocess.run(command, env=own | settings, cwd=self.folder, capture_output=True, text=True)

    def run(self, code: str = CALL, *, bound: bool = False, **settings: str) -> Ran:
        """The code's `result` and its process's summary."""
        process = self.python("-c", code + "\n" + REPORT, bound=bound, **settings)
        assert process.returncode == 0, process.stderr
        result, summary = json.loads(process.stdout)
        return Ran(result, Summary(**{**summary, "kept": tuple(summary["kept"])}), process.stderr.splitlines())


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def close(place: Place, request: pytest.FixtureRequest) -> Callable[[Path], None]:
    """Makes a folder and all below it read-only, for bound processes."""

    def close(folder: Path) -> None:
        for each in [folder, *(path for path in folder.rglob("*") if path.is_dir())]:
            each.chmod(0o555)
            request.addfinalizer(lambda each=each: each.chmod(0o755))
        attempt = f"open({str(folder / 'attempt')!r}, 'w')"
        if "PermissionError" not in place.python("-c", attempt, bound=True).stderr:
            pytest.skip("this user cannot be kept from writing to a read-only folder")

    return close


def test_the_first_process_says_that_it_compiles_and_the_second_finds_what_it_kept(place: Place) -> None:
    first, second = place.run(), place.run()
    beside = str(place.package / "__pycache__")
    assert (first.result, first.summary.compiled, first.summary.found) == (30, 1, 0)
    assert first.said == [f"compiling Numba kernels, up to half a minute; kept in {beside}"]
    assert (second.result, second.summary.compiled, second.summary.found) == (30, 0, 1)
    assert second.said == []
    assert first.summary.kept == second.summary.kept == (beside,)


def test_what_was_kept_is_found_where_nothing_can_be_written(place: Place, close: Callable[[Path], None]) -> None:
    place.run()
    close(place.folder)
    ran = place.run(bound=True)
    assert (ran.result, ran.summary.compiled, ran.summary.found, ran.said) == (30, 0, 1, [])


def test_without_a_writable_folder_a_process_compiles_for_itself(place: Place, close: Callable[[Path], None]) -> None:
    close(place.folder)
    ran = place.run(CALL + "; scaled(2.5)", bound=True)
    assert (ran.result, ran.summary.compiled, ran.summary.kept, ran.summary.unkept) == (30, 2, (), 1)
    assert [line.partition(";")[2] for line in ran.said] == [
        " not kept: no cache folder is writable, NUMBA_CACHE_DIR names another"
    ]


def test_without_a_home_nothing_is_written_to_the_working_folder(place: Place, close: Callable[[Path], None]) -> None:
    close(place.package)
    before = set(place.folder.iterdir())
    ran = place.run("import os; os.path.expanduser = lambda path: path\n" + CALL, bound=True)
    assert (ran.result, ran.summary.unkept) == (30, 1)
    assert set(place.folder.iterdir()) == before


def test_a_new_kernel_is_kept_in_the_first_writable_folder(place: Place, close: Callable[[Path], None]) -> None:
    place.run()
    close(place.package)
    code = CALL + "\nfrom tiny.kernels import squared; squared(3)"
    cache = place.home if sys.platform == "darwin" else place.home / ".cache" / "numba"
    for folder, settings in (place.folder / "named", {"NUMBA_CACHE_DIR": str(place.folder / "named")}), (cache, {}):
        ran = place.run(code, bound=True, **settings)
        assert (ran.summary.compiled, ran.summary.found, ran.summary.unkept) == (1, 1, 0)
        assert len(ran.said) == 1 and str(folder) in ran.said[0]
        again = place.run(code, bound=True, **settings)
        assert (again.summary.compiled, again.summary.found, again.said) == (0, 2, [])


def test_a_full_disk_is_no_error_and_leaves_nothing_wrong(place: Place) -> None:
    # There are two files. The index is smaller than the limit, and the machine code is larger.
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))\n"
    ran = place.run(limit + CALL)
    assert (ran.result, ran.summary.compiled, ran.summary.unkept) == (30, 1, 1)
    assert place.run().summary.compiled == 1
    assert place.run().summary.found == 1


@pytest.mark.parametrize("kind", ["nbi", "nbc"])
def test_a_damaged_file_is_compiled_again(place: Place, kind: str) -> None:
    place.run()
    (file,) = (place.package / "__pycache__").glob(f"*.{kind}")
    file.write_bytes(file.read_bytes()[:0])
    ran = place.run()
    assert (ran.result, ran.summary.compiled) == (30, 1)
    assert place.run().summary.found == 1


def test_a_folder_that_may_not_even_be_read_is_passed_over(place: Place, close: Callable[[Path], None]) -> None:
    place.run()
    close(place.package)
    (place.package / "__pycache__").chmod(0)
    ran = place.run(bound=True)
    assert (ran.result, ran.summary.compiled, ran.summary.unkept) == (30, 1, 0)
    assert ran.summary.kept[0].startswith(str(place.home))


def test_machine_code_is_as_new_as_every_source_that_goes_into_it(place: Place) -> None:
    place.run()
    (place.package / "number.py").write_text("NUMBER = 20\n")  # two imports away
    ran = place.run()
    assert (ran.result, ran.summary.compiled) == (60, 1)
    (place.package / "stranger.py").write_text("NUMBER = 20\n")
    (place.package / "number.py").touch()
    assert place.run().summary.found == 1
    (place.package / "number.py").write_text("NUMBER = 10\n")
    back = place.run()
    assert (back.result, back.summary.found) == (30, 1)


def test_a_pinned_processor_finds_on_one_host_what_another_kept(place: Place) -> None:
    # This name stands for every processor.
    another_host = "import llvmlite.binding; llvmlite.binding.get_host_cpu_name = lambda: 'generic'\n"
    place.run()
    assert place.run(another_host + CALL).summary.compiled == 1
    pinned = place.run(NUMBA_CPU_NAME="generic")
    assert (pinned.summary.compiled, pinned.summary.cpu, pinned.summary.features) == (1, "generic", "")
    there = place.run(another_host + CALL, NUMBA_CPU_NAME="generic")
    assert (there.summary.compiled, there.summary.found, there.said) == (0, 1, [])


def test_threads_that_meet_at_a_cold_kernel_compile_it_once_and_say_it_once(place: Place) -> None:
    code = """
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from tiny.kernels import scaled, squared

barrier = Barrier(8)

def call(number):
    barrier.wait()
    return (scaled, squared)[number % 2](number)

with ThreadPoolExecutor(8) as threads:
    result = list(threads.map(call, range(8)))
"""
    ran = place.run(code)
    assert ran.result == [number * (number if number % 2 else 10) for number in range(8)]
    assert (ran.summary.compiled, len(ran.said)) == (2, 1)


def test_numba_switched_off_leaves_the_function(place: Place) -> None:
    ran = place.run(NUMBA_DISABLE_JIT="1")
    assert (ran.result, ran.summary.compiled, ran.said) == (30, 0, [])


def digests() -> list[str]:
    """Return a digest of the boxes of one image for each mode."""
    picture = np.random.default_rng(3).integers(0, 256, (30, 40, 3), np.uint8).repeat(7, 0).repeat(7, 1)
    return [hashlib.sha256(selective_search(picture, mode=mode).tobytes()).hexdigest() for mode in get_args(Mode)]


def test_after_a_warm_up_nothing_compiles_and_every_processor_finds_the_same_boxes(
    place: Place, close: Callable[[Path], None]
) -> None:
    shutil.copytree(ROOT / "detector", place.package.parent / "detector", ignore=shutil.ignore_patterns("__pycache__"))
    warm = place.python("-m", "detector.proposals.warm_up", NUMBA_CPU_NAME="generic")
    assert warm.returncode == 0, warm.stderr
    assert "kernels: " in warm.stdout and ", 0 found" in warm.stdout and "the CPU generic" in warm.stdout
    assert len(warm.stderr.splitlines()) == 1
    close(place.folder)
    code = """
import detector, hashlib, numpy as np
from typing import get_args
from detector.proposals import Mode
from detector.proposals import selective_search

for shape in (1, 1), (1, 9), (9, 1), (40, 30), (20, 700):
    for mode in "fast", "quality":
        selective_search(np.arange(shape[0] * shape[1] * 3, dtype=np.uint8).reshape(*shape, 3), 10, mode)
""" + inspect.getsource(digests)
    code += "\nresult = [detector.__file__, digests()]"
    ran = place.run(code, bound=True, NUMBA_CPU_NAME="generic")
    path, found = ran.result
    assert path.startswith(str(place.package.parent)) and found == digests()
    assert ran.summary.compiled == 0 and ran.summary.found > 5 and ran.said == []


def test_a_warm_up_that_kept_nothing_fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(warm_up, "warm_up", lambda: Summary(9, 0, (), 9, "generic", ""))
    assert warm_up.main() == 1
    assert "9 kernels could not be kept" in capsys.readouterr().err
