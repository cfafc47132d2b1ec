"""Opening pictures: every kind of input, every kind of damage, one line of reason each."""

from __future__ import annotations

import os
import subprocess
import sys
import zlib
from pathlib import Path
from struct import pack

import numpy as np
import pytest
from PIL import Image
from vision import encoded, picture

from dpe_mner.pictures.kinds import crop
from dpe_mner.pictures.opening import PictureError, content_key, decode, open_picture

BROKEN = Path(__file__).parents[2] / "shared" / "data" / "tweets_with_pictures" / "broken"


def mean_of(image: Image.Image) -> list[int]:
    return np.asarray(image).reshape(-1, 3).mean(0).round().astype(int).tolist()


def test_path_bytes_image_and_array_give_the_same_picture(tmp_path):
    path = tmp_path / "a.png"
    picture().save(path)
    data = path.read_bytes()
    opened = [open_picture(source).image for source in (path, str(path), data, picture(), np.asarray(picture()))]
    assert all(np.array_equal(np.asarray(image), np.asarray(opened[0])) for image in opened)
    assert open_picture(path).key == open_picture(data).key == content_key(data)
    assert open_picture(picture()).key == open_picture(np.asarray(picture())).key


@pytest.mark.parametrize(
    ("image", "kind", "expected"),
    [
        (Image.new("CMYK", (20, 10), (0, 0, 0, 0)), "JPEG", [255, 255, 255]),
        (Image.new("L", (20, 10), 128), "PNG", [128, 128, 128]),
        (Image.new("1", (20, 10), 1), "PNG", [255, 255, 255]),
        (Image.new("I;16", (20, 10), 32768), "PNG", [127, 127, 127]),
        (Image.new("RGBA", (20, 10), (255, 0, 0, 0)), "PNG", [255, 255, 255]),  # nothing there: the white ground
        (Image.new("LA", (20, 10), (0, 255)), "PNG", [0, 0, 0]),
        (Image.new("P", (20, 10)), "GIF", [0, 0, 0]),
        (Image.new("RGB", (20, 10), (10, 200, 30)), "WEBP", [10, 200, 30]),
        (Image.new("RGB", (1, 1), (9, 9, 9)), "PNG", [9, 9, 9]),
    ],
)
def test_all_modes_become_rgb(image, kind, expected):
    options = {"lossless": True} if kind == "WEBP" else {}
    opened = decode(encoded(image, kind, **options)).image
    assert opened.mode == "RGB"
    assert opened.size == image.size
    assert np.abs(np.array(mean_of(opened)) - expected).max() <= 1


def test_animations_show_their_first_frame():
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    for kind in ("GIF", "WEBP"):
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
        red, _, blue = mean_of(decode(data).image)
        assert red > 200
        assert blue < 50


def test_exif_turns_the_picture():
    image = Image.new("RGB", (40, 20), "white")
    exif = image.getexif()
    exif[0x0112] = 6  # turned by 90 degrees
    assert decode(encoded(image, "JPEG", exif=exif)).image.size == (20, 40)
    exif[0x0112] = 3  # upside down: as wide as before
    assert decode(encoded(image, "JPEG", exif=exif)).original_size == (40, 20)


def test_the_size_of_the_original_is_kept_and_upright():
    image = Image.new("RGB", (1001, 999))
    exif = image.getexif()
    exif[0x0112] = 6
    opened = decode(encoded(image, "JPEG", exif=exif), longest_side=50)  # decoded at an eighth, a square by then
    assert max(opened.image.size) == 50
    assert opened.original_size == (999, 1001)
    assert open_picture(Image.new("RGB", (1001, 999)), longest_side=50).original_size == (1001, 999)


def test_the_ending_does_not_matter(tmp_path):
    path = tmp_path / "photo.jpg"
    picture().save(path, "PNG")
    assert open_picture(path).image.size == picture().size


