"""Class names are drawn with a font that has their characters, and never as empty boxes."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFont

from detector.common import fonts
from detector.common.drawing import draw_boxes
from detector.common.fonts import fitting

NAMES = ["größe", "猫", "고양이", "ねこ", "狗们", "кошка", "γάτα", "Łódź", "Ağaç", "قط", "חתול", "niño", "größe 猫"]


def shown(text: str) -> list[bytes]:
    """Every character as it is drawn in the font of the whole text."""
    found, font = fitting(text, 24)
    return [bytes(font.getmask(letter)) for letter in found]


@pytest.mark.parametrize("name", NAMES)
def test_a_font_has_every_character(name: str) -> None:
    found, font = fitting(f"{name} 0.93", 24)
    assert found == f"{name} 0.93"
    empty_box = bytes(font.getmask("\U0010ffff"))
    assert any(empty_box) and empty_box not in shown(found)


def test_ascii_is_drawn_as_before() -> None:
    found, font = fitting("aeroplane 0.99", 20)
    default = ImageFont.load_default(20)
    assert bytes(font.getmask(found)) == bytes(default.getmask("aeroplane 0.99"))


def test_composed_and_decomposed_letters_are_drawn_alike() -> None:
    assert fitting("gro\u0308ße", 20) == fitting("gr\u00f6ße", 20)


def test_what_no_font_has_is_escaped() -> None:
    assert fitting("แมว 0.93", 20)[0] == "\\u0e41\\u0e21\\u0e27 0.93"
    assert fitting("cat \U0001faa9", 20)[0] == "cat \\U0001faa9"


def test_without_the_packages_no_box_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "_installed", tuple)
    assert fitting("größe", 20)[0] == "gr\\xf6\\xdfe"
    assert fitting("猫", 20)[0] == "\\u732b"


def test_the_files_are_there() -> None:
    assert len(fonts._installed()) == 2 and all(Path(path).is_file() for path in fonts._installed())


def test_different_names_look_different_on_an_image() -> None:
    """As empty boxes, 猫 and 狗 would be the same."""
    plates = []
    for name in ("猫", "狗"):
        image = Image.new("RGB", (300, 200))
        draw_boxes(image, np.array([[50, 80, 200, 150]], np.float32), [name], ["#E69F00"])
        plates.append(np.asarray(image))
    assert (plates[0] != plates[1]).any()
