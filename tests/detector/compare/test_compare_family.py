"""`detector compare family`: the images drawn, what is measured and what is not again, the table, the plot."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from PIL import Image

from detector.cli import main
from detector.compare.family import compare, measure
from detector.compare.family.measure import Cost
from detector.compare.family.members import MEMBERS
from detector.compare.family.plot import draw
from detector.compare.family.subset import write_subset
from detector.compare.family.table import Setting, duration, full_training_seconds, markdown
from detector.data.annotations import CocoDataset, load_coco, save_coco
from detector.model.family import FAMILY
from detector.params import Params
from detector.stages import fetch
from detector.stages.metrics_file import write_json

COUNTS = {"train": 6, "val": 2, "test": 3}


@pytest.fixture(scope="module")
def params() -> Params:
    content = yaml.safe_load((Path(__file__).parents[3] / "params.yaml").read_text())
    content["fetch"]["sources"][0]["splits"] = COUNTS
    content["propose"].update(mode="fast", max_boxes=60)
    content["model"].update(start_from="none", image_size=64, crop_size=32, pyramid_channels=8, hidden=16)
    content["train"].update(
        device="cpu", epochs=2, batch_size=3, image_sizes=[64], average=0.0, proposals=60, regions=8
    )
    content["detect"].update(max_proposals=30, min_score=0.01, max_detections=10)
    return Params.model_validate(content)


@pytest.fixture(scope="module")
def dataset(params: Params, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A handful of generated scenes."""
    folder = tmp_path_factory.mktemp("family") / "dataset"
    fetch.fetch(params.fetch, params.fetch.seed, folder)
    return folder


# The members.


def test_the_members_are_the_family_with_both_heads_of_two(params: Params) -> None:
    made = {name: member.params(params, 3) for name, member in MEMBERS.items()}
    assert {own.model.name for own in made.values()} == set(FAMILY)
    assert [name for name, own in made.items() if own.model.name != name] == ["rcnn_svm", "cascade_light"]
    assert [name for name, own in made.items() if own.model.head == "svm"] == ["rcnn_svm"]
    for own in made.values():
        assert own.train.epochs == 3
        # All share these, so that a difference of figures comes from the member.
        assert (own.fetch, own.propose, own.detect) == (params.fetch, params.propose, params.detect)
        assert own.model.backbone == params.model.backbone and own.train.seed == params.train.seed
    assert params.train.epochs == 2


# The images.


def test_a_subset_is_drawn_by_the_seed(dataset: Path, tmp_path: Path) -> None:
    def drawn(folder: str, seed: int) -> list[str]:
        assert write_subset(dataset, tmp_path / folder, {"train": 3}, seed) == {"train": (3, 6)}
        return [image.file_name for image in load_coco(tmp_path / folder / "train.json").images]

    first = drawn("a", 1)
    assert drawn("b", 1) == first == sorted(set(first))
    assert (tmp_path / "a/train.json").read_bytes() == (tmp_path / "b/train.json").read_bytes()
    assert any(drawn(f"seed-{seed}", seed) != first for seed in range(2, 6))


def test_a_subset_keeps_each_images_truths_and_finds_its_image(dataset: Path, tmp_path: Path) -> None:
    write_subset(dataset, tmp_path / "part", {"train": 4, "test": None}, 1)
    whole = {image.id: image for image in load_coco(dataset / "train.json").images}
    part = load_coco(tmp_path / "part/train.json")
    assert part.classes == load_coco(dataset / "train.json").classes
    for image in part.images:
        np.testing.assert_array_equal(image.boxes, whole[image.id].boxes)
        np.testing.assert_array_equal(image.labels, whole[image.id].labels)
        assert (tmp_path / "part/images" / image.file_name).is_file()
    assert (tmp_path / "part/test.json").read_bytes() == (dataset / "test.json").read_bytes()


@pytest.mark.parametrize("count", [None, 6, 100])
def test_more_images_than_there_are_is_all(dataset: Path, tmp_path: Path, count: int | None) -> None:
    assert write_subset(dataset, tmp_path, {"train": count}, 1) == {"train": (6, 6)}


