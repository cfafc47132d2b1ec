"""The store and its extraction: nothing stale, nothing half-written, nothing twice."""

from __future__ import annotations

import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from helpers import assert_refused, run
from vision import MAKERS, extract, write_picture

from dpe_mner import InputError
from dpe_mner.pictures.imports import captions_of, read_crop_index, tags_of
from dpe_mner.pictures.kinds import Detection, Objects, Regions
from dpe_mner.pictures.reader import PictureReader
from dpe_mner.pictures.source import PictureSource, load_part_of
from dpe_mner.pictures.store import PictureStore, SeenFile
from dpe_mner.settings import ObjectSettings, PictureSettings
from dpe_mner.types import Post

pytest.importorskip("lmdb")


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    return {kind: MAKERS[kind](tmp_path_factory.mktemp(kind)) for kind in ("vit", "detr", "owl", "resnet")}


@pytest.fixture
def settings(models) -> PictureSettings:
    detector = {"model": models["detr"], "threshold": 0.0}
    return PictureSettings.model_validate(
        {"grid": {"model": models["vit"]}, "tags": detector, "regions": {"detector": detector, "pool": 2}}
    )


@pytest.fixture
def folder(tmp_path) -> Path:
    images = tmp_path / "images"
    for k in range(5):
        write_picture(images / "sub" / f"{k}.png", k)
    shutil.copy(images / "sub" / "0.png", images / "copy.png")
    (images / "broken.jpg").write_bytes(b"no picture")
    (images / "notes.txt").write_text("not looked at")
    return images


def test_everything_comes_back(tmp_path):
    store = PictureStore(tmp_path / "s", write=True)
    grid = np.arange(12, dtype=np.float16).reshape(3, 4)
    regions = Regions(np.ones((2, 1, 4), dtype=np.float16), [(0.0, 0.1, 0.5, 1.0)] * 2, ["a", "ü"])
    tags = [Detection("cup", 0.5, (0.0, 0.0, 1.0, 0.5))]
    seen = SeenFile(10, 20, "k")
    store.add([("k", "g", "grid", grid), ("k", "r", "regions", regions), ("k", "t", "tags", tags)], [("a/ü.png", seen)])
    store.add([("k", "c", "caption", "ein Bild, 猫"), ("k2", "r", "regions", Regions(grid[None][:0], [], []))])
    store.close()
    store = PictureStore(tmp_path / "s")
    assert np.array_equal(store.features("k", "g"), grid)
    assert store.features("k", "g").dtype == np.float16
    back = store.regions("k", "r")
    assert np.array_equal(back.features, regions.features)
    assert back.labels == ["a", "ü"]
    assert np.allclose(back.boxes, regions.boxes)
    assert store.regions("k2", "r").features.shape == (0, 3, 4)
    assert store.tags("k", "t") == tags
    assert store.text("k", "c") == "ein Bild, 猫"
    assert store.seen("a/ü.png") == seen
    assert store.seen("b") is store.features("k", "x") is store.tags("x", "t") is None


def test_objects_are_counted_without_a_cap(settings, models, folder, tmp_path):
    wanted = settings.model_copy(update={"objects": ObjectSettings(model=models["detr"], threshold=0.0)})
    extract(wanted, folder, tmp_path / "s")
    store = PictureStore(tmp_path / "s")
    source = PictureSource(PictureReader(wanted), store=store, images=folder)
    (found,) = source([Post(text="x", image=str(folder / "sub" / "1.png"))])
    objects = found.parts.objects
    assert objects == Objects(objects.count, 80, 60)
    assert objects.count > wanted.tags.count >= len(found.post.tags)  # all boxes of the detector's six with an area
    assert objects.density == pytest.approx(objects.count / 0.0048)
    place = source.locate(Post(text="x", image=str(folder / "sub" / "1.png")))
    assert store.objects(place.key, place.parts["objects"]) == objects
    store.close()


def test_extract_reports_and_resumes(settings, folder, tmp_path):
    first = extract(settings, folder, tmp_path / "s")
    assert (first.made, first.equal, first.present) == (5, 1, 0)
    assert [name for name, _ in first.failed] == ["broken.jpg"]
    again = extract(settings, folder, tmp_path / "s")
    assert (again.made, again.equal, again.present, len(again.failed)) == (0, 0, 6, 1)
    write_picture(folder / "new.png", 9)
    assert extract(settings, folder, tmp_path / "s").made == 1


