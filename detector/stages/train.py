"""Stage `train`: the network's weights from the training split."""

from __future__ import annotations

import hashlib
from importlib.metadata import version
from pathlib import Path

import click
from dvclive.live import Live

import detector
from detector.data.annotations import load_coco
from detector.digest import sha256_of
from detector.model.family import build
from detector.model.trained import save_trained
from detector.model.training import EpochReport, train
from detector.params import ModelSettings, TrainSettings
from detector.proposals.store import load_proposals
from detector.runtime import choose_device, make_deterministic

WEIGHTS_FILE = "weights.pt"


def _identity(model: ModelSettings, settings: TrainSettings, *files: Path) -> str:
    """Digest of all that decides the result: only a training with the same one may be resumed."""
    parts = [model.model_dump_json(), settings.model_dump_json(), version("torch"), version("torchvision")]
    code = sorted(Path(detector.__path__[0]).rglob("*.py"))
    weights = [Path(model.weights)] if Path(model.weights).is_file() else []
    parts += [sha256_of(path) for path in [*files, *weights, *code]]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def run(
    model: ModelSettings,
    settings: TrainSettings,
    dataset: Path,
    proposals: Path,
    out: Path,
    log: Path,
    checkpoints: Path,
) -> None:
    """Train on `dataset/train.json` with `proposals/train.npz`; write `out/weights.pt` and DVCLive's log to `log`.

    checkpoints: a folder where the training's state is kept between epochs; removed at the end.
    """
    annotations, boxes = dataset / "train.json", proposals / "train.npz"
    truth = load_coco(annotations)
    device = choose_device(settings.device)
    make_deterministic(settings.seed)
    network = build(model, len(truth.classes))
    identity = _identity(model, settings, annotations, boxes)
    checkpoint = checkpoints / f"{identity[:12]}.pt"
    # DVC snapshots experiments itself (`dvc exp run`); the log must not commit to git from inside a stage. A resume
    # reports the earlier epochs again, so that the log is always whole.
    with Live(str(log), save_dvc_exp=False, dvcyaml=None) as live:

        def report(epoch: EpochReport) -> None:
            click.echo(
                f"epoch {epoch.epoch}/{settings.epochs}: class loss {epoch.class_loss:.3f}, "
                f"box loss {epoch.box_loss:.3f}, {epoch.seconds:.0f} s"
            )
            live.step = epoch.epoch
            live.log_metric("loss/class", epoch.class_loss)
            live.log_metric("loss/box", epoch.box_loss)
            live.log_metric("learning_rate", epoch.learning_rate, plot=False)
            live.next_step()

        trained = train(
            network,
            dataset / "images",
            truth,
            load_proposals(boxes, len(truth.images)),
            settings,
            device=device,
            checkpoint=checkpoint,
            identity=identity,
            report=report,
        )
    save_trained(out / WEIGHTS_FILE, trained, model, truth.classes)
    checkpoint.unlink(missing_ok=True)
