"""Train torchvision's own Faster R-CNN for some CPU minutes on one core, to compare the family's members with it.

    OMP_NUM_THREADS=1 python -m benchmarks.anchor --minutes 45

Backbone, its first weights, its frozen blocks and the pyramid's channels are those of --settings. The rest of the
recipe is torchvision's feature pyramid over strides 8 to 32, images of about 288 x 384, AdamW with one cycle, batches
of 8 and bfloat16 autocast (float32 where the processor only emulates bfloat16). Everything else is as
`torchvision.models.detection.FasterRCNN` sets it. The trunk is this project's, so that both sides run it equally fast.
The splits are those of the last `dvc repro`. A training that is killed cannot be resumed.
"""

from __future__ import annotations

import json
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import click
import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from detector.data.annotations import CocoDataset, load_coco
from detector.evaluation.measure import detect_all, figures
from detector.model.backbones import BACKBONES
from detector.model.precision import resolve_precision
from detector.params import Params, load_params
from detector.runtime.images import decode_image
from detector.runtime.postprocess import Detections
from detector.stages import layout

SETTINGS = Path(__file__).parents[1] / "settings" / "faster_rcnn.yaml"
_BATCH = 8
_SHORT, _LONG = 288, 384  # pixels
_RATE, _BACKBONE_SHARE, _DECAY = 1e-3, 0.3, 0.05  # as in settings/
# The first steps are timed to find out how many steps fit: this number of them, or fewer where they have taken that
# share of the time.
_TIMED_STEPS, _TIMED_SHARE = 16, 0.1


class _Trunk(nn.Module):
    """Backbone and torchvision's pyramid, under the names that its `FasterRCNN` reads."""

    def __init__(self, params: Params) -> None:
        super().__init__()
        backbone = BACKBONES[params.model.backbone]
        self.body = backbone.build(params.model.start_from)
        self.body.freeze(params.train.frozen_blocks)  # type: ignore[operator]
        self.out_channels = params.model.pyramid_channels
        self.fpn = FeaturePyramidNetwork(list(backbone.channels), self.out_channels, LastLevelMaxPool())

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        named = OrderedDict((str(level), maps) for level, maps in enumerate(self.body(images)))
        return self.fpn(named)  # type: ignore[no-any-return]


def build(params: Params, classes: int) -> FasterRCNN:
    """The anchor's network; `classes` without the background."""
    return FasterRCNN(
        _Trunk(params),
        num_classes=classes + 1,
        min_size=_SHORT,
        max_size=_LONG,
        image_mean=[127 / 255] * 3,
        image_std=[128 / 255] * 3,
        rpn_anchor_generator=AnchorGenerator(((32,), (64,), (128,), (256,)), ((0.5, 1.0, 2.0),) * 4),
        box_roi_pool=MultiScaleRoIAlign(["0", "1", "2"], output_size=7, sampling_ratio=2),
        box_score_thresh=0.01,
    )


def _example(folder: Path, truth: CocoDataset, index: int, flip: bool) -> tuple[Tensor, dict[str, Tensor]]:
    info = truth.images[index]
    pixels = decode_image((folder / info.file_name).read_bytes())
    wanted = ~(info.ignore | info.crowd)
    boxes = info.boxes[wanted]
    if flip:
        pixels = pixels[:, ::-1]
        width = pixels.shape[1]
        boxes = np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], axis=1)
    image = torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 255
    return image, {"boxes": torch.from_numpy(boxes.copy()), "labels": torch.from_numpy(info.labels[wanted] + 1)}


def batches_of(folder: Path, truth: CocoDataset, seed: int) -> Iterator[tuple[list[Tensor], list[dict[str, Tensor]]]]:
    """Yield the batches of one epoch after another, without end.

    A batch holds either landscape or portrait images, so that little is padded.
    """
    generator = np.random.default_rng(seed)
    wide = np.array([image.width >= image.height for image in truth.images], bool)
    while True:
        batches = []
        for group in (np.flatnonzero(wide), np.flatnonzero(~wide)):
            shuffled = generator.permutation(group)
            batches += [shuffled[i : i + _BATCH] for i in range(0, len(shuffled), _BATCH)]
        for place in generator.permutation(len(batches)):
            examples = [_example(folder, truth, int(i), bool(generator.random() < 0.5)) for i in batches[place]]
            yield [image for image, _ in examples], [target for _, target in examples]


