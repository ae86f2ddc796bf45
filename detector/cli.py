"""The command line of the pipeline. The commands import heavy packages only when they run."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from detector.common.cores import cores
from detector.common.errors import DetectorError, ImageError
from detector.common.text import visible
from detector.runtime.devices import DEVICES
from detector.runtime.tiling import DEFAULT_OVERLAP, LEAST_SIDE, MOST_OVERLAP, Tiling

_FOLDER = click.Path(file_okay=False, path_type=Path)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


def _device(default: str) -> Callable[[Any], Any]:
    """The option --device. Figures of an artifact come from a processor unless a user asks for something else."""
    return click.option(
        "--device",
        type=click.Choice(DEVICES),
        default=default,
        show_default=True,
        help="Where the graph runs and is measured; auto: on a GPU where ONNX Runtime can use one.",
    )


class _Group(click.Group):
    """Prints errors for people as one line and ends with exit code 2; any other error is a bug with a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ModuleNotFoundError as error:
            extra = "import" if ctx.invoked_subcommand == "import" else "pipeline"
            click.echo(f"error: {error}; install what the command needs: pip install 'boxcar[{extra}]'", err=True)
        except (DetectorError, OSError) as error:
            click.echo("error: " + "\n".join(map(visible, str(error).splitlines())), err=True)
        sys.exit(2)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Build a detector of the R-CNN family, or import one that others made.

    The stages read params.yaml and run in this order, usually through `dvc repro`:
    fetch, propose, train, evaluate, export.
    """


@main.command()
@click.argument("data", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--start",
    type=click.Choice(["voc20", "imagenet"]),
    default="voc20",
    show_default=True,
    help="The first weights: the shipped detector's, for photographs, or ImageNet's, for images unlike photographs.",
)
def init(data: Path, start: str) -> None:
    """Make this folder a project that trains a detector on DATA, a folder or a file of annotated images.

    The command recognises COCO, VOC, YOLO, CVAT and Label Studio, and writes params.yaml and dvc.yaml.

    Example: detector init data/cells
    """
    from detector.stages.init import STARTS
    from detector.stages.init import init as run

    run(data, STARTS[start], cores(), lambda line: click.echo(visible(line)))


@main.command()
def fetch() -> None:
    """Stage 1: read or draw images and annotations, into build/dataset."""
    from detector.stages import layout
    from detector.stages.fetch import fetch as run
    from detector.stages.provenance import save_settings, settings_in_force
    from detector.stages.watched import unwatched

    with settings_in_force("fetch") as params:
        report = run(params.fetch, params.fetch.seed, layout.DATASET)
        save_settings(layout.DATASET, params, "fetch")
        missing = unwatched(params.fetch, layout.PIPELINE)
    for name, split in report.splits.items():
        counts = f", {split.clipped} clipped, {split.dropped} dropped" if split.clipped or split.dropped else ""
        click.echo(f"{name}: {split.images} images, {split.boxes} boxes{counts}")
    for notice in report.notices:
        click.echo(f"notice: {notice}", err=True)
    for path in missing:
        click.echo(f"notice: {path} can change unseen: add it to the deps of fetch in {layout.PIPELINE}", err=True)
    for finding in report.findings:
        if not finding.passed:
            click.echo(f"warning: {finding.rule.sentence} This is not so for: {', '.join(finding.examples)}", err=True)


@main.command()
def propose() -> None:
    """Stage 2: find the boxes that the detector will score, into build/proposals."""
    from detector.stages import layout
    from detector.stages.propose import run
    from detector.stages.provenance import read_settings, require_settings, save_settings, settings_in_force

    with settings_in_force("propose", "model.name") as params:
        data = read_settings(layout.DATASET)
        require_settings(layout.DATASET, data, params)
        run(params.propose, params.model.name, layout.DATASET, layout.PROPOSALS, layout.PROPOSAL_METRICS, cores())
        save_settings(layout.PROPOSALS, params, "propose", "model.name", earlier=data)


@main.command()
def train() -> None:
    """Stage 3: train the network, into build/train; a killed training is resumed."""
    import os

    from detector.common.threads import sleep_soon

    sleep_soon()  # before torch is imported below

    from detector.stages import layout
    from detector.stages.provenance import read_settings, require_settings, settings_in_force
    from detector.stages.train import run

    with settings_in_force("model", "train") as params:
        proposals = read_settings(layout.PROPOSALS)
        require_settings(layout.PROPOSALS, proposals, params)
        run(
            params.model,
            params.train,
            layout.DATASET,
            layout.PROPOSALS,
            layout.TRAINING,
            layout.TRAINING_LOG,
            layout.CHECKPOINTS,
            checkpoints=os.environ.get(layout.CHECKPOINTS_VARIABLE),
            making=proposals,
        )


@main.command()
@_device("cpu")
def evaluate(device: str) -> None:
    """Stage 4: export the network's graph, calibrate it on val and measure it on test, into build/evaluation."""
    from detector.model.weights_file import WEIGHTS_FILE, load_making
    from detector.stages import layout
    from detector.stages.evaluate import run
    from detector.stages.provenance import require_settings, save_settings, settings_in_force

    weights = layout.TRAINING / WEIGHTS_FILE
    with settings_in_force("propose", "detect") as params:
        training = load_making(weights).settings
        require_settings(layout.TRAINING, training, params)
        run(
            params.detect, params.propose, layout.DATASET, layout.PROPOSALS, weights, layout.EVALUATION, cores(), device
        )
        save_settings(layout.EVALUATION, params, "detect", earlier=training)


