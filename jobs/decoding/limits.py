"""What a child may take for one image, in bytes and seconds: many times what a healthy decoder needs.

An image that needs more is `unreadable`, so these numbers decide records and are the same on every machine. `encoded`
is the image's size in bytes. `pixels` is its size by its header, and 0 while the header is read.
"""

from __future__ import annotations

# Measured at 12 megapixels: 5 bytes for each pixel (GIF) to 12 (AVIF), and 16 in WebP.
BYTES_A_PIXEL = 32
# The encoded image, a copy without what is no pixel, and what a parser keeps of metadata.
BYTES_AN_ENCODED_BYTE = 4
# Tables of decoders, bands of pixels in conversion, and memory that the allocator has not returned.
FIXED_BYTES = 256 * 2**20

# The slowest formats, HEIC and AVIF, take .07 seconds for a megapixel on a present core.
CPU_SECONDS_A_MEGAPIXEL = 1.0
# Headers take milliseconds. A small image that is looked at forever costs this much CPU time, twice.
FIXED_CPU_SECONDS = 10.0

# A decoder that waits for something uses no CPU time, so that only a clock ends it. On a busy machine a child may get
# a small share of a core: a healthy image must reach the limit of CPU time long before this one.
WALL_SECONDS_A_CPU_SECOND = 20.0


def memory_bytes(encoded: int, pixels: int = 0) -> int:
    """Return the bytes that a child may allocate beyond what it has before the image."""
    return FIXED_BYTES + BYTES_AN_ENCODED_BYTE * encoded + BYTES_A_PIXEL * pixels


def cpu_seconds(pixels: int = 0) -> float:
    """Return the CPU time of all the child's threads."""
    return FIXED_CPU_SECONDS + CPU_SECONDS_A_MEGAPIXEL * pixels / 1e6


def wall_seconds(pixels: int = 0) -> float:
    """Return how long the job waits for an answer."""
    return WALL_SECONDS_A_CPU_SECOND * cpu_seconds(pixels)
