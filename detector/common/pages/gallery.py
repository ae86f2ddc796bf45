"""What a gallery shows: pictures, each with its boxes as the browser draws them, and why it is there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from detector.common.pages.render import colour_class

# A gallery's cell; letters are sized for it, and the script sizes them again where a picture is shown larger.
_CELL_WIDTH, _CELL_HEIGHT, _LETTERS = 290.0, 217.0, 12.5
# More texts than this hide the picture, and each other.
_TEXTS = 3
# Of a letter's height; for places only.
_LETTER_WIDTH = 0.56


@dataclass(frozen=True)
class Box:
    """A box in pixels of its picture, `x`, `y` its upper left corner; the colour is that of the label with `number`.

    score: None for a truth. marked: the box for which the picture is shown.
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
        """What stands at the box."""
        return self.label if self.score is None else f"{self.label} {self.score:.2f}"

    @property
    def colour(self) -> str:
        """A class of the style."""
        return colour_class(self.number)


@dataclass(frozen=True)
class Group:
    """One reason for pictures to be in a gallery, by which it can be filtered."""

    name: str  # letters only
    title: str


@dataclass(frozen=True)
class Figure:
    """One picture of a gallery.

    title: as a person knows it. picture: a `data:` URI, or None, where `reason` says why. width, height: of the
    picture in pixels, the frame of the boxes; None where nobody knows. notes: why it is here. more: boxes that are
    not drawn.
    """

    name: str  # of its anchor
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
        """The last step of the title."""
        return self.title.rstrip("/").rpartition("/")[2] or self.title

    @property
    def frame(self) -> tuple[int, int]:
        """Width and height of the drawing, at least 1 by 1."""
        return max(1, self.width or 4), max(1, self.height or 3)

    @property
    def letters(self) -> float:
        """Height of a letter, in pixels of the picture."""
        width, height = self.frame
        return round(_LETTERS * max(width / _CELL_WIDTH, height / _CELL_HEIGHT), 1)

    @property
    def crowded(self) -> bool:
        """Whether texts wait for the larger view, except that of a marked box."""
        return len(self.boxes) > _TEXTS or (len(self.boxes) > 1 and any(box.marked for box in self.boxes))

    @property
    def spoken(self) -> str:
        """The boxes in words."""
        return ", ".join(box.text for box in self.boxes) or "no boxes"

    def place(self, box: Box) -> tuple[float, float, str]:
        """Where the text of a box starts (or ends, as the third value says): above it, or inside where that is
        outside the picture."""
        width, _ = self.frame
        y = box.y - 0.3 * self.letters
        if y < self.letters:
            y = box.y + 1.1 * self.letters
        if box.x + _LETTER_WIDTH * self.letters * len(box.text) > width:
            return round(min(box.x + box.width, width), 1), round(y, 1), "end"
        return round(max(0.0, box.x), 1), round(y, 1), "start"


def drawn_first(boxes: Sequence[Box]) -> list[Box]:
    """In the order of drawing: the best and the marked ones last, on top."""
    return sorted(boxes, key=lambda box: (box.marked, box.kind == "truth", box.score or 0.0))
