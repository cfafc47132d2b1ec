"""Controls: another post's captions, tags and pictures; span states at their mean."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import pytest
import torch
from conftest import POSTS, conll, jsonl
from helpers import assert_refused, run
from hypothesis import given, settings
from hypothesis import strategies as st

from dpe_mner import InputError, Post
from dpe_mner.commands.comparison import Question, hold
from dpe_mner.evaluation.answers import answer_posts
from dpe_mner.evaluation.calibration import above
from dpe_mner.evaluation.exchanged import derangement, exchangeable, exchanged
from dpe_mner.evaluation.mean_state import constant_state, mean_state_answers, observed_state
from dpe_mner.pictures.kinds import Detection, PictureParts
from dpe_mner.pictures.reader import PictureReader
from dpe_mner.pipeline import PredictionOptions
from dpe_mner.predictor import Predictor
from dpe_mner.training.validate import Validator
from dpe_mner.types import Entity, Prediction

OPTIONS = PredictionOptions(steps=2)

# Exchange


@given(st.lists(st.integers(0, 4) | st.integers(0, 40), max_size=40), st.integers(0, 2**32))
@settings(max_examples=300, deadline=None)
def test_nobody_is_given_what_reads_the_same(contents, seed):
    givers = derangement(contents, seed=seed)
    if len(set(contents)) < 2:
        assert givers is None
        return
    assert derangement(contents, seed=seed) == givers
    assert all(contents[giver] != contents[k] for k, giver in enumerate(givers))
    if max(Counter(contents).values()) <= len(contents) / 2:
        assert sorted(givers) == list(range(len(contents)))  # a derangement: everything is given, once


CAPTIONS = st.sampled_from([None, "", " ", "a dog", "A  dog", "a cat", "two cats"])
TAGS = st.sampled_from([None, (), ("dog",), ("Dog",), ("dog", "cat"), ("cat", "dog"), ("cat",)])
IMAGES = st.sampled_from([None, "a.jpg", "b.jpg", b"c", b"d"])


def words_of_caption(post):
    return (post.caption or "").lower().split()


def set_of_tags(post):
    return sorted(tag.lower() for tag in post.tags or ())


@given(
    st.lists(st.builds(Post, text=st.just("x"), caption=CAPTIONS, tags=TAGS, image=IMAGES), max_size=12),
    st.integers(0, 99),
)
@settings(max_examples=200, deadline=None)
def test_each_part_is_exchanged_alone_and_never_for_its_like(posts, seed):
    contents = {"captions": words_of_caption, "tags": set_of_tags, "pictures": lambda post: post.image}
    fields = {"captions": "caption", "tags": "tags", "pictures": "image"}
    for what, content in contents.items():
        if what not in exchangeable(posts):
            with pytest.raises(InputError):
                exchanged(posts, what, seed=seed)
            continue
        mixed = exchanged(posts, what, seed=seed)
        assert mixed == exchanged(posts, what, seed=seed)
        given_ = [getattr(post, fields[what]) for post in posts]
        for before, after in zip(posts, mixed, strict=True):
            part = getattr(after, fields[what])
            assert after == replace(before, **{fields[what]: part})  # nothing else is touched
            assert part in given_
            assert content(after) != content(before) if content(before) else after == before
    if exchangeable(posts):
        for before, after in zip(posts, exchanged(posts, "all", seed=seed), strict=True):
            for what in exchangeable(posts):
                content = contents[what]
                assert not content(before) or content(after) != content(before)


def test_the_seed_draws_whose():
    posts = [Post(text="x", caption=f"caption {k}") for k in range(30)]
    drawn = [[post.caption for post in exchanged(posts, "captions", seed=seed)] for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert sorted(drawn[0]) == sorted(post.caption for post in posts)


def test_a_picture_is_told_by_its_content_where_it_can_be_read(tmp_path):
    names = [tmp_path / name for name in ("a.png", "copy.png", "b.png")]
    for name, content in zip(names, (b"one", b"one", b"two"), strict=True):
        name.write_bytes(content)
    posts = [Post(text="x", image=str(name)) for name in names]
    assert [post.image for post in exchanged(posts, "pictures")][:2] == [posts[2].image] * 2
    with pytest.raises(InputError, match="all pictures are the same"):
        exchanged(posts[:2], "pictures")
    arrays = [Post(text="x", image=torch.full((2, 2, 3), k, dtype=torch.uint8).numpy()) for k in (0, 1)]
    assert exchanged(arrays, "pictures")[0].image is arrays[1].image


@pytest.mark.parametrize(
    ("posts", "what", "words"),
    [
        ([Post(text="x"), Post(text="y", caption=" ")], "captions", "no post has any; give them with --visual-text"),
        ([Post(text="x", caption="a"), Post(text="y")], "captions", "only one post has captions"),
        ([Post(text="x", caption="A b"), Post(text="y", caption="a  b")], "captions", "all captions are the same"),
        ([Post(text="x", tags=["b", "a"]), Post(text="y", tags=["a", "b"])], "tags", "all tags are the same"),
        ([], "all", "no post has any of it; give them with --visual-text and --images"),
        ([Post(text="x", caption="a")], "all", "only one post has captions"),
        ([Post(text="x")], "caption", "did you mean 'captions'"),
    ],
)
def test_what_cannot_be_exchanged_is_one_line(posts, what, words):
    with pytest.raises(InputError, match=words) as caught:
        exchanged(posts, what)
    assert "\n" not in str(caught.value)


def test_pictures_stay_where_the_model_reads_none():
    posts = [Post(text="x", image=f"{k}.jpg", caption=str(k)) for k in range(3)]
    assert [post.image for post in exchanged(posts, "all", reads_pictures=False)] == [post.image for post in posts]
    with pytest.raises(InputError, match="reads no pictures"):
        exchanged(posts, "pictures", reads_pictures=False)


def test_tags_made_of_pictures_are_exchanged_once_they_are_there(build, tmp_path, monkeypatch):
    from vision import write_picture

    def read(_reader, pictures, *, kinds, queries):
        assert kinds == ("tags",)
        return [PictureParts(tags=[Detection(p.key[:6], 0.9, (0, 0, 1, 1))]) for p in pictures]

    monkeypatch.setattr(PictureReader, "__call__", read)
    model = build(pictures={"tags": {"model": "nowhere", "threshold": 0.0}})
    posts = [
        replace(post, tags=None, image=str(write_picture(tmp_path / f"{k}.png", k))) for k, post in enumerate(POSTS)
    ]
    seen = []

    def answer(model, posts):
        seen.append(answer_posts(model, posts, OPTIONS))
        return seen[-1]

    def ask(what):
        seen.clear()
        held = hold(Question(against_exchanged=what), model, posts, answer=answer, load=None, options=OPTIONS)
        assert (held.name, held.control, held.own) == (f"exchanged {what}", True, seen[0])
        return [answers.posts for answers in seen]

    own, mixed = ask("tags")
    assert all(post.tags for post in own)
    assert sorted(post.tags for post in mixed) == sorted(post.tags for post in own)
    assert all(a.tags != b.tags and a.image == b.image for a, b in zip(own, mixed, strict=True))
    own, mixed = ask("pictures")  # with all that is made of them
    assert {post.image: post.tags for post in own} == {post.image: post.tags for post in mixed}
    assert all(a.image != b.image for a, b in zip(own, mixed, strict=True))


# The mean state


def states_of_heads(model, posts, seen):
    """Every H_m that the heads read while posts are predicted."""
    handle = model.network.heads.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().clone()))
    try:
        return list(Predictor(model, model.tokenizer)(posts, OPTIONS))
    finally:
        handle.remove()


FUSIONS = [{}, {"strategy": "moe"}, {"decompose": False}]


@pytest.mark.parametrize("fusion", FUSIONS)
def test_the_heads_read_one_constant_state(build, posts, fusion):
    model = build(fusion=fusion)
    before, during = [], []
    with observed_state(model) as mean:
        answers = states_of_heads(model, posts, before)
    states = torch.cat([part.flatten(0, -2) for part in before])
    assert mean.count == len(states)
    torch.testing.assert_close(mean.value.float(), states.double().mean(0).float())
    assert states.std(0).max() > 1e-3  # there was something to lose
    with constant_state(model, mean.value):
        states_of_heads(model, posts, during)
    constant = torch.cat([part.flatten(0, -2) for part in during])
    assert len(constant) == len(states)
    assert torch.equal(constant, mean.value.float().expand_as(constant))
    assert states_of_heads(model, posts, []) == answers  # and nothing of it is left


def test_the_control_is_gone_after_an_error(build, posts):
    model = build()
    before = list(Predictor(model, model.tokenizer)(posts, OPTIONS))

    def fails(control):
        with pytest.raises(RuntimeError, match="in between"), control:
            raise RuntimeError("in between")

    fails(observed_state(model))
    fails(constant_state(model, torch.zeros(model.network.width)))
    assert not model.network.top._forward_hooks
    assert list(Predictor(model, model.tokenizer)(posts, OPTIONS)) == before
    with pytest.raises(ValueError, match="no state"), observed_state(model) as mean:
        _ = mean.value


def test_the_threshold_is_chosen_again_under_the_control(build, posts):
    model = build(decision={"threshold": 0.1})
    found = mean_state_answers(model, posts, OPTIONS)
    assert found.own.predictions == answer_posts(model, posts, OPTIONS).predictions
    with observed_state(model) as mean:
        answer_posts(model, posts, OPTIONS)
    with constant_state(model, mean.value):
        expected = Validator(posts)(model, steps=2)
        at_own = answer_posts(model, posts, OPTIONS)
    assert found.threshold == expected.threshold
    assert found.control.report == expected.calibrated
    assert found.at_own_threshold == at_own.report
    assert all(entity.score >= found.threshold for p in found.control.predictions for entity in p.entities)


def test_entities_above_a_threshold():
    entities = [
        Entity("Kevin", "PER", 0, 5, 0, 1, 0.2),
        Entity("Paris", "LOC", 6, 11, 1, 2, 0.5),
        Entity("Apple", "ORG", 12, 17, 2, 3, 0.9),
    ]
    (prediction,) = above([Prediction("1", "Kevin Paris Apple", entities, warnings=["w"])], 0.0)
    assert (prediction.entities, prediction.warnings) == (entities, ["w"])
    assert above([prediction], 0.5)[0].entities == entities[1:]
    assert above([prediction], 0.91)[0].entities == []


# The command


@pytest.fixture
def data(write):
    rows = [{"image_id": p.id, "caption": f"{p.id} {p.caption or ''}", "tags": list(p.tags or ())} for p in POSTS]
    visual = write("visual.jsonl", jsonl(rows))
    return ("evaluate", write("valid.txt", conll(POSTS)), "--visual-text", visual, "--quiet")


FIELDS = {"precision", "recall", "f1", "per_type", "posts", "entities", "labels_sha256", "model", "seed", "steps"}


@pytest.mark.parametrize(
    ("options", "control", "more"),
    [
        (["--against-exchanged", "captions"], "exchanged captions", set()),
        (["--against-exchanged", "tags", "--seed", "3"], "exchanged tags", set()),
        (["--against-exchanged", "all"], "exchanged all", set()),
        (["--control", "mean-state"], "mean-state", {"threshold", "f1_at_own_threshold"}),
    ],
)
def test_scores_under_a_control_beside_the_own(saved_model, data, tmp_path, options, control, more):
    out, alone, page = tmp_path / "s.json", tmp_path / "own.json", tmp_path / "e.html"
    result = run(*data, "--model", saved_model, *options, "--json", out, "--errors", page)
    assert result.returncode == 0, result.stderr
    scores, shown = json.loads(out.read_text()), result.stdout.decode()
    compared = {"control", "own", "difference", "changed", "p_value", "samples"}
    assert set(scores) == FIELDS | {"spans"} | compared | more
    assert scores["control"] == control
    run(*data, "--model", saved_model, "--json", alone, *(options[2:]))
    own = json.loads(alone.read_text())
    assert all(scores["own"][name] == own[name] for name in ("precision", "recall", "f1", "per_type", "entities"))
    assert sum(scores["own"]["errors"].values()) - scores["own"]["errors"]["spurious"] == 6
    assert scores["difference"] == pytest.approx(scores["own"]["f1"] - scores["f1"])
    assert 0 < scores["p_value"] <= 1
    assert f"{scores['changed']} of 4 answers differ" in shown
    assert f"F1 {scores['difference']:+.2f} against {control}, p = {scores['p_value']:.4f}" in shown
    assert f"{scores['own']['f1']:.2f}" in shown
    assert f"{scores['f1']:.2f}" in shown
    if more:
        assert f"threshold chosen again under the control: {scores['threshold']}; with the checkpoint's own" in shown
        assert f"F1 {scores['f1_at_own_threshold']:.2f}" in shown
    assert control in page.read_text()


def test_the_exchanged_score_is_that_of_exchanged_captions(saved_model, data, write, tmp_path):
    out, theirs = tmp_path / "s.json", tmp_path / "theirs.json"
    assert run(*data, "--model", saved_model, "--against-exchanged", "captions", "--json", out).returncode == 0
    own = [replace(p, caption=f"{p.id} {p.caption or ''}") for p in POSTS]
    rows = [{"image_id": p.id, "caption": p.caption, "tags": list(p.tags or ())} for p in exchanged(own, "captions")]
    visual = write("mixed.jsonl", jsonl(rows))
    run(*data[:2], "--visual-text", visual, "--model", saved_model, "--json", theirs)
    scores, expected = json.loads(out.read_text()), json.loads(theirs.read_text())
    assert all(scores[name] == expected[name] for name in FIELDS)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--against-exchanged", "caption"], ["did you mean 'captions'", "captions, tags, pictures, all"]),
        (["--against-exchanged", "pictures"], ["reads no pictures"]),
        (["--against-exchanged", "captions", "--against-without", "all"], ["one comparison"]),
        (["--against-exchanged", "captions", "--control", "mean-state"], ["--against-exchanged or --control"]),
        (["--against", "bundled", "--control", "mean-state"], ["--against or --control"]),
        (["--control", "mean_state"], ["did you mean 'mean-state'"]),
        (["--control", "zero"], ["choose mean-state"]),
        (["--control", ""], ["choose mean-state"]),
    ],
)
def test_wrong_usage_of_controls_is_one_line(saved_model, data, options, words):
    error = assert_refused(run(*data, "--model", saved_model, *options), *words)
    assert len(error.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("rows", "options", "words"),
    [
        ([{}, {}], ["--against-exchanged", "captions"], ["no post has any", "--visual-text"]),
        ([{"caption": "a"}, {}], ["--against-exchanged", "captions"], ["only one post has captions"]),
        ([{"caption": "a"}, {"caption": "A "}], ["--against-exchanged", "captions"], ["all captions are the same"]),
        ([{"tags": ["a"]}, {"tags": ["a"]}], ["--against-exchanged", "tags"], ["all tags are the same"]),
        ([{}], ["--against-exchanged", "all"], ["no post has any of it"]),
        ([{}], ["--control", "mean-state"], ["a mean over 1 post is no control"]),
        ([{}, {"text": " ", "entities": []}], ["--control", "mean-state"], ["a mean over 1 post is no control"]),
        ([{"text": "", "entities": []}] * 2, ["--control", "mean-state"], ["a mean over no posts is no control"]),
    ],
)
def test_data_that_hold_no_control_are_one_line(saved_model, write, rows, options, words):
    post = {"text": "Kevin Durant enters", "entities": [{"start": 0, "end": 12, "label": "PER"}]}
    path = write("posts.jsonl", jsonl([post | row for row in rows]))
    error = assert_refused(run("evaluate", path, "--model", saved_model, "--quiet", *options), *words)
    assert sum(not line.startswith("warning: ") for line in error.strip().splitlines()) == 1
