"""Ways to run a graph on a processor: ONNX Runtime's options, whole numbers of 8 bits, and OpenVINO.

    python -m benchmarks.sessions detector/artifacts/voc20 --artifact PEER

The dataset is one that stage `fetch` made: its training images calibrate the whole numbers (static quantisation with
QuantizeLinear and DequantizeLinear, one scale for each channel of weights), and its test images are measured. All ways
look at the same few images in turn, so that other work on the machine meets all alike. Times are those of the process's
CPU with one thread, from decoded pixels to boxes. OpenVINO is measured if it is installed: pip install openvino.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnx
import onnx.version_converter
import onnxruntime
from numpy.typing import NDArray

from benchmarks.models import IOUS, processor
from detector.common.progress import progress
from detector.data.annotations import CocoDataset, load_coco
from detector.evaluation.average_precision import evaluate_voc
from detector.runtime.artifact import MODEL_FILE
from detector.runtime.detector import Image, open_detector
from detector.runtime.images import decode_image
from detector.runtime.kinds.graph import GraphDetector
from detector.runtime.postprocess import Detections
from detector.runtime.preprocess import prepare
from detector.stages import layout

_IN_TURN = 20
_LEAST_SCORE = 0.01
_OPSET = 17
# Images whose values decide the scales of the whole numbers.
_CALIBRATING = 100


@dataclass
class Way:
    """One way to run an artifact, with what it found and the CPU seconds of each image."""

    title: str
    detector: GraphDetector
    found: dict[int, Detections] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)


class Options:
    """ONNX Runtime with other options than `Session` gives."""

    def __init__(self, path: Path, change: Callable[[Any], None] = lambda _: None) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        change(options)
        # With this step, ONNX Runtime 1.32 ends the process when it loads our graph in whole numbers.
        without = {"QDQPropagationTransformer"}
        self._session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"], disabled_optimizers=without
        )
        self.inputs = [item.name for item in self._session.get_inputs()]
        self._outputs = [item.name for item in self._session.get_outputs()]

    def run(self, inputs: Mapping[str, NDArray[Any]], _options: Any = None) -> dict[str, NDArray[Any]]:
        """Return every output by its name."""
        return dict(zip(self._outputs, self._session.run(self._outputs, dict(inputs)), strict=True))


class OpenVino:
    """OpenVINO on a processor, in 32-bit numbers."""

    def __init__(self, path: Path) -> None:
        import openvino

        settings = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32"}
        self._model = openvino.Core().compile_model(str(path), "CPU", settings)
        self.inputs = [port.get_any_name() for port in self._model.inputs]
        self._outputs = [port.get_any_name() for port in self._model.outputs]

    def run(self, inputs: Mapping[str, NDArray[Any]], _options: Any = None) -> dict[str, NDArray[Any]]:
        """Return every output by its name."""
        found = self._model(dict(inputs))
        return {name: np.array(value) for name, value in zip(self._outputs, found.values(), strict=True)}


def _with_session(folder: Path, session: Any) -> GraphDetector:
    detector = open_detector(folder, "cpu")
    assert isinstance(detector, GraphDetector)
    detector.session = session
    return detector


def _no_arena(options: Any) -> None:
    options.enable_cpu_mem_arena = False


def _denormals(options: Any) -> None:
    options.add_session_config_entry("session.set_denormal_as_zero", "1")


def ways(folder: Path, scratch: Path, calibrating: list[Path]) -> list[Way]:
    """Return all ways for one artifact; the first one is Boxcar's own."""
    own = open_detector(folder, "cpu")
    assert isinstance(own, GraphDetector)
    found = [
        Way("ONNX Runtime, as Boxcar opens it", own),
        Way("without deterministic sums", _with_session(folder, Options(folder / MODEL_FILE))),
        Way("denormal numbers as zero", _with_session(folder, Options(folder / MODEL_FILE, _denormals))),
        Way("without a memory arena", _with_session(folder, Options(folder / MODEL_FILE, _no_arena))),
    ]
    for title, operators in (
        ("convolutions in 8 bits", ["Conv"]),
        ("all layers in 8 bits", ["Conv", "Gemm", "MatMul"]),
    ):
        path = scratch / f"{folder.name} {title}.onnx"
        quantise(folder, own, path, operators, calibrating)
        found.append(Way(title, _with_session(folder, Options(path))))
    try:
        found.append(Way("OpenVINO", _with_session(folder, OpenVino(folder / MODEL_FILE))))
    except ImportError:
        print("OpenVINO is not installed, and not measured")
    except RuntimeError as error:
        print(f"{folder.name}: OpenVINO cannot run it: {str(error).splitlines()[0]}")
    return found


