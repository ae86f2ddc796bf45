"""Finds out whether a graph takes several images at once; opens the batch axis of a graph that was made for one."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from detector.common.errors import ArtifactError
from detector.importing.graph_file import GraphFile
from detector.runtime.session import Array, Session

_BATCH = "batch"
# Numbers of images for which every output must have this first side. They are primes that no shape is likely to hold.
_TRIED = (11, 13)
# Sums of a batch may be added in another order.
_RELATIVE, _ABSOLUTE = 1e-3, 1e-4


def settled(graph: GraphFile, size: tuple[int, int], wanted: bool, say: Callable[[str], None]) -> GraphFile:
    """Return the graph with a batch axis that may be relied on, and say what was decided.

    size: (height, width) of its image; wanted: whether an axis of 1 is opened. A graph that takes proposals beside the
    image takes one image.
    """
    sides = next(iter(graph.inputs.values()))
    if len(graph.inputs) > 1 or len(sides) != 4:
        made, takes_many = graph, False
    elif sides[0] is None:
        takes_many = takes_batches(graph, size)
        made = graph if takes_many else closed(graph)
    else:
        found = opened(graph, size) if wanted else None
        made, takes_many = found or graph, found is not None
    if wanted or (sides[0] is None and not takes_many):
        say(
            "batches: two images together give what each gives alone"
            if takes_many
            else "batches: the graph takes one image at a time, because it mixes the images of a batch; "
            "export it again with an open batch axis if a GPU is to be busy"
        )
    return made


def opened(graph: GraphFile, size: tuple[int, int]) -> GraphFile | None:
    """Return a graph of one image as one that takes any number of images; None if that cannot be proved.

    size: (height, width) of its image. It is proved if shape inference carries the number of images to every
    output, and if two images together give what each gives alone.
    """
    model = onnx.ModelProto.FromString(graph.data)
    (image,) = (value for value in model.graph.input if value.name in graph.inputs)
    side = image.type.tensor_type.shape.dim[0]
    _open_reshapes(model.graph)
    del model.graph.value_info[:]
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    for images in _TRIED:
        side.dim_value = images
        try:
            inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
        except onnx.shape_inference.InferenceError:
            return None
        shapes = [value.type.tensor_type.shape.dim for value in inferred.graph.output]
        if any(not sides or sides[0].dim_value != images for sides in shapes):
            return None
    side.dim_param = _BATCH
    del model.graph.output[:]
    model.graph.output.extend(inferred.graph.output)
    for value in model.graph.output:
        value.type.tensor_type.shape.dim[0].dim_param = _BATCH
    inputs = {name: (None, *sides[1:]) for name, sides in graph.inputs.items()}
    made = replace(graph, data=model.SerializeToString(), inputs=inputs)
    return made if takes_batches(made, size) else None


def takes_batches(graph: GraphFile, size: tuple[int, int]) -> bool:
    """Return whether two images together give what each gives alone; size: (height, width) of the graph's image.

    Three pairs are tried: of noise, of a dark and a bright image, and of noise and a grey one, because a graph that
    mixes images may do so only where one of them has something to find.
    """
    noise = np.random.default_rng(1).random((2, 3, *size), dtype=np.float32) * 255.0
    flat = np.zeros_like(noise)
    flat[1] = 255.0
    try:
        session = _session(graph)
        return all(_agree_alone(session, pair) for pair in (noise, flat, np.stack([noise[0], flat.mean(axis=0)])))
    except ArtifactError:
        return False


def _agree_alone(session: Session, pair: Array) -> bool:
    """Return whether a pair of images, float32 (2, 3, H, W), gives what each gives alone."""
    name = session.inputs[0]
    together = session.run({name: pair})
    alone = [session.run({name: pair[place : place + 1]}) for place in (0, 1)]
    return all(
        len(value) == 2 and all(_agree(value[place : place + 1], alone[place][output]) for place in (0, 1))
        for output, value in together.items()
    )


def closed(graph: GraphFile) -> GraphFile:
    """Return a graph whose batch axis is open as one that takes one image."""
    model = onnx.ModelProto.FromString(graph.data)
    (image,) = (value for value in model.graph.input if value.name in graph.inputs)
    image.type.tensor_type.shape.dim[0].dim_value = 1
    return replace(
        graph, data=model.SerializeToString(), inputs={name: (1, *sides[1:]) for name, sides in graph.inputs.items()}
    )


def _open_reshapes(graph: onnx.GraphProto) -> None:
    """Let each Reshape to a fixed shape that begins with 1 keep its input's first side; inference shows if it may."""
    shapes = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            shapes[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    for number, node in enumerate(graph.node):
        shape = shapes.get(node.input[1]) if node.op_type == "Reshape" else None
        zero_is_a_side = any(item.name == "allowzero" and item.i for item in node.attribute)
        if shape is None or zero_is_a_side or shape.ndim != 1 or len(shape) < 2 or shape[0] != 1:
            continue
        name = f"{_BATCH}_shape_{number}"
        graph.initializer.append(numpy_helper.from_array(np.array([0, *shape[1:]], np.int64), name))
        node.input[1] = name


def _session(graph: GraphFile) -> Session:
    with tempfile.TemporaryDirectory(prefix="boxcar-") as folder:
        path = Path(folder, "model.onnx")
        path.write_bytes(graph.data)
        return Session(path, device="cpu")


def _agree(one: Array, other: Array) -> bool:
    return one.shape == other.shape and np.allclose(one, other, _RELATIVE, _ABSOLUTE)
