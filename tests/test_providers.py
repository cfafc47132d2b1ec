"""Providers on tiny random models of the true classes; the real small weights where they are at hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from vision import MAKERS, picture

from dpe_mner import InputError
from dpe_mner.pictures.backbone import Backbone
from dpe_mner.pictures.captioner import Captioner
from dpe_mner.pictures.detectors import GroundingDetector, TransformersDetector, as_detections
from dpe_mner.pictures.opening import open_picture
from dpe_mner.pictures.phrases import Cue, located_phrases, noun_phrases, spans_of
from dpe_mner.pictures.reader import PictureReader
from dpe_mner.pictures.weights import ProviderError, fingerprint
from dpe_mner.pictures.yolox import YoloxDetector, suppress
from dpe_mner.settings import CaptionSettings, DetectorSettings, PictureSettings

WEIGHTS = Path(__file__).parents[2] / "shared" / "weights"
SAMPLE = Path(__file__).parents[2] / "shared" / "data" / "mner_sample" / "images"
real = pytest.mark.skipif(not WEIGHTS.is_dir(), reason="needs the weights in ../shared")


@pytest.fixture(scope="session")
def vision(tmp_path_factory):
    made: dict[str, str] = {}

    def get(kind: str) -> str:
        if kind not in made:
            made[kind] = MAKERS[kind](tmp_path_factory.mktemp(kind))
        return made[kind]

    return get


@pytest.mark.parametrize(
    ("kind", "blocks", "channels"),
    [("resnet", 64, 12), ("convnext", 4, 8), ("vit", 16, 16), ("clip", 4, 16), ("siglip", 4, 16)],
)
def test_any_backbone_gives_its_map(vision, kind, blocks, channels):
    backbone = Backbone(vision(kind))
    first, second = backbone.maps([picture(0), picture(1, (50, 90))])
    assert first.shape == second.shape == (blocks, channels)
    assert first.dtype == np.float16
    assert backbone.channels == channels
    assert not np.array_equal(first, second)
    assert np.array_equal(backbone.maps([picture(1, (50, 90))])[0], second)  # alone as in a batch


def test_the_map_of_a_transformer_is_its_patches(vision):
    backbone = Backbone(vision("vit"))
    pixels = backbone.pixels([picture()])
    with torch.inference_mode():
        states = backbone.model(pixels).last_hidden_state
        maps = backbone.forward(pixels)
    assert torch.equal(maps[0, :, 1, 2], states[0, 1 + 1 * 4 + 2])  # row 1, column 2, behind the class token


def test_pooling_averages_blocks(vision):
    backbone = Backbone(vision("resnet"))
    whole, pooled = backbone.maps([picture()])[0], backbone.maps([picture()], pool=1)[0]
    assert pooled.shape == (1, 12)
    assert np.allclose(whole.astype(np.float32).mean(0), pooled[0], atol=2e-3)
    assert backbone.maps([picture()], pool=2)[0].shape == (4, 12)


@pytest.mark.parametrize(("kind", "channels"), [("resnet", (8, 12)), ("convnext", (4, 4, 6, 8)), ("mobilenet", None)])
def test_stages_lie_side_by_side(vision, kind, channels):
    backbone = Backbone(vision(kind))
    if channels is None:
        assert len(backbone.stage_channels) == 4  # of its five resolutions
    else:
        assert backbone.stage_channels == channels
    pictures = [picture(0), picture(1, (50, 90))]
    first, second = backbone.stages(pictures)
    assert first.shape == (4, sum(backbone.stage_channels))
    assert first.dtype == np.float16
    assert np.array_equal(backbone.stages([pictures[1]])[0], second)
    last = backbone.stage_channels[-1]
    assert np.array_equal(first[:, -last:], backbone.maps(pictures, pool=2)[0])  # the last stage is the plain map
    whole = backbone.stages(pictures, pool=1)[0]
    assert whole.shape == (1, sum(backbone.stage_channels))
    assert np.allclose(whole[0], first.astype(np.float32).mean(0), atol=5e-3)  # even maps: the mean of its quarters


def test_each_stage_is_averaged_by_itself(vision):
    backbone = Backbone(vision("resnet"))
    pixels = backbone.pixels([picture()])
    with torch.inference_mode():
        fine, coarse = backbone.forward_stages(pixels)
    assert fine.shape[1:] == (8, 16, 16)
    assert coarse.shape[1:] == (12, 8, 8)
    lower_left = backbone.stages([picture()])[0][2]  # row by row
    assert np.allclose(lower_left[:8], fine[0, :, 8:, :8].mean((1, 2)), atol=2e-3)
    assert np.allclose(lower_left[8:], coarse[0, :, 4:, :4].mean((1, 2)), atol=2e-3)


def test_a_backbone_without_stages_is_said(vision):
    with pytest.raises(ProviderError, match="has no stages"):
        Backbone(vision("vit")).stages([picture()])
    reader = PictureReader(settings_of(vision, grid={"model": vision("vit"), "stages": True}))
    (parts,) = reader([open_picture(picture())], kinds=["grid"])
    assert parts.grid is None
    assert "has no stages" in parts.warnings[0]


def test_the_reader_makes_stages_of_pictures_and_regions(vision):
    regions = {"detector": {"model": vision("detr"), "threshold": 0.0}, "pool": 1, "stages": True}
    settings = settings_of(vision, grid={"model": vision("resnet"), "stages": True}, regions=regions)
    reader = PictureReader(settings)
    assert reader.stage_channels("grid") == reader.stage_channels("regions") == (8, 12)
    assert reader.channels("grid") == reader.channels("regions") == 20
    assert reader.stage_channels("tags") == ()
    image = open_picture(picture())
    (parts,) = reader([image])
    assert parts.grid.shape == (4, 20)
    assert parts.regions.features.shape == (3, 1, 20)
    none = settings_of(
        vision, grid=settings.grid, regions=regions | {"detector": {"model": vision("detr"), "threshold": 1}}
    )
    assert PictureReader(none)([image])[0].regions.features.shape == (0, 1, 20)
    assert PictureReader(settings_of(vision)).stage_channels("grid") == ()


def test_an_option_that_is_off_leaves_stored_parts_as_they_were(vision):
    values = {"model": vision("resnet")}
    plain = PictureReader(settings_of(vision, grid=values))
    assert plain.signature("grid")["settings"] == {"pool": None}
    assert PictureReader(settings_of(vision, grid=values | {"stages": True})).key("grid") != plain.key("grid")


def test_preprocessing_is_the_backbones_own(vision, tmp_path):
    import shutil

    shutil.copytree(vision("vit"), tmp_path / "other")
    config = tmp_path / "other" / "preprocessor_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"image_mean": [0.9, 0.9, 0.9]}))
    one, other = Backbone(vision("vit")), Backbone(str(tmp_path / "other"))
    assert not np.array_equal(one.maps([picture()])[0], other.maps([picture()])[0])
    assert one.fingerprint != other.fingerprint


def test_captions_are_one_line_each(vision):
    captioner = Captioner(CaptionSettings(model=vision("blip"), tokens=6, beams=2))
    one, two = captioner([picture(0), picture(1)])
    assert one == " ".join(one.split())
    assert captioner([picture(0)]) == [one]
    assert captioner([]) == []
    assert captioner([picture(1), picture(0)]) == [two, one]


def test_a_prompt_begins_the_caption(vision):
    prompted = Captioner(CaptionSettings(model=vision("blip"), tokens=4, beams=1, prompt="a"))
    assert len(prompted([picture(0)])) == 1


def test_detections_lie_inside_and_come_best_first(vision):
    found = TransformersDetector(vision("detr"))([picture(0), picture(1)], threshold=0.0)
    assert len(found) == 2
    assert {d.label for row in found for d in row} <= {"person", "ball", "cup"}
    for row in found:
        assert row
        assert [d.score for d in row] == sorted((d.score for d in row), reverse=True)
        assert all(0 <= d.box[0] < d.box[2] <= 1 and 0 <= d.box[1] < d.box[3] <= 1 for d in row)
    assert TransformersDetector(vision("detr"))([picture(0)], threshold=0.99) == [[]]


def test_grounding_names_the_phrases(vision):
    detector = GroundingDetector(DetectorSettings(model=vision("owl"), threshold=0.0))
    found = detector(picture(), ["red ball", "man"])
    assert {d.label for d in found} <= {"red ball", "man"}
    assert found
    assert detector(picture(), []) == []


LONG = " ".join(f"red ball man {k}" for k in range(40))


@pytest.mark.parametrize("known", [True, False], ids=["by the tokenizer", "by the model alone"])
def test_a_phrase_longer_than_the_model_reads_is_cut_and_keeps_its_name(vision, known):
    detector = GroundingDetector(DetectorSettings(model=vision("owl"), threshold=0.0))
    if not known:
        detector.processor.tokenizer.model_max_length = int(1e30)
    assert detector.longest_text == 16
    found = detector(picture(), [LONG])
    assert found
    assert {d.label for d in found} == {LONG}
    same = detector(picture(), [f"{LONG} and what lies beyond the limit"])  # only the beginning is read
    assert [(d.score, d.box) for d in same] == [(d.score, d.box) for d in found]
    assert {d.label for d in detector(picture(), ["man", LONG])} <= {"man", LONG}


def test_phrases_that_are_too_long_in_a_row_are_cut(vision):
    detector = GroundingDetector(DetectorSettings(model=vision("dino"), threshold=0.0))
    assert detector.longest_text == 24
    assert detector(picture(), ["red ball", "man"])
    assert detector(picture(), [LONG, "man"])
    assert detector(picture(), ["man"] * 40)


def test_boxes_are_clipped_and_empty_ones_dropped():
    image = picture(size=(100, 50))
    found = as_detections(image, ["a", "b"], [0.5, 0.9], [[-10, 10, 50, 100], [20, 20, 20, 30]])
    assert [(d.label, d.box) for d in found] == [("a", (0.0, 0.2, 0.5, 1.0))]


def test_suppression_keeps_the_best_of_each_class():
    boxes = np.array([[0, 0, 10, 10], [1, 1, 10, 10], [0, 0, 10, 10], [50, 50, 60, 60]], dtype=np.float32)
    scores = np.array([0.8, 0.9, 0.7, 0.6], dtype=np.float32)
    assert suppress(boxes, scores, np.array([0, 0, 1, 0])).tolist() == [1, 2, 3]


def test_noun_phrases_are_runs_of_content_words():
    assert noun_phrases("Kevin Durant enters the Oracle Arena with @warriors fans! https://t.co/x") == [
        "Kevin Durant enters",
        "Oracle Arena",
        "warriors fans",
    ]
    assert noun_phrases("the of and !!") == []
    assert len(noun_phrases(" , ".join(f"thing{k}" for k in range(30)))) == 8


@pytest.mark.parametrize(
    "text",
    [
        "Kevin  Durant enters the\tOracle Arena with @warriors fans! https://t.co/abc?x=y",
        "see https://t.co/a, then #NBA Finals and #NBA finals www.x.y Beyonce\u0301 sings",
        "Besuch in \u4eac\u90fd \U0001f468\u200d\U0001f469\u200d\U0001f467 x\u200dy",
        "",
    ],
)
def test_phrases_know_their_place_in_the_text(text):
    phrases = located_phrases(text)
    assert [phrase.text for phrase in phrases] == noun_phrases(text)
    assert bool(phrases) == bool(text)
    for phrase in phrases:
        start, end = phrase.span
        assert "".join(text[start:end].split()) == "".join(phrase.text.split())
        assert text.lower().find(text[start:end].lower()) == start  # where it occurs first


CUES = [Cue("Kevin Durant", (0, 12)), Cue("Beyonc\u00e9 Tour", (20, 32)), Cue("NBAFinals", (40, 49)), Cue("person")]


@pytest.mark.parametrize(
    ("label", "span"),
    [
        ("Kevin Durant", (0, 12)),
        ("kevin durant", (0, 12)),  # as an uncased tokenizer gives it back
        ("durant", (0, 12)),
        ("beyonce", (20, 32)),
        ("nbafin", (40, 49)),  # two pieces of a word
        ("kevin beyonce tour", (20, 32)),  # words of two phrases: the one with most of them
        ("person", None),  # a general word has no place
        ("ball", None),
        ("", None),
    ],
)
def test_a_region_belongs_to_the_phrase_of_its_label(label, span):
    assert spans_of([label], CUES) == [span]


def test_general_words_are_asked_of_every_picture(vision):
    grounding = {"model": vision("owl"), "threshold": 0.0, "count": 100}
    regions = {"grounding": grounding, "count": 100, "pool": 1, "general_words": ["Man", "cup"]}
    reader = PictureReader(settings_of(vision, regions=regions))
    image = open_picture(picture())
    (parts,) = reader([image], kinds=["regions"], queries=[reader.query("a red ball")])
    assert set(parts.regions.labels) <= {"red ball", "Man", "cup"}
    assert set(parts.regions.labels) & {"Man", "cup"}
    (alone,) = reader([image], kinds=["regions"])  # a post without a phrase
    assert alone.regions.labels
    assert set(alone.regions.labels) <= {"Man", "cup"}
    assert reader.query("a man and a red ball") == ["man", "red ball"]  # what regions are kept by
    assert reader.cues("a man") == [Cue("man", (2, 5)), Cue("cup")]  # said by the post: not asked twice
    assert PictureReader(settings_of(vision)).cues("a man") == []


def test_grounded_regions_keep_the_signature_they_had(vision):
    grounding = {"model": vision("owl")}
    plain = PictureReader(settings_of(vision, regions={"grounding": grounding}))
    found = {"detector": None, "grounding": {"threshold": 0.3, "count": 5}, "crops": False, "count": 3, "pool": None}
    assert plain.signature("regions")["settings"] == found
    asked = PictureReader(settings_of(vision, regions={"grounding": grounding, "general_words": ["person"]}))
    assert asked.signature("regions")["settings"] == {**found, "general_words": ["person"]}
    assert asked.key("regions") != plain.key("regions")


def test_fingerprints_follow_weights_not_folders(vision, tmp_path):
    import shutil

    source = Path(vision("vit"))
    moved = tmp_path / "moved"
    shutil.copytree(source, moved)
    assert fingerprint(str(moved)) == fingerprint(str(source))
    weights = bytearray((moved / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (moved / "model.safetensors").write_bytes(bytes(weights))
    assert fingerprint(str(moved)) != fingerprint(str(source))


def settings_of(vision, **parts) -> PictureSettings:
    values = {"grid": {"model": vision("vit")}, "tags": {"model": vision("detr"), "threshold": 0.0, "count": 2}}
    return PictureSettings.model_validate(values | parts)


def test_the_reader_makes_all_parts(vision):
    settings = settings_of(
        vision,
        caption={"model": vision("blip"), "tokens": 4, "beams": 1},
        regions={"detector": {"model": vision("detr"), "threshold": 0.0}, "pool": 2},
    )
    reader = PictureReader(settings)
    pictures = [open_picture(picture(k)) for k in range(2)]
    first, second = reader(pictures)
    assert first.grid.shape == (16, 16)
    assert len(first.regions.boxes) == 3
    assert first.regions.features.shape == (3, 4, 16)
    assert 1 <= len(first.tags) <= 2
    assert len({d.label for d in first.tags}) == len(first.tags)
    assert [first.caption, second.caption] == Captioner(settings.caption)([picture(0), picture(1)])
    assert first.ocr is None
    assert first.warnings == ()
    (only,) = reader(pictures[:1], kinds=["tags"])
    assert only.grid is None
    assert only.tags == first.tags


def test_tags_and_regions_share_one_pass_of_the_detector(vision, monkeypatch):
    settings = settings_of(vision, regions={"detector": {"model": vision("detr"), "threshold": 0.2}, "pool": 1})
    calls = []
    run = TransformersDetector.__call__

    def watch(self, images, *, threshold):
        calls.append(threshold)
        return run(self, images, threshold=threshold)

    monkeypatch.setattr(TransformersDetector, "__call__", watch)
    PictureReader(settings)([open_picture(picture())])
    assert calls == [0.0]  # the lower of both thresholds
    counted = settings_of(vision, objects={"model": vision("detr"), "threshold": 0.3})
    low, high = (
        PictureReader(counted.model_copy(update={"objects": counted.objects.model_copy(update={"threshold": least})}))
        for least in (0.0, 0.99)
    )
    assert low([open_picture(picture())])[0].objects.count > 0
    assert high([open_picture(picture())])[0].objects.count == 0  # though tags need all of them
    assert calls == [0.0] * 3


def test_nothing_is_loaded_that_is_not_asked_for(vision, monkeypatch):
    def refuse(self, *args, **kwargs):
        raise AssertionError("loaded without need")

    monkeypatch.setattr(Captioner, "__init__", refuse)
    monkeypatch.setattr(GroundingDetector, "__init__", refuse)
    settings = settings_of(vision, caption={"model": "x"})
    (parts,) = PictureReader(settings)([open_picture(picture())], kinds=["grid"])
    assert parts.grid is not None


def test_a_missing_model_leaves_its_part_out_and_is_said(vision):
    reader = PictureReader(settings_of(vision, tags={"model": "/nowhere/detector"}))
    (parts,) = reader([open_picture(picture())])
    assert parts.grid is not None
    assert parts.tags is None
    (warning,) = parts.warnings
    assert "y_ft (tags) is left out" in warning
    assert "/nowhere/detector" in warning


def test_a_missing_library_is_said_with_its_command(vision, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    reader = PictureReader(settings_of(vision, tags={"model": "yolox.onnx"}))
    assert "pip install 'dpe-mner[pictures]'" in reader.problem("tags")


def test_keys_follow_settings_and_weights_not_folders(vision, tmp_path):
    import shutil

    moved = tmp_path / "moved"
    shutil.copytree(vision("vit"), moved)
    key = PictureReader(settings_of(vision)).key("grid")
    assert PictureReader(settings_of(vision, grid={"model": str(moved)})).key("grid") == key
    assert PictureReader(settings_of(vision), models={"grid": str(moved)}).key("grid") == key
    assert PictureReader(settings_of(vision, grid={"model": vision("vit"), "pool": 2})).key("grid") != key
    assert PictureReader(settings_of(vision, longest_side=64)).key("grid") != key
    assert PictureReader(settings_of(vision, grid={"model": vision("resnet")})).key("grid") != key


def test_other_weights_than_remembered_are_said(vision):
    remembered = PictureReader(settings_of(vision)).with_fingerprints()
    assert remembered.grid.fingerprint
    same = PictureReader(remembered)
    assert same([open_picture(picture())], kinds=["grid"])[0].warnings == ()
    other = PictureReader(remembered, models={"grid": vision("resnet")})
    (warning,) = other([open_picture(picture())], kinds=["grid"])[0].warnings
    assert "other weights" in warning


def test_wrong_model_kinds_are_one_line(vision):
    with pytest.raises(InputError, match="did you mean 'grid'"):
        PictureReader(settings_of(vision), models={"grit": "x"})
    with pytest.raises(InputError, match="trained without y_f"):
        PictureReader(settings_of(vision), models={"regions": "x"})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"regions": {"detector": {"model": "a"}}}, "backbone"),
        ({"grid": {"model": "a"}, "regions": {}}, "exactly one"),
        ({"grid": {"model": "a"}, "regions": {"crops": True, "detector": {"model": "b"}}}, "exactly one"),
        ({"grid": {"model": "a"}, "regions": {"detector": {"model": "b"}, "general_words": ["c"]}}, "grounding"),
        ({"grid": {"model": "a"}, "regions": {"grounding": {"model": "b"}, "general_words": [" "]}}, "empty word"),
        ({"grid": {"model": "a", "stages": True, "aligned": True}}, "exclude each other"),
        ({"grid": {"model": "a", "pol": 2}}, "did you mean 'pool'"),
    ],
)
def test_settings_that_contradict_themselves(values, message):
    from dpe_mner.settings import parse_section

    with pytest.raises(InputError, match=message):
        parse_section(PictureSettings, values, where="test")


def test_text_in_pictures_is_read():
    pytest.importorskip("rapidocr", reason="needs the ocr extra")
    from PIL import Image, ImageDraw, ImageFont

    from dpe_mner.pictures.ocr import TextReader
    from dpe_mner.settings import OcrSettings

    image = Image.new("RGB", (400, 100), "white")
    ImageDraw.Draw(image).text((20, 20), "ORACLE ARENA", fill="black", font=ImageFont.load_default(48))
    reader = TextReader(OcrSettings())
    assert "ORACLE" in reader(image).upper()
    assert reader(Image.new("RGB", (100, 100), "white")) == ""


@real
def test_mobilenet_gives_the_map_of_its_card():
    backbone = Backbone(str(WEIGHTS / "mobilenet_v2"))
    assert backbone.maps([picture()])[0].shape == (49, 1280)


@real
@pytest.mark.skipif(not SAMPLE.is_dir(), reason="needs the pictures in ../shared")
@pytest.mark.parametrize(
    ("name", "label", "score", "box"),
    [
        ("16_05_01_821.jpg", "person", 0.941, (228, 24, 423, 344)),
        ("654.jpg", "person", 0.881, (61, 111, 286, 466)),
        ("190.jpg", "person", 0.907, (147, 257, 288, 508)),
    ],
)
def test_yolox_finds_what_its_card_says(name, label, score, box):
    image = open_picture(SAMPLE / name).image
    best = YoloxDetector(str(WEIGHTS / "yolox_nano" / "yolox_nano.onnx"))([image], threshold=0.3)[0][0]
    assert best.label == label
    assert best.score == pytest.approx(score, abs=0.01)
    pixels = np.array(best.box) * [image.width, image.height, image.width, image.height]
    assert np.abs(pixels - box).max() < 4


def test_a_foreign_onnx_file_is_one_line(tmp_path):
    pytest.importorskip("onnxruntime")
    path = tmp_path / "x.onnx"
    path.write_bytes(b"nothing")
    with pytest.raises(ProviderError, match="cannot be loaded"):
        YoloxDetector(str(path))
    with pytest.raises(ProviderError, match="no such file"):
        YoloxDetector(str(tmp_path / "y.onnx"))
