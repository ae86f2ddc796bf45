"""Draws scenes: data that needs no download, and a detection problem that is not trivial.

A scene holds objects of eight classes, which differ only in shape: colour, texture, size, rotation and light are drawn
from the same distributions for every class. Objects hide each other, leave the image, cast shadows and lie among
clutter on a textured ground.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from detector.runtime.geometry.boxes import Boxes
from detector.runtime.images import Pixels

GENERATED_CLASSES = ("arrow", "cross", "disc", "gear", "house", "ring", "star", "triangle")

# Shapes are drawn this many times larger and then averaged, which makes smooth edges.
_FINE = 3
# An object of which less than this part is visible is ignored.
_LEAST_VISIBLE = 0.25
_EMPTY_SCENES = 0.04

Canvas = NDArray[np.float32]  # (H, W, 3), 0..255
Plane = NDArray[np.float32]  # (H, W)
Points = NDArray[np.float64]  # (P, 2) x, y; a unit shape lies within the circle of radius 1, y downwards


class Scene(NamedTuple):
    """One scene. pixels: uint8 (H, W, 3); boxes: float32 (N, 4) xyxy, tight around the visible pixels; labels: int64
    (N,), indices into GENERATED_CLASSES; ignore: bool (N,), less than a quarter of the object is visible."""

    pixels: Pixels
    boxes: Boxes
    labels: NDArray[np.int64]
    ignore: NDArray[np.bool_]


@dataclass(frozen=True)
class _Shape:
    """An outline, the holes that are cut out of it, and details that are painted onto it in a darker shade."""

    outline: Points
    holes: tuple[Points, ...] = ()
    details: tuple[Points, ...] = ()


def _circle(radius: float, corners: int = 48) -> Points:
    angles = np.linspace(0, 2 * math.pi, corners, endpoint=False)
    return radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _spokes(radii: list[float]) -> Points:
    """Return a closed outline through points at equal angles, the first of them at the top."""
    angles = np.linspace(0, 2 * math.pi, len(radii), endpoint=False) - math.pi / 2
    return np.array(radii)[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _rectangle(left: float, top: float, right: float, bottom: float) -> Points:
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)])


def _arrow(rng: np.random.Generator) -> _Shape:
    shaft, neck = rng.uniform(0.16, 0.26), rng.uniform(-0.05, 0.25)
    half = [(-0.95, -shaft), (neck, -shaft), (neck, -0.62), (0.98, 0.0)]
    return _Shape(np.array(half + [(x, -y) for x, y in half[-2::-1]]))


def _cross(rng: np.random.Generator) -> _Shape:
    arm, reach = rng.uniform(0.2, 0.34), 0.93
    quarter = [(arm, -reach), (arm, -arm), (reach, -arm)]
    points: list[tuple[float, float]] = []
    for _ in range(4):
        points += quarter
        quarter = [(-y, x) for x, y in quarter]
    return _Shape(np.array(points))


def _disc(rng: np.random.Generator) -> _Shape:
    return _Shape(_circle(0.95))


def _gear(rng: np.random.Generator) -> _Shape:
    teeth, root = int(rng.integers(7, 11)), rng.uniform(0.68, 0.76)
    return _Shape(_spokes([0.97, 0.97, root, root] * teeth), holes=(_circle(rng.uniform(0.22, 0.36)),))


def _house(rng: np.random.Generator) -> _Shape:
    eaves, wall = rng.uniform(-0.2, 0.0), rng.uniform(0.5, 0.62)
    roof = [(-0.82, eaves), (0.0, -0.95), (0.82, eaves)]
    walls = [(wall, eaves), (wall, 0.78), (-wall, 0.78), (-wall, eaves)]
    door = _rectangle(-0.36, 0.28, -0.06, 0.78)
    window = _rectangle(0.12, 0.2, 0.4, 0.48)
    return _Shape(np.array(roof + walls), details=(door, window))


def _ring(rng: np.random.Generator) -> _Shape:
    return _Shape(_circle(0.95), holes=(_circle(rng.uniform(0.45, 0.65)),))


def _star(rng: np.random.Generator) -> _Shape:
    return _Shape(_spokes([0.98, rng.uniform(0.38, 0.5)] * 5))


def _triangle(rng: np.random.Generator) -> _Shape:
    return _Shape(_spokes([0.97] * 3))


_SHAPES: tuple[Callable[[np.random.Generator], _Shape], ...] = (
    _arrow, _cross, _disc, _gear, _house, _ring, _star, _triangle,
)  # fmt: skip


def _colour(rng: np.random.Generator) -> NDArray[np.float32]:
    red_green_blue = colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(0.15, 0.9), rng.uniform(0.3, 1.0))
    return np.array(red_green_blue, np.float32) * 255


def _colour_unlike(rng: np.random.Generator, other: NDArray[np.float32], distance: float) -> NDArray[np.float32]:
    """Return a colour at least `distance` from `other` (Euclidean RGB), or the farthest of twelve."""
    choices = [_colour(rng) for _ in range(12)]
    far = [float(np.linalg.norm(choice - other)) for choice in choices]
    return next((c for c, d in zip(choices, far, strict=True) if d >= distance), choices[int(np.argmax(far))])


def _cloud(rng: np.random.Generator, height: int, width: int, grain: int) -> Plane:
    """Return smooth noise 0..1 (H, W): random values every `grain` pixels, interpolated."""
    small = rng.random((max(2, height // grain + 2), max(2, width // grain + 2)), np.float32)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def _pattern(rng: np.random.Generator, u: Plane, v: Plane) -> Plane:
    """Return a texture 0..1 over coordinates (H, W), which grow by 1 over the length of an object's radius."""
    kind = rng.integers(6)
    waves = rng.uniform(5, 13)
    if kind == 0:
        return np.zeros_like(u)
    if kind == 1:  # a slow change of colour
        return np.clip(0.5 + 0.5 * (u * rng.uniform(-1, 1) + v), 0, 1)
    if kind == 2:  # stripes, soft or hard
        return np.clip(0.5 + rng.uniform(0.5, 4) * np.sin(waves * u), 0, 1)
    if kind == 3:  # checks
        return (np.sin(waves * u) * np.sin(waves * v) > 0).astype(np.float32)
    if kind == 4:  # dots
        return (np.cos(waves * u) + np.cos(waves * v) > 1.1).astype(np.float32)
    height, width = u.shape
    return np.clip(_cloud(rng, height, width, 7) * 1.6 - 0.3, 0, 1)