def test_big_pictures_are_reduced_and_jpegs_decoded_small(monkeypatch):
    data = encoded(picture(size=(3000, 1500)), "JPEG")
    opened = decode(data, longest_side=300)
    assert opened.image.size == (300, 150)
    assert opened.scale == pytest.approx(10)
    drafted = []
    from PIL import JpegImagePlugin

    real = JpegImagePlugin.JpegImageFile.draft

    def watch(self, mode, size):
        result = real(self, mode, size)
        drafted.append(self.size)
        return result

    monkeypatch.setattr(JpegImagePlugin.JpegImageFile, "draft", watch)
    decode(data, longest_side=300)
    assert drafted == [(375, 188)]  # an eighth: the decoder never makes all the pixels


def png_of(width: int, height: int) -> bytes:
    """A PNG that claims a size; its data is one row."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return pack(">I", len(body)) + kind + body + pack(">I", zlib.crc32(kind + body))

    header = pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"just text", "not a picture"),
        (encoded(picture(size=(400, 300)), "JPEG")[:2000], "cannot be decoded"),
        (encoded(picture())[:200], "cannot be decoded"),
        (png_of(30000, 30000), "too many pixels"),
        (png_of(12000, 12000), "pixels"),
        (png_of(0, 10), "cannot be decoded|not a picture|no pixels"),
    ],
)
def test_damage_has_a_reason(data, reason):
    with pytest.raises(PictureError, match=reason):
        decode(data)


def test_paths_that_are_no_pictures(tmp_path):
    (tmp_path / "empty.jpg").touch()
    locked = tmp_path / "locked.jpg"
    picture().save(locked)
    cases = [
        (tmp_path / "missing.jpg", "no such file"),
        (tmp_path, "folder"),
        (tmp_path / "empty.jpg", "empty"),
        ("/dev/null", "not a regular file"),
        ("https://example.org/a.jpg", "URL"),
        (3.5, "not float"),
        ("a\0b", "cannot be read"),
    ]
    if os.geteuid() != 0:  # the superuser may read everything
        locked.chmod(0)
        cases.append((locked, "permission denied"))
    for source, reason in cases:
        with pytest.raises(PictureError, match=reason):
            open_picture(source)


def test_no_permission_is_said(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    picture().save(path)

    def refuse(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(PictureError, match="permission denied"):
        open_picture(path)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((3, 4, 5, 6)),
        np.zeros((0, 4, 3), dtype=np.uint8),
        np.full((4, 4, 3), 2.0),
        np.full((4, 4, 3), np.nan),
        np.full((4, 4, 3), 300),
        np.zeros((4, 4, 7), dtype=np.uint8),
    ],
)
def test_arrays_that_are_no_pictures(array):
    with pytest.raises(PictureError, match="array"):
        open_picture(array)


def test_arrays_of_floats_and_channels_first():
    values = np.zeros((3, 10, 12), dtype=np.float32)
    values[0] = 1.0
    assert mean_of(open_picture(values).image) == [255, 0, 0]


def test_a_crop_is_never_empty():
    image = picture(size=(100, 50))
    assert crop(image, (0.5, 0.5, 0.5001, 0.5001)).size[0] >= 8
    assert crop(image, (0.99, 0.99, 1.0, 1.0)).size[1] >= 8
    assert crop(image, (0.1, 0.2, 0.6, 0.8)).size == (50, 30)
    assert crop(Image.new("RGB", (1, 1)), (0, 0, 1, 1)).size == (1, 1)


@pytest.mark.skipif(not BROKEN.is_dir(), reason="needs the pictures in ../shared")
def test_the_broken_folder_stays_under_a_gigabyte():
    script = """
import sys
from pathlib import Path
from dpe_mner.bench.memory import peak_process_memory
from dpe_mner.pictures.opening import open_picture, PictureError
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        print(path.name, open_picture(path).image.size)
    except PictureError as error:
        print(path.name, error)
print(int(peak_process_memory()))
"""
    shown = subprocess.run(
        [sys.executable, "-c", script, BROKEN], capture_output=True, text=True, check=True, timeout=100
    )
    *lines, megabytes = shown.stdout.splitlines()
    assert [line.split(" ", 1)[0] for line in lines if "(" not in line.split(" ", 1)[1][:1]] == [
        "huge_30000x30000.png",
        "text_file.jpg",
        "truncated.jpg",
        "zero_bytes.jpg",
    ]
    assert int(megabytes) < 1000