def test_a_changed_picture_is_made_anew(settings, folder, tmp_path):
    extract(settings, folder, tmp_path / "s")
    write_picture(folder / "sub" / "1.png", 77)
    os.utime(folder / "sub" / "1.png", ns=(1, 1))
    assert extract(settings, folder, tmp_path / "s").made == 1


def test_a_changed_setting_never_meets_stale_features(settings, folder, tmp_path):
    extract(settings, folder, tmp_path / "s")
    pooled = settings.model_copy(update={"grid": settings.grid.model_copy(update={"pool": 2})})
    store = PictureStore(tmp_path / "s")
    post = Post(text="x", image=str(folder / "sub" / "1.png"))
    source = PictureSource(PictureReader(pooled), store=store, images=folder)
    assert store.has(source.locate(post).key, PictureReader(settings).key("grid"))
    assert not store.has(source.locate(post).key, source.locate(post).parts["grid"])
    assert source([post])[0].parts.grid.shape == (4, 16)  # made on the spot
    store.close()
    assert extract(pooled, folder, tmp_path / "s").made == 5


def test_stored_equals_fresh(settings, folder, tmp_path):
    extract(settings, folder, tmp_path / "s")
    posts = [Post(text="x", image=str(path)) for path in sorted(folder.rglob("*.png"))]
    store = PictureStore(tmp_path / "s")
    stored = PictureSource(PictureReader(settings), store=store, images=folder)(posts)
    fresh = PictureSource(PictureReader(settings))(posts)
    for one, other in zip(stored, fresh, strict=True):
        assert np.array_equal(one.parts.grid, other.parts.grid)
        assert np.array_equal(one.parts.regions.features, other.parts.regions.features)
        assert np.allclose(one.parts.regions.boxes, other.parts.regions.boxes)
        assert one.post == other.post
    store.close()


def test_the_store_knows_the_stages_of_its_features(settings, folder, tmp_path, models):
    from dpe_mner.training.pictures import stored_stage_channels

    grid = {"model": models["resnet"], "stages": True}
    wanted = PictureSettings.model_validate({"grid": grid, "tags": settings.tags})
    extract(wanted, folder, tmp_path / "s")
    remembered = PictureReader(wanted).with_fingerprints()
    grid = remembered.grid.model_copy(update={"model": "/gone"})  # the store alone is enough
    store = PictureStore(tmp_path / "s")
    away = remembered.model_copy(update={"grid": grid})
    assert stored_stage_channels(away, store) == {"grid": (8, 12)}
    post = Post(text="x", image=str(folder / "sub" / "1.png"))
    (found,) = PictureSource(PictureReader(away), store=store, images=folder)([post])
    assert found.parts.grid.shape == (4, 20)
    store.close()


def test_features_serve_where_pictures_and_models_are_not(settings, folder, tmp_path):
    extract(settings, folder, tmp_path / "s")
    remembered = PictureReader(settings).with_fingerprints()
    elsewhere = PictureReader(remembered, models={"grid": "/gone", "tags": "/gone", "regions": "/gone"})
    shutil.rmtree(folder)
    store = PictureStore(tmp_path / "s")
    post = Post(text="x", image=str(folder / "sub" / "3.png"))
    (found,) = PictureSource(elsewhere, store=store, images=folder)([post])
    assert found.parts.grid is not None
    assert found.post.tags
    assert found.parts.warnings == ()
    store.close()


def test_the_stored_picture_is_found_by_content_too(settings, folder, tmp_path):
    extract(settings, folder, tmp_path / "s")
    store = PictureStore(tmp_path / "s")
    data = (folder / "sub" / "2.png").read_bytes()
    moved = tmp_path / "elsewhere.png"
    moved.write_bytes(data)
    reader = PictureReader(settings)
    source = PictureSource(reader, store=store, images=folder)
    keys = {source.locate(Post(text="x", image=image)).key for image in (data, str(moved), folder / "sub" / "2.png")}
    assert len(keys) == 1
    store.close()


def test_captions_and_tags_of_the_post_win(settings, folder):
    source = PictureSource(PictureReader(settings))
    post = Post(text="x", image=str(folder / "copy.png"), tags=("mine",), caption="my own")
    (found,) = source([post])
    assert found.post.tags == ("mine",)
    assert found.parts.tags is None
    assert found.post.caption == "my own"
    assert found.parts.grid is not None


def test_bad_pictures_are_warnings(settings, folder):
    source = PictureSource(PictureReader(settings))
    posts = [Post(text="x", image=str(folder / name)) for name in ("broken.jpg", "missing.jpg", "copy.png")]
    broken, missing, good = source([*posts])
    assert "broken.jpg: is not a picture" in broken.parts.warnings[0]
    assert "missing.jpg: no such file" in missing.parts.warnings[0]
    assert good.parts.warnings == ()


