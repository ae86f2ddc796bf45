"""An ONNX file of others is untrusted: what is in it is looked at before anything runs."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import Result
from onnx import TensorProto, helper, numpy_helper

from detector.importing import graph_file, trial
from detector.importing.graph_file import read_graph
from detector.runtime.artifact import load_artifact
from detector.runtime.session import Session
from tests.support.onnx_files import onnx_model, write_onnx

Import = Callable[..., Result]
ROWS = np.zeros((1, 84, 8), np.float32)


@pytest.fixture
def names(tmp_path: Path) -> Path:
    path = tmp_path / "names.txt"
    path.write_text("cat\ndog\ntree\n")
    return path


@pytest.fixture
def refused(imported: Import, names: Path, tmp_path: Path) -> Callable[..., str]:
    """Import a file, which must fail and leave nothing; the message."""

    def run(file: Path, *options: str) -> str:
        done = imported(file, "--classes", names, *options)
        assert done.exit_code == 2, done.output
        assert not (tmp_path / "out").exists() and not list(tmp_path.glob("out*"))
        return done.output

    return run


def archive() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as file:
        file.writestr("model/data.pkl", b"weights")
    return made.getvalue()


OTHERS = {
    "yolo.pt": (archive(), "a zip archive, as PyTorch writes .pt"),
    "old.pth": (pickle.dumps({"weights": 1}, protocol=2), "a pickle"),
    "model.h5": (b"\x89HDF\r\n\x1a\n" + bytes(99), "an HDF5 file"),
    "model.tflite": (b"\x1c\0\0\0TFL3" + bytes(99), "a TensorFlow Lite file"),
    "model.ort": (b"\x1c\0\0\0ORTM" + bytes(99), "ONNX Runtime's own format"),
    "model.engine": (b"ftrt" + bytes(99), "a TensorRT engine"),
    "model.safetensors": (b"\x10\0\0\0\0\0\0\0" + b'{"a":{}}', "a safetensors file"),
    "model.param": (b"7767517\n1 1\n", "an ncnn description"),
    "model.xml": (b'<?xml version="1.0"?><net>', "as OpenVINO writes"),
    "model.onnx.gz": (b"\x1f\x8b" + bytes(99), "a gzip archive"),
    "pointer.onnx": (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    "empty.onnx": (b"", "is empty"),
    "text.onnx": (b"404: Not Found", "is not an ONNX file"),
    "zeros.onnx": (bytes(1000), "is not an ONNX file"),
    "message.onnx": (TensorProto(name="weights").SerializeToString(), "is not an ONNX file"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_another_file_is_named(name: str, refused: Callable[..., str], tmp_path: Path) -> None:
    content, words = OTHERS[name]
    (tmp_path / name).write_bytes(content)
    output = refused(tmp_path / name)
    assert words in output and name in output


def test_a_file_that_lost_its_end_is_refused(refused: Callable[..., str], tmp_path: Path) -> None:
    whole = onnx_model({"output": ROWS}).SerializeToString()
    (tmp_path / "model.onnx").write_bytes(whole[: len(whole) // 2])
    assert "a part of it is missing" in refused(tmp_path / "model.onnx")


def test_a_file_beyond_2_gib_is_refused_before_it_is_read(refused: Callable[..., str], tmp_path: Path) -> None:
    with (tmp_path / "model.onnx").open("wb") as file:
        file.truncate(2**31)
    assert "has 2,147,483,648 bytes" in refused(tmp_path / "model.onnx")


def custom(domain: str, name: str = "Run") -> Any:
    return helper.make_node(name, ["images"], ["unused"], domain=domain)


def nested(node: Any) -> Any:
    """Return an If whose branches hold the node."""
    branch = helper.make_graph([node], "branch", [], [helper.make_tensor_value_info("unused", TensorProto.FLOAT, None)])
    return helper.make_node("If", ["images"], ["result"], then_branch=branch, else_branch=branch)


@pytest.mark.parametrize(
    ("node", "word"),
    [
        (custom("mine"), "Run of mine"),
        (custom("ai.onnx.contrib", "PyOp"), "PyOp of ai.onnx.contrib"),
        (custom("com.microsoft", "EPContext"), "EPContext of com.microsoft"),
        (custom("com.microsoft", "PythonOp"), "PythonOp of com.microsoft"),
        (nested(custom("mine")), "Run of mine"),
        (nested(nested(custom("mine"))), "Run of mine"),
    ],
)
def test_an_operator_that_needs_a_program_is_refused(
    node: Any, word: str, refused: Callable[..., str], tmp_path: Path
) -> None:
    file = write_onnx(tmp_path / "model.onnx", {"output": ROWS}, nodes=[node])
    output = refused(file)
    assert word in output and "no program" in output


def test_a_custom_operator_in_a_function_is_refused_and_the_function_itself_is_allowed(tmp_path: Path) -> None:
    def write(inner: Any) -> Path:
        model = onnx_model({"output": ROWS}, nodes=[helper.make_node("Own", ["images"], ["kept"], domain="mine")])
        opset = [helper.make_opsetid("", 17)]
        model.functions.append(helper.make_function("mine", "Own", ["x"], ["y"], [inner], opset))
        model.opset_import.append(helper.make_opsetid("mine", 1))
        (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
        return tmp_path / "model.onnx"

    read = read_graph(write(helper.make_node("Identity", ["x"], ["y"])))
    assert read.inputs == {"images": (1, 3, 64, 64)}
    assert Session(tmp_path / "model.onnx").outputs == ["output"]
    with pytest.raises(Exception, match="Run of other"):
        read_graph(write(helper.make_node("Run", ["x"], ["y"], domain="other")))


def write_external(folder: Path, location: str = "weights.bin", **entries: Any) -> Path:
    """Write a graph that gives 84 rows of zeros but for the first, whose score is in another file."""
    value = ROWS.copy()
    value[0, 0] = [2, 2, 1, 1, 1, 0.75, 0, 0]
    model = onnx_model({"kept": np.zeros(1, np.float32)})
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("output", TensorProto.FLOAT, value.shape))
    model.graph.node[0].CopyFrom(helper.make_node("Identity", ["rows"], ["output"]))
    tensor = numpy_helper.from_array(value, "rows")
    data = tensor.raw_data
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, entry in ({"location": location, "length": len(data), "offset": 4} | entries).items():
        tensor.external_data.add(key=key, value=str(entry))
    model.graph.initializer.append(tensor)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    (folder / "weights.bin").write_bytes(b"head" + data + b"tail")
    return folder / "model.onnx"


def test_external_data_are_refused_unless_asked_for_and_become_part_of_the_file(
    imported: Import, refused: Callable[..., str], names: Path, tmp_path: Path
) -> None:
    (tmp_path / "source").mkdir()
    file = write_external(tmp_path / "source")
    output = refused(file)
    assert "other files (weights.bin)" in output and "--allow-external-data" in output
    done = imported(file, "--classes", names, "--allow-external-data")
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["model.json", "model.onnx"]
    load_artifact(tmp_path / "out")  # its digest is that of the written file
    moved = (tmp_path / "out/model.onnx").rename(tmp_path / "moved.onnx")
    found = Session(moved).run({"images": np.zeros((1, 3, 64, 64), np.float32)})["output"]
    assert found[0, 0].tolist() == [2, 2, 1, 1, 1, 0.75, 0, 0] and not found[0, 1:].any()


OUTSIDE = {
    "../weights.bin": "not a file beside it",
    "/etc/hostname": "not a file beside it",
    "below/weights.bin": "not a file beside it",
    "*/_ORT_MEM_ADDR_/*": "not a file beside it",
    "": "not a file beside it",
    "missing.bin": "not a file beside it",
    "link.bin": "not a file beside it",
}


@pytest.mark.parametrize("location", OUTSIDE)
def test_external_data_elsewhere_are_refused_even_if_asked_for(
    location: str, refused: Callable[..., str], tmp_path: Path
) -> None:
    folder = tmp_path / "source"
    (folder / "below").mkdir(parents=True)
    (folder / "below/weights.bin").write_bytes(bytes(9999))
    (tmp_path / "weights.bin").write_bytes(bytes(9999))
    (folder / "link.bin").symlink_to(tmp_path / "weights.bin")
    assert OUTSIDE[location] in refused(write_external(folder, location), "--allow-external-data")


ENTRIES: dict[str, dict[str, Any]] = {
    "beyond the end": {"offset": 10**6},
    "too long": {"length": 10**6},
    "negative": {"offset": -4},
    "huge": {"length": 10**12},
    "no number": {"offset": "first"},
}


@pytest.mark.parametrize("name", ENTRIES)
def test_a_place_outside_the_external_file_is_refused(name: str, refused: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    output = refused(write_external(tmp_path / "source", **ENTRIES[name]), "--allow-external-data")
    assert "weights.bin" in output and "rows" in output


def test_many_tensors_of_one_file_may_not_fill_the_memory(
    refused: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "source").mkdir()
    file = write_external(tmp_path / "source")
    model = onnx.load(file, load_external_data=False)
    for number in range(9):
        model.graph.initializer.add().CopyFrom(model.graph.initializer[0])
        model.graph.initializer[-1].name = f"more {number}"
    file.write_bytes(model.SerializeToString())
    monkeypatch.setattr(graph_file, "MOST_BYTES", 10_000)
    assert "with its external data, which is too much" in refused(file, "--allow-external-data")


def test_a_loop_without_an_end_is_stopped(
    refused: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = helper.make_graph(
        [helper.make_node("Identity", ["going"], ["on"]), helper.make_node("Add", ["value", "value"], ["next"])],
        "body",
        [
            helper.make_tensor_value_info("step", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("value", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, None),
        ],
    )
    yes = numpy_helper.from_array(np.array(True), "yes")
    nodes = [
        helper.make_node("Constant", [], ["yes"], value=yes),
        helper.make_node("Loop", ["", "yes", "images"], ["looped"], body=body),
    ]
    model = onnx_model({"output": ROWS}, nodes=nodes)
    model.graph.output.append(helper.make_tensor_value_info("looped", TensorProto.FLOAT, None))
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    monkeypatch.setattr(trial, "MOST_SECONDS", 0.5)
    assert "loop without an end" in refused(tmp_path / "model.onnx")


def test_a_graph_that_onnx_runtime_refuses_is_refused(refused: Callable[..., str], tmp_path: Path) -> None:
    file = write_onnx(
        tmp_path / "model.onnx", {"output": ROWS}, nodes=[helper.make_node("Nonsense", ["images"], ["x"])]
    )
    assert "ONNX Runtime cannot load it" in refused(file)
