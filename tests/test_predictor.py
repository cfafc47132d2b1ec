"""Prediction: the same answer in any batch, windows, offsets, explanations."""

from __future__ import annotations

import itertools

import pytest
from conftest import POSTS, batch_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dpe_mner import Entity, InputError, Post, Prediction, load
from dpe_mner.data.words import words_of


@pytest.fixture(scope="module")
def model(saved_model):
    return load(saved_model)


def many_posts(count=40):
    names = ["Kevin", "#NBA", "Paris", "the", "of", "Tim", "Cook", "x" * 9, "😀", "AC", "Milan", ":"]
    return [
        Post(
            id=str(k),
            words=tuple(names[(k * 7 + j * j) % len(names)] for j in range(1 + (k * 5) % 23)),
            caption=None if k % 3 == 0 else " ".join(names[: 1 + k % 9]),
            tags=("person", "dog") if k % 4 == 0 else None,
        )
        for k in range(count)
    ]


def test_one_post_gets_the_same_answer_alone_in_any_batch_and_in_any_order(model):
    posts = many_posts()
    alone = [model.predict(post) for post in posts]
    assert sum(map(len, alone)) > 20  # a random model must find something for this to mean anything
    for batch_size in (1, 7, 64):
        assert model.predict(posts, batch_size=batch_size) == alone
    backwards = model.predict(list(reversed(posts)), batch_size=16)
    assert list(reversed(backwards)) == alone


def test_answers_repeat_and_seeds_matter(model):
    posts = many_posts(10)
    assert model.predict(posts, seed=3) == model.predict(posts, seed=3)
    assert any(model.predict(posts, seed=3) != model.predict(posts, seed=s) for s in range(4, 8))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=120))
def test_offsets_are_exact_for_any_text(model, text):
    for entity in model.predict(Post(text=text)):
        assert text[entity.start : entity.end] == entity.text
        words = words_of(Post(text=text))
        assert words.starts[entity.word_start] == entity.start
        assert words.ends[entity.word_end - 1] == entity.end
        assert 0 <= entity.score <= 1


def test_offsets_of_given_words_count_in_the_joined_text(model):
    words = ["Kevin", "", "Durant", "\u200b", "enters", "Oracle"]
    entities = model.predict(Post(words=words))
    assert entities
    for entity in entities:
        assert " ".join(words)[entity.start : entity.end] == entity.text


def test_entities_are_flat_and_in_order(model):
    found = model.predict(many_posts())
    assert max(map(len, found)) > 1
    for entities in found:
        assert all(a.end <= b.start for a, b in itertools.pairwise(entities))


@pytest.mark.parametrize("nothing", ["", "   ", "\n\t"])
def test_an_empty_post_has_no_entities(model, nothing):
    assert model.predict(nothing) == []
    assert model.predict(nothing, explain=True).warnings == ["the post has no words"]


def test_no_posts_have_no_results(model):
    assert model.predict([]) == []
    assert model.predict([], explain=True) == []
    assert model.predict(iter(())) == []
    assert model.predict(iter(()), explain=True) == []


def test_a_very_long_post_is_read_to_its_end(model):
    words = [word for post in many_posts() for word in post.words] * 2
    entities = model.predict(Post(words=words))
    windows = model.tokenizer.windows(Post(words=words), words_of(Post(words=words)))
    assert len(windows) > 5
    assert windows[-1].first + len(windows[-1].words) == len(words)
    assert max(e.word_end for e in entities) > len(words) - 120
    assert min(e.word_start for e in entities) < 120


def test_windows_overlap_and_own_every_word_once(model):
    words = words_of(Post(words=[f"w{k}" for k in range(500)]))
    windows = model.tokenizer.windows(Post(words=list(words.words)), words)
    owned = [k for w in windows for k in range(*w.owned)]
    assert owned == list(range(500))
    for window in windows:
        assert window.first <= window.owned[0] < window.owned[1] <= window.first + len(window.words)
        assert len(window.text.ids) <= model.tokenizer.max_pieces
    assert all(a.first + len(a.words) > b.first for a, b in itertools.pairwise(windows))


def test_a_hundred_thousand_characters(model):
    text = "Kevin Durant in Paris, " * 4400
    assert len(text) > 100_000
    entities = model.predict(text)
    assert entities
    assert all(text[e.start : e.end] == e.text for e in entities)
    one_word = "x" * 100_000
    assert {e.text for e in model.predict(one_word)} <= {one_word}
    assert model.predict(one_word + " Kevin", explain=True).warnings == []


