"""The eight multimodal systems of Table 1: each learns, each reads its picture, and a missing one disturbs nobody."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import LABELS, POSTS
from multimodal_parts import MULTIMODAL, batch_for, tiny, with_pictures

from dpe_mner.baselines import mner_qg, systems
from dpe_mner.baselines.systems import SYSTEMS

DIFFER = ("adacoatt", "debiascl", "hvpnet", "visualpt-moe")  # the others have one version of their network
VERSIONS = [(kind, "repaired") for kind in MULTIMODAL] + [(kind, "faithful") for kind in DIFFER]
LONG = {("mner-qg", "repaired"), ("debiascl", "repaired"), ("debiascl", "faithful")}  # to learn by heart
LEARNING = {"adacoatt": 0.02, "debiascl": 0.004}


def every_pair(gold, types, generator):
    post = torch.arange(len(gold.count)).repeat_interleave(types)
    return post, torch.arange(types).repeat(len(gold.count)), torch.ones(len(post))


def gold_rows(posts):
    number = {label: c for c, label in enumerate(LABELS, start=1)}
    return [[(e.start, e.end - 1, number[e.label]) for e in post.entities] for post in posts]


@pytest.mark.parametrize(
    ("kind", "version"), [pytest.param(*each, marks=[pytest.mark.slow] if each in LONG else []) for each in VERSIONS]
)
def test_each_overfits_one_batch(encoders, monkeypatch, kind, version):
    monkeypatch.setattr(mner_qg, "pairs_to_ask", every_pair)  # what it draws has a test of its own
    built = tiny(kind, encoders("bert-uncased"), version=version)
    batch = batch_for(built, POSTS, gold=True, seen=[True, True, False, True])
    model = built.model.train()
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING.get(kind, 0.003))
    for step in range(150):
        optimizer.zero_grad()
        output = model(batch, torch.Generator().manual_seed(step))
        output.loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 25 == 24:
            model.eval()
            with torch.no_grad():
                found = [[row[:3] for row in rows] for rows in model.decode(batch)]
            model.train()
            if found == gold_rows(POSTS):
                break
    assert found == gold_rows(POSTS)
    assert torch.isfinite(output.loss)
    assert set(output.parts) >= ({"entities"} if kind != "mner-qg" else {"boundaries", "matches", "existence"})


def what_it_sees(built, batch):
    """Scores that a decision is made of, before it is made."""
    model = built.model.eval()
    losses = model.losses(batch, torch.Generator().manual_seed(0))
    return torch.stack([value.detach() for name, value in sorted(losses.items()) if "contrast" not in name])


@pytest.mark.parametrize(("kind", "version"), VERSIONS)
def test_a_picture_changes_the_answer_when_nothing_else_differs(encoders, kind, version):
    built = tiny(kind, encoders("bert-uncased"), version=version)
    post = POSTS[0]
    own = batch_for(built, [post], gold=True)
    reads = SYSTEMS[kind].reads
    seen = what_it_sees(built, own)
    if {"y_c", "y_f"} & set(reads) and kind != "cat-mner":
        other = with_pictures(own, torch.tensor([True]), numbers=[77])
        assert not torch.equal(what_it_sees(built, other), seen)
        without = replace(own, coarse=None, fine=None, fine_words=None, objects=None)
        assert not torch.equal(what_it_sees(built, without), seen)
    for name, changed in (("y_ct", replace(post, caption="a red car")), ("y_ft", replace(post, tags=("dog",)))):
        differs = not torch.equal(what_it_sees(built, batch_for(built, [changed], gold=True)), seen)
        assert differs == (name in reads), name


@pytest.mark.parametrize(("kind", "version"), VERSIONS)
@torch.no_grad()
def test_a_post_without_a_picture_neither_crashes_nor_disturbs_its_neighbours(encoders, kind, version):
    built = tiny(kind, encoders("bert-uncased"), version=version)
    model = built.model.eval()
    for parameter in model.parameters():  # answers there are
        parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(5)))
    bare = replace(POSTS[1], caption=None, tags=None)
    together = batch_for(built, [POSTS[0], bare], seen=[True, False], multiple=16)
    alone = batch_for(built, [POSTS[0]], seen=[True], multiple=16)
    by_itself = batch_for(built, [bare], seen=[False], multiple=16)
    first, second = model.decode(together)
    close(first, model.decode(alone)[0])
    if (kind, version) not in ABSENT_COUNTS:
        close(second, model.decode(by_itself)[0])


# Their published code attends to zeros where a picture is missing; prediction never batches posts of unlike shapes.
ABSENT_COUNTS = {("hvpnet", "faithful"), ("visualpt-moe", "faithful")}


def close(one, other):
    assert [row[:3] for row in one] == [row[:3] for row in other]
    assert [row[3] for row in one] == pytest.approx([row[3] for row in other], abs=2e-3)


def test_every_system_says_its_source_and_both_versions():
    folder = Path(systems.__file__).parent
    for kind in MULTIMODAL:
        source = (folder / f"{kind.replace('-', '_')}.py").read_text()
        text = ast.get_docstring(ast.parse(source))
        assert text is not None
        assert "20" in text
        assert "Read in" in text or "No code was found" in text or "Neither code" in text
        assert len(source.splitlines()) <= 350
        assert ("settings.version" in source) == (kind in DIFFER)
        if kind in DIFFER:
            assert "``faithful``" in text
            assert "``repaired``" in text