def quantise(folder: Path, detector: GraphDetector, path: Path, operators: list[str], calibrating: list[Path]) -> None:
    """Write the artifact's graph with these operators in whole numbers of 8 bits."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Images(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._given = self._inputs()

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            return next(self._given, None)

        def _inputs(self) -> Iterator[dict[str, NDArray[np.float32]]]:
            for path in calibrating:
                pixels = decode_image(path.read_bytes())
                prepared = prepare(detector.artifact.preprocessing, pixels, *pixels.shape[:2])
                yield {detector.session.inputs[0]: prepared.tensor}

    plain = path.with_suffix(".plain")
    model = onnx.load(folder / MODEL_FILE)
    if model.opset_import[0].version < _OPSET:  # older versions have no scale for each channel
        model = onnx.version_converter.convert_version(model, _OPSET)
    onnx.save(model, plain)
    quant_pre_process(str(plain), str(plain), skip_symbolic_shape=True)
    quantize_static(
        str(plain),
        str(path),
        Images(),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=operators,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )


def measure(given: list[Way], images: Path, truth: CocoDataset) -> None:
    """Run every way on every image."""
    starts = range(0, len(truth.images), _IN_TURN)
    for first in progress(starts, len(starts), "measure", "turn"):
        turn = truth.images[first : first + _IN_TURN]
        decoded = [Image.whole(decode_image((images / image.file_name).read_bytes())) for image in turn]
        for way in given:
            labels = np.array([truth.classes.index(name) for name in way.detector.classes])
            least = way.detector.artifact.least_score or _LEAST_SCORE
            for image, pixels in zip(turn, decoded, strict=True):
                start = time.process_time()
                (found,) = way.detector.detect([pixels], min_score=least).detections
                way.seconds.append(time.process_time() - start)
                way.found[image.id] = Detections(found.boxes, found.scores, labels[found.labels])


_FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)


@click.command()
@click.argument("artifacts", type=_FOLDER, nargs=-1, required=True)
@click.option("--artifact", "more", type=_FOLDER, multiple=True, help="Another artifact. Repeatable.")
@click.option("--dataset", type=_FOLDER, default=layout.DATASET, show_default=True)
@click.option("--images", type=click.IntRange(min=1), help="Only the first test images.")
def main(artifacts: tuple[Path, ...], more: tuple[Path, ...], dataset: Path, images: int | None) -> None:
    """Print a table for each artifact."""
    test, train = load_coco(dataset / "test.json"), load_coco(dataset / "train.json")
    test = CocoDataset(test.classes, test.images[:images], test.category_ids)
    calibrating = [dataset / "images" / image.file_name for image in train.images[:_CALIBRATING]]
    print(f"{len(test.images)} test images; {processor()}, ONNX Runtime {onnxruntime.__version__}, one thread")
    with tempfile.TemporaryDirectory(prefix="boxcar-") as scratch:
        for folder in (*artifacts, *more):
            given = ways(folder, Path(scratch), calibrating)
            measure(given, dataset / "images", test)
            times = [1000 * statistics.median(way.seconds) for way in given]
            print(f"\n| {folder.name} | CPU ms an image | times as fast | AP@.5 | AP@.75 |")
            print("| --- | ---: | ---: | ---: | ---: |")
            for way, spent in zip(given, times, strict=True):
                voc = evaluate_voc(test, way.found, IOUS)
                aps = " | ".join(f"{voc.map_11point(iou):.3f}" for iou in IOUS)
                print(f"| {way.title} | {spent:.1f} | {times[0] / spent:.2f} | {aps} |", flush=True)


if __name__ == "__main__":
    main()
