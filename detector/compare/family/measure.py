"""Runs one member through the stages and measures the cost."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from detector.common.cores import cores
from detector.common.digests import sha256_of
from detector.model.device import choose_device
from detector.model.weights_file import WEIGHTS_FILE
from detector.params import Params, params_digest
from detector.proposals import METHODS
from detector.stages import evaluate, propose, train
from detector.stages.layout import SPLITS
from detector.stages.metrics_file import write_json


@dataclass(frozen=True)
class Cost:
    """One member's figures; one is None if the member has no such step or figure.

    Training on a CPU is measured in CPU time, which other work on the machine does not change, and on a GPU in wall
    time. The seconds for a test image are wall time, as medians over the images.
    """

    title: str
    epochs: int
    training_seconds: float  # all epochs
    fitting_seconds: float  # R-CNN caches features and fits SVMs and regressions once, after all epochs
    disk_bytes: int
    proposal_seconds: float | None
    network_seconds: float
    postprocess_seconds: float
    map_50: float | None
    map_70: float | None
    map_90: float | None
    localisation_accuracy: float | None
    windows: float | None
    windows_possible: float | None

    @property
    def test_seconds(self) -> float:
        """Return the seconds for one image: proposals, network and post-processing."""
        return (self.proposal_seconds or 0.0) + self.network_seconds + self.postprocess_seconds


def measure(title: str, params: Params, dataset: Path, proposals: Path, out: Path) -> Cost:
    """Propose, train and evaluate in `out`.

    A member that was measured before with the same params on the same annotations is not measured again. One that was
    stopped resumes: its training after the last whole epoch, its evaluation after the training.

    proposals: a folder that all members share; those with the same method and settings use the same proposals.
    """
    report, identity = out / "report.json", _digest(params_digest(params), dataset)
    if (stored := _of(report, identity)) is not None:
        return Cost(**stored)
    found = propose_once(params, dataset, proposals)
    trained = out / "trained.json"
    if _of(trained, identity) is None:
        train.run(params.model, params.train, dataset, found, out / "train", out / "log", out / "checkpoints")
        _save(trained, identity, {})
    weights = out / "train" / WEIGHTS_FILE
    evaluate.run(params.detect, params.propose, dataset, found, weights, out / "evaluation")
    cost = _cost(title, params, found, out)
    _save(report, identity, asdict(cost))
    return cost


def _digest(settings: str, dataset: Path) -> str:
    """Return the digest of everything that decides a result: the settings and the annotations of the images."""
    parts = [settings, *(sha256_of(dataset / f"{split}.json") for split in SPLITS)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return content


def _of(path: Path, identity: str) -> dict[str, Any] | None:
    """Return what `_save` wrote for this identity, or None if the file is missing or belongs to another one."""
    if not path.is_file() or (stored := _read(path)).get("identity") != identity:
        return None
    content: dict[str, Any] = stored["content"]
    return content


def _save(path: Path, identity: str, content: dict[str, Any]) -> None:
    """Write the content as a whole or not at all."""
    new = path.with_suffix(".new")
    write_json(new, {"identity": identity, "content": content})
    new.replace(path)


def propose_once(params: Params, dataset: Path, proposals: Path) -> Path:
    """Return the folder in `proposals` for these settings and images; proposals that are not there are made."""
    method = METHODS[params.model.name]
    identity = _digest(f"{method} {params.propose.model_dump_json()}", dataset)
    found = proposals / f"{method or 'none'}-{identity[:12]}"
    if not (metrics := found / "metrics.json").is_file():
        new = found / "metrics.new"  # it is renamed when everything is there
        propose.run(params.propose, params.model.name, dataset, found, new, cores())
        new.replace(metrics)
    return found


def _cost(title: str, params: Params, proposals: Path, out: Path) -> Cost:
    on_cpu = choose_device(params.train.device).type == "cpu"
    log, figures = _read(out / "log/metrics.json"), _read(out / "evaluation/metrics.json")
    timing, svm = _read(out / "evaluation/timing.json"), log.get("svm", {})
    windows = _read(proposals / "metrics.json").get("test", {}).get("windows", {})
    looked_at = min(windows["looked_at"], params.detect.max_proposals) if windows else None
    own = METHODS[params.model.name] is None
    files = [out / "train" / WEIGHTS_FILE, *([] if own else sorted(proposals.glob("*.npz")))]
    return Cost(
        title=title,
        epochs=params.train.epochs,
        training_seconds=float(log["cpu_seconds" if on_cpu else "seconds"]),
        fitting_seconds=float(svm.get("cpu_seconds", 0))
        if on_cpu
        else float(svm.get("caching_seconds", 0)) + float(svm.get("fitting_seconds", 0)),
        disk_bytes=sum(path.stat().st_size for path in files) + int(svm.get("cached_bytes", 0)),
        proposal_seconds=timing.get("seconds_proposals"),
        network_seconds=timing["seconds_network"],
        postprocess_seconds=timing["seconds_postprocess"],
        map_50=figures["map_50_11point"],
        map_70=figures["map_70_11point"],
        map_90=figures["map_90_11point"],
        localisation_accuracy=figures["localisation_accuracy"],
        windows=looked_at,
        windows_possible=windows.get("possible"),
    )