def test_grounded_regions_belong_to_picture_and_phrases(models, folder, tmp_path):
    settings = PictureSettings.model_validate(
        {
            "grid": {"model": models["vit"]},
            "regions": {"grounding": {"model": models["owl"], "threshold": 0.0}, "pool": 1, "count": 2},
        }
    )
    reader = PictureReader(settings)
    name = "copy.png"
    queries = {name: [reader.query("Kevin Durant"), reader.query("Oracle Arena")]}
    extract(settings, folder, tmp_path / "s", queries=queries)
    store = PictureStore(tmp_path / "s")
    source = PictureSource(PictureReader(settings), store=store, images=folder)
    for text, label in (("Kevin Durant", "Kevin Durant"), ("Oracle Arena", "Oracle Arena")):
        (found,) = source([Post(text=text, image=str(folder / name))])
        assert set(found.parts.regions.labels) == {label}
        assert set(found.parts.regions.phrases) == {(0, 12)}
    # the same phrases elsewhere in another post: the same regions, other words
    (moved,) = source([Post(text="at the Oracle Arena", image=str(folder / name))])
    assert np.array_equal(moved.parts.regions.features, found.parts.regions.features)
    assert set(moved.parts.regions.phrases) == {(7, 19)}
    place = source.locate(Post(words=("the", "Oracle", "Arena"), image=str(folder / name)))
    assert set(load_part_of(store, place, "regions").phrases) == {(4, 16)}
    assert set(store.regions(place.key, place.parts["regions"]).phrases) == set()
    (fresh,) = PictureSource(PictureReader(settings))([Post(text="at the Oracle Arena", image=str(folder / name))])
    assert fresh.parts.regions.phrases == moved.parts.regions.phrases
    store.close()


def test_regions_of_a_detector_answer_to_no_phrase(settings, folder):
    (found,) = PictureSource(PictureReader(settings))([Post(text="a cup", image=str(folder / "copy.png"))])
    assert len(found.parts.regions.features)
    assert found.parts.regions.phrases == ()


def read_one(job):
    store, picture_key, part = job
    features = store.features(picture_key, part)
    return float(features.astype(np.float64).sum())


def test_processes_share_the_map_and_not_the_features(settings, folder, tmp_path):
    extract(settings, folder, tmp_path / "s")
    store = PictureStore(tmp_path / "s")
    part = PictureReader(settings).key("grid")
    keys = [store.seen(f"sub/{k}.png").key for k in range(5)]
    assert len(pickle.dumps(store)) < 500  # the path travels, nothing else
    expected = [read_one((store, key, part)) for key in keys]
    with ProcessPoolExecutor(4) as pool:
        assert list(pool.map(read_one, [(store, key, part) for key in keys])) == expected
    store.close()


@pytest.mark.slow
def test_killed_at_any_moment_nothing_is_lost_or_half_written(settings, folder, tmp_path):
    for k in range(40):
        write_picture(folder / "many" / f"{k}.png", 100 + k)
    script = tmp_path / "run.py"
    script.write_text(
        "import sys\nfrom pathlib import Path\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from dpe_mner.settings import PictureSettings\nfrom vision import extract\n"
        "settings = PictureSettings.model_validate_json(sys.argv[1])\n"
        "print('go', flush=True)\n"
        "extract(settings, Path(sys.argv[2]), Path(sys.argv[3]))\n"
    )
    store_path = tmp_path / "s"
    only_grid = PictureSettings(grid=settings.grid)
    command = [sys.executable, str(script), only_grid.model_dump_json(), str(folder), str(store_path)]
    counts = []
    drawn = random.Random(0)
    for _ in range(3):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        process.stdout.readline()
        time.sleep(0.2 + 0.6 * drawn.random())
        process.send_signal(signal.SIGKILL)
        process.wait()
        if (store_path / "data.mdb").exists():
            store = PictureStore(store_path)
            part = PictureReader(only_grid).key("grid")
            seen = [s for k in range(40) if (s := store.seen(f"many/{k}.png")) is not None]
            assert all(store.features(s.key, part).shape == (16, 16) for s in seen)
            counts.append(len(seen))
            store.close()
    assert counts == sorted(counts)
    extract(only_grid, folder, store_path)
    store = PictureStore(store_path)
    assert all(store.seen(f"many/{k}.png") is not None for k in range(40))
    store.close()


