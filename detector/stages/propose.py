"""Stage `propose`: finds the boxes that the detector will score, for every image of every split."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from detector.common.progress import progress
from detector.data.annotations import CocoDataset, load_coco
from detector.evaluation.proposal_recall import RecallPoint, proposal_recall, recall_curve
from detector.params import ProposeSettings
from detector.proposals import METHODS, Method, count_windows, find_proposals
from detector.proposals.store import save_proposals
from detector.runtime.geometry.boxes import Boxes, empty
from detector.runtime.images import decode_image
from detector.stages.layout import SPLITS
from detector.stages.metrics_file import write_json


def propose_split(
    folder: Path, truth: CocoDataset, settings: ProposeSettings, method: Method, threads: int, title: str
) -> list[Boxes]:
    """Return the proposals of every image in the dataset's order; the search releases the GIL for other threads."""

    def search(file_name: str) -> Boxes:
        pixels = decode_image((folder / file_name).read_bytes())
        return find_proposals(pixels, method, settings.max_boxes, settings.mode)

    names = [image.file_name for image in truth.images]
    with ThreadPoolExecutor(threads) as pool:
        return list(progress(pool.map(search, names), len(names), title))


def _windows(truth: CocoDataset, boxes: Sequence[Boxes]) -> dict[str, float]:
    """Return means over the images: the number of windows used, and of all possible ones."""
    looked_at = [float(len(own)) for own in boxes]
    possible = [float(count_windows(image.height, image.width)) for image in truth.images]
    return {"looked_at": statistics.fmean(looked_at), "possible": statistics.fmean(possible)}


def recall_path(metrics: Path) -> Path:
    """Return the path of the curve that belongs to a file of metrics."""
    return metrics.with_name(f"{metrics.stem}_recall.json")


def run(settings: ProposeSettings, name: str, dataset: Path, out: Path, metrics: Path, threads: int) -> None:
    """Read `dataset/<split>.json`, and write `out/<split>.npz` and the proposals' recall on val and test to `metrics`.

    The curve of recall over the number of proposals on test is written beside `metrics`, as NAME_recall.json. name: the
    member of the detector family, which decides the method. For one that makes its own boxes, no proposals are stored.
    For windows, `metrics` also has the numbers of windows used and of all possible ones.
    """
    out.mkdir(parents=True, exist_ok=True)
    method = METHODS[name]
    measured: dict[str, dict[str, dict[str, float]]] = {}
    curve: list[RecallPoint] = []
    for split in SPLITS:
        truth = load_coco(dataset / f"{split}.json")
        if method is None:
            save_proposals([empty()] * len(truth.images), out / f"{split}.npz")
            continue
        boxes = propose_split(dataset / "images", truth, settings, method, threads, f"proposals, {split}")
        save_proposals(boxes, out / f"{split}.npz")
        if split != "train":
            by_id = {image.id: found for image, found in zip(truth.images, boxes, strict=True)}
            result = proposal_recall(truth, by_id)
            measured[split] = {
                str(budget): {
                    "mabo": mabo,
                    **{f"recall_{iou * 100:.0f}": r for iou, r in result.recall[budget].items()},
                }
                for budget, mabo in result.mabo.items()
            }
            if split == "test":
                curve = recall_curve(truth, by_id, settings.max_boxes)
            if method == "sliding_window" and truth.images:
                measured[split]["windows"] = _windows(truth, boxes)
    write_json(metrics, measured)
    write_json(recall_path(metrics), curve)
