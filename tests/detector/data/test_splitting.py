"""Every image of a source without splits gets a side and keeps it; near-duplicates are never on two sides."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from detector.common.errors import AnnotationError
from detector.data.annotations import CocoDataset
from detector.data.checks import Split
from detector.data.settings import FieldGroup, SplitSettings
from detector.data.sides import LEFT_OUT, Side, Sides, load_sides, save_sides
from detector.data.splitting import divide
from detector.runtime.hashes import NEAR, difference_hash, distances
from tests.support.datasets import image_info

HALF = SplitSettings(val=0.25, test=0.25)


def photo(seed: int) -> Image.Image:
    """A blurred pattern, as unlike that of another seed as two photographs are."""
    random = np.random.default_rng(seed).integers(0, 256, (8, 9, 3), np.uint8)
    return Image.fromarray(random).resize((90, 60), Image.Resampling.BICUBIC)


def pool(folder: Path, images: dict[str, Image.Image]) -> Split:
    """A source's images, all of them of the split train."""
    for name, image in images.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        image.save(folder / name)
    infos = tuple(image_info(i, file_name=name, size=(90, 60)) for i, name in enumerate(sorted(images), start=1))
    return Split(CocoDataset(("a",), infos), {info.file_name: folder / info.file_name for info in infos})


def photos(*seeds: int, folder: str = "") -> dict[str, Image.Image]:
    return {f"{folder}{seed}.png": photo(seed) for seed in seeds}


def sides_of(splits: dict[str, Split]) -> dict[str, str]:
    return {name: split for split, part in splits.items() for name in part.files}


def test_copies_of_a_photograph_are_near_and_others_are_not() -> None:
    image = photo(1)
    copies = [image.resize((45, 30)), ImageEnhance.Brightness(image).enhance(1.2), image.crop((2, 0, 90, 60))]
    own = difference_hash(np.asarray(image))
    assert all(distances(own, np.array([difference_hash(np.asarray(i)) for i in copies], np.uint64)) <= NEAR)
    others = np.array([difference_hash(np.asarray(photo(seed))) for seed in range(2, 40)], np.uint64)
    assert (distances(own, others) > NEAR).all() and len(distances(own, others[:0])) == 0
    assert distances(2**64 - 1, np.array([0, 2**64 - 2], np.uint64)).tolist() == [64, 1]


def test_sides_follow_the_shares_and_stay_when_data_is_added(tmp_path: Path) -> None:
    sides: Sides = {}
    splits, _ = divide("s", pool(tmp_path, photos(*range(120))), (), HALF, 1, sides)
    first = sides_of(splits)
    counts = Counter(first.values())
    assert len(first) == 120 and all(18 <= counts[name] <= 42 for name in ("val", "test"))
    again, _ = divide("s", pool(tmp_path, photos(*range(150))), (), HALF, 2, sides)  # another seed changes no old side
    assert sides_of(again).items() >= first.items() and len(sides_of(again)) == 150
    alone, _ = divide("s", pool(tmp_path, photos(*range(120))), (), HALF, 1, {})
    assert sides_of(alone) == first
    other, _ = divide("s", pool(tmp_path, photos(*range(120))), (), HALF, 2, {})
    assert sides_of(other) != first


def test_near_duplicates_share_a_side_and_folders_do_if_asked(tmp_path: Path) -> None:
    images = photos(*range(30)) | {f"{seed}-copy.png": photo(seed).resize((45, 30)) for seed in range(30)}
    splits, notices = divide("s", pool(tmp_path, images), (), HALF, 1, {})
    found = sides_of(splits)
    assert all(found[f"{seed}.png"] == found[f"{seed}-copy.png"] for seed in range(30))
    assert notices == ["60 new image(s) resemble others of their source, and are in one split with them"]

    images = {}
    for folder in range(12):
        images |= photos(*range(10 * folder, 10 * folder + 3), folder=f"{folder}/")
    by_folder = HALF.model_copy(update={"by": "folder"})
    sides: Sides = {}
    found = sides_of(divide("s", pool(tmp_path, images), (), by_folder, 1, sides)[0])
    assert len({(Path(name).parent, side) for name, side in found.items()}) == 12
    more = pool(tmp_path, images | photos(8, folder="0/"))
    assert sides_of(divide("s", more, (), by_folder, 1, sides)[0])["0/8.png"] == found["0/0.png"]


