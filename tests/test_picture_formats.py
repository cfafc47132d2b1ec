"""Pictures as they come: odd addresses, broken EXIF, capitals, deep greys, nothing behind, and foreign formats."""

from __future__ import annotations

import base64
import io
import sys
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote

import numpy as np
import pytest
from conftest import jsonl
from PIL import Image
from vision import encoded, picture

from dpe_mner import Post
from dpe_mner.data.addresses import address_kind, as_on_disk, content_of, path_of
from dpe_mner.data.check import check_dataset
from dpe_mner.data.dataset import complete
from dpe_mner.data.joining import VisualJoin, picture_by_id
from dpe_mner.pictures.formats import foreign_format, register_plugins
from dpe_mner.pictures.opening import PictureError, decode, open_picture, picture_name


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(int)


@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\x00\x00",
        b"Exif\x00\x00garbage that is no TIFF",
        b"Exif\x00\x00II*\x00\xff\xff\xff\xff",
        b"Exif\x00\x00II*\x00\x08\x00\x00\x00\xff\xff" + b"\x12\x01\x03\x00\xff\xff\xff\xff\xff\xff\xff\xff" * 3,
        b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x02\x00\x00\x00\x01x\x00\x00\x00",
        b"Exif\x00\x00II*\x00\x08\x00\x00\x00\x01\x00\x12\x01\x03\x00\x01\x00\x00\x00\x63\x00\x00\x00",  # turn 99
    ],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_good_picture_with_broken_exif_is_used(exif, kind):
    good = picture(size=(40, 20))
    opened = decode(encoded(good, kind, exif=exif)).image
    assert opened.size == good.size
    assert np.abs(pixels(opened) - pixels(good)).mean() < 12


@pytest.mark.parametrize("turn", range(1, 9))
def test_every_turn_of_exif_shows_the_picture_upright(turn):
    from PIL import ImageOps

    image = picture(size=(40, 20))
    exif = image.getexif()
    exif[0x0112] = turn
    data = encoded(image, "PNG", exif=exif)
    assert np.array_equal(pixels(decode(data).image), pixels(ImageOps.exif_transpose(Image.open(io.BytesIO(data)))))


def test_a_picture_in_memory_stays_as_it_is():
    image = picture(size=(400, 200))
    before = image.copy()
    assert open_picture(image, longest_side=50).image.size == (50, 25)
    assert image.size == (400, 200)
    assert np.array_equal(pixels(image), pixels(before))


def test_data_and_file_addresses_are_the_pictures_they_hold(tmp_path):
    data = encoded(picture())
    path = tmp_path / "a picture é.png"
    path.write_bytes(data)
    code = base64.b64encode(data).decode()
    addresses = [
        f"data:image/png;base64,{code}",
        f"DATA:;charset=x;BASE64,{code}",
        f"data:image/png;base64,{quote(code, safe='')}",
        f"data:image/png;base64,{code.rstrip('=')}",
        "data:image/png;base64," + "\n".join(code[k : k + 60] for k in range(0, len(code), 60)),
        f"data:image/png;base64,{base64.urlsafe_b64encode(data).decode()}",
        f"data:image/png,{quote(data)}",
        path.as_uri(),
        f"file:{quote(str(path))}",
        f"FILE://localhost{quote(str(path))}",
    ]
    keys = {open_picture(address).key for address in addresses}
    assert keys == {open_picture(path).key}
    for address in addresses:
        post = complete(Post(text="a", image=address), visual=VisualJoin(), folder=tmp_path / "other")
        assert post.image == address


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("data:image/png;base64", "without data"),
        ("data:image/png;base64,", "empty"),
        ("data:image/png;base64,@@@@", "base64 is damaged"),
        ("data:image/png;base64,aGVsbG8=", "not a picture"),
        ("file:///nowhere/a.png", "no such file"),
        ("file://elsewhere/a.png", "another machine"),
        ("HTTPS://example.org/a.jpg", "URL"),
    ],
)
def test_addresses_of_nothing_have_a_reason(address, reason):
    with pytest.raises(PictureError, match=reason):
        open_picture(address)


def test_a_path_is_no_address():
    for name in ("a.png", "/data:x/a.png", "file.png", "httpfolder/a.png", Path("http:/x"), b"data:,x", None):
        assert address_kind(name) is None
    assert [address_kind(a) for a in ("http://x", "Data:,x", "file:/x")] == ["web", "data", "file"]
    assert content_of("data:,a%20b") == b"a b"
    assert path_of("file:///a%20b") == Path("/a b")


@pytest.mark.parametrize(
    "source",
    [
        "data:image/png;base64," + "A" * 100_000,
        "data:" + "x" * 100_000,
        "x" * 100_000 + ".jpg",
        "/" + "folder/" * 10_000 + "a.jpg",
        "file:///" + "x" * 5000,
        "https://example.org/" + "x" * 5000,
        "a\nb" * 3000,
        Path("x" * 5000),
    ],
)
def test_a_warning_repeats_two_hundred_characters_at_most(source):
    with pytest.raises(PictureError) as caught:
        open_picture(source)
    line = f"{picture_name(source)}: {caught.value}"
    assert len(line) < 200
    assert "\n" not in line


