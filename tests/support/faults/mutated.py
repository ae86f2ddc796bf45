"""Makes damaged files in great number: images of every format that is read, with bytes changed at random by a seed."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator

import pillow_heif
from PIL import Image

from tests.support.faults.corpus import corpus

# Headers and tables are short, and most of what a decoder believes stands there.
_HEAD = 200


def sound() -> list[bytes]:
    """Return small images that are read, at least one of each format, depth and compression of the corpus."""
    found = [image.make() for _, image in sorted(corpus().items()) if image.status == "ok"]
    heic = io.BytesIO()
    pillow_heif.from_pillow(Image.linear_gradient("L").resize((64, 48)).convert("RGB")).save(heic, quality=50)
    return [data for data in found if len(data) < 20_000] + [heic.getvalue()] * 8


def mutated(count: int, seed: int = 0) -> Iterator[bytes]:
    """Give `count` damaged images; the same ones for the same seed."""
    chance, images = random.Random(seed), sound()
    for _ in range(count):
        data = bytearray(chance.choice(images))
        for _ in range(chance.choice((1, 1, 2, 4, 16))):
            end = min(_HEAD, len(data)) if chance.random() < 0.5 else len(data)
            place = chance.randrange(end)
            match chance.randrange(5):
                case 0:  # a bit
                    data[place] ^= 1 << chance.randrange(8)
                case 1:  # a byte: any, or one that counts or marks something
                    data[place] = chance.choice((chance.randrange(256), 0, 1, 0x7F, 0x80, 0xFF))
                case 2:  # bytes of a number
                    data[place : place + 4] = chance.randbytes(chance.choice((2, 4)))
                case 3:  # a piece that appears twice, or in place of another
                    piece = data[place : place + chance.randrange(1, 64)]
                    where = chance.randrange(len(data))
                    data[where : where + chance.choice((0, len(piece)))] = piece
                case 4:  # the rest is missing, or a piece is
                    del data[place : place + chance.choice((1, 4, 64, len(data)))]
            if not data:
                break
        yield bytes(data)