def _ground(rng: np.random.Generator, height: int, width: int) -> Canvas:
    """Return a background: two colours mixed by noise of several grains, sometimes laid in planks or tiles."""
    first = _colour(rng)
    second = first + rng.normal(0, 30, 3).astype(np.float32)
    mix = sum(
        weight * _cloud(rng, height, width, grain) for grain, weight in ((60, 0.45), (20, 0.25), (7, 0.18), (3, 0.12))
    )
    mix = np.clip((mix - 0.5) * rng.uniform(1, 3) + 0.5, 0, 1).astype(np.float32)
    canvas = first + (second - first) * mix[..., None]
    if rng.random() < 0.45:
        angle, period = rng.uniform(0, math.pi), rng.uniform(14, 45)
        y, x = np.mgrid[:height, :width].astype(np.float32)
        u = (x * math.cos(angle) + y * math.sin(angle)) / period
        v = (y * math.cos(angle) - x * math.sin(angle)) / period
        seams = np.abs(u - np.round(u)) < 0.05
        if rng.random() < 0.4:
            seams |= np.abs(v - np.round(v)) < 0.05
        shades = rng.normal(0, 9, 256)[np.floor(u).astype(np.int64) % 256]
        canvas += (shades - 38.0 * seams)[..., None].astype(np.float32)
    return np.clip(canvas, 0, 255).astype(np.float32)


