from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from detector.common.errors import TrainingError
from detector.data.annotations import CocoDataset
from detector.model.feature_cache import CachedImage, FeatureCache, cache_features
from detector.model.network import DetectionNetwork
from detector.model.rcnn import RCNN
from detector.model.training_images import TrainingImages
from detector.proposals.store import Proposals


@pytest.fixture(scope="module")
def rcnn(lively_network: Callable[..., DetectionNetwork]) -> RCNN:
    return lively_network(name="rcnn")


@pytest.fixture(scope="module")
def images(training_set: tuple[Path, CocoDataset, Proposals]) -> TrainingImages:
    return TrainingImages(*training_set, limit=7, seed=0)


def test_the_vectors_are_those_in_use(rcnn: RCNN, images: TrainingImages, tmp_path: Path) -> None:
    cache = cache_features(rcnn, images, 64, tmp_path / "cache")
    assert len(cache) == len(list(cache)) == 5
    for index, cached in enumerate(cache):
        example = images[index, 64, 0]
        boxes = torch.cat([example.truth, example.proposals])
        assert len(example.proposals) == (0 if index == 4 else 7) and len(example.truth) == (index != 3)
        np.testing.assert_array_equal(cached.boxes, boxes.numpy())
        np.testing.assert_array_equal(cached.truth, example.truth.numpy())
        np.testing.assert_array_equal(cached.labels, example.labels.numpy())
        assert cached.vectors.shape == (len(boxes), 320) and cached.vectors.dtype == np.float16
        with torch.inference_mode():
            expected = rcnn.vectors(example.image[None], [boxes]).numpy()
        np.testing.assert_allclose(cached.vectors, expected, rtol=2e-3, atol=2e-3)
    assert cache.bytes == sum(path.stat().st_size for path in (tmp_path / "cache").glob("*.npz"))
    assert cache.bytes > 35 * 320 * 2


def test_a_stopped_caching_goes_on_where_it_was(
    rcnn: RCNN, images: TrainingImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed = []
    write = FeatureCache.write

    def counted(cache: FeatureCache, index: int, image: CachedImage) -> None:
        computed.append(index)
        if len(computed) == 3:
            raise KeyboardInterrupt
        write(cache, index, image)

    monkeypatch.setattr(FeatureCache, "write", counted)
    with pytest.raises(KeyboardInterrupt):
        cache_features(rcnn, images, 64, tmp_path)
    (tmp_path / "part.npz").write_bytes(b"half a file")
    cache_features(rcnn, images, 64, tmp_path)
    assert computed == [0, 1, 2, 2, 3, 4]
    cache_features(rcnn, images, 64, tmp_path)
    assert len(computed) == 6


def test_another_networks_vectors_are_not_used(
    rcnn: RCNN, new_network: Callable[..., DetectionNetwork], images: TrainingImages, tmp_path: Path
) -> None:
    first = cache_features(rcnn, images, 64, tmp_path)[0]
    other = cache_features(new_network(seed=5, name="rcnn").eval(), images, 64, tmp_path)[0]
    assert not np.array_equal(first.vectors, other.vectors)
    again = cache_features(rcnn, images, 64, tmp_path)[0]
    assert np.array_equal(first.vectors, again.vectors)


def test_images_are_as_they_are_and_not_flipped(
    training_set: tuple[Path, CocoDataset, Proposals], images: TrainingImages
) -> None:
    for epoch in range(6):
        example = images[0, 64, epoch]
        np.testing.assert_array_equal(example.truth.numpy(), training_set[1].images[0].boxes)
    assert images.classes == ("cat", "dog", "tree")


def test_vectors_that_are_no_numbers_end_the_training(
    new_network: Callable[..., DetectionNetwork], images: TrainingImages, tmp_path: Path
) -> None:
    network = new_network(name="rcnn").eval()
    next(network.backbone.parameters()).data.fill_(float("nan"))
    with pytest.raises(TrainingError, match="image 0 are not finite in float16: lower"):
        cache_features(network, images, 64, tmp_path)
