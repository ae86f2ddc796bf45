"""Every command of the pages below runs, in a form that takes seconds.

A smoke form is the documented command with options added after it. Where an option is given twice, the last one counts.
A documented command without a smoke form fails the test, and so does a smoke form whose command is documented no more.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from benchmarks.validation import make_run
from detector.data.annotations import load_coco
from detector.data.generated import GENERATED_CLASSES
from detector.proposals import selective_search
from detector.proposals.store import save_proposals
from detector.runtime.artifact import load_artifact
from detector.runtime.shipped import SHIPPED
from jobs.rules.policy import DRIFT_IMAGES
from tests.support.artifacts import make_artifact
from tests.support.datasets import write_scenes
from tests.support.forked import Forks, forks
from tests.support.onnx_files import write_onnx
from tests.support.parts import write_parts
from tests.support.published import box, record, write_run

ROOT = Path(__file__).parents[2]
# Every command of these pages is run; of the other pages, every `python -m benchmarks...`.
PAGES = ("benchmarks.md", "accuracy.md", "family.md", "backbones.md", "proposals.md", "models.md")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`(python -m [^`]+)`")
SPLITS = {"train": 4, "val": 2, "test": 2}
SETTINGS = {
    "fetch": {"sources": [{"format": "generated", "splits": SPLITS}]},
    "propose": {"max_boxes": 60},
    "model": {"start_from": "none", "image_size": 64, "crop_size": 32, "pyramid_channels": 8, "hidden": 16},
    "train": {
        "device": "cpu", "precision": "fp32", "epochs": 1, "batch_size": 2, "image_sizes": [64],
        "average": 0.0, "proposals": 60, "regions": 8,
    },
    "detect": {"max_proposals": 30, "max_detections": 10},
}  # fmt: skip

# What is added to each command. FOLDER, OUTPUT, PEER and data/val are made by the fixture.
SMOKE = {
    "detector fetch": "",
    "detector compare family --train-images 600 --epochs 5":
        "--train-images 3 --test-images 1 --epochs 1",
    "detector compare family --member fast_rcnn --member faster_rcnn": "--out build/two",
    "detector compare backbones": "--network efficientnet_lite0 --repeats 1",
    "detector compare backbones --imagenet data/val": "--network efficientnet_lite0 --repeats 1",
    "OMP_NUM_THREADS=1 python -m benchmarks.fine_tuning":
        "--dataset voc --images 2 --tested 2 --epochs 1 --first-epochs 1 --seeds 1 --image-size 64",
    "OMP_NUM_THREADS=1 python -m benchmarks.starts build/parts --image-size 384 --voc20 16 --imagenet 10 --seeds 2":
        "--image-size 64 --voc20 1 --imagenet 1 --seeds 1",
    "python -m benchmarks.parts TRAIN.tar TRAIN-2.tar TRAIN-3.tar --test TEST.tar":
        "--val-images 1 --out build/own-parts",
    "OMP_NUM_THREADS=1 python -m benchmarks.anchor --minutes 45": "--minutes 0.001",
    "OMP_NUM_THREADS=1 python -m benchmarks.anchor --minutes 30 --settings settings/shipped.yaml --split val":
        "--minutes 0.001 --settings params.yaml",
    "OMP_NUM_THREADS=1 python -m benchmarks.crop_accuracy":
        "--settings params.yaml --crop-size 32 --train-images 3 --test-images 2 --proposals 10 --epochs 1",
    "python -m benchmarks.audit --run RUN": "--dataset voc --draws 2 --seeds 1",
    "python -m benchmarks.batch --photos FOLDER": "--images 3 --sample 2 --rounds 1",
    "python -m benchmarks.batch_accuracy": "",
    "python -m benchmarks.batch_accuracy --artifact PEER --min-score 0.01": "--dataset voc",
    "OMP_NUM_THREADS=1 python -m benchmarks.crops --photographs 2":
        "--settings params.yaml --photographs 1 --crop-size 32",
    "python -m benchmarks.device detector/artifacts/voc20 --photos FOLDER":
        "--images 3 --seconds 0 --batch 1 --batch 2",
    "python -m benchmarks.camera detector/artifacts/voc20": "--dataset voc",
    "python -m benchmarks.drift OUTPUT": "--draws 2",
    "python -m benchmarks.heads": "--rounds 1 --image-size 64",
    "python -m benchmarks.label_faults": "--dataset voc --draws 1",
    "python -m benchmarks.loading": "--images 4 --image-size 64 --turns 2",
    "python -m benchmarks.models detector/artifacts/voc20 --peer PEER": "--dataset voc",
    "python -m benchmarks.pixel_rules FOLDER --others FOLDER --pools pools":
        "--clean 4 --faulty 5 --runs 1 --clean-runs 1 --images 20",
    "python -m benchmarks.planning": "--count 3000 --latency 0",
    "python -m benchmarks.proposals --limit 240": "--limit 1",
    "python -m benchmarks.proposals --limit 60 --tools ours-fast,ours-quality": "--limit 1",
    "python -m benchmarks.proposals.order --search 120": "--limit 2 --learn-from 2 --search 0.1",
    "python -m benchmarks.proposals.growth": "--kind dots --largest 0.00001",
    "OMP_NUM_THREADS=1 python -m benchmarks.record": "--settings params.yaml",
    "python -m benchmarks.report": "--images 20 --boxes 3 --rounds 1",
    "python -m benchmarks.sessions detector/artifacts/voc20 --artifact PEER": "--dataset voc",
    "python -m benchmarks.story --peer PEER": "--family family",
    "python -m benchmarks.sweep --artifact detector/artifacts/voc20 --image-sizes 224,320,384,400":
        "--image-sizes 64 --dataset voc",
    "python -m benchmarks.sweep --budgets 300,1000,2000": "--budgets 5,10",
    "ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 python -m benchmarks.training --precision bf16 --precision fp32":
        "--images 2 --image-size 64 --epochs 2 --way 3",
    "OMP_NUM_THREADS=1 python -m benchmarks.teacher --teach voted=RUN,RUN --held-back people.json":
        "--settings params.yaml --held-back voc/test.json",
    "python -m benchmarks.thresholds RUN --annotations people.json":
        "--annotations voc/test.json --images 1 --draws 1",
    "python -m benchmarks.tiles PEER --tile 416": "--dataset voc",
    "python -m benchmarks.tiles detector/artifacts/voc20 --tile 384": "--dataset voc",
    "python -m benchmarks.training": "--images 8 --image-size 64 --epochs 2 --way 4",
    "python -m benchmarks.validation": "--images 100 --rounds 1",
    "python -m detector.proposals.warm_up": "",
    "detector import yolox_nano.onnx --out models/yolox --classes coco --check photo.jpg": "",
    "detector import yolox_nano.onnx --out models/yolox-voc --classes coco --rename coco-voc --annotations val.json "
    "--images images": "",
    "detector import mine.onnx --out models/mine --classes names.txt --preset ultralytics --set nms_threshold=0.5": "",
    "detector import odd.onnx --out models/odd --classes names.txt --kind dfl --set decoding.strides=[8,16] "
    "--set preprocessing.resize=stretch --set nms_threshold=0.6": "",
    "detector card models/yolox": "",
    "boxcar run my-photos/ my-boxes/ --model models/yolox": "",
}  # fmt: skip
# Commands that other tests run: the file and the words that show it.
ELSEWHERE = {
    "cp settings/voc2007-400px.yaml params.yaml && dvc repro": ("tests/test_pipeline.py", '"dvc", "repro"'),
    **{
        command: ("tests/jobs/faults/test_commands.py", f'"{command}": "')
        for command in (
            "python -m benchmarks.faults",
            "python -m benchmarks.faults --kills 5 --only SIGKILL",
            "python -m benchmarks.many_kills",
        )
    },
}


def documented(page: Path) -> set[str]:
    """Return the commands of a page's shell and Dockerfile blocks, and those of its text that begin `python -m`."""
    text = page.read_text("utf-8")
    lines = [" ".join(inline.split()) for inline in INLINE.findall(BLOCK.sub("", text))]
    for language, block in BLOCK.findall(text):
        if language == "sh":
            lines += block.splitlines()
        elif language == "dockerfile":
            lines += [line.removeprefix("RUN ") for line in block.splitlines() if line.startswith("RUN ")]
    # A comment ends the command.
    commands = {re.sub(r"\s+#.*", "", line).strip() for line in lines}
    return commands - {""}


