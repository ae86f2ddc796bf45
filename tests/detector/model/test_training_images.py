import resource
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from detector.data.annotations import CocoDataset
from detector.model.training_images import LikeShapes, TrainingImages, batches, collate
from detector.params import load_params
from detector.proposals.store import Proposals
from detector.runtime.images import normalise
from detector.runtime.preprocess import own_preprocessing, prepare, resized_size
from detector.runtime.reading import Reading, read_image
from tests.support.datasets import image_info

ROOT = Path(__file__).parents[3]
SIZES = [(64, 40), (40, 64), (48, 48)]  # width, height


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A red object from (8, 4) to (24, 20) on grey in each image."""
    out = tmp_path_factory.mktemp("images")
    for number, size in enumerate(SIZES, 1):
        picture = Image.new("RGB", size, (127, 127, 127))
        picture.paste((255, 0, 0), (8, 4, 24, 20))
        picture.save(out / f"{number}.png")
    return out


def truth() -> CocoDataset:
    return CocoDataset(
        ("cat", "dog"),
        tuple(
            image_info(number, [[8, 4, 24, 20]], 1, size=SIZES[number - 1], ignore=number == 2, crowd=number == 3)
            for number in (1, 2, 3)
        ),
    )


def proposals() -> Proposals:
    boxes = np.array([[0, 0, 9, 7], [8, 4, 24, 20], [1, 2, 30, 40], [3, 3, 9, 30]], np.float32)
    return Proposals(boxes, np.array([0, 3, 4, 4]))  # the third image has none


def images(folder: Path, limit: int = 2) -> TrainingImages:
    return TrainingImages(folder, truth(), proposals(), limit, 5, ("flip",))


def crop(image: torch.Tensor, box: torch.Tensor) -> torch.Tensor:
    x1, y1, x2, y2 = map(int, box)
    return image[:, y1:y2, x1:x2]


def test_boxes_stay_on_the_object_through_resize_and_flip(folder: Path) -> None:
    seen = set()
    for epoch in range(8):
        example = images(folder)[0, 128, epoch]
        assert example.image.shape == (3, 96, 128)  # 64x40 -> 128x80, padded
        mirrored = bool(example.truth[0, 0] != 16)
        seen.add(mirrored)
        x = 128 - 48 if mirrored else 16
        assert example.truth.tolist() == [[x, 8, x + 32, 40]]
        assert example.proposals[1].tolist() == example.truth[0].tolist()
        inside = crop(example.image, example.truth[0])[:, 4:-4, 4:-4]
        assert (inside[0] == 1.0).all() and (inside[1:] == -127 / 128).all()
        assert (example.image[0] > 0.5).sum() < 34 * 34
    assert seen == {False, True}


@pytest.mark.parametrize(("height", "width"), [(40, 64), (50, 90), (90, 50), (3, 200), (200, 3), (1, 1), (64, 64)])
@pytest.mark.parametrize("enlarged", [1, 8])
def test_training_sees_what_the_detector_will_see(tmp_path: Path, height: int, width: int, enlarged: int) -> None:
    """Bit by bit, also where the JPEG is decoded at a fraction of its size."""
    noise = np.random.default_rng(height * width).integers(0, 256, (height, width, 3)).astype(np.uint8)
    Image.fromarray(noise.repeat(enlarged, 0).repeat(enlarged, 1)).save(tmp_path / "1.jpg")
    size = (enlarged * width, enlarged * height)
    info = image_info(1, [[0, 0, *size]], size=size, file_name="1.jpg")
    none = Proposals(np.zeros((0, 4), np.float32), np.zeros(2, np.int64))
    dataset = TrainingImages(tmp_path, CocoDataset(("cat",), (info,)), none, 2, seed=5)
    example = dataset[0, 64, 0]
    settings = own_preprocessing(64)
    reading = Reading(*resized_size(settings, *size[::-1]), settings.interpolation)
    read = read_image((tmp_path / "1.jpg").read_bytes(), reading)
    made = prepare(settings, read.pixels, read.height, read.width)
    np.testing.assert_array_equal(example.image.numpy(), made.tensor[0])
    assert example.truth.tolist() == [[0, 0, reading.width, reading.height]]


def test_labels_count_from_1_and_ignored_and_crowds_are_not_to_be_learnt(folder: Path) -> None:
    dataset = images(folder)
    assert [dataset[i, 64, 0].labels.tolist() for i in range(3)] == [[2], [2], [2]]
    assert [dataset[i, 64, 0].ignore.tolist() for i in range(3)] == [[False], [True], [True]]


def test_the_best_proposals_are_taken_up_to_the_limit(folder: Path) -> None:
    assert [len(images(folder, limit)[0, 64, 0].proposals) for limit in (1, 2, 9)] == [1, 2, 3]
    none = images(folder)[2, 96, 0].proposals
    assert none.shape == (0, 4) and none.dtype == torch.float32


def test_an_example_depends_on_seed_epoch_and_index_only(folder: Path) -> None:
    def flips(seed: int) -> list[float]:
        dataset = TrainingImages(folder, truth(), proposals(), 2, seed, ("flip",))
        return [float(dataset[i, 64, epoch].truth[0, 0]) for epoch in range(6) for i in (1, 0)]

    assert flips(5) == flips(5)
    assert flips(5) != flips(6)


def many(count: int) -> CocoDataset:
    """Three of every seven images are portraits."""
    return CocoDataset(
        ("cat",), tuple(image_info(i + 1, size=(40, 64) if i % 7 < 3 else (64, 40)) for i in range(count))
    )


def shapes(truth: CocoDataset, sizes: tuple[int, ...], seed: int = 1, epoch: int = 0, **changes: object) -> LikeShapes:
    """Batches of four."""
    settings = load_params(ROOT / "params.yaml").train
    return LikeShapes(
        truth, settings.model_copy(update={"batch_size": 4, "image_sizes": sizes, "seed": seed, **changes}), epoch
    )


def test_each_image_comes_once_an_epoch_in_batches_of_like_shape_and_one_size() -> None:
    dataset = many(23)
    batches = list(shapes(dataset, (64, 96, 128), epoch=2))
    assert len(batches) == len(shapes(dataset, (64, 96, 128), epoch=2))
    assert sorted(key[0] for batch in batches for key in batch) == list(range(23))
    for batch in batches:
        assert 1 <= len(batch) <= 4
        assert len({dataset.images[index].width for index, _, _ in batch}) == 1
        assert len({size for _, size, _ in batch}) == 1 and {epoch for _, _, epoch in batch} == {2}
    assert {size for batch in batches for _, size, _ in batch} == {64, 96, 128}


def test_the_order_is_drawn_from_seed_and_epoch() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return [key[0] for batch in shapes(many(23), (64,), seed, epoch) for key in batch]

    assert order(1, 0) == order(1, 0)
    assert order(1, 0) != order(1, 1) and order(1, 0) != order(2, 0)


def test_a_batch_is_padded_with_the_mean_colour(folder: Path) -> None:
    examples = [images(folder)[0, 64, 0], images(folder)[1, 96, 0]]  # 64x40, and 40x64 -> 60x96
    batch, kept = collate(examples)
    assert batch.shape == (2, 3, 96, 64) and [own.image.shape for own in kept] == [own.image.shape for own in examples]
    assert all(own.truth is example.truth for own, example in zip(kept, examples, strict=True))
    assert batch.is_contiguous(memory_format=torch.channels_last)
    for slot, example in zip(batch, examples, strict=True):
        height, width = example.image.shape[1:]
        torch.testing.assert_close(slot[:, :height, :width], example.image, rtol=0, atol=0)
        assert not slot[:, height:].any() and not slot[:, :, width:].any()
    assert not normalise(np.full((1, 1, 3), 127, np.uint8)).any()  # the mean colour
    square, _ = collate(examples, square=True)
    assert square.shape == (2, 3, 96, 96) and torch.equal(square[..., :64], batch) and not square[..., 64:].any()


@pytest.mark.filterwarnings("ignore:'pin_memory' argument")  # there is no GPU
def test_batches_for_a_gpu_are_squares_and_may_open_many_files(folder: Path) -> None:
    """Other processes make them: a batch arrives with all of its boxes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    keys = [[(0, 64, 0), (1, 64, 0)], [(1, 96, 0)]]
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 512), hard))
        for device, expected in (("cpu", [(64, 64), (96, 64)]), ("cuda", [(64, 64), (96, 96)])):
            made = list(batches(images(folder), keys, torch.device(device)))
            assert [tuple(batch.shape[2:]) for batch, _ in made] == expected
            for key, example in zip(keys[0], made[0][1], strict=True):
                alone = images(folder)[key]
                assert torch.equal(example.truth, alone.truth) and torch.equal(example.proposals, alone.proposals)
                assert example.image.shape == alone.image.shape and example.seed == alone.seed
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_an_epoch_shows_each_image_as_often_as_its_weight_says() -> None:
    images = [replace(image, weight=weight) for image, weight in zip(many(14).images, [2.0, 0.5] * 7, strict=True)]
    dataset = CocoDataset(("cat",), tuple(images))
    epochs = [Counter(key[0] for batch in shapes(dataset, (64,), 1, epoch) for key in batch) for epoch in range(60)]
    assert {sum(shown.values()) for shown in epochs} == {18}  # portraits weigh 7.5, the others 10
    for index, image in enumerate(images):
        shown = [epoch[index] for epoch in epochs]
        assert set(shown) <= {int(image.weight), int(image.weight) + 1} and np.mean(shown) == pytest.approx(
            image.weight, abs=0.25
        )
