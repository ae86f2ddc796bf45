import json
from pathlib import Path

from click.testing import CliRunner
from PIL import Image

from detector.cli import main
from tests.support.artifacts import make_artifact


def test_a_result_never_replaces_an_image_that_is_read(tmp_path: Path) -> None:
    artifact = make_artifact(tmp_path / "artifact", proposals=False)
    photo, drawn = tmp_path / "photo.png", tmp_path / "photo.png.boxes.png"
    for path in (photo, drawn):
        Image.new("RGB", (60, 40), "red").save(path)
    mine = drawn.read_bytes()
    (tmp_path / "link").symlink_to(tmp_path)
    options = ["--model", str(artifact), "--out"]
    for out in (tmp_path, tmp_path / "link"):
        done = CliRunner().invoke(main, ["predict", str(photo), str(drawn), *options, str(out)])
        assert done.exit_code == 2 and "photo.png.boxes.png is one of IMAGES" in done.output
        assert drawn.read_bytes() == mine
    done = CliRunner().invoke(main, ["predict", str(photo), str(drawn), *options, str(tmp_path / "new")])
    assert done.exit_code == 0, done.output
    assert len(list((tmp_path / "new").iterdir())) == 4


def test_tiles_are_looked_at_too(tmp_path: Path) -> None:
    artifact = make_artifact(tmp_path / "artifact", proposals=False)
    Image.new("RGB", (240, 160), "red").save(tmp_path / "photo.png")
    counts = []
    for name, options in (("none", []), ("tiles", ["--tile", "96"])):
        out = tmp_path / name
        arguments = ["predict", str(tmp_path / "photo.png"), "--model", str(artifact), "--out", str(out), *options]
        done = CliRunner().invoke(main, arguments)
        assert done.exit_code == 0, done.output
        counts.append(len(json.loads((out / "photo.png.json").read_text())["boxes"]))
    assert 0 < counts[0] < counts[1]
    done = CliRunner().invoke(main, [*arguments[:-2], "--overlap", "0.1"])
    assert done.exit_code == 2 and "give --tile too" in done.output
