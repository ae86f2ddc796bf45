"""Turns samples of any depth into 8 bits by the rules of docs/image-formats.md, or refuses those without a meaning.

An image is converted in bands, because Pillow needs up to 20 bytes for each pixel that it converts at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImagePalette
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from detector.common.errors import FormatError

_BAND_PIXELS = 2**22
# Tags of TIFF 6.0, and of Adobe's DNG 1.7.
_SUBFILE_TYPE, _BITS, _PHOTOMETRIC, _EXTRA_SAMPLES, _MAX_VALUE, _S_MAX_VALUE = 254, 258, 262, 338, 281, 341
_PLANAR, _COLOUR_MAP, _SAMPLE_FORMAT, _SUBSAMPLING, _DNG_VERSION = 284, 320, 339, 530, 50706
_WHITE_IS_ZERO, _YCBCR, _SIGNED = 0, 6, 2

Pixels = NDArray[np.uint8]


def load_pixels(image: Image.Image) -> Pixels:
    """Decode an opened image as uint8 RGB (H, W, 3), as it is stored, with alpha over white.

    Raises FormatError when its samples have no stated meaning, and what Pillow raises.
    """
    bits = _sample_bits(image)
    if isinstance(image, TiffImageFile):
        _check_tiff(image, bits)
    image.load()
    convert = _conversion(image, bits)
    bands = list(_bands(image))
    if len(bands) == 1:
        return convert(image)
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    for top, bottom in bands:
        pixels[top:bottom] = convert(image.crop((0, top, image.width, bottom)))
    return pixels


def _bands(image: Image.Image) -> Iterator[tuple[int, int]]:
    """Give the first row of each band, and the row after its last."""
    rows = max(1, _BAND_PIXELS // image.width)
    for top in range(0, image.height, rows):
        yield top, min(top + rows, image.height)


def _sample_bits(image: Image.Image) -> int:
    """Return the bits of a sample in the file, of an image that is not loaded."""
    if isinstance(image, TiffImageFile):
        return max(_all(image, _BITS, 1))
    return 16 if isinstance(image, PngImageFile) and "16" in str(image.tile[0].args) else 8


def _all(image: TiffImageFile, tag: int, default: int) -> tuple[int, ...]:
    """Return the values of a tag."""
    value = image.tag_v2.get(tag, default)
    return value if isinstance(value, tuple) else (value,)


def _check_tiff(image: TiffImageFile, bits: int) -> None:
    """Raise FormatError for what Pillow would decode wrongly."""
    compressed = image.use_load_libtiff
    photometric = _all(image, _PHOTOMETRIC, 0)[0]
    if _DNG_VERSION in image.tag_v2 or _all(image, _SUBFILE_TYPE, 0)[0] & 1:
        raise FormatError("its first page is a preview, as in a camera's raw format", "convert it to JPEG or PNG")
    if _SIGNED in _all(image, _SAMPLE_FORMAT, 1):
        raise _refused("its samples are signed, and nothing says which value is black")
    if bits > 8 and _all(image, _PLANAR, 1)[0] == 2 and image.mode in ("RGB", "RGBA", "CMYK") and not compressed:
        raise _refused("its planes of 16 bits are not compressed")
    if photometric == _YCBCR and _all(image, _SUBSAMPLING, 2)[0] != 1 and not compressed:
        raise _refused("its colours are subsampled and not compressed")
    if image.mode == "F" and image.tag_v2.prefix == b"MM" and compressed:
        raise _refused("its floating-point samples are big-endian and compressed")
    if image.mode == "P" and max(image.tag_v2[_COLOUR_MAP]) < 256:  # older writers fill the low byte only
        image.palette = ImagePalette.raw("RGB;L", image.tag_v2[_COLOUR_MAP])


def _refused(kind: str) -> FormatError:
    return FormatError(kind, "save it with 8 bits a sample")


def _conversion(image: Image.Image, bits: int) -> Callable[[Image.Image], Pixels]:
    """Return what converts a band of a loaded image to uint8 RGB (h, w, 3)."""
    if image.mode.startswith("I"):
        return _integer_conversion(image, bits)
    if image.mode == "F":
        return _float_conversion(image)
    has_alpha = image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info
    if isinstance(image, TiffImageFile) and _EXTRA_SAMPLES not in image.tag_v2:
        has_alpha = False  # a fourth band is alpha only if the file says so
    if image.format == "BMP" and image.mode == "RGBA" and image.getchannel("A").getextrema() == (0, 0):
        has_alpha = False  # many writers leave the fourth byte empty
    if bits == 16 and image.mode in ("LA", "RGB", "RGBA"):
        colours = (np.asarray(image.getchannel(band)) for band in image.getbands() if band != "A")
        _check_range(16, max(int(colour.max()) for colour in colours) << 8)
    return lambda band: np.asarray(_over_white(band) if has_alpha else _rgb(band), np.uint8)


def _over_white(band: Image.Image) -> Image.Image:
    rgba = band.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")


def _rgb(band: Image.Image) -> Image.Image:
    return band if band.mode == "RGB" else band.convert("RGB")


def _integer_conversion(image: Image.Image, bits: int) -> Callable[[Image.Image], Pixels]:
    """Grey of 12, 16 or 32 bits keeps its eight high bits."""
    highest = max(int(_integers(image.crop((0, top, image.width, bottom))).max()) for top, bottom in _bands(image))
    bits = _used_bits(image, bits, highest)
    clear = image.info.get("transparency")

    def convert(band: Image.Image) -> Pixels:
        samples = _integers(band)
        grey = _black_is_zero(image, (samples >> (bits - 8)).astype(np.uint8))
        if clear is not None:
            grey[samples == clear] = 255
        return np.repeat(grey[..., None], 3, axis=2)

    return convert


def _integers(band: Image.Image) -> NDArray[np.unsignedinteger]:
    """Return samples (h, w). Pillow gives those of 32 bits as signed."""
    samples = np.asarray(band)
    return samples.view(np.uint32) if samples.dtype == np.int32 else samples


def _used_bits(image: Image.Image, bits: int, highest: int) -> int:
    """Return the bits that samples use of `bits`, when `highest` is the largest one."""
    if isinstance(image, TiffImageFile):
        for tag in (_S_MAX_VALUE, _MAX_VALUE):
            stated = int(max(_all(image, tag, 0)))
            if stated >= max(highest, 255) and not stated & (stated + 1):  # 2^n - 1; others are statistics
                return stated.bit_length()
    _check_range(bits, highest)
    return bits


def _check_range(bits: int, highest: int) -> None:
    """Raise FormatError if samples of 16 or 32 bits use a quarter of the range at most: theirs is probably another."""
    if bits >= 16 and 0 < highest < 2 ** (bits - 2):
        raise _refused(f"its {bits}-bit samples use a quarter of their range at most, as if they had fewer bits")


def _float_conversion(image: Image.Image) -> Callable[[Image.Image], Pixels]:
    """Floating-point grey is from 0 to 1, or holds the whole numbers of an 8-bit image."""
    low, high, is_whole = np.inf, -np.inf, True
    for top, bottom in _bands(image):
        samples = np.asarray(image.crop((0, top, image.width, bottom)))
        low, high = np.minimum(low, samples.min()), np.maximum(high, samples.max())  # NaN stays
        is_whole = is_whole and bool((samples == np.rint(samples)).all())
    if low >= 0 and high <= 1:
        scale = 255
    elif low >= 0 and high <= 255 and is_whole:
        scale = 1
    else:
        raise _refused("its floating-point samples are neither from 0 to 1 nor whole numbers from 0 to 255")

    def convert(band: Image.Image) -> Pixels:
        grey = _black_is_zero(image, np.rint(np.asarray(band) * np.float32(scale)).astype(np.uint8))
        return np.repeat(grey[..., None], 3, axis=2)

    return convert


def _black_is_zero(image: Image.Image, grey: Pixels) -> Pixels:
    """Return grey (h, w) with black as 0; Pillow leaves this to us for more than 8 bits."""
    white_is_zero = isinstance(image, TiffImageFile) and _all(image, _PHOTOMETRIC, 0)[0] == _WHITE_IS_ZERO
    return 255 - grey if white_is_zero else grey
