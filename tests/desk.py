"""A folder with the files that the pages of documentation talk about: posts, pictures, and tiny models under the names
that a hub has for large ones."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import torch
import yaml
from conftest import FAST, LABELS, POSTS, conll, jsonl, save_encoder, settings_with
from onnx import TensorProto, helper
from snippets import ROOT
from vision import blip, detr, dino, mobilenet, resnet, write_picture

from dpe_mner.model import DPEMNERModel
from dpe_mner.settings import Convention

# What a hub would send for a name; here the folder of that name, which is as good a name.
STAND_INS = {
    "microsoft/resnet-50": resnet,
    "microsoft/resnet-152": resnet,
    "mobilenet_v2": mobilenet,
    "facebook/detr-resnet-50": detr,
    "Salesforce/blip-image-captioning-base": blip,
    "IDEA-Research/grounding-dino-tiny": dino,
}
TRAIN, VALID, TEST = (
    [replace(post, id=f"{name}{post.id}{k}", words=(*post.words, name, str(k))) for k in range(count) for post in POSTS]
    for name, count in (("train", 2), ("valid", 1), ("test", 1))
)
SPLITS = (("train", TRAIN), ("valid", VALID), ("test", TEST))
ENCODERS = {"bert-base-cased": "bert-cased", "distilroberta-base": "roberta", "deepset/gbert-base": "bert-cased"}
# Words that the bundled model is unsure about, for what picks such posts.
UNSURE = ("apple amazon jordan", "met with Jordan and Paris at orange")
SOON = {"epochs": 1, "batch_size": 4}


def make_desk(folder: Path) -> Path:
    """Everything, with ``runs/mine`` a model of texts and ``runs/seeing`` one of pictures."""
    _posts(folder)
    _corpora(folder)
    _others(folder)
    _pictures(folder)
    _models(folder)
    shutil.copytree(ROOT / "recipes", folder / "recipes")
    return folder


def _rows(posts, *, labelled: bool = True) -> list[dict]:
    rows = []
    for post in posts:
        row = {"id": post.id, "words": list(post.words), "caption": post.caption, "tags": list(post.tags or ())}
        entities = [{"start": e.start, "end": e.end, "label": e.label} for e in post.entities or ()]
        rows.append(row | ({"entities": entities} if labelled else {}))
    return rows


def _visual(posts) -> str:
    return jsonl([{"image_id": p.id, "caption": f"a picture of {p.id}", "tags": ["person", p.id]} for p in posts])


def _posts(folder: Path) -> None:
    """Files that lie in the folder itself, and ``my-data``, ``mine`` and ``reviews``."""
    posts = _rows(POSTS, labelled=False) + [{"id": f"u{k}", "text": text} for k, text in enumerate(UNSURE)]
    for name in ("posts.jsonl", "new-posts.jsonl"):
        (folder / name).write_text(jsonl(posts), encoding="utf-8")
    for place in ("", "my-data", "my-data/reviews", "reviews", "mine"):
        inside = folder / place
        inside.mkdir(parents=True, exist_ok=True)
        for name, some in SPLITS:
            (inside / f"{name}.txt").write_text(conll(some), encoding="utf-8")
            (inside / f"{name}.jsonl").write_text(jsonl(_rows(some)), encoding="utf-8")
        for name in ("visual_text.jsonl", "visual_text_full.jsonl"):
            (inside / name).write_text(_visual([*TRAIN, *VALID]), encoding="utf-8")
    (folder / "my-data" / "posts.jsonl").write_text(jsonl(posts), encoding="utf-8")
    many = [replace(post, id=f"s{k}", words=(*post.words, str(k))) for k in range(5) for post in POSTS]
    (folder / "my-data" / "support.jsonl").write_text(jsonl(_rows(many)), encoding="utf-8")
    tasks = [
        {
            "id": k,
            "data": {"text": " ".join(post.words)},
            "annotations": [{"result": [_result(post, entity) for entity in post.entities]}],
        }
        for k, post in enumerate(POSTS)
    ]
    for place in ("export.json", "mine/done.json"):
        (folder / place).write_text(json.dumps(tasks), encoding="utf-8")
    for place in ("admin.jsonl", "doccano.jsonl"):
        (folder / place).write_text(jsonl([{"id": 1, "text": "Tim is in Paris", "label": [[0, 3, "PER"]]}]))


def _result(post, entity) -> dict:
    start = len(" ".join((*post.words[: entity.start], "")))
    covered = " ".join(post.words[entity.start : entity.end])
    value = {"start": start, "end": start + len(covered), "text": covered, "labels": [entity.label]}
    return {"from_name": "label", "to_name": "text", "type": "labels", "value": value}


def _corpora(folder: Path) -> None:
    """The public corpora, laid out as the pages say, with a few posts each."""
    for year in ("2015", "2017"):
        for place in (f"data/twitter{year}", f"path/to/twitter{year}", f"path/to/data/twitter{year}"):
            inside = folder / place
            inside.mkdir(parents=True)
            for name, some in SPLITS:
                text = conll(some)
                (inside / f"{name}.txt").write_text(re.sub("MISC", "OTHER", text) if year == "2015" else text)
            for name in ("visual_text.jsonl", "visual_text_full.jsonl"):
                (inside / name).write_text(_visual([*TRAIN, *VALID]))
            for k, post in enumerate([*TRAIN, *VALID]):
                write_picture(inside / f"twitter{year}_images" / f"{post.id}.jpg", k)
    tweets = folder / "path" / "to" / "data" / "tweets_ner"
    tweets.mkdir()
    many = [replace(post, id=f"{post.id}{k}", words=(*post.words, str(k))) for k in range(5) for post in POSTS]
    for name in ("btc", "tweebank", "wnut17"):
        (tweets / f"{name}.txt").write_text(conll([replace(p, words=(*p.words, name)) for p in many]))
    (folder / "path" / "to" / "data" / "tweets.txt").write_text("Kevin wins in Paris\nApple opens\n")


def _others(folder: Path) -> None:
    """What other systems extracted, and word vectors."""
    (folder / "captions.tsv").write_text('1.jpg\t[{"caption": "a man", "conf": 0.9}]\n')
    (folder / "labels.tsv").write_text("1.jpg\t[{'class': 'man', 'conf': 0.9, 'rect': [0, 0, 1, 1]}]\n")
    torch.save({"a.jpg": ["c0.jpg", "c1.jpg"]}, folder / "twitter2017_train_dict.pth")
    numbers = " ".join("0.01" for _ in range(100))
    (folder / "glove.twitter.27B.100d.txt").write_text(f"kevin {numbers}\nparis {numbers}\n")


def _pictures(folder: Path) -> None:
    for place in ("kd.jpg", "1.jpg", "2.jpg"):
        write_picture(folder / place)
    for k, post in enumerate([*POSTS, *TRAIN, *VALID]):
        for place in ("photos", "my-data/photos", "twitter2017_images"):
            write_picture(folder / place / f"{post.id}.jpg", k)
    for k in range(2):
        write_picture(folder / "twitter2017_aux_images" / "crops" / f"c{k}.jpg", k)


def _models(folder: Path) -> None:
    for name, make in STAND_INS.items():
        make(folder / name)
    for name, kind in ENCODERS.items():
        save_encoder(folder / name, kind)
    _yolox(folder / "yolox_nano.onnx")
    encoder = save_encoder(folder / "tiny", "bert-uncased")
    grid = {"model": str(folder / "microsoft/resnet-50")}
    seeing = settings_with(pictures={"grid": grid}, fusion={"coarse_image_size": 12})
    conventions = [Convention(name="support"), Convention(name="reviews")]
    for name, settings, known in (
        ("mine", settings_with(), ()),
        ("seeing", seeing, ()),
        ("both", settings_with(), conventions),
    ):
        torch.manual_seed(1)
        model = DPEMNERModel.from_encoder(encoder, labels=LABELS, settings=settings, conventions=known)
        model.save_pretrained(folder / "runs" / name)
    values = {
        "encoder": encoder,
        "data": {"folder": "my-data", "train": "train.jsonl", "valid": "valid.jsonl"},
        "settings": FAST | {"pictures": {"grid": {"model": "microsoft/resnet-50"}}},
        "training": SOON,
        "output": "runs/mine",
    }
    (folder / "my-recipe.yaml").write_text(yaml.safe_dump(values))


def _yolox(path: Path) -> None:
    """A detector in YOLOX's form that finds nothing, whatever it is shown."""
    cells = np.zeros((1, 84, 85), dtype=np.float32)  # of strides 8, 16 and 32 in 64 x 64 pixels
    graph = helper.make_graph(
        [helper.make_node("Constant", [], ["output"], value=onnx.numpy_helper.from_array(cells))],
        "yolox",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 64, 64])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, cells.shape)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
