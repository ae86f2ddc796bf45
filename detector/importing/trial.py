"""Runs a graph once, because its outputs say more than its description, in which shapes may be open."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.common.errors import ArtifactError
from detector.importing.graph_file import GraphFile
from detector.runtime.session import Session

# A graph may hold loops without an end; a detector needs seconds for one image, on a slow processor too.
MOST_SECONDS = 120.0


@dataclass(frozen=True)
class Trial:
    """What a graph gives for one image of noise. preset: the one that the user names; stated: of `stated_size`; size:
    (height, width) of the image."""

    graph: GraphFile
    preset: str | None
    stated: tuple[int | None, int | None]
    size: tuple[int, int]
    outputs: Mapping[str, NDArray[Any]]

    @property
    def fixed(self) -> bool:
        """Whether the graph takes images of one size only."""
        return None not in self.stated


def stated_size(graph: GraphFile) -> tuple[int | None, int | None]:
    """Return the height and width that the graph's image must have, None where it leaves a side open.

    Raises ArtifactError if the graph does not take one colour image.
    """
    shapes = {name: "x".join("?" if side is None else str(side) for side in sides)
              for name, sides in graph.inputs.items()}  # fmt: skip
    given = ", ".join(f"{name} {shape}" for name, shape in shapes.items()) or "none"
    if set(graph.inputs) != {"image", "proposals"} and len(graph.inputs) != 1:
        raise ArtifactError(
            f"{graph.path}: has the inputs {given}, and Boxcar gives it one image and nothing else; export the model "
            "without the part that scales boxes to the original size"
        )
    sides = graph.inputs.get("image") or next(iter(graph.inputs.values()))
    if len(sides) not in (3, 4) or (len(sides) == 4 and sides[0] not in (1, None)) or sides[-3] not in (3, None):
        raise ArtifactError(
            f"{graph.path}: has the inputs {given}; Boxcar gives one image as 1x3xHEIGHTxWIDTH (or 3xHEIGHTxWIDTH), "
            "channels first: export the model with this shape"
        )
    return sides[-2], sides[-1]


def try_graph(
    graph: GraphFile, preset: str | None, folder: Path, stated: tuple[int | None, int | None], size: tuple[int, int]
) -> Trial:
    """Write the graph to `folder/model.onnx` and run it on noise; raises ArtifactError if it fails or does not end."""
    path = folder / "model.onnx"
    path.write_bytes(graph.data)
    session = Session(path)
    noise = np.random.default_rng(0).random((1, 3, *size), dtype=np.float32)
    box = np.array([[0, 0, size[1], size[0]]], np.float32)  # a proposal for our own graphs
    by_axes: dict[int, NDArray[Any]] = {4: noise, 3: noise[0], 2: box}
    given = {name: by_axes[len(shape)] for name, shape in zip(session.inputs, session.shapes, strict=True)}
    return Trial(graph, preset, stated, size, _run(session, given))


def _run(session: Session, given: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the graph's outputs; a graph that is not ready in time is stopped."""
    import onnxruntime

    options = onnxruntime.RunOptions()
    clock = threading.Timer(MOST_SECONDS, setattr, (options, "terminate", True))
    clock.start()
    try:
        return session.run(given, options)
    except ArtifactError as error:
        if options.terminate:
            raise ArtifactError(
                f"the graph did not finish one image within {MOST_SECONDS:g} seconds and was stopped; it may hold a "
                "loop without an end"
            ) from error
        raise
    finally:
        clock.cancel()