def all_documented() -> set[str]:
    """Return the commands of PAGES, and the benchmarks of all other pages."""
    found = set().union(*(documented(ROOT / "docs" / page) for page in PAGES))
    others = [ROOT / "README.md", *(path for path in ROOT.glob("docs/*.md") if path.name not in PAGES)]
    return found | {c for page in others for c in documented(page) if c.startswith("python -m benchmarks")}


def test_every_documented_command_has_a_smoke_form_and_every_smoke_form_a_page() -> None:
    assert all_documented() == SMOKE.keys() | ELSEWHERE.keys()


@pytest.mark.parametrize("command", ELSEWHERE)
def test_a_command_without_its_own_smoke_form_is_run_by_another_test(command: str) -> None:
    path, words = ELSEWHERE[command]
    assert words in (ROOT / path).read_text()
    assert all((ROOT / word).is_file() for word in command.split() if word.startswith("settings/"))


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory, make_artifact: Callable[..., Path]) -> Path:
    """A folder with what the commands look for: settings, a dataset, an artifact, photographs, a run."""
    folder = tmp_path_factory.mktemp("checkout")
    settings = yaml.safe_load((ROOT / "params.yaml").read_text())
    for section, values in SETTINGS.items():
        settings[section].update(values)
    (folder / "params.yaml").write_text(yaml.safe_dump(settings))
    (folder / "detector").mkdir()
    (folder / "detector/artifacts").symlink_to(ROOT / "detector/artifacts")
    write_scenes(folder / "build/dataset", SPLITS)
    (folder / "build/proposals").mkdir()
    boxes = np.array([[2, 2, 30, 30], [10, 5, 60, 40]], np.float32)
    save_proposals([boxes] * SPLITS["train"], folder / "build/proposals/train.npz")
    write_scenes(folder / "voc", {"test": 2, "train": 6, "val": 4}, load_artifact(SHIPPED).classes)
    make_artifact(folder / "models/detector", classes=GENERATED_CLASSES)
    make_artifact(folder / "PEER", proposals=False, classes=load_artifact(SHIPPED).classes)
    found = (box("person", 0.9), box("car", 0.4, x=30))
    records = [
        record(str(folder / "voc/images" / image.file_name), *found, size=(image.width, image.height))
        for image in load_coco(folder / "voc/test.json").images
    ]
    card, labels = (SHIPPED / "model.json").read_text(), load_artifact(SHIPPED).classes
    write_run(folder / "RUN", f"{folder}/voc/images/", records, card=card, labels=labels)
    (folder / "FOLDER").symlink_to(folder / "build/dataset/images")
    _write_models(folder)
    _write_family(folder)
    make_run(folder / "OUTPUT", DRIFT_IMAGES)
    for number, name in enumerate(("TRAIN.tar", "TRAIN-2.tar", "TRAIN-3.tar", "TEST.tar")):
        write_parts(folder / name, f"{number}")
    (folder / "build/parts").symlink_to(folder / "voc")
    for number in range(1000):
        (folder / f"data/val/n{number:08d}").mkdir(parents=True)
    Image.new("RGB", (64, 48), "red").save(folder / "data/val/n00000007/1.png")
    return folder


