"""Reads an ONNX file that nobody here made, and refuses what a graph does not need: programs, and other files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message

from detector.common.errors import ArtifactError
from detector.runtime.preprocess import MOST_SIDE

# The largest message of protocol buffers, in which an ONNX file is written.
MOST_BYTES = 2 * 2**30 - 1
# Standard operators, and those that ONNX Runtime ships. An operator of another domain needs a library, which is a
# program: Boxcar loads none.
_DOMAINS = {"", "ai.onnx", "ai.onnx.ml", "com.microsoft"}
# They hold or name a program for one device, or run one outside ONNX.
_PROGRAMS = {"EPContext", "PythonOp", "PythonOpGrad", "ATen"}
_EXPORT = "export the model to ONNX first"
# How files that are given by mistake begin: place, bytes, what it is, what to do.
_OTHERS = (
    (0, b"PK\x03\x04", "a zip archive, as PyTorch writes .pt and Keras .keras files", _EXPORT),
    (0, b"\x80\x02", "a pickle, as PyTorch wrote .pt and .pth files", _EXPORT),
    (0, b"\x89HDF", "an HDF5 file, as Keras writes", _EXPORT),
    (4, b"TFL3", "a TensorFlow Lite file", "take the ONNX export of the same model"),
    (4, b"ORTM", "a file in ONNX Runtime's own format", "take the ONNX file from which it was made"),
    (0, b"ftrt", "a TensorRT engine, which runs on one kind of GPU", "take the ONNX file from which it was made"),
    (8, b'{"', "a safetensors file, which has weights without a graph", _EXPORT),
    (0, b"7767517", "an ncnn description", "take the ONNX file from which it was made"),
    (0, b"<?xml", "an XML file, as OpenVINO writes", "take the ONNX file from which it was made"),
    (0, b"\x1f\x8b", "a gzip archive", "unpack it first"),
    (0, b"version https://git-lfs", "a pointer of Git LFS, not the file itself", "run `git lfs pull`"),
)


@dataclass(frozen=True)
class GraphFile:
    """An ONNX file that may be used. data: the whole graph with its weights; inputs: the sides of each input that is
    not a weight, None where the graph leaves a side open; takes_bytes: whether one takes whole numbers, 0 to 255."""

    path: Path
    data: bytes
    producer: str
    metadata: dict[str, str]
    inputs: dict[str, tuple[int | None, ...]]
    takes_bytes: bool


def read_graph(path: Path, *, allow_external_data: bool = False) -> GraphFile:
    """Return a file that holds one graph of standard operators.

    allow_external_data: reads weights from files that lie beside this one, and puts them into `data`.
    Raises ArtifactError if the file is not ONNX, is too large, needs a program, or refers to other files.
    """
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise ArtifactError(f"{path}: has {size:,} bytes, and an ONNX file has at most {MOST_BYTES:,}")
    data = path.read_bytes()
    model = _parse(path, data)
    messages = list(_walk(model))
    _refuse_programs(path, model, [item for item in messages if isinstance(item, onnx.NodeProto)])
    tensors = [item for item in messages if isinstance(item, onnx.TensorProto)]
    if outside := [tensor for tensor in tensors if tensor.external_data or tensor.data_location]:
        _embed(path, outside, allow_external_data)
        data = model.SerializeToString()
    weights = {tensor.name for tensor in model.graph.initializer}
    given = [value for value in model.graph.input if value.name not in weights]
    inputs = {value.name: _sides(value) for value in given}
    takes_bytes = any(value.type.tensor_type.elem_type == onnx.TensorProto.UINT8 for value in given)
    for name, sides in inputs.items():
        if max((side or 0 for side in sides), default=0) > MOST_SIDE:
            raise ArtifactError(f"{path}: its input {name} has {sides}; at most {MOST_SIDE} pixels a side are read")
    metadata = {row.key: row.value for row in model.metadata_props}
    return GraphFile(
        path, data, f"{model.producer_name} {model.producer_version}".strip(), metadata, inputs, takes_bytes
    )


def _parse(path: Path, data: bytes) -> onnx.ModelProto:
    if not data:
        raise ArtifactError(f"{path}: is empty; copy the file again")
    for place, begin, what, advice in _OTHERS:
        if data.startswith(begin, place):
            raise ArtifactError(f"{path}: is {what}, not an ONNX file; {advice}")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        raise ArtifactError(
            f"{path}: is not an ONNX file, or a part of it is missing ({error}); {_EXPORT}, or copy the file again"
        ) from error
    if not model.ir_version or not model.graph.node:
        raise ArtifactError(f"{path}: is not an ONNX file: it holds no graph; {_EXPORT}")
    return model


def _walk(message: Message) -> Iterator[Message]:
    """Give a message and all messages in it: the nodes and tensors of subgraphs, functions and attributes too."""
    yield message
    for field, value in message.ListFields():
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            for item in [value] if isinstance(value, Message) else value:
                yield from _walk(item)


def _refuse_programs(path: Path, model: onnx.ModelProto, nodes: list[Any]) -> None:
    own = {(function.domain, function.name) for function in model.functions}
    for node in nodes:
        standard = node.domain in _DOMAINS and node.op_type not in _PROGRAMS
        if not standard and (node.domain, node.op_type) not in own:
            raise ArtifactError(
                f"{path}: uses the operator {node.op_type} of {node.domain or 'ai.onnx'}, which is not a standard one "
                "and would need a program; Boxcar runs no program of others: export the model with standard operators "
                "(without plugins)"
            )


def _embed(path: Path, tensors: list[Any], allowed: bool) -> None:
    """Read the weights that lie in other files into the tensors."""
    places = sorted({_entries(tensor).get("location", "") for tensor in tensors})
    if not allowed:
        raise ArtifactError(
            f"{path}: keeps weights in other files ({', '.join(places)[:200]}); if they lie beside it and you trust "
            "them, add --allow-external-data"
        )
    for place in places:
        file = path.parent / place
        if not place or Path(place).name != place or file.is_symlink() or not file.is_file():
            raise ArtifactError(f"{path}: keeps weights in {place!r}, which is not a file beside it; put it there")
    total = 0
    for tensor in tensors:
        entries = _entries(tensor)
        file = path.parent / entries["location"]
        try:
            offset, length = int(entries.get("offset", 0)), entries.get("length")
            count = file.stat().st_size - offset if length is None else int(length)
        except ValueError as error:
            raise ArtifactError(f"{path}: the place of {tensor.name} in {file.name} is no number: {error}") from error
        if offset < 0 or count < 0 or offset + count > min(file.stat().st_size, MOST_BYTES):
            raise ArtifactError(f"{file}: has no {count:,} bytes at {offset:,} for {tensor.name}; copy it again")
        total += count
        if total + path.stat().st_size > MOST_BYTES:
            raise ArtifactError(f"{path}: has more than {MOST_BYTES:,} bytes with its external data, which is too much")
        with file.open("rb") as weights:
            weights.seek(offset)
            tensor.raw_data = weights.read(count)
        tensor.ClearField("external_data")
        tensor.ClearField("data_location")


def _entries(tensor: Any) -> dict[str, str]:
    return {row.key: row.value for row in tensor.external_data}


def _sides(value: Any) -> tuple[int | None, ...]:
    return tuple(side.dim_value if side.dim_value > 0 else None for side in value.type.tensor_type.shape.dim)
