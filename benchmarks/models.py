"""Measure artifacts on one labelled split: average precision over the time for an image.

    python -m benchmarks.models detector/artifacts/voc20 --peer PEER

The split is one that stage `fetch` made. Each artifact looks at a few images in turn, so that other work on the machine
meets all alike. A time is that of one thread's CPU, from decoded pixels to boxes. Peers are detectors that others
trained on COCO.
"""

from __future__ import annotations

import platform
import re
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path

import click
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from detector.common.progress import progress
from detector.data.annotations import CocoDataset, load_coco
from detector.evaluation.average_precision import evaluate_voc
from detector.runtime.artifact import MODEL_FILE, load_artifact
from detector.runtime.detector import Detector, Image, open_detector
from detector.runtime.images import decode_image
from detector.runtime.postprocess import Detections
from detector.stages import layout

IOUS = (0.5, 0.75)
# Images that one artifact looks at before the next one does: enough to find its weights in the processor's cache.
_IN_TURN = 20
# The least score that counts for an artifact that was not measured, and so names none.
_LEAST_SCORE = 0.01


@dataclass
class Measured:
    """One artifact: its detections by image id, and the CPU seconds of each image."""

    name: str
    peer: bool
    megabytes: float
    detector: Detector
    least_score: float
    labels: NDArray[np.int64]  # the split's label of each class of the detector
    found: dict[int, Detections] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    ap: dict[float, float] = field(default_factory=dict)  # 11-point, by IoU

    def look(self, number: int, image: Image) -> dict[int, Detections]:
        """Return the detections in an image of the split, by its id."""
        (found,) = self.detector.detect([image], min_score=self.least_score).detections
        return {number: Detections(found.boxes, found.scores, self.labels[found.labels])}

    @property
    def milliseconds(self) -> float:
        return 1000 * statistics.median(self.seconds)


def open_artifact(folder: Path, peer: bool, truth: CocoDataset) -> Measured:
    """Open one artifact; raises ClickException if the split does not know one of its classes."""
    detector = open_detector(folder)
    unknown = sorted(set(detector.classes) - set(truth.classes))
    if unknown:
        raise click.ClickException(
            f"{folder}: its class {unknown[0]} is not one of the split's; import it with --rename, so that both agree"
        )
    least_score = load_artifact(folder).least_score or _LEAST_SCORE
    labels = np.array([truth.classes.index(name) for name in detector.classes])
    megabytes = (folder / MODEL_FILE).stat().st_size / 1e6
    return Measured(folder.name, peer, megabytes, detector, least_score, labels)


def measure(artifacts: list[Measured], images: Path, truth: CocoDataset) -> None:
    """Run every artifact on every image of the split, and compute their AP."""
    starts = range(0, len(truth.images), _IN_TURN)
    for first in progress(starts, len(starts), "measure", "turn"):
        turn = truth.images[first : first + _IN_TURN]
        decoded = [Image.whole(decode_image((images / image.file_name).read_bytes())) for image in turn]
        for artifact in artifacts:
            for image, pixels in zip(turn, decoded, strict=True):
                start = time.thread_time()
                artifact.found |= artifact.look(image.id, pixels)
                artifact.seconds.append(time.thread_time() - start)
    for artifact in artifacts:
        voc = evaluate_voc(truth, artifact.found, IOUS)
        artifact.ap = {iou: voc.map_11point(iou) for iou in IOUS}


def processor() -> str:
    """Return the name of this machine's processor, as the system gives it."""
    information = Path("/proc/cpuinfo")
    named = re.search(r"^model name\s*: (.*)$", information.read_text(), re.MULTILINE) if information.exists() else None
    return named[1] if named else platform.processor() or platform.machine()


def draw(artifacts: list[Measured], path: Path) -> None:
    """Write a PNG: AP over milliseconds, a panel for each IoU."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    from benchmarks.proposals.chart import DPI, STYLE, WIDTH

    with rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 5.2), dpi=DPI, layout="constrained")
        widest = max(artifact.milliseconds for artifact in artifacts)
        for axes, iou in zip(figure.subplots(1, len(IOUS), sharex=True, sharey=True), IOUS, strict=True):
            places = {artifact.name: (artifact.milliseconds, artifact.ap[iou]) for artifact in artifacts}
            for artifact in artifacts:
                (x, y), colour = places[artifact.name], "#D55E00" if artifact.peer else "#0072B2"
                axes.plot(x, y, "o", color=colour, markersize=10, markerfacecolor="white" if artifact.peer else colour)
                # Where two lie close to each other, the name of the lower one goes below.
                below = any(
                    abs(x - other_x) < 0.2 * widest and y < other_y < y + 0.08 for other_x, other_y in places.values()
                )
                axes.annotate(
                    artifact.name, (x, y), (0, -9 if below else 9), textcoords="offset points", ha="center",
                    va="top" if below else "bottom", color=colour, fontsize=10,
                )  # fmt: skip
            axes.set(title=f"Mean AP at IoU {iou}", xlabel="CPU ms an image (median, one thread)")
            axes.set_xlim(0, 1.25 * widest)
            axes.set_ylim(0, 0.1 + max(artifact.ap[IOUS[0]] for artifact in artifacts))
        axes.plot([], [], "o", color="#0072B2", label="Boxcar")
        axes.plot([], [], "o", color="#D55E00", markerfacecolor="white", label="others, trained on COCO")
        figure.legend(loc="outside lower center", ncols=2, frameon=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)


_FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)


@click.command()
@click.argument("artifacts", type=_FOLDER, nargs=-1)
@click.option("--peer", "peers", type=_FOLDER, multiple=True, help="An artifact trained on COCO. Repeatable.")
@click.option("--dataset", type=_FOLDER, default=layout.DATASET, show_default=True)
@click.option("--split", default="test", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=Path("build/benchmarks/models.png"), show_default=True)
def main(artifacts: tuple[Path, ...], peers: tuple[Path, ...], dataset: Path, split: str, out: Path) -> None:
    """Compare the artifacts in some folders: AP and time."""
    truth = load_coco(dataset / f"{split}.json")
    opened = [
        open_artifact(folder, peer, truth) for peer, group in ((False, artifacts), (True, peers)) for folder in group
    ]
    if not opened:
        raise click.UsageError("name the folder of at least one artifact")
    measure(opened, dataset / "images", truth)
    print(f"{len(truth.images)} images of {split}; {processor()}, ONNX Runtime {onnxruntime.__version__}, one thread\n")
    print("| artifact | CPU ms an image, median (10th to 90th percentile) | AP@.5 | AP@.75 | MB of model.onnx | |")
    print("| --- | ---: | ---: | ---: | ---: | --- |")
    for artifact in sorted(opened, key=lambda artifact: -artifact.ap[0.5]):
        low, high = 1000 * np.quantile(artifact.seconds, [0.1, 0.9])
        aps = " | ".join(f"{artifact.ap[iou]:.3f}" for iou in IOUS)
        note = "trained on COCO" if artifact.peer else ""
        print(
            f"| {artifact.name} | {artifact.milliseconds:.1f} ({low:.1f} to {high:.1f}) | {aps} | "
            f"{artifact.megabytes:.1f} | {note} |"
        )
    draw(opened, out)
    print(f"\n{out}")


if __name__ == "__main__":
    main()
