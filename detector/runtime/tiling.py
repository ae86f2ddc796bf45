"""Divides an image into tiles."""

from __future__ import annotations

from dataclasses import dataclass

# Neighbours have this share of a side in common: an object of a fifth of a tile is whole in one of them.
DEFAULT_OVERLAP = 0.2
# With more, a third tile would see the same places.
MOST_OVERLAP = 0.5
# With smaller tiles, the largest image that is read would have more than a hundred thousand.
LEAST_SIDE = 64


@dataclass(frozen=True)
class Tiling:
    """How an image is divided. side: of a square tile, in pixels; overlap: the share of a side, from 0 to below 1, that
    two neighbours have in common at least."""

    side: int
    overlap: float

    def divides(self, height: int, width: int) -> bool:
        """Return whether an image of this size is larger than a tile."""
        return max(height, width) > self.side

    def places(self, height: int, width: int) -> list[tuple[int, int, int, int]]:
        """Return the tiles of an image, (left, top, right, bottom), row by row; the last ones overlap most."""
        return [
            (left, top, min(left + self.side, width), min(top + self.side, height))
            for top in self._starts(height)
            for left in self._starts(width)
        ]

    def looks(self, height: int, width: int) -> int:
        """Return how often the inner detector looks at an image of this size."""
        return 1 + len(self.places(height, width)) if self.divides(height, width) else 1

    def _starts(self, length: int) -> list[int]:
        last = max(0, length - self.side)
        return [*range(0, last, self.side - int(self.side * self.overlap)), last]
