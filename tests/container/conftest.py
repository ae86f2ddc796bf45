"""The job's image, built once; tests of it run where they are asked for."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image as Picture
from skimage import data

from tests.container.engine import Engine, Image, missing

WORK = "BOXCAR_CONTAINERS"  # a folder, in which the images stay


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """Builds images in the folder that BOXCAR_CONTAINERS names."""
    work = os.environ.get(WORK)
    if not work:
        pytest.skip(
            f"builds images for minutes, as root, with debootstrap, buildah and runc: {WORK}=FOLDER asks for it"
        )
    if lacks := missing():
        pytest.fail(f"{WORK} is set, but images cannot be built here: no {', no '.join(lacks)}")
    engine = Engine(Path(work))
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def job(engine: Engine) -> Image:
    """The target `job`."""
    return engine.build("job")


@pytest.fixture
def shared(tmp_path: Path) -> Callable[[str], Path]:
    """Makes folders that containers may write to, whatever their user."""

    def make(name: str) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        folder.chmod(0o1777)
        return folder

    return make


@pytest.fixture
def photos(shared: Callable[[str], Path]) -> Path:
    """A folder `data` with photographs in `photos`: scikit-image's cat, coffee and astronaut."""
    folder = shared("data")
    (folder / "photos").mkdir()
    for name in ("cat", "coffee", "astronaut"):
        Picture.fromarray(getattr(data, name)()).save(folder / "photos" / f"{name}.jpg")
    return folder