def test_images_with_one_value_of_a_field_stay_together_also_when_some_are_added(tmp_path: Path) -> None:
    by_field = HALF.model_copy(update={"by": FieldGroup(field="camera")})

    def grouped(count: int) -> Split:
        whole = pool(tmp_path, photos(*range(count)))
        images = tuple(replace(image, group=f"{int(image.file_name[:-4]) % 12}") for image in whole.dataset.images)
        return replace(whole, dataset=replace(whole.dataset, images=images))

    sides: Sides = {}
    first = sides_of(divide("s", grouped(36), (), by_field, 1, sides)[0])
    assert len({(int(name[:-4]) % 12, side) for name, side in first.items()}) == 12 and len(set(first.values())) == 3
    later = sides_of(divide("s", grouped(60), (), by_field, 2, sides)[0])
    assert len({(int(name[:-4]) % 12, side) for name, side in later.items()}) == 12
    assert len(later) == 60 and later.items() >= first.items()


def test_only_images_that_people_have_checked_leave_train(tmp_path: Path) -> None:
    whole = pool(tmp_path, photos(*range(60)) | {"5-copy.png": photo(5)})
    checked = {f"{seed}.png" for seed in range(12)}
    sides: Sides = {}
    for seed in range(1, 6):
        found = sides_of(divide("s", replace(whole, checked=checked), (), HALF, seed, sides := {})[0])
        held = {name for name, side in found.items() if side != "train"}
        assert held and held <= checked and len(set(found.values())) == 3
        # A copy of an image of val or test is in no split, and its line says where it would be.
        assert ("5-copy.png" in found) == (found["5.png"] == "train")
        assert sides["s", "5-copy.png"].split == found["5.png"]
    with pytest.raises(AnnotationError, match="none of its 61 images is in val"):
        divide("s", replace(whole, checked=frozenset()), (), HALF, 1, {})


def test_a_new_image_joins_its_old_duplicate_and_one_between_two_sides_is_left_out(tmp_path: Path) -> None:
    old = {name: image for seed in range(40) for name, image in photos(seed).items()}
    sides: Sides = {}
    before = sides_of(divide("s", pool(tmp_path, old), (), HALF, 1, sides)[0])
    tested = next(name for name, side in before.items() if side == "test")
    new = {"copy.png": old[tested].resize((45, 30))}
    after = sides_of(divide("s", pool(tmp_path, old | new), (), HALF, 1, sides)[0])
    assert after["copy.png"] == "test"

    # An old image of train, whose hash is within reach of the same photograph.
    trained = next(name for name, side in before.items() if side == "train")
    sides["s", trained] = Side("train", sides["s", tested].dhash ^ 0b11)
    both = {"both.png": old[tested].resize((60, 40))}
    splits, notices = divide("s", pool(tmp_path, old | new | both), (), HALF, 1, sides)
    assert sides["s", "both.png"].split == LEFT_OUT and "both.png" not in sides_of(splits)
    assert notices[0].startswith("1 image(s) resemble images of two splits and are in none of them")
    assert sides_of(divide("s", pool(tmp_path, old | new | both), (), HALF, 1, sides)[0]) == sides_of(splits)


