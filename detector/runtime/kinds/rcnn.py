"""The graphs of our own pipeline: boxes and scores for proposals, the graph's own ones or those of a search.

Inputs: `image`, float32 (B, 3, H, W), and, if proposals are searched for, `proposals`, float32 (N, 4) xyxy in pixels of
that input; B is 1 then. Outputs: `scores`, float32 (N, C), probabilities of the C classes without the background, and
`boxes`, float32 (N, C, 4) xyxy in the same pixels; N may be 0. Graphs that take a batch give (B, N, C) and
(B, N, C, 4), and ABSENT as the scores of rows that fill up an image with fewer proposals.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from detector.common.errors import ArtifactError
from detector.runtime.detector import Image
from detector.runtime.geometry.boxes import Boxes
from detector.runtime.images import Pixels
from detector.runtime.kinds.graph import Candidates, Clock, GraphDetector
from detector.runtime.kinds.settings import DecodingSettings
from detector.runtime.preprocess import Prepared
from detector.runtime.reading import Reading
from detector.runtime.session import Array, Session

if TYPE_CHECKING:
    from detector.runtime.artifact import Artifact


class ProposalSettings(DecodingSettings):
    """Settings of the search that makes the boxes for the network."""

    method: Literal["selective_search", "sliding_window"]
    mode: Literal["fast", "quality"] = Field(description="of Selective Search")
    max_boxes: int = Field(ge=1, description="proposals an image at most, best first")
    batch: int | None = Field(ge=1, description="proposals in one call of the graph at most; null: all at once")


class RcnnDecoding(DecodingSettings):
    """Settings of this kind."""

    kind: Literal["rcnn"] = "rcnn"
    proposals: ProposalSettings | None = Field(description="null where the graph makes its own")


class Rcnn(GraphDetector):
    """A member of the R-CNN family."""

    def __init__(self, artifact: Artifact, decoding: RcnnDecoding, session: Session) -> None:
        super().__init__(artifact, decoding, session)
        self._settings = decoding.proposals
        self._propose = _search(self._settings)
        if self._settings:
            self.batch = 1  # each image has its own proposals
        session.require(["image", *(["proposals"] if self._settings else [])], ["scores", "boxes"])

    def forward(self, images: Sequence[Image], prepared: Sequence[Prepared], clock: Clock) -> list[Candidates]:
        """See GraphDetector. Proposals are searched for in the whole image, and go through the graph in batches."""
        if self._settings is None or self._propose is None:
            return super().forward(images, prepared, clock)
        (image,), (own,) = images, prepared
        with clock.step("proposals"):
            found = self._propose(image.pixels)
            proposals: Array = found * np.array([*own.scale, *own.scale], np.float32)
        batch = self._settings.batch or max(1, len(proposals))
        with clock.step("network"):
            parts = [
                self.session.run({"image": own.tensor, "proposals": proposals[start : start + batch]})
                for start in range(0, max(1, len(proposals)), batch)
            ]
        return [Candidates(*(np.concatenate([part[name] for part in parts]) for name in ("scores", "boxes")))]

    def decode(self, outputs: Mapping[str, NDArray[Any]], size: tuple[int, ...]) -> Candidates:
        """See GraphDetector."""
        scores, boxes = outputs["scores"], outputs["boxes"]
        return Candidates(scores, boxes) if scores.ndim == 2 else Candidates(scores[0], boxes[0])

    def reading(self, height: int, width: int) -> Reading:
        """See Detector. A search for proposals looks at the whole image."""
        return Reading(height, width, None) if self._propose else super().reading(height, width)


def _search(settings: ProposalSettings | None) -> Callable[[Pixels], Boxes] | None:
    """Return the function that makes an artifact's proposals from pixels, or None if its graph makes its own.

    Raises ArtifactError if the extra that it needs is not installed.
    """
    if settings is None:
        return None
    try:
        from detector.proposals import find_proposals  # its compiled code takes a second to load
    except ModuleNotFoundError as error:
        raise ArtifactError(
            f"this artifact needs {settings.method.replace('_', ' ')}, and {error.name} is not installed; install the "
            "extra: pip install '.[proposals]' in the project's folder, or take an artifact of faster_rcnn or "
            "cascade_rcnn"
        ) from error
    return partial(find_proposals, method=settings.method, max_boxes=settings.max_boxes, mode=settings.mode)