@main.command()
def export() -> None:
    """Stage 5: write the artifact models/detector from the evaluated graph, with the weights to start from again."""
    from detector.model.weights_file import WEIGHTS_FILE
    from detector.stages import layout
    from detector.stages.export import run
    from detector.stages.provenance import read_settings, require_settings, settings_in_force

    with settings_in_force("fetch", "propose", "model", "train", "detect") as params:
        require_settings(layout.EVALUATION, read_settings(layout.EVALUATION), params)
        run(params, layout.DATASET, layout.TRAINING / WEIGHTS_FILE, layout.EVALUATION, layout.ARTIFACT)


@main.command("check-labels")
@click.argument("artifact", type=_FOLDER)
@click.option("--dataset", type=_FOLDER, default=Path("build/dataset"), show_default=True, help="What `fetch` wrote.")
@click.option("--split", type=click.Choice(["train", "val", "test"]), default="val", show_default=True)
@click.option("--out", type=_FOLDER, default=Path("build/labels"), show_default=True, help="labels.html, labels.json.")
@_device("auto")
def check_labels(artifact: Path, dataset: Path, split: str, out: Path, device: str) -> None:
    """List the labels of a split that ARTIFACT contradicts most: overlooked objects, swapped classes, misplaced boxes.

    The detector must not have learnt from these labels, or it repeats their faults. To check training labels, train on
    another part of the data: another fetch.seed splits it differently.

    Example: detector check-labels models/detector --split test
    """
    from collections import Counter

    from detector.stages.check_labels import LIST_FILE, PAGE_FILE, run

    if split == "train":
        click.echo("notice: a detector that was trained on these labels repeats most of their faults", err=True)
    counts = Counter(doubt.kind for doubt in run(artifact, dataset, split, out, cores(), device))
    listed = ", ".join(f"{count} {kind}" for kind, count in counts.items()) or "none"
    click.echo(f"labels in doubt: {listed}; the first of each kind are the most doubtful")
    click.echo(f"written to {out}: {PAGE_FILE}, {LIST_FILE}")


