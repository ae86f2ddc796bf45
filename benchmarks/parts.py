"""Heads, hands and feet in photographs: a dataset whose classes neither VOC's nor COCO's detectors have learnt.

    python -m benchmarks.parts TRAIN.tar TRAIN.tar --test TEST.tar
    OMP_NUM_THREADS=1 python -m benchmarks.fine_tuning --own build/parts

Some hundred photographs of VOC 2007 have the parts of their people annotated, for the contest on person layout
(Everingham et al. 2010, section 2.3). The archives are those of the settings in settings/. The dataset is written as
`detector fetch` writes one: images/, train.json, val.json and test.json.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from xml.etree.ElementTree import Element, fromstring

import click
import numpy as np

from detector.data.annotations import CocoDataset, ImageInfo, save_coco

PARTS = ("head", "hand", "foot")


def with_parts(archive: Path, images: Path) -> Iterator[ImageInfo]:
    """Yield the photographs of an archive that have parts, and write them into `images`; identifiers are all 0."""
    with tarfile.open(archive) as members:
        inside = {PurePosixPath(name) for name in members.getnames()}
        for name in sorted(path for path in inside if path.suffix == ".xml"):
            root = fromstring(_read(members, name))
            found = [part for part in root.iter("part") if part.findtext("name") in PARTS]
            if not found:
                continue
            photograph = name.parents[1] / "JPEGImages" / f"{name.stem}.jpg"
            (images / photograph.name).write_bytes(_read(members, photograph))
            width, height = (int(root.findtext(f"size/{side}") or 0) for side in ("width", "height"))
            # VOC counts pixels from 1, and its boxes include their last one.
            corners = np.array([_corners(part) for part in found], np.float32) - (1, 1, 0, 0)
            boxes = np.clip(corners, 0, (width, height, width, height)).astype(np.float32)
            labels = np.array([PARTS.index(part.findtext("name") or "") for part in found])
            nothing = np.zeros(len(found), bool)
            yield ImageInfo(0, photograph.name, width, height, boxes, labels, nothing, nothing)


def _read(members: tarfile.TarFile, name: PurePosixPath) -> bytes:
    file = members.extractfile(str(name))
    assert file is not None, name
    return file.read()


def _corners(part: Element) -> list[float]:
    return [float(part.findtext(f"bndbox/{corner}") or "nan") for corner in ("xmin", "ymin", "xmax", "ymax")]


@click.command()
@click.argument("archives", type=click.Path(path_type=Path, exists=True, dir_okay=False), nargs=-1, required=True)
@click.option("--test", type=click.Path(path_type=Path, exists=True, dir_okay=False), required=True)
@click.option("--val-images", default=50, show_default=True, help="Of the other archives, drawn at random.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("build/parts"), show_default=True)
def main(archives: tuple[Path, ...], test: Path, val_images: int, out: Path) -> None:
    """Write the dataset, and print how many images and objects each split has."""
    (out / "images").mkdir(parents=True, exist_ok=True)
    found = [image for archive in archives for image in with_parts(archive, out / "images")]
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
