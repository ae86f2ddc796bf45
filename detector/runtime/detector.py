"""A detector in use: what every kind of graph offers, and the function that opens an artifact as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from detector.runtime.devices import Device
from detector.runtime.images import frame_size
from detector.runtime.postprocess import Detections
from detector.runtime.reading import Image as Image
from detector.runtime.reading import Reading, read_image

if TYPE_CHECKING:
    from detector.runtime.tiling import Tiling


@dataclass(frozen=True)
class Batch:
    """The detections of each image, in order, and the wall time in seconds of each step, as the detector names it."""

    detections: list[Detections]
    seconds: Mapping[str, float]


class Detector(Protocol):
    """A loaded artifact. Several threads may use it at once.

    On a processor, results do not depend on how images are grouped into calls, or on how many threads call it. With
    several threads inside the graph, or on a GPU, some graphs add up in another order, and scores may differ by 1e-4
    or what docs/batch.md says of GPUs. Numbers are rounded once,
    in the frame of the whole image, before clipping, threshold and suppression, so that rules see what decided.
    """

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the labels."""

    @property
    def device(self) -> Device:
        """Where the graph runs."""

    @property
    def batch(self) -> int:
        """The number of images of one size that one call of the graph takes. More may be given to `detect`."""

    def reading(self, height: int, width: int) -> Reading:
        """Return how an image of this size is best read. `detect` takes images that were read so, and whole ones.

        The detections are the same, except those of a JPEG that is read at a fraction of its size (`read_image`): a few
        boxes and scores differ a little. What is measured is read as what is used.
        """

    def detect(self, images: Sequence[Image], *, min_score: float | None = None) -> Batch:
        """Return the detections in each image; min_score: the artifact's operating score unless given.

        Raises ArtifactError if the graph fails.
        """


def open_detector(
    folder: Path, device: str = "auto", *, threads: int = 1, batch: int | None = None, tiling: Tiling | None = None
) -> Detector:
    """Return the artifact in `folder` as a detector, which looks at tiles as well if `tiling` is given; see Session for
    the other options.

    Raises ArtifactError if the artifact is not valid, or cannot be used here.
    """
    from detector.runtime.artifact import MODEL_FILE, load_artifact
    from detector.runtime.kinds import KINDS
    from detector.runtime.session import Session
    from detector.runtime.tiles import TiledDetector

    artifact = load_artifact(folder)
    session = Session(folder / MODEL_FILE, device=device, threads=threads, batch=batch)
    detector = KINDS[artifact.decoding.kind](artifact, artifact.decoding, session)
    if tiling is None:
        return detector
    return TiledDetector(detector, tiling, most_overlap=artifact.most_overlap, max_detections=artifact.max_detections)


def read_for(detector: Detector, data: bytes) -> Image:
    """Decode an image as the detector wants to read it; raises ImageError as `decode_image` does."""
    return read_image(data, detector.reading(*frame_size(data)))