@main.command("import")
@click.argument("model", type=_FILE)
@click.option("--out", type=_FOLDER, required=True, help="Folder of the new artifact.")
@click.option("--preset", help="What made the model; by default its outputs tell. docs/models.md has the names.")
@click.option("--kind", help="How outputs are read, with all values by --set, where no preset fits.")
@click.option("--classes", metavar="FILE|coco|voc", help="Names of the classes: one a line, JSON or YAML.")
@click.option("--rename", metavar="FILE|coco-voc", help="JSON or YAML map to new names; other classes are dropped.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="A value of model.json; may be repeated.")
@click.option("--annotations", type=_FILE, help="COCO JSON, to calibrate and measure with; needs --images.")
@click.option("--images", type=_FOLDER, help="Folder of the annotated images.")
@click.option("--check", type=_FILE, metavar="PHOTO", help="Draw the detections on it; default: an annotated image.")
@click.option("--name", help="The detector's name; default: the file's.")
@click.option("--allow-external-data", is_flag=True, help="Read weights from files beside MODEL.")
@click.option("--batch", is_flag=True, help="Let the graph take several images at once, for GPUs, where that is safe.")
@_device("cpu")
def import_model(
    model: Path,
    out: Path,
    preset: str | None,
    kind: str | None,
    classes: str | None,
    rename: str | None,
    settings: tuple[str, ...],
    annotations: Path | None,
    images: Path | None,
    check: Path | None,
    name: str | None,
    allow_external_data: bool,
    batch: bool,
    device: str,
) -> None:
    """Make an artifact of MODEL, an ONNX file of YOLO, YOLOX, NanoDet, PicoDet, FastestDet, DETR or torchvision.

    The command prints what it recognised and what it assumed, and writes nothing if it is not sure.

    Example: detector import yolox_nano.onnx --out models/yolox --classes coco --check photo.jpg
    """
    from detector.importing.command import Annotated, Wishes
    from detector.importing.command import import_model as run
    from detector.importing.presets import PRESETS
    from detector.runtime.kinds import KINDS

    for option, value, known in (("--preset", preset, PRESETS), ("--kind", kind, KINDS)):
        if value is not None and value not in known:
            raise click.UsageError(f"{option} {value} is not one of {', '.join(known)}")
    if preset and kind:
        raise click.UsageError("--preset and --kind exclude each other: a preset has a kind")
    if (annotations is None) != (images is None):
        raise click.UsageError("--annotations and --images belong together: give both or neither")
    annotated = Annotated(annotations, images, device) if annotations and images else None
    wishes = Wishes(preset, kind, classes, rename, settings, name, allow_external_data, batch)
    run(model, out, wishes, annotated, check, cores(), lambda line: click.echo(visible(line)))


@main.command()
@click.argument("truth", type=_FILE)
@click.argument("detections", type=_FILE)
@click.option("--iou", "ious", multiple=True, type=click.FloatRange(0, 1), help="IoU threshold; default .5, .7 and .9.")
def score(truth: Path, detections: Path, ious: tuple[float, ...]) -> None:
    """Print the average precision of DETECTIONS (COCO results) for TRUTH (COCO annotations), by VOC's two rules.

    Example: detector score build/dataset/test.json build/evaluation/detections.json --iou .5
    """
    from detector.evaluation.average_precision import IOU_THRESHOLDS
    from detector.evaluation.score import score_table

    click.echo(score_table(truth, detections, ious or IOU_THRESHOLDS))


@main.command()
@click.argument("images", nargs=-1, required=True, type=_FILE)
@click.option("--model", type=_FOLDER, default=Path("models/detector"), show_default=True, help="The artifact.")
@click.option("--out", type=_FOLDER, required=True, help="Folder for the JSON files and images.")
@click.option("--min-score", type=click.FloatRange(0, 1), help="Lowest score; default: the artifact's operating score.")
@click.option("--tile", type=click.IntRange(min=LEAST_SIDE), help="Look at tiles of this side in pixels as well.")
@click.option(
    "--overlap",
    type=click.FloatRange(0, MOST_OVERLAP),
    help=f"Share of a tile's side that neighbours have in common at least; default: {DEFAULT_OVERLAP}.",
)
@_device("auto")
def predict(
    images: tuple[Path, ...],
    model: Path,
    out: Path,
    min_score: float | None,
    tile: int | None,
    overlap: float | None,
    device: str,
) -> None:
    """Find objects in IMAGES, and write for each a JSON file and an image with the boxes drawn.

    Class names beyond ASCII are drawn with fonts of the extra `fonts` or `pipeline`, and as escapes without them.

    Example: detector predict photo.jpg --out build/look
    """
    import json

    from detector.common.drawing import draw_detections
    from detector.runtime.detector import open_detector, read_for
    from detector.runtime.geometry.boxes import xyxy_to_xywh
    from detector.runtime.images import decode_image

    if overlap is not None and tile is None:
        raise click.UsageError("--overlap is that of tiles; give --tile too")
    tiling = None if tile is None else Tiling(tile, DEFAULT_OVERLAP if overlap is None else overlap)
    detector = open_detector(model, device, threads=cores(), tiling=tiling)
    if detector.device.why_not_gpu:
        click.echo(f"warning: the GPU is not used: {detector.device.why_not_gpu}", err=True)
    classes = detector.classes
    out.mkdir(parents=True, exist_ok=True)
    names = [image.name for image in images]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise click.UsageError(
            f"two images are named {twice[0]}: their results would share a file; run the command for each"
        )
    inputs = {image.resolve() for image in images}
    for name in names:
        for result in (out / f"{name}.json", out / f"{name}.boxes.png"):
            if result.resolve() in inputs:
                raise click.UsageError(
                    f"{result} is one of IMAGES, and a result would replace it: choose another --out"
                )
    failed = 0
    for image in images:
        name = image.name
        try:
            data = image.read_bytes()
            read, pixels = read_for(detector, data), decode_image(data)
        except ImageError as error:
            click.echo(f"error: {image}: {error}", err=True)
            failed += 1
            continue
        (found,) = detector.detect([read], min_score=min_score).detections
        boxes = [
            {
                "label": classes[label],
                "score": float(score),
                **dict(zip(("x", "y", "width", "height"), box, strict=True)),
            }
            for label, score, box in zip(found.labels, found.scores, xyxy_to_xywh(found.boxes).tolist(), strict=True)
        ]
        (out / f"{name}.json").write_text(json.dumps({"image": str(image), "boxes": boxes}, indent=2) + "\n")
        drawn = draw_detections(pixels, found.boxes, found.labels, found.scores, classes)
        drawn.save(out / f"{name}.boxes.png")
        click.echo(f"{image}: {len(boxes)} boxes -> {out / name}.json, {out / name}.boxes.png")
    if failed:
        sys.exit(2)


@main.command()
@click.argument("repo")
@click.argument("rev")
@click.option("--checkpoints", required=True, metavar="URI", help="Where checkpoints are stored: s3://bucket/prefix.")
@click.option("--folder", type=_FOLDER, default=Path("work"), show_default=True, help="Where REPO is cloned to.")
def job(repo: str, rev: str, checkpoints: str, folder: Path) -> None:
    """Reproduce the pipeline of the git repository REPO at REV, on a machine that may be stopped at any time.

    The command clones REPO, runs `dvc repro` with the results in the DVC remote, and pushes the new results. If it is
    killed and started again, also on another machine, it resumes after the last epoch.

    Example: detector job https://github.com/us/boxes main --checkpoints s3://boxes/checkpoints
    """
    from detector.stages.job import run_job

    run_job(repo, rev, checkpoints, folder)


@main.command()
@click.option("--computation", type=_FOLDER, metavar="FOLDER", help="Write digests of the code of each stage instead.")
def digests(computation: Path | None) -> None:
    """Print the digests of params.yaml and of build/dataset, by which an artifact and its manifests name them.

    With --computation a file for each stage gets the digest of the code that decides its result; comments and messages
    do not count. A training that starts from the shipped detector also depends on that one's weights. The stages of a
    project that `detector init` made depend on these files.

    Example: detector digests
    """
    from detector.params import load_params, params_digest
    from detector.stages import layout

    if computation is not None:
        from detector.runtime.shipped import SHIPPED
        from detector.stages.computation import SHIPPED_WEIGHTS, write_digests

        shipped = layout.PARAMS.exists() and load_params(layout.PARAMS).model.start_from == SHIPPED.name
        write_digests(computation, SHIPPED_WEIGHTS if shipped else None)
        return
    from detector.stages.digests import data_digest

    click.echo(f"settings  {params_digest(load_params(layout.PARAMS))}")
    if not layout.DATASET.is_dir():
        raise DetectorError(f"{layout.DATASET} is missing: run `dvc pull`, or `detector fetch`")
    click.echo(f"data      {data_digest(layout.DATASET)}")


@main.command("check-lock")
@click.argument("lock", type=_FILE)
@click.option(
    "--figures",
    type=_FILE,
    help="The other run's metrics.json; default: NAME.metrics.json beside NAME.lock, or that of its project.",
)
@click.option(
    "--tolerance", default=0.03, show_default=True, type=click.FloatRange(0, 1), help="Of average precisions."
)
def check_lock(lock: Path, figures: Path | None, tolerance: float) -> None:
    """Compare this project's run with another one, by its dvc.lock: settings, data, results, and figures.

    On one kind of processor the same settings, data and code give the same weights. On another kind, the average
    precisions of both runs are compared instead. The exit code is 1 if settings, data or a figure differ.

    Example: detector check-lock settings/shipped.lock
    """
    from detector.stages import layout
    from detector.stages.lock import FIGURES, compare_figures, read_lock
    from detector.stages.lock import compare as compare_locks

    here, there = read_lock(layout.LOCK), read_lock(lock)
    found = compare_locks(here, there)
    for kind, lines in (("setting", found.settings), ("data", found.data), ("input", found.inputs)):
        for line in lines:
            click.echo(f"{kind}: {line}{'' if kind == 'setting' else ' differs'}")
    if found.settings or found.data:
        click.echo("the runs have different settings or data: their results are not compared")
        sys.exit(1)
    for path in found.results:
        click.echo(f"result: {path} differs")
    if found.same:
        click.echo("weights and graph are the same, byte for byte")
        return
    beside = lock.with_suffix(".metrics.json")
    figures = figures or (beside if beside.exists() else lock.parent / FIGURES)
    compared = compare_figures(here, FIGURES, there, figures)
    for figure in compared:
        own, other = ("none" if value is None else f"{value:.4f}" for value in (figure.own, figure.other))
        click.echo(f"{figure.name}: {own} here, {other} there")
    worst = max(compared, key=lambda figure: figure.difference)
    if worst.difference > tolerance:
        click.echo(f"{worst.name} differs by more than the tolerance of {tolerance}")
        sys.exit(1)
    click.echo(f"all figures agree within {tolerance}")


@main.command()
@click.argument("artifact", type=_FOLDER)
@click.option("--into", type=_FILE, metavar="PAGE", help="Write the tables between the marks of this page instead.")
def card(artifact: Path, into: Path | None) -> None:
    """Print the description and figures in the model.json of ARTIFACT as the Markdown tables of a model card.

    Example: detector card detector/artifacts/voc20 --into detector/artifacts/voc20/README.md
    """
    from detector.export.card import renewed, tables

    made = tables(artifact)
    if into is None:
        click.echo(made, nl=False)
    else:
        into.write_text(renewed(into, made), "utf-8")


@main.group()
def compare() -> None:
    """Compare backbones, or members of the detector family, in tables and plots."""


@compare.command("backbones")
@click.option("--out", type=_FOLDER, default=Path("build/compare/backbones"), show_default=True, help="Tables, plots.")
@click.option(
    "--imagenet",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="ImageNet's validation images, in a folder for each class named by its WordNet id, to measure top-1 too.",
)
@click.option("--repeats", type=click.IntRange(min=1), default=20, show_default=True, help="Timed forward passes.")
@click.option("--network", "networks", multiple=True, help="Compare only this one; may be repeated.")
def compare_backbones(out: Path, imagenet: Path | None, repeats: int, networks: tuple[str, ...]) -> None:
    """Compare the eleven networks by top-1, parameters, operations, latency and memory, beside the lecture's table.

    The command takes about 3 GB of memory and a few minutes; OMP_NUM_THREADS sets the number of threads.
    """
    from detector.compare.backbones.classifiers import CLASSIFIERS
    from detector.compare.backbones.compare import run

    if unknown := [name for name in networks if name not in CLASSIFIERS]:
        raise click.UsageError(f"{unknown[0]} is not one of the networks: {', '.join(CLASSIFIERS)}")
    click.echo(run(out, imagenet, repeats, cores(), networks or tuple(CLASSIFIERS)), nl=False)
    click.echo(f"\nwritten to {out}: table.md, table.json and three plots")


@compare.command("family")
@click.option("--out", type=_FOLDER, default=Path("build/compare/family"), show_default=True, help="Table, plot, work.")
@click.option("--train-images", type=click.IntRange(min=1), help="Number of training images, drawn by the seed.")
@click.option("--test-images", type=click.IntRange(min=1), help="Number of test images, drawn by the seed.")
@click.option("--epochs", type=click.IntRange(min=1), help="Number of epochs; the default is train.epochs.")
@click.option("--member", "members", multiple=True, help="Compare only this one; may be repeated.")
def compare_family(
    out: Path, train_images: int | None, test_images: int | None, epochs: int | None, members: tuple[str, ...]
) -> None:
    """Train and evaluate every member of the family on the same data and backbone, and compare them.

    The table has a 95 % interval of each AP, and what each member gains over the one before it. The command uses the
    dataset of the last `detector fetch` and params.yaml. A run that was stopped is resumed.
    """
    from detector.compare.family.compare import run
    from detector.compare.family.members import MEMBERS
    from detector.params import load_params
    from detector.stages import layout

    if unknown := [name for name in members if name not in MEMBERS]:
        raise click.UsageError(f"{unknown[0]} is not a member of the family: {', '.join(MEMBERS)}")
    page = run(
        load_params(layout.PARAMS),
        layout.DATASET,
        out,
        members=members or tuple(MEMBERS),
        train_images=train_images,
        test_images=test_images,
        epochs=epochs,
    )
    click.echo(page, nl=False)
    click.echo(f"\nwritten to {out}: table.md, table.json, family.png")


if __name__ == "__main__":
    main()