def _write_models(folder: Path) -> None:
    """Write the files of docs/models.md: graphs that find nothing, class names, a photograph and annotated images."""
    for name, shape, side in (("yolox_nano", (1, 189, 85), 96), ("mine", (1, 7, 84), 64), ("odd", (1, 80, 35), 64)):
        write_onnx(folder / f"{name}.onnx", {"output": np.zeros(shape, np.float32)}, (1, 3, side, side))
    (folder / "names.txt").write_text("cat\ndog\ntree\n")
    Image.new("RGB", (64, 48), "red").save(folder / "photo.jpg")
    data = write_scenes(folder / "annotated", {"val": 8}, load_artifact(SHIPPED).classes)
    for name, place in {"val.json": data / "val.json", "images": data / "images", "my-photos": data / "images"}.items():
        (folder / name).symlink_to(place)
    make_artifact(folder / "models/yolox", proposals=False)


def _write_family(folder: Path) -> None:
    """Write what `detector compare family` leaves, of two members."""
    (folder / "family/all-2").mkdir(parents=True)
    (folder / "family/all-2/dataset").symlink_to(folder / "voc")
    own = {"proposal_seconds": None, "network_seconds": 0.1, "postprocess_seconds": 0.01, "fitting_seconds": 0.0}
    reached = {"training_seconds": 60.0, "map_50": 0.4, "map_50_interval": [0.3, 0.5]}
    members = {name: {"title": name, **own, **reached} for name in ("fast_rcnn", "faster_rcnn")}
    (folder / "family/table.json").write_text(json.dumps({"part": "all-2", "members": members}))


@pytest.fixture(scope="module")
def programs() -> Iterator[Forks]:
    """Runs programs of this working tree."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    with forks(os.environ | {"PATH": path, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}) as programs:
        yield programs


@pytest.mark.slow
@pytest.mark.parametrize("command", SMOKE)
def test_a_documented_command_runs(command: str, checkout: Path, programs: Forks) -> None:
    words = shlex.split(f"{command} {SMOKE[command]}")
    own = dict(word.split("=") for word in words if re.match(r"[A-Z_]+=", word))
    words, environment = words[len(own) :], {**programs.environment, **own}
    if environment == programs.environment:
        done = programs.run(words, checkout)
    else:  # its variables must be there before torch is imported
        done = subprocess.run(words, cwd=checkout, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert done.stdout.strip()


def test_the_python_of_the_proposals_page_runs() -> None:
    blocks = [
        block for language, block in BLOCK.findall((ROOT / "docs/proposals.md").read_text()) if language == "python"
    ]
    names = {"pixels": np.random.default_rng(0).integers(0, 256, (30, 40, 3)).astype(np.uint8)}
    for block in blocks:
        exec(block, names)
    assert np.array_equal(names["boxes"], selective_search(names["pixels"], max_boxes=2000, mode="quality"))
