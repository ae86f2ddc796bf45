import pytest
from pydantic import ValidationError

from detector.data.settings import VOC_PRESETS, FetchSettings

SPLIT = {"annotations": "a.json", "images": "images", "checksum": None}
VALID: dict = {
    "source": "voc",
    "seed": 0,
    "generated": {"train": 3, "val": 2, "test": 1},
    "voc": {"preset": "voc2007", "archives": [], "cache": "cache"},
    "coco": {"train": SPLIT, "val": SPLIT, "test": SPLIT, "cache": "cache"},
}
ARCHIVE = {"url": "a.tar", "checksum": "md5:" + "0" * 32}


def test_valid_settings_are_read_and_frozen() -> None:
    settings = FetchSettings.model_validate(VALID)
    with pytest.raises(ValidationError, match="frozen"):
        settings.seed = 3  # type: ignore[misc]
    own = VALID | {"voc": {"preset": None, "archives": [ARCHIVE], "cache": "c"}}
    assert FetchSettings.model_validate(own).voc.archives[0].url == "a.tar"


@pytest.mark.parametrize(
    "change",
    [
        {"source": "imagenet"},
        {"seed": -1},
        {"more": 1},
        {"generated": {"train": 0, "val": 1, "test": 1}},
        {"generated": {"train": 1, "val": 1}},
        {"voc": {"preset": None, "archives": [], "cache": "c"}},
        {"voc": {"preset": "voc2007", "archives": [ARCHIVE], "cache": "c"}},
        {"voc": {"preset": "voc1999", "archives": [], "cache": "c"}},
        {"voc": {"preset": None, "archives": [ARCHIVE | {"checksum": "00"}], "cache": "c"}},
    ],
)
def test_wrong_settings_are_refused(change: dict) -> None:
    with pytest.raises(ValidationError):
        FetchSettings.model_validate(VALID | change)


def test_the_preset_is_the_official_distribution() -> None:
    assert [(a.url.rsplit("/", 1)[1], a.checksum) for a in VOC_PRESETS["voc2007"]] == [
        ("VOCtrainval_06-Nov-2007.tar", "md5:c52e279531787c972589f7e41ab4ae64"),
        ("VOCtest_06-Nov-2007.tar", "md5:b6e924de25625d8de591ea690078ad9f"),
    ]