def test_the_case_of_an_ending_does_not_matter(tmp_path):
    for name in ("one.JPG", "two.jpeg", "three.Png", "four.WEBP"):
        picture().save(tmp_path / name, "PNG")
    for name in ("one.jpg", "one.JPG", "two.JPEG", "three.png", "three.PNG", "four.webp"):
        assert open_picture(tmp_path / name).image.size == picture().size
        assert as_on_disk(tmp_path / name).exists()
    assert picture_by_id(tmp_path, "one") == str(tmp_path / "one.JPG")
    assert picture_by_id(tmp_path, "none") == str(tmp_path / "none.jpg")
    with pytest.raises(PictureError, match="no such file"):
        open_picture(tmp_path / "five.jpg")


def test_a_data_set_of_addresses_is_checked(tmp_path, write):
    data = encoded(picture())
    (tmp_path / "good.PNG").write_bytes(data)
    images = [
        f"data:image/png;base64,{base64.b64encode(data).decode()}",
        (tmp_path / "good.PNG").as_uri(),
        "good.png",
        "file:///nowhere.png",
        "file://elsewhere/a.png",
        "x" * 5000,
    ]
    path = write("posts.jsonl", jsonl([{"id": str(k), "text": f"a{k}", "image": i} for k, i in enumerate(images)]))
    _, problems = check_dataset(path)
    assert [problem.line for problem in problems if problem.kind == "picture"] == [4, 5, 6]


def ramp(kind: type, top: int) -> np.ndarray:
    return np.linspace(0, top, 256).astype(kind)[None].repeat(4, 0)


def test_deep_greys_are_scaled_and_not_clipped():
    expected = np.arange(256)
    for image, file in (
        (Image.fromarray(ramp(np.uint16, 65535)), "PNG"),
        (Image.fromarray(ramp(np.uint16, 65535)), "TIFF"),
        (Image.fromarray(ramp(np.int32, 65535)), "TIFF"),
        (Image.fromarray(ramp(np.int32, 1_000_000)), "TIFF"),
        (Image.fromarray(ramp(np.int32, 255)), "TIFF"),
        (Image.fromarray(np.linspace(0, 1, 256, dtype=np.float32)[None].repeat(4, 0)), "TIFF"),
    ):
        opened = decode(encoded(image, file)).image
        assert opened.mode == "RGB"
        assert np.abs(pixels(opened)[0, :, 0] - expected).max() <= 1, (image.mode, file)
    dark = Image.fromarray(np.full((4, 4), 200, dtype=np.uint16))
    assert pixels(decode(encoded(dark)).image).max() == 0  # next to black, as every viewer shows it
    assert np.abs(pixels(open_picture(ramp(np.uint16, 65535)).image)[0, :, 0] - expected).max() <= 1


def test_what_is_not_there_is_white():
    half = Image.new("RGBA", (20, 10), (255, 0, 0, 128))
    assert np.abs(pixels(decode(encoded(half)).image) - [255, 127, 127]).max() <= 1
    palette = Image.new("P", (20, 10), 3)
    palette.putpalette([0, 0, 0] * 256)
    named = Image.new("RGB", (20, 10), (0, 255, 0))
    grey = Image.new("L", (20, 10), 7)
    for image, clear in ((palette, 3), (named, (0, 255, 0)), (grey, 7)):
        for size in (1024, 5):  # as it is, and reduced
            opened = decode(encoded(image, transparency=clear), longest_side=size).image
            assert (pixels(opened) == 255).all(), image.mode
    for mode in ("RGBA", "RGBa", "LA", "La"):
        clear = Image.new("RGBA", (20, 10), (0, 0, 0, 0))
        clear = clear.convert("LA") if mode.startswith("L") else clear
        assert (pixels(open_picture(clear.convert(mode)).image) == 255).all(), mode


def ftyp(*brands: bytes) -> bytes:
    body = b"ftyp" + brands[0] + b"\0\0\0\0" + b"".join(brands[1:])
    return (len(body) + 4).to_bytes(4, "big") + body + b"\0" * 40


@pytest.mark.parametrize(
    ("data", "advice"),
    [
        (ftyp(b"heic", b"mif1", b"heic"), "HEIC.*pip install pillow-heif"),
        (ftyp(b"mif1", b"heic"), "HEIC.*pip install pillow-heif"),
        (ftyp(b"isom", b"mp42"), "video"),
        (b"\x1a\x45\xdf\xa3" + b"\0" * 40, "video"),
        (b"\xff\x0a" + b"\0" * 40, "JPEG XL.*pip install pillow-jxl-plugin"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG.*pip install cairosvg"),
        (b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- made by hand -->\n<svg:svg >", "SVG"),
        (b"%PDF-1.7", "PDF"),
        (b"<!DOCTYPE html><html>", "web page"),
    ],
)
def test_what_is_not_read_is_named_with_what_to_do(data, advice):
    with pytest.raises(PictureError, match=advice) as caught:
        decode(data)
    assert len(str(caught.value)) < 120


def test_other_things_are_not_given_a_name():
    for data in (b"", b"hello", b"<svgx", b"<note/>", b"\0" * 100):
        assert foreign_format(data) is None
    assert "AVIF" in foreign_format(ftyp(b"avif", b"mif1"))
    assert foreign_format(b"<?xml " + b"?" * 1_000_000) is None


def test_plugins_that_are_installed_are_used(monkeypatch):
    called = []
    module = SimpleNamespace(register_heif_opener=lambda: called.append("heif"))
    monkeypatch.setitem(sys.modules, "pillow_heif", module)
    monkeypatch.setattr("dpe_mner.pictures.formats.find_spec", lambda name: name == "pillow_heif" or None)
    register_plugins.cache_clear()
    register_plugins()
    register_plugins()
    assert called == ["heif"]
