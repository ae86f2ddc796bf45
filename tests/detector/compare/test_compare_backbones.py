"""`detector compare backbones`: what is counted, said about the lecture, measured, written and drawn."""

import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from matplotlib.transforms import Bbox
from PIL import Image
from torch import Tensor, nn
from torchvision import models

from detector.cli import main
from detector.common.errors import AnnotationError, WeightsError
from detector.compare.backbones import compare, imagenet, memory, plots, table
from detector.compare.backbones.classifiers import CLASSIFIERS
from detector.compare.backbones.count import Count, count
from detector.compare.backbones.lecture import LECTURE, REASONS, text, within
from detector.compare.backbones.rows import Machine, Row
from detector.compare.backbones.timing import latencies
from detector.model.backbones import BACKBONES
from detector.model.backbones.weights import Package, State

pytestmark = pytest.mark.slow

MACHINE = Machine("Some CPU", 1, "2.11", 5)


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    """All networks with real counts and made-up times."""
    return [
        Row(name, c.title, c.family, c.year, c.size, count(c), c.published, (30.0, 10.0 + i, 20.0 + i), 10**8 * i)
        for i, (name, c) in enumerate(CLASSIFIERS.items(), 1)
    ]


def test_the_comparison_has_every_classification_network_in_the_tables_order() -> None:
    assert list(CLASSIFIERS) == [name for name in BACKBONES if name != "yolox_nano"]


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_counts_are_those_of_the_papers_and_libraries(name: str, rows: list[Row]) -> None:
    layers = {
        "alexnet": 8, "vgg16": 16, "vgg19": 19, "googlenet": 22, "inception_v3": 48, "inception_v4": 76, "resnet18": 18,
        "resnet50": 50, "resnet101": 101, "resnet152": 152, "efficientnet_lite0": 50,
    }  # fmt: skip
    found = next(row.count for row in rows if row.name == name)
    assert found.layers == layers[name]
    source = BACKBONES[name].imagenet
    if hasattr(source, "entry"):
        meta = source.entry.meta
        # torchvision counts v3 with its auxiliary classifier, GoogLeNet without its two.
        assert meta["num_params"] == found.parameters + (found.auxiliary if name == "inception_v3" else 0)
        assert found.operations / 2e9 == pytest.approx(meta["_ops"], abs=0.001)
    else:  # as their model cards say
        assert round(found.parameters / 1e6, 1) == {"inception_v4": 42.7, "efficientnet_lite0": 4.7}[name]
        assert round(found.operations / 2e9, 1) == {"inception_v4": 12.3, "efficientnet_lite0": 0.4}[name]


def test_auxiliary_classifiers_are_counted_apart(rows: list[Row]) -> None:
    found = {row.name: row.count.auxiliary for row in rows if row.count.auxiliary}
    assert found == {"googlenet": 13_004_888 - 6_624_904, "inception_v3": 27_161_264 - 23_834_568}


def test_published_figures_are_of_the_weights_that_the_backbones_use() -> None:
    assert CLASSIFIERS["resnet50"].published.top1 == models.ResNet50_Weights.IMAGENET1K_V1.meta["_metrics"][
        "ImageNet-1K"
    ]["acc@1"]  # fmt: skip
    assert CLASSIFIERS["resnet50"].published.weights == "torchvision ResNet50_Weights.IMAGENET1K_V1"
    assert all(classifier.published.url.startswith("https://") for classifier in CLASSIFIERS.values())


@pytest.mark.parametrize(
    ("value", "low", "high", "expected"),
    [
        (61.1, "62", "62", False),
        (61.5, "62", "62", True),  # as the lecture rounds
        (25.557, "25.6", "60", True),
        (60.19, "25.6", "60", True),
        (60.6, "25.6", "60", False),
        (25.5, "25.6", "60", False),
    ],
)
def test_figures_are_compared_as_the_lecture_rounds(value: float, low: str, high: str, expected: bool) -> None:
    assert within(value, (Decimal(low), Decimal(high))) is expected


def test_the_page_has_the_lectures_table_as_the_command_writes_it(rows: list[Row]) -> None:
    written = table.markdown(rows, MACHINE)
    page = (Path(__file__).parents[3] / "docs/backbones.md").read_text("utf-8")
    for lecture in LECTURE:
        line = next(line for line in written.splitlines() if lecture.idea in line)
        assert text(lecture.layers) in line and str(lecture.top1) in line and text(lecture.parameters) in line
        assert line in page.splitlines()


def test_reasons_are_of_a_network_or_of_a_family() -> None:
    assert set(REASONS) <= {*CLASSIFIERS, *(row.family for row in LECTURE)}


