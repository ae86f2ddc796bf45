import pytest
from pydantic import ValidationError

from detector.data.settings import FetchSettings

ARCHIVE = {"url": "a.tar", "checksum": "md5:" + "0" * 32}
GENERATED = {"format": "generated", "splits": {"train": 3, "val": 2, "test": 1}}
COCO = {"format": "coco", "splits": {"train": {"annotations": "a.json", "images": "images"}}}
VOC = {"format": "voc", "data": "photos"}


def test_valid_settings_are_read_and_frozen() -> None:
    settings = FetchSettings.model_validate(
        {"sources": [GENERATED, COCO, VOC, {"format": "voc", "archives": [ARCHIVE]}]}
    )
    assert [source.format for source in settings.sources] == ["generated", "coco", "voc", "voc"]
    assert settings.seed == 1 and settings.classes is None and settings.sources[2].weight == 1
    with pytest.raises(ValidationError, match="frozen"):
        settings.seed = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (GENERATED | {"splits": {"train": 0, "val": 1, "test": 1}}, "greater than or equal to 1"),
        (GENERATED | {"splits": {"train": 1, "val": 1}}, "Field required"),
        (GENERATED | {"more": 1}, "Extra inputs"),
        (VOC | {"format": "imagenet"}, "'coco', 'voc', 'yolo', 'cvat', 'labelstudio'"),
        (VOC | {"archives": [ARCHIVE]}, "give either `data`"),
        ({"format": "voc"}, "give either `data`"),
        ({"format": "voc", "archives": [ARCHIVE | {"checksum": "00"}]}, "String should match"),
        (VOC | {"splits": {"training": "train"}}, "'train', 'val' or 'test'"),
        (VOC | {"weight": 0}, "greater than 0"),
        (COCO | {"splits": {}}, "at least 1"),
    ],
)
def test_wrong_sources_are_refused(source: dict, reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        FetchSettings.model_validate({"sources": [source]})


@pytest.mark.parametrize(
    "change", [{"seed": -1}, {"more": 1}, {"sources": []}, {"classes": ["a", "a"]}, {"classes": []}, {"source": "voc"}]
)
def test_wrong_settings_are_refused(change: dict) -> None:
    with pytest.raises(ValidationError):
        FetchSettings.model_validate({"sources": [VOC]} | change)