def test_wrong_stores_are_one_line(tmp_path):
    with pytest.raises(InputError, match="no store of pictures"):
        PictureStore(tmp_path / "none")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(InputError, match="is no store"):
        PictureStore(tmp_path / "full", write=True)
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "data.mdb").write_bytes(b"x" * 10000)
    with pytest.raises(InputError, match="cannot be opened"):
        PictureStore(tmp_path / "foreign")


def test_the_command(models, folder, tmp_path):
    arguments = ("extract", "--images", folder, "--output", tmp_path / "s", "--grid", models["vit"])
    result = run(*arguments)
    error = assert_refused(result, "broken.jpg", "all others are done")
    assert "5 pictures made" in error
    (folder / "broken.jpg").unlink()
    again = run(*arguments)
    assert again.returncode == 0
    assert "6 there already" in again.stderr.decode()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--grid", "/nowhere"], ["/nowhere", "cannot be loaded"]),
        ([], ["say what to make"]),
        (["--grid", "x", "--batch-size", "0"], ["at least 1"]),
        (["--grounding", "x", "--grid", "y"], ["--posts"]),
        (["--tags", "nowhere.onnx"], ["nowhere.onnx"]),
        (["--objects", "nowhere.onnx"], ["object count (objects) is left out", "nowhere.onnx"]),
        (["--grid", "x", "--general-words", "person, location"], ["--general-words", "--grounding"]),
        (["--tags", "nowhere.onnx", "--aligned"], ["--aligned", "--grid"]),
        (["--tags", "nowhere.onnx", "--stages"], ["--stages", "--grid"]),
    ],
)
def test_wrong_commands_are_one_line(folder, tmp_path, arguments, words):
    assert_refused(run("extract", "--images", folder, "--output", tmp_path / "s", *arguments), *words)


def test_an_empty_folder_is_one_line(tmp_path):
    (tmp_path / "none").mkdir()
    assert_refused(
        run("extract", "--images", tmp_path / "none", "--output", tmp_path / "s", "--grid", "x"), "no picture"
    )


def test_vinvl_files_become_visual_text(tmp_path):
    captions = tmp_path / "captions.tsv"
    captions.write_text('img/1.jpg\t[{"caption": "a man", "conf": 0.2}, {"caption": "a tall man", "conf": 0.9}]\n')
    labels = tmp_path / "labels.tsv"
    labels.write_text(
        "1.jpg\t[{'class': 'man', 'conf': 0.9, 'rect': [0, 0, 1, 1]}, {'class': 'cup', 'conf': 0.95}, "
        "{'class': 'man', 'conf': 0.1}]\n2.jpg\t[]\n"
    )
    assert captions_of(captions) == {"1": "a tall man"}
    assert tags_of(labels) == {"1": ["cup", "man"], "2": []}
    output = tmp_path / "v.jsonl"
    assert run("import-visual", "--captions", captions, "--labels", labels, "--output", output).returncode == 0
    assert output.read_text().splitlines()[0] == '{"image_id": "1", "caption": "a tall man", "tags": ["cup", "man"]}'
    captions.write_text("1.jpg [{}]\n")
    assert_refused(run("import-visual", "--captions", captions, "--output", output), ":1:", "no tab")


class Malicious:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_crop_dictionaries_are_never_unpickled_blindly(tmp_path, models, folder):
    import torch

    good, bad = tmp_path / "good.pth", tmp_path / "bad.pth"
    torch.save({"copy.png": ["c0.png", "c1.png"]}, good)
    torch.save({"copy.png": Malicious(tmp_path / "was-here")}, bad)
    assert read_crop_index(good) == {"copy.png": ["c0.png", "c1.png"]}
    with pytest.raises(InputError, match="not a plain dictionary"):
        read_crop_index(bad)
    assert not (tmp_path / "was-here").exists()
    assert run("import-visual", "--crops", good, "--output", tmp_path / "crops.json").returncode == 0
    crops = tmp_path / "crops"
    for k in range(2):
        write_picture(crops / f"c{k}.png", k)
    settings = PictureSettings.model_validate({"regions": {"crops": True, "backbone": models["vit"], "pool": 1}})
    files = {name: [crops / c for c in cut] for name, cut in read_crop_index(tmp_path / "crops.json").items()}
    extract(settings, folder, tmp_path / "s", crops=files)
    store = PictureStore(tmp_path / "s")
    source = PictureSource(PictureReader(settings), store=store, images=folder)
    assert source([Post(text="x", image=str(folder / "copy.png"))])[0].parts.regions.features.shape == (2, 1, 16)
    store.close()