def _step(network: FasterRCNN, images: list[Tensor], targets: list[dict[str, Tensor]], precision: str) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        losses = network(images, targets)
    return sum(losses.values())  # type: ignore[no-any-return]


def train(
    network: FasterRCNN, folder: Path, truth: CocoDataset, minutes: float, precision: str = "bf16", seed: int = 1
) -> tuple[int, float]:
    """Train for `minutes` of this process's CPU time; returns the number of steps and the CPU minutes.

    The cost of the first steps decides how long the learning rate's cycle is.
    """
    torch.manual_seed(seed)
    network.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    trained = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for name, p in trained if name.startswith("backbone.body.") == body], "lr": rate}
        for body, rate in ((True, _RATE * _BACKBONE_SHARE), (False, _RATE))
    ]
    optimiser = torch.optim.AdamW(groups, weight_decay=_DECAY, fused=True)
    batches = batches_of(folder, truth, seed)
    begin = time.process_time()
    costs: list[float] = []
    while len(costs) < _TIMED_STEPS and time.process_time() - begin <= _TIMED_SHARE * 60 * minutes:
        start = time.process_time()
        _step(network, *next(batches), precision).backward()  # the gradients are dropped
        optimiser.zero_grad()
        costs.append(time.process_time() - start)
    left = 60 * minutes - (time.process_time() - begin)
    steps = max(1, int(left / float(np.median(costs))))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=[float(group["lr"]) for group in groups], total_steps=steps, pct_start=0.1
    )
    for step in range(steps):
        loss = _step(network, *next(batches), precision)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 50 == 0 or step == steps - 1:
            spent = (time.process_time() - begin) / 60
            print(f"step {step + 1}/{steps}: loss {loss.item():.3f}, {spent:.1f} CPU min", flush=True)
    return steps, (time.process_time() - begin) / 60


def find_with(network: FasterRCNN, seconds: list[float]) -> Callable[[int, bytes], Detections]:
    """Return a function for `detect_all`; it appends each image's wall time to `seconds`."""

    def find(_: int, data: bytes) -> Detections:
        pixels = decode_image(data)
        start = time.perf_counter()
        image = torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 255
        # This runs in float32. Under autocast torchvision decodes boxes in bfloat16, which is off by whole pixels.
        with torch.inference_mode():
            found = network([image])[0]
        seconds.append(time.perf_counter() - start)
        scores = found["scores"].double().numpy()
        return Detections(found["boxes"].numpy(), scores, found["labels"].numpy() - 1)

    return find


@click.command()
@click.option("--minutes", default=45.0, show_default=True, help="CPU time of the training.")
@click.option(
    "--precision",
    type=click.Choice(["auto", "bf16", "fp32"]),
    default="auto",
    show_default=True,
    help="auto: bf16 where the processor computes it, else fp32.",
)
@click.option("--settings", type=click.Path(path_type=Path, exists=True), default=SETTINGS, show_default=True)
@click.option("--dataset", type=click.Path(path_type=Path), default=layout.DATASET, show_default=True)
@click.option("--split", default="test", show_default=True, help="Where it is measured.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("build/anchor"), show_default=True)
def main(
    minutes: float, precision: Literal["auto", "bf16", "fp32"], settings: Path, dataset: Path, split: str, out: Path
) -> None:
    """Train torchvision's Faster R-CNN for this time and measure it on a split."""
    torch.set_num_threads(1)
    folder = dataset / "images"
    truth, test = load_coco(dataset / "train.json"), load_coco(dataset / f"{split}.json")
    network = build(load_params(settings), len(truth.classes))
    used = resolve_precision(precision, torch.device("cpu"))
    print(f"precision: {used}")
    steps, spent = train(network, folder, truth, minutes, used)
    out.mkdir(parents=True, exist_ok=True)
    torch.save(network.state_dict(), out / "weights.pt")
    seconds: list[float] = []
    found = detect_all(find_with(network.eval(), seconds), folder, test, f"anchor, {split}")
    values = figures(test, found)[0]
    report = {
        "steps": steps,
        "epochs": steps * _BATCH / len(truth.images),
        "cpu_minutes": spent,
        "seconds_per_image": float(np.median(seconds)),
        **values,
    }
    (out / "report.json").write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    for name, value in report.items():
        print(f"{name}: {value:.3f}")


if __name__ == "__main__":
    main()