def test_differences_are_said_from_the_numbers(rows: list[Row]) -> None:
    said = "\n".join(table.differences(rows))
    assert "AlexNet: 61.1 M parameters, lecture 62 M; top-1 56.5 %, 0.7 less than the lecture's 57.2 %." in said
    assert "Inception v3: 48 layers, lecture 22–42; 23.8 M parameters, lecture 4–12 M; top-1 77.3 %, 2.5 more" in said
    assert "VGG-16: top-1 71.6 %, 2.8 less than the lecture's 74.4 %." in said  # its layers and parameters agree
    assert "EfficientNet" not in said
    alexnet = next(row for row in rows if row.name == "alexnet")
    agreeing = replace(
        alexnet, count=replace(alexnet.count, parameters=62_000_000), published=replace(alexnet.published, top1=57.2)
    )
    assert table.differences([agreeing])[0] == "AlexNet: as the lecture says."


def test_the_page_has_a_line_for_each_network(rows: list[Row]) -> None:
    page = table.markdown(rows, MACHINE)
    assert "| AlexNet | 2012 | 224 | 8 | 61.1 | 0.71 | 56.5 | 0.93 | 21 | 100 |" in page
    assert "| GoogLeNet | 2014 | 224 | 22 | 6.6 (13.0) | 1.50 | 69.8 |" in page
    assert "| ResNet | 2015 | residual connections | He et al. | 50–152 | 18, 50, 101, 152 | 25.6–60 |" in page
    assert "The machine has Some CPU, with torch 2.11." in page
    assert "median of 5 forward passes" in page and "with 1 thread;" in page
    assert "measured" not in page and "Not measured" not in page
    for row in rows:
        assert f"- {row.title}: {row.published.weights}, <{row.published.url}>" in page
    assert max(map(len, page.split("\n\n")[2].splitlines())) <= 120


def test_a_measured_top1_and_one_that_could_not_be_have_their_column(rows: list[Row]) -> None:
    page = table.markdown(
        [replace(rows[0], measured_top1=56.4), replace(rows[1], not_measured="no network", memory=None)], MACHINE
    )
    assert "| top-1, % | top-1 measured, % |" in page
    assert "| 56.5 | 56.4 |" in page
    assert "| 71.6 | – |" in page and page.count("| – |") == 2
    assert "## Not measured\n\n- VGG-16: no network\n" in page


def test_networks_take_turns_and_the_first_turn_does_not_count() -> None:
    calls: list[str] = []

    class Noted(nn.Module):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        def forward(self, x: Tensor) -> Tensor:
            assert torch.is_inference_mode_enabled()
            calls.append(self.name)
            return x

    found = latencies({name: (Noted(name), torch.zeros(1)) for name in "ab"}, repeats=2)
    assert "".join(calls) == "ababab"
    assert all(len(seconds) == 2 and min(seconds) >= 0 for seconds in found.values())


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is measured on Linux only")
def test_memory_holds_the_weights_and_more() -> None:
    parameters = count(CLASSIFIERS["efficientnet_lite0"]).parameters
    found = memory.peak_bytes("efficientnet_lite0")
    assert found is not None and 4 * parameters < found < 4 * parameters + 300e6


def test_without_an_account_of_memory_there_is_no_figure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(memory, "_STATUS", tmp_path / "none")
    assert memory.peak_bytes("alexnet") is None


@pytest.fixture
def validation(tmp_path: Path) -> Path:
    """Three classes, the second without images: one red image, two blue ones."""
    folder = tmp_path / "val"
    for name in ("n01", "n02", "n03"):
        (folder / name).mkdir(parents=True)
    for path, colour in (("n01/a.JPEG", "red"), ("n03/b.JPEG", "blue"), ("n03/c.JPEG", "blue")):
        Image.new("RGB", (40, 30), colour).save(folder / path)
    return folder


class Blue(nn.Module):
    """Says class 2 for blue images, else class 1."""

    def forward(self, images: Tensor) -> Tensor:
        blue = images.mean(dim=(2, 3))[:, 2] > 0.5
        return torch.stack([torch.zeros(len(images)), ~blue * 1.0, blue * 1.0], dim=1)


def test_top1_is_the_share_of_images_whose_folder_is_the_best_class(validation: Path) -> None:
    def transform(image: Image.Image) -> Tensor:
        return torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255

    assert imagenet.measure_top1(Blue(), transform, validation, workers=0) == pytest.approx(200 / 3)


def test_another_layout_of_folders_is_refused(validation: Path) -> None:
    imagenet.check_layout(validation, classes=3)
    with pytest.raises(AnnotationError, match=r"val holds 3 folders, not one for each of the 1,000 classes"):
        imagenet.check_layout(validation)


def test_folders_without_images_are_refused(tmp_path: Path) -> None:
    (tmp_path / "n01").mkdir()
    with pytest.raises(AnnotationError, match="holds no images"):
        imagenet.measure_top1(Blue(), lambda _: torch.zeros(3, 2, 2), tmp_path, workers=0)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3", "inception_v4", "efficientnet_lite0"])
def test_a_transform_makes_the_networks_input(name: str) -> None:
    made = CLASSIFIERS[name].transform()(Image.new("RGB", (400, 350), (127, 127, 127)))
    size = CLASSIFIERS[name].size
    assert made.shape == (3, size, size)
    if name == "efficientnet_lite0":  # its own mean
        torch.testing.assert_close(made, torch.zeros_like(made), atol=1e-5, rtol=0)


