"""Stage `propose`: Selective Search over every image of every split."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from detector.data.annotations import CocoDataset, load_coco
from detector.data.preprocess import decode_image
from detector.evaluation.proposal_recall import proposal_recall
from detector.geometry.boxes import Boxes
from detector.params import ProposeSettings
from detector.progress import progress
from detector.proposals import selective_search
from detector.proposals.store import save_proposals
from detector.stages.layout import SPLITS
from detector.stages.metrics_file import write_json


def propose_split(folder: Path, truth: CocoDataset, settings: ProposeSettings, threads: int, title: str) -> list[Boxes]:
    """Proposals of every image, in the dataset's order; the search releases the GIL, so threads share the work."""

    def search(file_name: str) -> Boxes:
        pixels = decode_image((folder / file_name).read_bytes())
        return selective_search(pixels, settings.max_boxes, settings.mode)

    names = [image.file_name for image in truth.images]
    with ThreadPoolExecutor(threads) as pool:
        return list(progress(pool.map(search, names), len(names), title))


def run(settings: ProposeSettings, dataset: Path, out: Path, metrics: Path, threads: int) -> None:
    """Read `dataset/<split>.json`, write `out/<split>.npz` and the proposals' recall on val and test to `metrics`."""
    out.mkdir(parents=True, exist_ok=True)
    measured: dict[str, dict[str, dict[str, float]]] = {}
    for split in SPLITS:
        truth = load_coco(dataset / f"{split}.json")
        boxes = propose_split(dataset / "images", truth, settings, threads, f"proposals, {split}")
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
    write_json(metrics, measured)
