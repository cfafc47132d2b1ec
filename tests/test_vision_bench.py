"""Tasks that only vision, only a further step, only H_m can solve: cutting one of them off must fail here."""

from __future__ import annotations

import json

import numpy as np
import pytest
from helpers import assert_refused, run

from dpe_mner.bench.vision.answers import stated, write_stated
from dpe_mner.bench.vision.made_up import CUES, LABELS, TASKS, made_up
from dpe_mner.bench.vision.pixels import judge, pixels_decide
from dpe_mner.bench.vision.relevance import auc
from dpe_mner.bench.vision.tasks import task_settings, train_on
from dpe_mner.data.dataset import load_dataset
from dpe_mner.errors import InputError
from dpe_mner.pictures.kinds import Detection, PictureParts
from dpe_mner.types import LabelledSpan, Post


@pytest.mark.parametrize("task", TASKS)
def test_a_task_is_the_same_for_a_seed_and_another_for_another(task):
    one, again, other = (made_up(task, seed=seed, train=20, valid=5) for seed in (0, 0, 1))
    assert one.train == again.train
    assert one.train != other.train
    assert not {post.id for post in one.train} & {post.id for post in one.valid}


def test_the_caption_alone_tells_the_type():
    posts = made_up("caption_decides", seed=0, train=2000, valid=0).train
    for post in posts:
        (entity,) = post.entities
        assert CUES[LABELS.index(entity.label)] in post.caption.split()
        assert not set(CUES) & set(post.words)
    by_name: dict[str, set[str]] = {}
    for post in posts:
        by_name.setdefault(post.words[post.entities[0].start], set()).add(post.entities[0].label)
    assert np.mean([len(kinds) for kinds in by_name.values()]) > 2  # no name gives its type away


def test_the_picture_of_steps_shows_both_types_and_the_caption_the_first_ones():
    posed = made_up("steps", seed=0, train=50, valid=0)
    for post in posed.train:
        first, second = (LABELS.index(entity.label) for entity in post.entities)
        shown = posed.parts[post.id].grid[0].astype(float)
        assert set(np.argsort(shown)[-2:]) == {first, second}
        assert CUES[first] in post.caption.split()
        assert CUES[second] not in post.caption.split()


def test_vision_and_the_state_decide():
    """(a) and (g): own captions tell everything, another post's nothing, a constant H_m nothing."""
    trained = train_on(made_up("caption_decides", seed=0), task_settings("caption_decides"), seed=0, epochs=4)
    assert trained.own >= 95
    assert trained.exchanged <= 40
    assert trained.with_mean_state() <= 40


@pytest.mark.slow  # more than a minute
def test_which_name_takes_its_types_from_the_caption():
    """(b): knowing both cues without which name they stand beside gives 62.5."""
    trained = train_on(made_up("which_name", seed=0), task_settings("which_name"), seed=0, epochs=7)
    assert trained.own >= 80
    assert trained.exchanged <= 40


@pytest.mark.slow  # the longest of all; the other training below stays among the fast ones
def test_a_second_step_tells_what_the_first_cannot():
    """(f): step 2 sees both types but not whose they are, which only what step 1 found can tell."""
    posed = made_up("steps", seed=0)
    trained = train_on(posed, task_settings("steps"), seed=0, epochs=5)
    by_step = trained.by_step()
    assert by_step["2"] >= by_step["1"] + 20
    assert by_step["2"] >= trained.exchanged + 40


@pytest.mark.slow  # the control of the test above
def test_a_second_step_tells_nothing_without_what_the_first_found():
    posed = made_up("steps", seed=0)
    blind = train_on(posed, task_settings("steps", changes={"heads": {"self_conditioning": False}}), seed=0, epochs=5)
    assert blind.by_step()["2"] <= 70


def test_stated_captions_name_every_entity(tmp_path):
    posts = [
        Post(
            id="a",
            words=("Kevin", "Durant", "at", "Oracle"),
            entities=(LabelledSpan(start=0, end=2, label="PER"), LabelledSpan(start=3, end=4, label="LOC")),
        ),
        Post(id="b", words=("good", "morning"), entities=()),
    ]
    assert stated(posts[0]) == "Kevin Durant is a person , Oracle is a place"
    write_stated(posts, tmp_path / "told.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "told.jsonl").read_text().splitlines()]
    assert [row["image_id"] for row in rows] == ["a", "b"]
    conll = tmp_path / "posts.txt"
    conll.write_text("IMGID:a\nKevin\tB-PER\n\nIMGID:b\ngood\tO\n\n")
    assert load_dataset(conll, visual_text=tmp_path / "told.jsonl").posts[0].caption == rows[0]["caption"]


def test_auc_against_all_pairs():
    generator = np.random.default_rng(0)
    own, other = generator.integers(5, size=30).astype(float), generator.integers(4, size=20).astype(float)
    pairs = [(a > b) + 0.5 * (a == b) for a in own for b in other]
    assert auc(own, other) == pytest.approx(np.mean(pairs))


def detection(label, score):
    return Detection(label=label, score=score, box=(0.0, 0.0, 1.0, 1.0))


def test_only_clear_pictures_are_judged():
    assert judge([detection("person", 0.9), detection("dog", 0.5)]) == "PER"
    assert judge([detection("dog", 0.5)]) == "MISC"
    assert judge([detection("person", 0.5), detection("dog", 0.9)]) is None
    assert judge([]) is None


def test_pictures_of_training_are_not_those_of_validation():
    seen = {
        f"{label}{k}": PictureParts(grid=np.full((1, 4), k, np.float16), tags=[detection(label, 0.9)])
        for label in ("person", "dog")
        for k in range(40)
    }
    posed = pixels_decide(seen, "grid", seed=0, train=200, valid=50)
    numbers = [{float(posed.parts[post.id].grid[0, 0]) for post in posts} for posts in (posed.train, posed.valid)]
    assert not numbers[0] & numbers[1]
    assert sum(post.entities[0].label == "PER" for post in posed.valid) == 25
    with pytest.raises(InputError, match="too few clear pictures"):
        pixels_decide(dict(list(seen.items())[:50]), "grid", seed=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "visoin"], "vision"),
        (["--only", "vision", "--only", "latency"], "by itself"),
        (["--only", "vision", "--seeds", "0"], "--seeds"),
        (["--only", "vision", "--strategy", "mo"], "did you mean 'moe'"),
        (["--only", "vision", "--task", "step"], "did you mean 'steps'"),
        (["--only", "vision", "--images", "."], "--picture-model"),
        (["--only", "vision", "--labelled", "nowhere"], "valid.txt"),
    ],
)
def test_wrong_use_is_one_line(arguments, message):
    assert_refused(run("bench", *arguments), message)
