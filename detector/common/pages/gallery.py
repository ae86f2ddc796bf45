"""The contents of a gallery: images, each with its boxes, which the browser draws, and the reasons to show it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from detector.common.pages.render import colour_class

# Pixels of a gallery's cell and of its letters. The script sizes the letters again when an image is shown larger.
_CELL_WIDTH, _CELL_HEIGHT, _LETTERS = 290.0, 217.0, 12.5
# More texts than this hide the image and each other.
_TEXTS = 3
# The width of a letter as a part of its height, used only to place texts.
_LETTER_WIDTH = 0.56


@dataclass(frozen=True)
class Box:
    """A box in pixels of its image, with the upper left corner `x`, `y` and the colour of the label with `number`.

    score: None for a truth. marked: whether the image is shown because of this box.
    """

    label: str
    number: int
    score: float | None
    x: float
    y: float
    width: float
    height: float
    kind: Literal["found", "truth"] = "found"
    marked: bool = False

    @property
    def text(self) -> str:
        """Return the text beside the box: the label, and the score if there is one."""
        return self.label if self.score is None else f"{self.label} {self.score:.2f}"

    @property
    def colour(self) -> str:
        """Return the CSS class of the box's colour."""
        return colour_class(self.number)


@dataclass(frozen=True)
class Group:
    """A reason to show an image; readers can filter the gallery by it."""

    name: str  # letters only
    title: str


@dataclass(frozen=True)
class Figure:
    """One image of a gallery.

    name: the id of its anchor. title: the image's path or URI. picture: a `data:` URI, or None; then `reason` says why.
    width, height: the image's size in pixels, to which the boxes refer, or None if it is unknown. notes: why the image
    is shown. more: the number of boxes that are not drawn.
    """

    name: str
    title: str
    width: int | None
    height: int | None
    picture: str | None
    reason: str | None
    boxes: Sequence[Box]
    groups: Sequence[str]
    notes: Sequence[str]
    more: int = 0

    @property
    def short(self) -> str:
        """Return the last part of the title."""
        return self.title.rstrip("/").rpartition("/")[2] or self.title

    @property
    def frame(self) -> tuple[int, int]:
        """Return width and height of the drawing, at least 1 by 1."""
        return max(1, self.width or 4), max(1, self.height or 3)

    @property
    def letters(self) -> float:
        """Return the height of a letter in pixels of the image."""
        width, height = self.frame
        return round(_LETTERS * max(width / _CELL_WIDTH, height / _CELL_HEIGHT), 1)

    @property
    def crowded(self) -> bool:
        """Return whether only the larger view shows texts, apart from that of a marked box."""
        return len(self.boxes) > _TEXTS or (len(self.boxes) > 1 and any(box.marked for box in self.boxes))

    @property
    def spoken(self) -> str:
        """The boxes in words."""
        return ", ".join(box.text for box in self.boxes) or "no boxes"

    def place(self, box: Box) -> tuple[float, float, str]:
        """Return (x, y, "start" or "end"): where the text of a box starts or ends.

        The text lies above the box, or inside it if there is no room above.
        """
        width, _ = self.frame
        y = box.y - 0.3 * self.letters
        if y < self.letters:
            y = box.y + 1.1 * self.letters
        if box.x + _LETTER_WIDTH * self.letters * len(box.text) > width:
            return round(min(box.x + box.width, width), 1), round(y, 1), "end"
        return round(max(0.0, box.x), 1), round(y, 1), "start"


def drawn_first(boxes: Sequence[Box]) -> list[Box]:
    """Return the boxes in the order of drawing: the best and the marked ones are last, on top."""
    return sorted(boxes, key=lambda box: (box.marked, box.kind == "truth", box.score or 0.0))