def test_the_link_follows_the_dataset(dataset: Path, tmp_path: Path) -> None:
    """Written again over another dataset, or one that was moved, nothing is left of the old one."""
    other = tmp_path / "other"
    (other / "images").mkdir(parents=True)
    save_coco(CocoDataset(("cat",), ()), other / "train.json")
    for source in (dataset, dataset, other):
        write_subset(source, tmp_path / "part", {"train": None}, 1)
        assert (tmp_path / "part/images").resolve() == (source / "images").resolve()
    assert not load_coco(tmp_path / "part/train.json").images


# Measuring.


class Stages:
    """Light fakes: what each stage writes as far as it is read, and a note of the call."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.calls: list[str] = []
        self.failing: str | None = None
        patch.setattr(measure.propose, "run", self.propose)
        patch.setattr(measure.train, "run", self.train)
        patch.setattr(measure.evaluate, "run", self.evaluate)

    def note(self, name: str) -> None:
        self.calls.append(name)
        if self.failing == name:
            raise KeyboardInterrupt

    def propose(self, settings: Any, name: str, dataset: Path, out: Path, metrics: Path, threads: int) -> None:
        out.mkdir(parents=True, exist_ok=True)
        for split in COUNTS:
            (out / f"{split}.npz").write_bytes(b"x" * 100)
        self.note("propose")
        windows = {"windows": {"looked_at": 20.0, "possible": 4e9}} if name == "sliding_window" else {}
        write_json(metrics, {"test": windows})

    def train(self, model: Any, settings: Any, dataset: Path, proposals: Path, out: Path, log: Path, _: Path) -> None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "weights.safetensors").write_bytes(b"x" * 1000)
        self.note("train")
        svm = {"svm": {"cached_bytes": 5000.0, "caching_seconds": 4.0, "fitting_seconds": 3.0, "cpu_seconds": 6.5}}
        write_json(log / "metrics.json", {"seconds": 60.0, "cpu_seconds": 55.0, **(svm if model.head == "svm" else {})})

    def evaluate(self, settings: Any, search: Any, dataset: Path, proposals: Path, weights: Path, out: Path) -> None:
        assert weights.is_file()
        self.note("evaluate")
        write_json(
            out / "metrics.json",
            {"map_50_11point": 0.5, "map_70_11point": 0.3, "map_90_11point": math.nan, "localisation_accuracy": 0.6},
        )
        times = {"seconds_network": 0.1, "seconds_postprocess": 0.001}
        write_json(out / "timing.json", times | ({"seconds_proposals": 0.01} if "none" not in proposals.name else {}))


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch) -> Stages:
    return Stages(monkeypatch)


Measure = Callable[..., Cost]


@pytest.fixture
def measured(params: Params, dataset: Path, tmp_path: Path) -> Measure:
    def call(name: str = "fast_rcnn", data: Path = dataset, base: Params = params) -> Cost:
        member = MEMBERS[name]
        own = member.params(base, 2)
        return measure.measure(member.title, own, data, tmp_path / "proposals", tmp_path / name)

    return call


def test_what_is_measured_is_not_measured_again(stages: Stages, measured: Measure) -> None:
    first = measured()
    assert stages.calls == ["propose", "train", "evaluate"]
    assert measured() == first
    assert len(stages.calls) == 3
    assert (first.training_seconds, first.fitting_seconds, first.proposal_seconds) == (55.0, 0.0, 0.01)
    assert first.disk_bytes == 1000 + 3 * 100 and first.map_90 is None
    assert first.test_seconds == pytest.approx(0.111)


def test_windows_beyond_the_budget_are_not_looked_at(stages: Stages, measured: Measure, params: Params) -> None:
    few = params.model_copy(update={"detect": params.detect.model_copy(update={"max_proposals": 12})})
    assert measured("sliding_window", base=few).windows == 12.0


def test_members_share_proposals_that_come_from_one_place(stages: Stages, measured: Measure) -> None:
    costs = {name: measured(name) for name in MEMBERS}
    assert stages.calls.count("propose") == 3 and stages.calls.count("train") == len(MEMBERS)
    assert (costs["sliding_window"].windows, costs["sliding_window"].windows_possible) == (20.0, 4e9)
    assert costs["fast_rcnn"].windows is None
    svm = costs["rcnn_svm"]
    assert (svm.fitting_seconds, svm.disk_bytes) == (6.5, 1000 + 300 + 5000)
    # Boxes that the network finds itself take no time of their own, and no place.
    assert costs["faster_rcnn"].proposal_seconds is None and costs["faster_rcnn"].disk_bytes == 1000


@pytest.mark.parametrize(
    ("stopped", "then"),
    [
        ("propose", ["propose", "train", "evaluate"]),
        ("train", ["train", "evaluate"]),  # which resumes after its last epoch
        ("evaluate", ["evaluate"]),
    ],
)
def test_a_stopped_member_goes_on(stages: Stages, measured: Measure, stopped: str, then: list[str]) -> None:
    stages.failing = stopped
    with pytest.raises(KeyboardInterrupt):
        measured()
    stages.failing = None
    stages.calls.clear()
    measured()
    assert stages.calls == then


def test_other_settings_are_measured_anew(stages: Stages, measured: Measure, params: Params) -> None:
    measured()
    stages.calls.clear()
    rate = params.model_copy(update={"train": params.train.model_copy(update={"learning_rate": 0.5})})
    measured(base=rate)
    assert stages.calls == ["train", "evaluate"]  # the proposals are the same
    stages.calls.clear()
    search = params.model_copy(update={"propose": params.propose.model_copy(update={"max_boxes": 99})})
    measured(base=search)
    assert stages.calls == ["propose", "train", "evaluate"]


def test_other_images_are_measured_anew(stages: Stages, measured: Measure, dataset: Path, tmp_path: Path) -> None:
    measured()
    stages.calls.clear()
    write_subset(dataset, tmp_path / "part", {"train": 5, "val": None, "test": None}, 1)
    measured(data=tmp_path / "part")
    assert stages.calls == ["propose", "train", "evaluate"]


def test_a_report_of_another_release_is_measured_anew(stages: Stages, measured: Measure, tmp_path: Path) -> None:
    (tmp_path / "fast_rcnn").mkdir()
    write_json(tmp_path / "fast_rcnn/report.json", {"params": "0" * 64, "cost": {}})
    measured()
    assert "evaluate" in stages.calls


# The table.

COST = Cost(
    title="Fast R-CNN", epochs=2, training_seconds=100.0, fitting_seconds=0.0, disk_bytes=12_400_000,
    proposal_seconds=0.011, network_seconds=0.1, postprocess_seconds=0.0006, map_50=0.5123, map_70=0.3, map_90=0.04,
    localisation_accuracy=0.6, windows=None, windows_possible=None,
)  # fmt: skip
SETTING = Setting((600, 2400), (200, 952), 10, "efficientnet_lite0", "1 threads of x86_64, torch 2.11")
DRAWS = dict.fromkeys(MEMBERS, np.linspace(0.4, 0.6, 201))  # 95 %: .405 to .595
SLOW = replace(COST, title="R-CNN (SVM)", training_seconds=700.0, fitting_seconds=500.0, network_seconds=5.0)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 s"), (94.4, "94 s"), (119.4, "119 s"), (120.0, "2.0 min"), (738.0, "12.3 min"), (7199.0, "120.0 min"),
        (7200.0, "2.0 h"), (18_360.0, "5.1 h"), (172_800.0, "2.0 days"), (216_000.0, "2.5 days"),
    ],
)  # fmt: skip
def test_durations_are_as_people_say_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_the_whole_training_is_extrapolated_by_images_and_epochs() -> None:
    assert full_training_seconds(COST, SETTING) == 100.0 * 4 * 5
    assert full_training_seconds(SLOW, SETTING) == 700.0 * 4 * 5 + 500.0 * 4  # fitted once, however many epochs
    all_of_it = replace(SETTING, train_images=(600, 600), full_epochs=2)
    assert full_training_seconds(SLOW, all_of_it) == 1200.0


def test_a_row_has_every_figure() -> None:
    page = markdown({"fast_rcnn": COST}, SETTING, DRAWS)
    assert page.startswith("600 of 2400 training images, 200 of 952 test images; backbone efficientnet_lite0; 1 thr")
    row = "| Fast R-CNN | 2 | 100 s | 12 | 11.0 | 100.0 | 0.6 | 0.512 | 0.430 to 0.620 | 0.300 | 0.040 | 0.600 |"
    lines = page.splitlines()
    assert row in lines
    assert len({line.count("|") for line in lines if line.startswith("|")}) == 1
    assert "on all 2400 images for 10 epochs would take Fast R-CNN 33.3 min." in page
    assert "ratio" not in page and "Windows" not in page
    assert page.endswith(".\n") and not page.endswith("\n\n")


def test_each_member_is_compared_with_the_one_before_it() -> None:
    """By paired draws: both are sure of the same images, so that their difference is known better than each of them."""
    better = replace(COST, title="Faster R-CNN", map_50=0.6123)
    draws = {"fast_rcnn": DRAWS["fast_rcnn"], "faster_rcnn": DRAWS["fast_rcnn"] + np.linspace(0.08, 0.12, 201)}
    page = markdown({"fast_rcnn": COST, "faster_rcnn": better}, SETTING, draws)
    assert "| gain | mAP@.5 | 95% |" in page
    assert "| Faster R-CNN after Fast R-CNN | +0.100 | +0.081 to +0.119 |" in page
    assert "gain" not in markdown({"fast_rcnn": COST}, SETTING, draws)
    worse = markdown({"faster_rcnn": better, "fast_rcnn": COST}, SETTING, draws)
    assert "| Fast R-CNN after Faster R-CNN | -0.100 | -0.119 to -0.081 |" in worse
    nothing = markdown({"faster_rcnn": better, "fast_rcnn": replace(COST, map_50=0.0)}, SETTING, draws)
    assert "| Fast R-CNN after Faster R-CNN | -0.612 | " in nothing
    none = markdown({"fast_rcnn": COST, "faster_rcnn": replace(better, map_50=None)}, SETTING, draws)
    assert "| Faster R-CNN after Fast R-CNN | - |" in none


def test_what_a_member_does_not_have_is_a_dash() -> None:
    none = replace(COST, proposal_seconds=None, map_50=math.nan, map_70=None, map_90=None, localisation_accuracy=None)
    assert "| 2 | 100 s | 12 | - | 100.0 | 0.6 | - | - | - | - | - |" in markdown(
        {"faster_rcnn": none}, SETTING, {"faster_rcnn": np.full(9, np.nan)}
    )


def test_nothing_is_extrapolated_from_a_whole_training() -> None:
    whole = replace(SETTING, train_images=(2400, 2400), full_epochs=2)
    assert "Extrapolated" not in markdown({"fast_rcnn": COST}, whole, DRAWS)
    assert "Extrapolated" in markdown({"fast_rcnn": COST}, replace(whole, full_epochs=10), DRAWS)


def test_ratios_stand_beside_the_papers() -> None:
    page = markdown({"rcnn_svm": SLOW, "fast_rcnn": COST}, SETTING, DRAWS)
    assert "| training (R-CNN (SVM)), all images and epochs | 8.0 | 8.8 (84 h to 9.5 h) |" in page
    assert "| network at test, per image | 50 | 147 (47 s to 0.32 s, without proposals) |" in page
    softmax = replace(SLOW, title="R-CNN (softmax)")
    assert "training (R-CNN (softmax))" in markdown({"rcnn": softmax, "fast_rcnn": COST}, SETTING, DRAWS)
    assert "training (R-CNN (SVM))" in markdown({"rcnn": softmax, "rcnn_svm": SLOW, "fast_rcnn": COST}, SETTING, DRAWS)
    assert "ratio" not in markdown({"rcnn_svm": SLOW}, SETTING, DRAWS)


def test_windows_are_counted_for_the_sliding_window() -> None:
    windows = replace(COST, title="sliding window", windows=1234.0, windows_possible=3.58e9)
    assert "The sliding window looks at 1,234 of the 3,580,000,000 windows of an image" in markdown(
        {"sliding_window": windows}, SETTING, DRAWS
    )


# The plot.


def test_six_members_are_drawn(tmp_path: Path) -> None:
    shapes = {
        "single_object": (130, 0, None, 0.058, 0.12), "sliding_window": (2900, 0, 0.0004, 5.1, 0.15),
        "rcnn": (2950, 0, 0.011, 5.2, 0.43), "rcnn_svm": (2950, 720, 0.011, 6.1, 0.45),
        "fast_rcnn": (420, 0, 0.011, 0.11, 0.52), "faster_rcnn": (510, 0, None, 0.09, 0.55),
    }  # fmt: skip
    costs = {
        name: replace(
            COST, title=MEMBERS[name].title, training_seconds=training, fitting_seconds=fitting,
            proposal_seconds=proposals, network_seconds=network, map_50=accuracy,
        )
        for name, (training, fitting, proposals, network, accuracy) in shapes.items()
    }  # fmt: skip
    bounds = {name: (accuracy - 0.03, accuracy + 0.03) for name, (*_, accuracy) in shapes.items()}
    draw(costs, bounds, tmp_path / "six.png")
    with Image.open(tmp_path / "six.png") as picture:
        assert picture.width > 1200 and picture.height > 500
        drawn = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    for colour in ((86, 180, 233), (204, 121, 167), (230, 159, 0), (0, 114, 178), (0, 158, 115)):
        assert (drawn == colour).all(axis=1).any(), colour


def test_one_member_without_figures_is_drawn(tmp_path: Path) -> None:
    nothing = replace(COST, map_50=None, proposal_seconds=None, postprocess_seconds=0.0)
    draw({"x": nothing}, {"x": (math.nan, math.nan)}, tmp_path / "one.png")
    draw({"x": replace(COST, map_50=0.1)}, {"x": (0.0, 0.6)}, tmp_path / "one.png")  # far beyond its bar
    with Image.open(tmp_path / "one.png") as picture:
        assert picture.width > 1200


# The command.


def test_the_command_refuses_who_is_no_member(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "run", lambda *_, **__: pytest.fail("it ran"))
    done = CliRunner().invoke(main, ["compare", "family", "--out", str(tmp_path), "--member", "yolo"])
    assert done.exit_code == 2
    assert "yolo is not a member of the family: single_object, sliding_window, rcnn, rcnn_svm" in done.output


def test_the_command_hands_on_its_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, object] = {}

    def run(params: Params, dataset: Path, out: Path, **options: object) -> str:
        given.update(options, out=out)
        return "the table\n"

    monkeypatch.setattr(compare, "run", run)
    words = ["--out", str(tmp_path), "--train-images", "5", "--epochs", "3", "--member", "rcnn"]
    done = CliRunner().invoke(main, ["compare", "family", *words])
    assert done.exit_code == 0 and done.output.startswith("the table\n"), done.output
    assert given == {"out": tmp_path, "members": ("rcnn",), "train_images": 5, "test_images": None, "epochs": 3}


@pytest.mark.slow
def test_two_members_for_real(params: Params, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the stages as they are, on four scenes; then again, when nothing is left to do."""

    def run() -> str:
        return compare.run(
            params, dataset, tmp_path, members=("fast_rcnn", "faster_rcnn"), train_images=4, test_images=2, epochs=1
        )

    page = run()
    assert page == (tmp_path / "table.md").read_text("utf-8")
    assert page.startswith("4 of 6 training images, 2 of 3 test images")
    figures = json.loads((tmp_path / "table.json").read_text("utf-8"))
    assert list(figures["members"]) == ["fast_rcnn", "faster_rcnn"]
    bounds = [content.pop("map_50_interval") for content in figures["members"].values()]
    assert all(low <= high for low, high in bounds)  # a basic interval may go beyond 0 and 1
    fast, faster = (Cost(**content) for content in figures["members"].values())
    assert fast.proposal_seconds and faster.proposal_seconds is None
    for cost in (fast, faster):
        assert cost.epochs == 1 and cost.training_seconds > 0 and cost.network_seconds > 0
        assert cost.map_50 is not None and 0 <= cost.map_50 <= 1
    assert figures["setting"]["train_images"] == [4, 6]
    # No epoch is chosen: an image or two of val would choose by chance.
    assert "best" not in json.loads((tmp_path / "4-2/fast_rcnn/log/metrics.json").read_text("utf-8"))
    assert "| Faster R-CNN after Fast R-CNN | " in page
    assert (tmp_path / "family.png").stat().st_size > 10_000
    monkeypatch.setattr(measure.train, "run", lambda *_: pytest.fail("it was trained again"))
    assert run() == page
