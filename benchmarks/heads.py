"""How long the graphs of Faster and Cascade R-CNN take with each head and backbone: untrained networks, in turns.

    python -m benchmarks.heads

Times are CPU milliseconds of one thread for a noise image. A trained graph takes about as long as an untrained one
(docs/benchmarks.md).
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import click
import numpy as np
import onnxruntime
import torch

from benchmarks.fine_tuning import SETTINGS
from detector.common.tables import markdown_table
from detector.export.onnx_export import export_onnx
from detector.model.family import build
from detector.params import load_params
from detector.runtime.images import STRIDE
from detector.runtime.preprocess import own_preprocessing, resized_size

_PHOTOGRAPH = (300, 400)  # height and width of most photographs of VOC at 400 pixels
_WARM_UP = 3
# Backbone, member and head. The first one at the first size is what the others are compared with.
_NETWORKS = (
    ("efficientnet_lite0", "faster_rcnn", "softmax"),
    ("efficientnet_lite0", "faster_rcnn", "light"),
    ("efficientnet_lite0", "cascade_rcnn", "light"),
    ("yolox_nano", "faster_rcnn", "light"),
    ("yolox_nano", "cascade_rcnn", "light"),
)


def measure(graphs: dict[str, tuple[Path, int]], rounds: int) -> dict[str, list[float]]:
    """Return the CPU seconds of each round for each graph, which takes images of a longer side."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    sessions = {}
    for name, (path, side) in graphs.items():
        height, width = (STRIDE * -(-size // STRIDE) for size in resized_size(own_preprocessing(side), *_PHOTOGRAPH))
        image = np.random.default_rng(0).standard_normal((1, 3, height, width)).astype(np.float32)
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        sessions[name] = (session, {session.get_inputs()[0].name: image})
    seconds: dict[str, list[float]] = {name: [] for name in graphs}
    for _ in range(_WARM_UP + rounds):
        for name, (session, inputs) in sessions.items():
            start = time.thread_time()
            session.run(None, inputs)
            seconds[name].append(time.thread_time() - start)
    return {name: took[_WARM_UP:] for name, took in seconds.items()}


@click.command()
@click.option("--rounds", default=25, show_default=True)
@click.option("--image-size", "sizes", type=int, multiple=True, default=[384, 352, 320], help="Longer sides, pixels.")
def main(rounds: int, sizes: tuple[int, ...]) -> None:
    """Print the median time of each graph, and its ratio to the first one's."""
    params = load_params(SETTINGS)
    graphs: dict[str, tuple[Path, int]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for backbone, name, head in _NETWORKS:
            settings = params.model.model_copy(update={"backbone": backbone, "name": name, "head": head})
            torch.manual_seed(0)
            network = build(settings, classes=20, weights="none").eval()
            path = Path(folder, f"{backbone}-{name}-{head}.onnx")
            export_onnx(network, path, params.detect.max_proposals)
            for side in sizes:
                graphs[f"`{backbone}`, `{name}`, {head}, {side} pixels"] = path, side
        found = {name: statistics.median(took) for name, took in measure(graphs, rounds).items()}
    first = next(iter(found.values()))
    rows = [[name, f"{1000 * took:.1f}", f"{took / first:.2f}"] for name, took in found.items()]
    print(markdown_table(["graph", "CPU ms", "of the first"], rows))


if __name__ == "__main__":
    main()
