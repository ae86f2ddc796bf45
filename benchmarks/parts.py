"""Heads, hands and feet in photographs: a dataset whose classes neither VOC's nor COCO's detectors have learnt.

    python -m benchmarks.parts TRAIN.tar TRAIN-2.tar TRAIN-3.tar --test TEST.tar

317 photographs in the four archives of settings/shipped.yaml have the parts of their people annotated, for the contest
on person layout (Everingham et al. 2010, section 2.3). The dataset is written as `detector fetch` writes one: images/,
train.json, val.json and test.json. `benchmarks.starts` learns it.
"""

from __future__ import annotations

import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from xml.etree.ElementTree import Element, ParseError, fromstring

import click
import numpy as np

from detector.data.annotations import CocoDataset, ImageInfo, save_coco

PARTS = ("head", "hand", "foot")


def with_parts(archive: Path, images: Path) -> Iterator[ImageInfo]:
    """Yield the photographs of an archive of VOC that have parts, and write them into `images`; identifiers are 0.

    Raises click.UsageError if the file is no such archive, or if no photograph has parts.
    """
    try:
        with tarfile.open(archive) as members:
            found = list(_read(members, images))
    except (tarfile.TarError, KeyError, ParseError, ValueError) as error:
        raise click.UsageError(f"{archive}: is no archive of VOC: {str(error).splitlines()[0]}") from error
    if not found:
        raise click.UsageError(f"{archive}: no annotation in it has a <part> that is {', '.join(PARTS)}")
    yield from found


def _read(members: tarfile.TarFile, images: Path) -> Iterator[ImageInfo]:
    for name in sorted(members.getnames()):
        path = PurePosixPath(name)
        if path.suffix != ".xml" or path.parent.name != "Annotations":
            continue
        root = fromstring(_content(members, name))
        found = [part for part in root.iter("part") if part.findtext("name") in PARTS]
        if not found:
            continue
        photograph = f"{path.stem}.jpg"
        above = name.removesuffix(f"Annotations/{path.name}")
        (images / photograph).write_bytes(_content(members, f"{above}JPEGImages/{photograph}"))
        width, height = (int(root.findtext(f"size/{side}") or "") for side in ("width", "height"))
        # VOC counts pixels from 1, and its boxes include their last one.
        corners = np.array([_corners(part) for part in found]) - (1, 1, 0, 0)
        boxes = np.clip(corners, 0, (width, height, width, height)).astype(np.float32)
        labels = np.array([PARTS.index(part.findtext("name") or "") for part in found])
        nothing = np.zeros(len(found), bool)
        yield ImageInfo(0, photograph, width, height, boxes, labels, nothing, nothing)


def _content(members: tarfile.TarFile, name: str) -> bytes:
    file = members.extractfile(name)
    if file is None:
        raise KeyError(f"{name} is no file")
    return file.read()


def _corners(part: Element) -> list[float]:
    return [float(part.findtext(f"bndbox/{corner}") or "") for corner in ("xmin", "ymin", "xmax", "ymax")]


@click.command()
@click.argument("archives", type=click.Path(path_type=Path, exists=True, dir_okay=False), nargs=-1, required=True)
@click.option("--test", type=click.Path(path_type=Path, exists=True, dir_okay=False), required=True)
@click.option(
    "--val-images", type=click.IntRange(min=1), default=50, show_default=True, help="Drawn from the other archives."
)
@click.option("--out", type=click.Path(path_type=Path), default=Path("build/parts"), show_default=True)
def main(archives: tuple[Path, ...], test: Path, val_images: int, out: Path) -> None:
    """Write the dataset, and print how many images and objects each split has."""
    (out / "images").mkdir(parents=True, exist_ok=True)
    found = [image for archive in archives for image in with_parts(archive, out / "images")]
    if twice := [name for name, count in Counter(image.file_name for image in found).items() if count > 1]:
        raise click.UsageError(f"two of the archives have {twice[0]}: name each archive once")
    if len(found) <= val_images:
        raise click.UsageError(f"--val-images {val_images}: leaves none of {len(found)} photographs to train")
    mixed = [found[place] for place in np.random.default_rng(1).permutation(len(found))]
    splits = {"train": mixed[val_images:], "val": mixed[:val_images], "test": list(with_parts(test, out / "images"))}
    for name, images in splits.items():
        numbered = tuple(replace(image, id=number) for number, image in enumerate(images, start=1))
        save_coco(CocoDataset(PARTS, numbered), out / f"{name}.json")
        counts = np.bincount(np.concatenate([image.labels for image in images]), minlength=len(PARTS))
        objects = ", ".join(f"{count} of {part}" for part, count in zip(PARTS, counts, strict=True))
        click.echo(f"{name}: {len(images)} images, {objects}")


if __name__ == "__main__":
    main()