def test_what_counts_as_one_post(model):
    """A text or a Post; a list is always several, whatever its texts contain."""
    assert all(isinstance(e, Entity) for e in model.predict(Post(words=["Kevin", "Durant"])))
    for texts in (["Kevin", "Durant"], ["Kevin Durant in Paris", "Tim Cook"], ["Kevin", "Tim Cook"], ("Kevin", "Tim")):
        assert model.predict(texts) == [model.predict(text) for text in texts]
    assert model.predict([["Kevin", "Durant"]]) == [model.predict(Post(words=["Kevin", "Durant"]))]
    assert len(model.predict(iter(["Kevin", "Tim"]))) == 2
    assert len(model.predict([["Kevin"], Post(text="Tim"), "Cook"])) == 3
    assert model.predict(iter([])) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"post": 3}, "a post is"),
        ({"post": [Post(text="a")], "caption": "c"}, "belong to one post"),
        ({"post": [3, 4]}, "a post is"),
        ({"post": b"Kevin"}, "a post is"),
        ({"post": {"text": "Kevin"}}, "a post is"),
        ({"post": ["Kevin", "Durant"], "caption": "c"}, "belong to one post"),
        ({"post": "a", "steps": 0}, "steps must be"),
        ({"post": "a", "spans": 0}, "spans must be"),
        ({"post": "a", "batch_size": 0}, "batch_size must be"),
        ({"post": "a", "seed": -1}, "seed must be"),
    ],
)
def test_wrong_arguments_are_one_clear_line(model, arguments, message):
    with pytest.raises(InputError, match=message):
        model.predict(**arguments)


def test_explanations_tell_every_step(model):
    result = model.predict("Kevin Durant enters Oracle Arena", caption="a player", tags=["ball"], explain=True, steps=4)
    assert isinstance(result, Prediction)
    assert [step.step for step in result.steps] == [1, 2, 3, 4]
    weights = [step.image2text_weight for step in result.steps]
    assert weights == sorted(weights, reverse=True)
    assert weights[0] == pytest.approx(0.7, abs=0.01)
    assert set(result.relevance) == {"token", "sentence", "span"}
    assert result.representations == {
        "x_t": True,
        "x_g": True,
        "x_s": True,
        "y_c": False,
        "y_ct": True,
        "y_f": False,
        "y_ft": True,
    }


def test_candidates_of_steps_are_parts_of_the_text(model):
    results = model.predict(many_posts(), explain=True)
    shown = [(candidate, result) for result in results for step in result.steps for candidate in step.candidates]
    assert len(shown) > 20  # a random model must find something for this to mean anything
    assert all(candidate.text in result.text for candidate, result in shown)


def test_a_caption_changes_what_the_model_sees(model):
    posts = [Post(text="Kevin Durant enters"), Post(text="Kevin Durant enters", caption="a player")]
    logits = [model.reason(batch_of(model, [post])).steps[-1].output.types for post in posts]
    assert (logits[0] - logits[1]).abs().max() > 1e-4


def test_a_picture_that_cannot_be_used_is_said(model):
    result = model.predict("Kevin Durant", image="kd.jpg", explain=True)
    assert len(result.warnings) == 1
    assert "kd.jpg" in result.warnings[0]


def test_padding_changes_nothing(model):
    """The posts of a batch are padded to multiples of eight: more padding, same logits."""
    tight = model.reason(batch_of(model, POSTS[:1]))
    padded = model.reason(batch_of(model, POSTS[:1], multiple=16))
    M = len(POSTS[0].words)
    for one, other in zip(tight.steps, padded.steps, strict=True):
        assert (one.output.left - other.output.left[..., :M]).abs().max() < 1e-4
        assert (one.output.types - other.output.types).abs().max() < 1e-4


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_finds_the_same_with_nearly_the_same_scores(dtype):
    text, caption = "Kevin Durant enters Oracle Arena", "a basketball player walks into a gym"
    whole, half = (
        load().predict(text, caption=caption),
        load(dtype=dtype).predict(text, caption=caption),
    )
    assert [(e.text, e.label) for e in whole] == [(e.text, e.label) for e in half]
    assert len(whole) == 2
    for one, other in zip(whole, half, strict=True):
        assert other.score == pytest.approx(one.score, abs=0.05)


def test_an_unknown_dtype_is_one_line():
    with pytest.raises(InputError, match=r"dtype 'bfloat61': not supported \(did you mean 'bfloat16'\?\)"):
        load(dtype="bfloat61")