def _clutter(rng: np.random.Generator, canvas: Canvas, strokes: int) -> NDArray[np.bool_]:
    """Paint bars, bent wires and shards, which belong to no class. Returns the painted pixels, bool (H, W)."""
    height, width = canvas.shape[:2]
    mask = Image.new("L", (width, height))
    draw = ImageDraw.Draw(mask)
    layer = np.zeros_like(canvas)
    covered = np.zeros((height, width), np.bool_)
    for _ in range(strokes):
        mask.paste(0, (0, 0, width, height))
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        length, angle = rng.uniform(15, 70), rng.uniform(0, 2 * math.pi)
        if rng.random() < 0.7:
            path = [(x, y)]
            for _ in range(int(rng.integers(1, 5))):
                angle += rng.normal(0, 0.6)
                x, y = x + length / 2 * math.cos(angle), y + length / 2 * math.sin(angle)
                path.append((x, y))
            draw.line(path, fill=255, width=int(rng.integers(2, 6)), joint="curve")
        else:
            radii = rng.uniform(0.2, 1.0, 7) * length / 3
            spokes = np.linspace(0, 2 * math.pi, 7, endpoint=False)
            draw.polygon([(x + r * math.cos(a), y + r * math.sin(a)) for r, a in zip(radii, spokes, strict=True)], 255)
        where = np.asarray(mask) > 0
        layer[where] = _colour(rng)
        covered |= where
    alpha = np.asarray(
        Image.fromarray((covered * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(0.6)), np.float32
    ) / np.float32(255)
    alpha = np.where(covered, np.maximum(alpha, 0.6), 0.0).astype(np.float32)[..., None]
    canvas += (layer - canvas) * alpha
    return covered


def _rasterise(shapes: tuple[Points, ...], holes: tuple[Points, ...], size: int) -> Image.Image:
    """Draw polygons, given in pixels of the patch. Returns their coverage as an image of mode L (size, size)."""
    image = Image.new("L", (size * _FINE, size * _FINE))
    draw = ImageDraw.Draw(image)
    for points, fill in [(points, 255) for points in shapes] + [(points, 0) for points in holes]:
        draw.polygon([(float(x) * _FINE, float(y) * _FINE) for x, y in points], fill)
    return image.reduce(_FINE)


@dataclass(frozen=True)
class _Object:
    """One object as it is painted: its patch's top left corner, coverage and shadow 0..1 (S, S), colours (S, S, 3)."""

    left: int
    top: int
    label: int
    coverage: Plane
    colours: Canvas
    shadow: Plane


def _object(rng: np.random.Generator, x: float, y: float, radius: float, ground: NDArray[np.float32]) -> _Object:
    label = int(rng.integers(len(GENERATED_CLASSES)))
    shape = _SHAPES[label](rng)
    upright = GENERATED_CLASSES[label] == "house"
    angle = rng.normal(0, 0.25) if upright else rng.uniform(0, 2 * math.pi)
    # Seen at an angle, the object is narrower along one axis, as a coin on a table is.
    squeeze = np.diag([1.0, rng.uniform(0.72, 1.0)])
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    matrix = radius * turn @ squeeze
    left, top = math.floor(x - radius) - 2, math.floor(y - radius) - 2
    size = math.ceil(2 * radius) + 5
    centre = np.array([x - left, y - top])

    def place(points: Points) -> Points:
        placed: Points = points @ matrix.T + centre
        return placed

    holes = tuple(place(points) for points in shape.holes)
    silhouette = _rasterise((place(shape.outline),), holes, size)
    coverage = np.asarray(silhouette, np.float32) / np.float32(255)
    rows, columns = np.mgrid[:size, :size].astype(np.float32)
    offset = np.stack([columns - centre[0], rows - centre[1]], axis=-1) @ np.linalg.inv(matrix).T
    u, v = offset[..., 0].astype(np.float32), offset[..., 1].astype(np.float32)

    main = _colour_unlike(rng, ground, 90)
    second = main + (_colour_unlike(rng, main, 60) - main) * np.float32(rng.uniform(0.3, 1.0))
    colours = main + (second - main) * _pattern(rng, u, v)[..., None]
    if shape.details:
        detail = np.asarray(_rasterise(tuple(place(points) for points in shape.details), (), size), np.float32) / 255
        colours = colours * (1 - 0.6 * detail[..., None])
    light = rng.uniform(0, 2 * math.pi)
    slope = ((columns - centre[0]) * math.cos(light) + (rows - centre[1]) * math.sin(light)) / radius
    colours = colours * (1 + rng.uniform(0.05, 0.3) * slope)[..., None]
    if rng.random() < 0.6:  # a darker rim
        inner = np.asarray(silhouette.filter(ImageFilter.MinFilter(3)), np.float32) / 255
        colours = colours * (1 - 0.55 * np.clip(coverage - inner, 0, 1))[..., None]
    blur = ImageFilter.GaussianBlur(max(1.0, radius / 14))
    shadow = np.asarray(silhouette.filter(blur), np.float32) / np.float32(255)
    return _Object(left, top, label, coverage, colours.astype(np.float32), shadow)


def _window(left: int, top: int, size: int, height: int, width: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return the part of the canvas that a patch covers, and the same part of the patch."""
    x1, x2 = max(0, left), max(0, min(width, left + size))
    y1, y2 = max(0, top), max(0, min(height, top + size))
    x2, y2 = max(x1, x2), max(y1, y2)
    return (slice(y1, y2), slice(x1, x2)), (slice(y1 - top, y2 - top), slice(x1 - left, x2 - left))


def _places(rng: np.random.Generator, count: int, height: int, width: int) -> list[tuple[float, float, float]]:
    """Return centres and radii (x, y, radius): most are apart, some overlap, and some lie half outside."""
    places: list[tuple[float, float, float]] = []
    for _ in range(count):
        radius = float(np.exp(rng.uniform(math.log(13), math.log(62))))
        crowding = rng.uniform(0.35, 1.1)
        for _ in range(12):
            x, y = rng.uniform(-0.03, 1.03) * width, rng.uniform(-0.03, 1.03) * height
            if all(math.hypot(x - a, y - b) > crowding * (radius + r) for a, b, r in places):
                places.append((x, y, radius))
                break
    return places


def _finish(rng: np.random.Generator, canvas: Canvas) -> Pixels:
    """Return the canvas with light from one side, a little blur and sensor noise."""
    height, width = canvas.shape[:2]
    angle, strength = rng.uniform(0, 2 * math.pi), rng.uniform(0.05, 0.45)
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    light = 1 + strength * (x * math.cos(angle) + y * math.sin(angle)) - rng.uniform(0, 0.15) * (x * x + y * y)
    lit = np.clip(canvas * (light * rng.uniform(0.75, 1.1))[..., None], 0, 255).astype(np.uint8)
    if rng.random() < 0.5:
        lit = np.asarray(Image.fromarray(lit).filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.0))))
    noise = rng.standard_normal(canvas.shape, np.float32) * np.float32(rng.uniform(1, 9))
    return np.clip(np.rint(lit + noise), 0, 255).astype(np.uint8)


def draw_scene(seed: int, index: int) -> Scene:
    """Return a scene of 240 to 340 pixels a side with up to seven objects; one scene in 25 has none.

    The same (seed, index) gives the same scene, whatever was drawn before.
    """
    rng = np.random.default_rng([seed, index])
    height, width = (int(side) for side in rng.integers(240, 341, 2))
    canvas = _ground(rng, height, width)
    ground = canvas.mean(axis=(0, 1))
    _clutter(rng, canvas, int(rng.integers(2, 9)))

    count = 0 if rng.random() < _EMPTY_SCENES else int(rng.integers(1, 8))
    owner = np.full((height, width), -1, np.int64)  # which object each pixel shows
    objects: list[_Object] = []
    sun = rng.uniform(-5, 5, 2)
    for x, y, radius in _places(rng, count, height, width):
        thing = _object(rng, x, y, radius, ground)
        size = len(thing.coverage)
        on_canvas, on_patch = _window(thing.left + round(sun[0]), thing.top + round(sun[1]), size, height, width)
        canvas[on_canvas] *= 1 - np.float32(0.45) * thing.shadow[on_patch][..., None]
        on_canvas, on_patch = _window(thing.left, thing.top, size, height, width)
        alpha = thing.coverage[on_patch][..., None]
        canvas[on_canvas] += (thing.colours[on_patch] - canvas[on_canvas]) * alpha
        owner[on_canvas][thing.coverage[on_patch] >= 0.5] = len(objects)
        objects.append(thing)
    owner[_clutter(rng, canvas, int(rng.integers(0, 3)))] = -1

    boxes: list[tuple[int, int, int, int]] = []
    labels: list[int] = []
    ignore: list[bool] = []
    for number, thing in enumerate(objects):
        rows, columns = np.nonzero(owner == number)
        if not len(rows):
            continue
        boxes.append((columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))
        labels.append(thing.label)
        ignore.append(bool(len(rows) < _LEAST_VISIBLE * np.count_nonzero(thing.coverage >= 0.5)))
    return Scene(
        _finish(rng, canvas),
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(labels, np.int64),
        np.array(ignore, np.bool_),
    )
