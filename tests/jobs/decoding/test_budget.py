"""How much of the memory for pixels an image holds while it is decoded."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from detector.runtime.reading import Reading
from jobs.budget import Budget
from jobs.decoding.decoders import Decoders
from tests.jobs.helpers import encoded


class Noted(Budget):
    """Notes what it was asked for."""

    def __init__(self) -> None:
        super().__init__(10**9)
        self.asked: list[int] = []

    @contextlib.contextmanager
    def hold(self, units: int) -> Iterator[None]:
        self.asked.append(units)
        with super().hold(units):
            yield


def test_a_jpeg_holds_what_it_is_decoded_at() -> None:
    budget = Noted()
    with contextlib.closing(Decoders(budget, 1)) as decoders:
        for data, wanted in (
            (encoded(1, 320, 240, "JPEG"), Reading(60, 80, "bilinear")),
            (encoded(1, 320, 240, "JPEG"), Reading(61, 81, "bilinear")),
            (encoded(1, 320, 240, "PNG"), Reading(30, 40, "bilinear")),
            (encoded(1, 320, 240, "JPEG"), Reading(240, 320, None)),
        ):
            with decoders.read("a.jpg", data, lambda height, width, wanted=wanted: wanted) as (image, _):  # type: ignore[misc]
                assert image.pixels.shape == (wanted.height, wanted.width, 3)
                assert (image.height, image.width) == (240, 320)
    assert budget.asked == [160 * 120, *[320 * 240] * 3]