def test_only_splits_that_the_source_lacks_are_taken_and_none_may_stay_empty(tmp_path: Path) -> None:
    splits, _ = divide("s", pool(tmp_path, photos(*range(40))), ("train", "val"), HALF, 1, {})
    assert list(splits) == ["train", "test"]
    whole, _ = divide("s", pool(tmp_path, photos(1, 2)), (), SplitSettings(val=0, test=0), 1, {})
    assert list(whole) == ["train"] and len(whole["train"].files) == 2
    message = r"s: none of its 2 images is in test: the largest group .* has 2 of them; set `near_duplicates: false`"
    with pytest.raises(AnnotationError, match=message):
        divide("s", pool(tmp_path, {"a.png": photo(1), "b.png": photo(1)}), (), HALF, 1, {})


def test_a_few_images_fill_every_split_whatever_the_seed(tmp_path: Path) -> None:
    three = pool(tmp_path, photos(1, 2, 3))
    for seed in range(1, 30):
        sides: Sides = {}
        found = sides_of(divide("s", three, (), SplitSettings(), seed, sides)[0])
        assert sorted(found.values()) == ["test", "train", "val"]
        assert sides_of(divide("s", three, (), SplitSettings(), seed + 1, sides)[0]) == found


def test_the_images_of_one_camera_are_divided_and_so_are_those_added_later(tmp_path: Path) -> None:
    def camera(count: int) -> dict[str, Image.Image]:
        return {f"{n % 4}/{n:02}.png": ImageEnhance.Brightness(photo(1)).enhance(1 + n / 200) for n in range(count)}

    sides: Sides = {}
    pair = {"other.png": photo(2), "other-copy.png": photo(2)}
    splits, notices = divide("s", pool(tmp_path, camera(40) | pair), (), HALF, 1, sides)
    first = sides_of(splits)
    assert min(Counter(first.values()).values()) >= 4 and first["other.png"] == first["other-copy.png"]
    assert notices[1].startswith("40 images resemble each other, as those of one fixed camera do")
    assert "`by: folder`" in notices[1] and "`near_duplicates: false`" in notices[1]
    later = sides_of(divide("s", pool(tmp_path, camera(50) | pair), (), HALF, 1, sides)[0])
    assert len(later) == 52 and later.items() >= first.items()
    folders = HALF.model_copy(update={"by": "folder"})
    found = sides_of(divide("s", pool(tmp_path, camera(40)), (), folders, 1, {})[0])
    assert len({(Path(name).parent, side) for name, side in found.items()}) == 4 and len(set(found.values())) == 3


def test_the_search_for_near_duplicates_can_be_switched_off(tmp_path: Path) -> None:
    copies = pool(tmp_path, {f"{name}.png": photo(1) for name in "abc"})
    off = HALF.model_copy(update={"near_duplicates": False})
    sides: Sides = {}
    splits, notices = divide("s", copies, (), off, 1, sides)
    assert sorted(sides_of(splits).values()) == ["test", "train", "val"] and notices == []
    more = pool(tmp_path, {f"{name}.png": photo(1) for name in "abcd"})
    assert len(sides_of(divide("s", more, (), off, 1, sides)[0])) == 4


def test_the_file_keeps_any_name_and_refuses_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "splits.csv"
    assert load_sides(path) == {}
    sides = {("a, b", 'sub/"x",\ny.jpg'): Side("val", 7), ("a", "ö.jpg"): Side(LEFT_OUT, 2**64 - 1)}
    save_sides(sides, path)
    assert load_sides(path) == sides
    assert path.read_text().splitlines()[:2] == ["source,image,split,dhash", "a,ö.jpg,left_out,ffffffffffffffff"]
    for line, reason in (
        ("a,b.jpg,vall,00", "line 3: split must be one of train, val, test, left_out"),
        ("a,b.jpg,val,xyz", "line 3: dhash must be 16 hex digits, not 'xyz'"),
        ("<<<<<<< HEAD", "line 3: must have the columns source, image, split, dhash; is it a conflict"),
        ("a,a.jpg,val,00", "line 3: a.jpg stands there twice"),
    ):
        path.write_text(f"source,image,split,dhash\na,a.jpg,train,00\n{line}\n")
        with pytest.raises(AnnotationError, match=reason):
            load_sides(path)