def test_downloaded_weights_fit_the_classifier_that_is_measured() -> None:
    """Their file has auxiliary classifiers, which the network that is measured has not."""
    whole = CLASSIFIERS["googlenet"].build(True)
    network = CLASSIFIERS["googlenet"].build(False)
    CLASSIFIERS["googlenet"].fill(network, State(whole.state_dict(), "test"))
    torch.testing.assert_close(network.fc.weight, whole.fc.weight)  # type: ignore[union-attr]
    assert network.transform_input is True


def test_the_run_writes_a_page_figures_and_plots(
    tmp_path: Path, validation: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two small networks: one whose weights come (random ones), one whose weights cannot be had."""
    made = CLASSIFIERS["efficientnet_lite0"].build(False).state_dict()

    def nothing(_: object) -> State:
        raise WeightsError("https://somewhere cannot be downloaded")

    monkeypatch.setattr(Package, "state", lambda _: State(made, "test"))
    monkeypatch.setattr(type(BACKBONES["resnet18"].imagenet), "state", nothing)
    monkeypatch.setattr(imagenet, "check_layout", lambda _: None)
    monkeypatch.setattr(memory, "peak_bytes", lambda _: 50_000_000)
    out = tmp_path / "new/out"
    page = compare.run(out, validation, repeats=2, workers=0, names=("resnet18", "efficientnet_lite0"))
    assert page == (out / "table.md").read_text("utf-8")
    assert "- ResNet-18: https://somewhere cannot be downloaded" in page
    figures = json.loads((out / "table.json").read_text("utf-8"))
    assert [row["name"] for row in figures["networks"]] == ["resnet18", "efficientnet_lite0"]
    assert [row["measured_top1"] is None for row in figures["networks"]] == [True, False]
    assert all(len(row["milliseconds"]) == 2 and row["median_milliseconds"] > 0 for row in figures["networks"])
    assert figures["machine"]["threads"] == torch.get_num_threads()
    assert figures["lecture"][0]["top1"] == 57.2
    assert all(Image.open(out / name).width > 1000 for name in (plots.TOP1, plots.OPERATIONS, plots.DENSITY))


def test_the_command_hands_on_its_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[object] = []

    def run(out: Path, images: Path | None, repeats: int, workers: int, names: tuple[str, ...]) -> str:
        given.extend([out, images, repeats, workers > 0, names])
        return "the table\n"

    monkeypatch.setattr(compare, "run", run)
    words = ["compare", "backbones", "--out", str(tmp_path / "o"), "--repeats", "3"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0 and done.output.startswith("the table\n")
    assert given == [tmp_path / "o", None, 3, True, tuple(CLASSIFIERS)]
    assert CliRunner().invoke(main, [*words, "--network", "vgg16"]).exit_code == 0
    assert given[5:] == [tmp_path / "o", None, 3, True, ("vgg16",)]
    unknown = CliRunner().invoke(main, [*words, "--network", "vgg17"])
    assert unknown.exit_code == 2 and "vgg17 is not one of the networks: alexnet, " in unknown.output


def test_a_wrong_folder_of_images_ends_in_one_line(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["compare", "backbones", "--imagenet", str(tmp_path)])
    assert done.exit_code == 2 and done.output.startswith("error: ") and "holds 0 folders" in done.output


def test_all_networks_are_drawn_with_labels_apart(
    rows: list[Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    placed: list[Bbox] = []

    def note(points: list[tuple[float, float]], sizes: list[tuple[float, float]]) -> list[Bbox]:
        placed.extend(place(points, sizes))
        return placed

    place = plots.place_labels
    monkeypatch.setattr(plots, "place_labels", note)
    plots.draw(rows, tmp_path)
    assert len(placed) == len(rows)
    assert not any(a.overlaps(b) for i, a in enumerate(placed) for b in placed[:i])
    for name in (plots.TOP1, plots.OPERATIONS, plots.DENSITY):
        drawn = np.asarray(Image.open(tmp_path / name).convert("RGB"))
        assert len(np.unique(drawn.reshape(-1, 3), axis=0)) > 100
        assert (tmp_path / name).stat().st_size < 200_000


def test_labels_of_points_in_one_place_are_kept_apart() -> None:
    boxes = plots.place_labels([(100, 100), (102, 101), (101, 99)], [(60, 12)] * 3)
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_a_count_is_of_the_whole_classifier() -> None:
    """One convolution and one fully connected layer, side by side with a shorter way."""

    class Small(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 1, bias=False)
            self.last = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x)
            x = x + self.second(x)
            return self.last(x.mean(dim=(2, 3)))

    classifier = replace(CLASSIFIERS["alexnet"], size=8, build=lambda auxiliary: Small())
    multiply_adds = 64 * 4 * 27 + 64 * 4 * 4 + 4 * 2
    assert count(classifier) == Count(112 + 16 + 10, 0, 2 * multiply_adds, 3)
