from pathlib import Path

import pytest

from detector.common.errors import AnnotationError
from detector.data.frames import FrameRules
from tests.support.sources import notes, objects, stated, write_image


def export(root: Path, shapes: str = "", subset: str = "") -> Path:
    """An export with images: a.jpg with shapes, and sub/b.jpg with none."""
    for name in ("a.jpg", "sub/b.jpg"):
        write_image(root / "images" / name)
    mark = f' subset="{subset}"' if subset else ""
    (root / "annotations.xml").write_text(
        '<annotations><version>1.1</version><meta><task><mode>annotation</mode></task></meta>'
        f'<image id="0" name="a.jpg" width="60" height="40"{mark}>{shapes}</image>'
        '<image id="1" name="sub/b.jpg" width="60" height="40"></image></annotations>'
    )  # fmt: skip
    return root


def box(more: str = "", inside: str = "", label: str = "cat") -> str:
    return f'<box label="{label}" xtl="10" ytl="10" xbr="30" ybr="20" {more}>{inside}</box>'


def test_boxes_and_other_shapes_are_read(tmp_path: Path) -> None:
    shapes = (
        box('occluded="1" z_order="3" source="manual"', '<attribute name="colour">red</attribute>'),
        box('outside="1"'),
        box(inside='<attribute name="difficult">true</attribute>', label="dog"),
        box('rotation="90.0"'),
        '<polygon label="cat" points="1,2;11.5,2;6,9"/>',
        '<mask label="cat" rle="3, 4" left="5" top="6" width="7" height="8"/>',
        '<ellipse label="dog" cx="20" cy="20" rx="5" ry="3"/>',
        '<polyline label="cat" points="1,2;3,4"/><points label="cat" points="1,2"/><tag label="cat"/>',
    )
    export(tmp_path, "".join(shapes))
    for data in (tmp_path, tmp_path / "annotations.xml"):
        (train,) = stated(format="cvat", data=str(data)).values()
        assert objects(train.fit(FrameRules()).dataset) == {
            "a.jpg": [
                ("cat", [10, 10, 30, 20], False),
                ("dog", [10, 10, 30, 20], True),
                ("cat", [15, 5, 25, 25], True),  # turned around its centre
                ("cat", [1, 2, 11.5, 9], False),
                ("cat", [5, 6, 12, 14], False),
                ("dog", [15, 17, 25, 23], False),
            ],
            "sub/b.jpg": [],
        }
        assert sorted(text.split(" (")[0].split(",")[0] for text in notes(train)) == [
            "1 rotated rectangle(s) are taken as their bounding box and ignored: the detector need not find them",
            "2 point(s)",
            "3 polygon(s)",
        ]


def test_subsets_are_splits_by_name(tmp_path: Path) -> None:
    export(tmp_path, box(), subset="Train")
    splits = stated(format="cvat", data=str(tmp_path), splits={"train": "Train", "test": "default"})
    assert list(objects(splits["train"].dataset)) == ["Train/a.jpg"]
    assert list(objects(splits["test"].dataset)) == ["sub/b.jpg"]
    assert len(stated(format="cvat", data=str(tmp_path))["train"].dataset.images) == 2
    with pytest.raises(AnnotationError, match="has no subset 'Test'; it has Train, default"):
        stated(format="cvat", data=str(tmp_path), splits={"test": "Test"})


def test_images_may_lie_elsewhere(tmp_path: Path) -> None:
    export(tmp_path, box())
    (tmp_path / "images").rename(tmp_path / "photos")
    with pytest.raises(AnnotationError, match=r"image 'a\.jpg' is not in .*name their folder \(images\)"):
        stated(format="cvat", data=str(tmp_path))
    assert stated(format="cvat", data=str(tmp_path), images=str(tmp_path / "photos"))["train"].files["a.jpg"].is_file()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "<annotations><track id='0' label='cat'/></annotations>",
            'tracks of a video: export the task as "CVAT for im',
        ),
        ("<annotation/>", "the top element is <annotation>"),
        ("<annotations>", "is not XML"),
        ("<!DOCTYPE a [<!ENTITY b 'c'>]><annotations>&b;</annotations>", "declares entities"),
        ("<annotations/>", "lists no images"),
        ('<annotations><image name="../a.jpg"/></annotations>', "must be a path below the folder"),
        (
            '<annotations><image name="a.jpg"><box xtl="1"/></image></annotations>',
            "<box>: ytl must be a number, not None",
        ),
        ('<annotations><image name="a.jpg"><polygon label="a" points="1,2,3"/></image></annotations>', "x,y;x,y;"),
        ('<annotations><image name="a.jpg" width="w"/></annotations>', "width must be a number, not 'w'"),
    ],
)
def test_bad_exports_are_refused_with_the_reason(tmp_path: Path, text: str, reason: str) -> None:
    export(tmp_path)
    (tmp_path / "annotations.xml").write_text(text)
    with pytest.raises(AnnotationError, match=reason):
        stated(format="cvat", data=str(tmp_path))


def test_a_size_that_is_not_the_files_is_refused_as_in_every_format(tmp_path: Path) -> None:
    export(tmp_path, box())
    text = (tmp_path / "annotations.xml").read_text().replace('width="60" height="40"', 'width="120" height="80"')
    (tmp_path / "annotations.xml").write_text(text)
    with pytest.raises(AnnotationError, match=r"a\.jpg: the annotation in .* states 120x80 pixels"):
        stated(format="cvat", data=str(tmp_path))["train"].fit(FrameRules())
