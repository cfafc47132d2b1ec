"""Several corpora in one model: conventions, unannotated types, shares, hold-outs, and what does not fit together."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from conftest import FAST, LABELS, POSTS, batch_of, conll, jsonl, settings_with
from helpers import assert_refused, lines_of, run

from dpe_mner import InputError, load
from dpe_mner.checkpoints.config import DPEMNERConfig
from dpe_mner.model import DPEMNERModel
from dpe_mner.reasoning.unannotated import fold_classes, tag_classes
from dpe_mner.settings import Convention
from dpe_mner.training.batches import SharedBatches, spread
from dpe_mner.training.recipe import load_recipe
from dpe_mner.training.sources import batch_shares, load_corpora, text_share
from dpe_mner.training.train import train
from dpe_mner.types import LabelledSpan, Post

CONVENTIONS = [Convention(name="all"), Convention(name="people", unannotated=("LOC", "ORG", "MISC"))]


@pytest.fixture
def two(encoders) -> DPEMNERModel:
    """A tiny model of two conventions whose embedding tells them apart."""
    encoder = encoders("bert-uncased")
    torch.manual_seed(1)
    model = DPEMNERModel.from_encoder(encoder, labels=LABELS, settings=settings_with(), conventions=CONVENTIONS)
    torch.nn.init.normal_(model.text_encoder.conventions.weight, std=2.0)
    return model.eval()


def test_folding_moves_the_probability_of_unannotated_classes_to_none():
    logits = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0))
    unannotated = torch.tensor([[False] * 5, [False, False, True, False, True]])
    before, after = logits.softmax(-1), fold_classes(logits, unannotated[:, None]).softmax(-1)
    torch.testing.assert_close(after[0], before[0])
    torch.testing.assert_close(after[1, :, 0], before[1, :, [0, 2, 4]].sum(-1))
    assert (after[1, :, [2, 4]] == 0).all()
    torch.testing.assert_close(after[1, :, [1, 3]], before[1, :, [1, 3]])


def test_folded_classes_get_no_gradient_against_none():
    """Where MISC is not annotated, taking a name for MISC rather than for nothing costs nothing."""
    logits = torch.zeros(1, 1, 3, requires_grad=True)
    unannotated = torch.tensor([[False, False, True]])
    folded = fold_classes(logits, unannotated[:, None])
    torch.nn.functional.cross_entropy(folded.flatten(0, 1), torch.tensor([0])).backward()
    none, person, misc = logits.grad.flatten().tolist()
    assert none == pytest.approx(misc)
    assert none < 0 < person


def test_tags_follow_their_classes():
    mask = torch.tensor([[False, True, False]])
    assert tag_classes(mask).tolist() == [[False, True, True, False, False]]


def test_a_convention_changes_the_answer_and_its_types(two):
    post = "Kevin Durant enters Oracle Arena with Warriors"
    two.configure(decision={"threshold": 0.0})
    every = two.predict(post)
    assert two.conventions == ["all", "people"]
    assert every == two.predict(post, convention="all")
    people = two.predict(post, convention="people")
    assert {e.label for e in every} - {"PER"}
    assert {e.label for e in people} == {"PER"}
    assert [e.score for e in people] != [e.score for e in every if e.label == "PER"]


def test_a_post_keeps_its_own_convention_and_batches_may_mix(two):
    posts = [replace(post, convention=("all", "people")[k % 2]) for k, post in enumerate(POSTS * 2)]
    together = two.predict(posts, convention="people")
    alone = [two.predict(replace(p, convention=None), convention=p.convention) for p in posts]
    assert together == alone


def test_conventions_survive_saving(two, tmp_path):
    two.save_pretrained(tmp_path / "saved")
    loaded = load(str(tmp_path / "saved"))
    assert loaded.annotation_conventions == CONVENTIONS
    posts = [replace(p, convention=("all", "people")[k % 2]) for k, p in enumerate(POSTS)]
    assert loaded.predict(posts) == two.predict(posts)


def test_a_checkpoint_of_before_has_one_convention(saved_model, tmp_path):
    folder = Path(saved_model)
    values = json.loads((folder / "config.json").read_text())
    del values["conventions"]
    config = DPEMNERConfig.from_dict(values)
    assert config.conventions == []
    model = load(str(folder))
    assert model.conventions == []
    with pytest.raises(InputError, match="trained on one corpus"):
        model.predict("Kevin Durant", convention="btc")


def test_unknown_conventions_are_one_line(two, tmp_path):
    with pytest.raises(InputError, match=r"'peple': unknown \(did you mean 'people'\?\); this model has all, people"):
        two.predict("Kevin Durant", convention="peple")
    with pytest.raises(InputError, match="'x'"):
        two.predict([Post(text="Kevin Durant", convention="x")])
    two.save_pretrained(tmp_path / "saved")
    result = run("predict", "--text", "Kevin", "--model", tmp_path / "saved", "--convention", "x")
    assert_refused(result, "'x'", "all, people")


def test_conventions_must_differ():
    with pytest.raises(InputError, match="distinct"):
        DPEMNERConfig(conventions=[Convention(name="a"), Convention(name="a")])


def test_training_asks_nothing_of_unannotated_classes(two):
    """The gradient of "no entity" against MISC is the same in every post of a corpus without MISC."""
    batch = batch_of(two, [replace(p, convention="people") for p in POSTS], gold=False)
    times = torch.zeros(1, len(batch), dtype=torch.long)
    text, visual = two.encode(batch)
    context = two.prepare(batch, text, visual, times)
    ends = torch.zeros(len(batch), 12, 2, dtype=torch.long)
    types = two.network(context, 0, ends).output.types.softmax(-1)
    assert (types[..., 2:] == 0).all()
    tags = two.network.tag(context).softmax(-1)
    assert (tags[..., 3:] == 0).all()
    assert (tags[..., 1:3] > 0).all()


# Sampling


def test_every_batch_has_its_shares():
    shares = np.array([0.5, 0.3, 0.2])
    counts = spread(shares, 16, 200)
    assert (counts.sum(1) == 16).all()
    assert (abs(counts - shares * 16) < 1.01).all()
    assert abs(counts.sum(0) / (16 * 200) - shares).max() < 1e-3


def test_an_epoch_meets_sources_by_their_share_and_batches_are_of_like_length():
    draw = np.random.default_rng(0)
    lengths, sources = draw.integers(5, 60, 900), np.repeat([0, 1], [800, 100])

    def epoch(number: int, shares) -> list[int]:
        return list(SharedBatches(lengths, sources, shares, batch_size=10, seed=3, epoch=lambda: number))

    order = epoch(0, [0.5, 0.5])
    assert len(order) == 900
    batches = np.array(order).reshape(90, 10)
    assert ((sources[batches] == 1).sum(1) == 5).all()
    assert set(order) >= set(np.flatnonzero(sources == 1))  # met more than once
    assert np.mean([np.ptp(lengths[batch[sources[batch] == 0]]) for batch in batches]) < 15
    assert order == epoch(0, [0.5, 0.5])
    assert order != epoch(1, [0.5, 0.5])
    by_size = epoch(0, [8 / 9, 1 / 9])
    assert sorted(by_size) == list(range(900))  # each once


def test_shares_sum_to_one():
    assert batch_shares([None, None], [30, 10]) == [0.75, 0.25]
    assert batch_shares([0.5, None, None], [1, 30, 10]) == [0.5, 0.375, 0.125]
    for shares in ([0.7, 0.7], [1.0, None], [0.2, 0.2]):
        with pytest.raises(InputError, match="shares of the sources"):
            batch_shares(shares, [1, 1])


# Recipes


@pytest.fixture
def sources(tmp_path, encoders, write):
    """A recipe of two corpora; changes to its sources are given by name."""
    named = [replace(p, id=f"n{k}", words=(*p.words, str(k)) if p.words else None) for k, p in enumerate(POSTS * 8)]
    people = [
        replace(p, entities=tuple(LabelledSpan(start=e.start, end=e.end, label="person") for e in p.entities[:1]))
        for p in named
        if p.words
    ]
    write("train.txt", conll(POSTS * 2))
    write("valid.txt", conll(POSTS))
    write("visual.jsonl", jsonl([{"image_id": p.id, "caption": p.caption, "tags": list(p.tags or ())} for p in POSTS]))
    write("people.txt", conll(people))

    def make(recipe=None, **changes) -> Path:
        both = [
            {"name": "all", "train": "train.txt", "valid": "valid.txt", "visual_text": "visual.jsonl"},
            {
                "name": "people",
                "train": "people.txt",
                "hold_out": 0.3,
                "label_map": {"person": "PER"},
                "unannotated": ["LOC", "ORG", "MISC"],
                "share": 0.5,
            },
        ]
        for source in both:
            source |= changes.get(source["name"], {})
        values = {
            "name": "tiny",
            "encoder": encoders("bert-uncased"),
            "data": {"folder": str(tmp_path), "sources": both} | changes.get("data", {}),
            "settings": FAST,
            "training": {"epochs": 2, "batch_size": 6, "learning_rate": 1e-3, "encoder_learning_rate": 1e-3},
            "output": str(tmp_path / "run"),
        }
        return write("recipe.yaml", yaml.safe_dump(values | (recipe or {})))

    return make


def test_two_corpora_train_one_model(sources, tmp_path):
    lines: list[str] = []
    metrics = train(load_recipe(sources()), log=lines.append)
    model = load(str(tmp_path / "run"))
    assert model.conventions == ["all", "people"]
    assert model.labels == metrics["labels"]
    each = {source["name"]: source for source in metrics["sources"]}
    assert each["people"]["convention"] == "people"
    assert each["people"]["unannotated"] == ["LOC", "ORG", "MISC"]
    assert each["all"]["train_posts"] == 2 * len(POSTS)
    assert metrics["f1"] == pytest.approx(np.mean([s["validation"]["f1"] for s in metrics["sources"]]))
    assert {"all", "people"} == set(metrics["history"][0]["f1_by_source"])
    assert (tmp_path / "run" / "reliability.png").read_bytes().startswith(b"\x89PNG")
    card = (tmp_path / "run" / "README.md").read_text()
    assert "people" in card
    assert "LOC, ORG, MISC" in card
    assert any("people" in line for line in lines if line.startswith("epoch "))
    shown = run("info", "--model", tmp_path / "run").stdout.decode()
    assert "people (without LOC, ORG, MISC)" in shown


def test_a_convention_embedding_learns(sources, tmp_path):
    train(load_recipe(sources()), log=lambda _: None)
    model = load(str(tmp_path / "run"))
    weight = model.text_encoder.conventions.weight
    assert (weight.abs().sum(1) > 0).all()


def test_the_held_out_part_depends_on_the_text_alone(sources):
    one = load_corpora(load_recipe(sources()).data)[1]
    assert {p.id for p in one.train.posts}.isdisjoint(p.id for p in one.valid.posts)
    assert all(text_share(post) < 0.3 for post in one.valid.posts)
    assert all(text_share(post) >= 0.3 for post in one.train.posts)
    assert {post.convention for post in [*one.train.posts, *one.valid.posts]} == {"people"}
    assert text_share(Post(text="a b")) == text_share(Post(words=("a", "b"), id="x"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"people": {"train": "none.txt"}}, ["none.txt"]),
        ({"people": {"name": "all"}}, ["two are called 'all'"]),
        ({"people": {"hold_out": 0.0}}, ["'people'", "hold_out"]),
        ({"people": {"hold_out": 1e-9}}, ["'people'", "no validation post"]),
        ({"people": {"label_map": {"person": "PER", "PER": "STAFF"}}}, ["person", "PER", "STAFF", "one step"]),
        ({"people": {"label_map": {"person": "LOC"}}}, ["person", "LOC", "unannotated"]),
        ({"people": {"unannotated": ["LOC", "PER", "ORG", "MISC"]}}, ["PER", "unannotated"]),
        ({"people": {"unannotated": ["person"], "label_map": {}}}, ["person", "unannotated"]),
        ({"people": {"unannotated": ["TOWN"]}}, ["no source annotates TOWN"]),
        ({"people": {"convention": "all"}}, ["'all'", "'people'", "unannotated"]),
        ({"people": {"share": 1.0}}, ["shares of the sources"]),
        ({"people": {"shares": 0.5}}, ["shares", "share"]),
        ({"data": {"labels": ["PER", "LOC", "ORG", "MISC", "TOWN"]}}, ["no source annotates TOWN"]),
        ({"data": {"labels": ["PER"]}}, ["unknown to the model"]),
    ],
)
def test_what_does_not_fit_together_is_one_line(sources, changes, words):
    assert_refused(run("train", sources(**changes)), *words)


def test_a_baseline_takes_one_corpus(sources, tmp_path):
    from dpe_mner.baselines.train import train_baseline

    with pytest.raises(InputError, match="one corpus"):
        train_baseline(load_recipe(sources()), "bert-crf", log=lambda _: None)


def test_gold_of_unannotated_types_does_not_count(two, tmp_path, write):
    two.save_pretrained(tmp_path / "saved")
    data, out = write("valid.txt", conll(POSTS)), tmp_path / "scores.json"
    result = run("evaluate", data, "--model", tmp_path / "saved", "--convention", "people", "--json", out)
    assert result.returncode == 0, result.stderr.decode()
    scores = json.loads(out.read_text())
    others = [e for post in POSTS for e in post.entities if e.label != "PER"]
    people = [e for post in POSTS for e in post.entities if e.label == "PER"]
    assert scores["entities"] == len(people)
    assert f"{len(others)} gold entities are of types" in result.stderr.decode()


def test_posts_of_a_file_name_their_convention(two, tmp_path, write):
    two.save_pretrained(tmp_path / "saved")
    posts = write(
        "posts.jsonl",
        jsonl([{"id": "a", "text": "Kevin Durant", "convention": "people"}, {"id": "b", "text": "Kevin Durant"}]),
    )
    found = lines_of(run("predict", posts, "--model", tmp_path / "saved").stdout)
    expected = [two.predict("Kevin Durant", convention=name) for name in ("people", "all")]
    for line, entities in zip(found, expected, strict=True):
        assert [e["label"] for e in line["entities"]] == [e.label for e in entities]
