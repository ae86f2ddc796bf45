"""Stage `train`: the network's weights from the training split."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from dvclive.live import Live

from detector.data.annotations import load_coco
from detector.model.family import build
from detector.model.trained import save_trained
from detector.model.training import EpochReport, train
from detector.params import ModelSettings, TrainSettings
from detector.proposals.store import load_proposals
from detector.runtime import choose_device, make_deterministic

WEIGHTS_FILE = "weights.pt"


def _identity(model: ModelSettings, settings: TrainSettings, *files: Path) -> str:
    """Digest of all that decides the result: only a training with the same one may be resumed."""
    digest = hashlib.sha256((model.model_dump_json() + settings.model_dump_json()).encode())
    for path in files:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def run(
    model: ModelSettings, settings: TrainSettings, dataset: Path, proposals: Path, out: Path, log: Path, resume: Path
) -> None:
    """Train on `dataset/train.json` with `proposals/train.npz`; write `out/weights.pt` and DVCLive's log to `log`.

    resume: where the training's state is kept between epochs; removed at the end.
    """
    annotations, boxes = dataset / "train.json", proposals / "train.npz"
    truth = load_coco(annotations)
    make_deterministic(settings.seed)
    network = build(model, len(truth.classes))
    identity = _identity(model, settings, annotations, boxes)
    # DVC snapshots experiments itself (`dvc exp run`); the log must not commit to git from inside a stage.
    with Live(str(log), save_dvc_exp=False, dvcyaml=None, resume=True) as live:

        def report(epoch: EpochReport) -> None:
            live.step = epoch.epoch
            live.log_metric("loss/class", epoch.class_loss)
            live.log_metric("loss/box", epoch.box_loss)
            live.log_metric("learning_rate", epoch.learning_rate, plot=False)
            live.next_step()
            with (resume.parent / "train.log").open("a") as file:
                file.write(json.dumps(vars(epoch)) + "\n")

        trained = train(
            network,
            dataset / "images",
            truth,
            load_proposals(boxes, len(truth.images)),
            settings,
            device=choose_device(settings.device),
            checkpoint=resume,
            identity=identity,
            report=report,
        )
    save_trained(out / WEIGHTS_FILE, trained, model, truth.classes)
    resume.unlink(missing_ok=True)
