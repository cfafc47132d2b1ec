"""The demonstration posts and their photographs, and the page that ``dpe-mner demo`` makes of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import run

import dpe_mner
from dpe_mner.data.demo import demo_credits, demo_posts
from dpe_mner.data.words import words_of
from dpe_mner.types import Post

NOTICE = Path(__file__).resolve().parents[1] / "NOTICE"
MOST_BYTES = 60_000


def illustrated() -> list[Post]:
    return [post for post in demo_posts() if post.image is not None]


def test_photographs_are_small_described_and_credited():
    posts, credits, notice = illustrated(), demo_credits(), NOTICE.read_text(encoding="utf-8")
    assert len(posts) >= 2
    assert set(credits) == {post.id for post in posts}
    for post in posts:
        path = Path(str(post.image))
        assert path.stat().st_size < MOST_BYTES
        assert path.read_bytes()[:3] == b"\xff\xd8\xff"
        assert path.name in notice
        assert credits[post.id].endswith(("public domain", "CC0"))
        assert post.caption
        assert post.tags


def test_posts_without_pictures_keep_caption_and_tags():
    for bare, whole in zip(demo_posts(pictures=False), demo_posts(), strict=True):
        assert bare.image is None
        assert (bare.id, bare.caption, bare.tags) == (whole.id, whole.caption, whole.tags)


def test_the_page_shows_photographs_says_what_was_read_and_draws_the_noise(tmp_path):
    pytest.importorskip("PIL")
    page = tmp_path / "demo.html"
    shown = run("demo", "--output", page)
    assert shown.returncode == 0, shown.stderr
    html = page.read_text(encoding="utf-8")
    posts = illustrated()
    assert html.count("<img ") == html.count("data:image/jpeg;base64,") == len(posts)
    assert html.count("only, not the picture itself.") == len(posts)
    assert "warning:" not in html
    assert str(Path(str(posts[0].image)).parent) not in html  # where the package lies is nobody's business
    for credit in demo_credits().values():
        assert f"photograph: {credit}" in html
    assert html.count(" spans of noise below the words") == len(demo_posts())


def test_what_a_step_started_from_narrows_to_what_it_found():
    model = dpe_mner.load()
    post = demo_posts(pictures=False)[0]
    told = model.predict(post, explain=True, steps=3)
    words = words_of(post)
    distinct = []
    for step in told.steps:
        assert sum(start.count for start in step.starts) == model.settings.noise.spans
        for start in step.starts:
            assert 0 <= start.word_start < start.word_end <= len(words)
            assert (start.start, start.end) == (words.starts[start.word_start], words.ends[start.word_end - 1])
            assert start.label in {"", *model.labels}
        distinct.append(len({(start.word_start, start.word_end) for start in step.starts}))
    assert distinct[2] < distinct[1] < distinct[0]
    last = {(start.word_start, start.word_end) for start in told.steps[-1].starts}
    assert {(entity.word_start, entity.word_end) for entity in told.entities} <= last
    (first, *_) = told.as_dict(explain=True)["steps"]
    assert first["starts"][0] == vars(told.steps[0].starts[0])


def test_noise_is_the_same_whatever_the_words_say():
    model = dpe_mner.load()
    one, other = (
        model.predict(text, explain=True, steps=1).steps[0] for text in ("a b c d e", "Tim Cook of Apple Inc")
    )
    assert [(s.word_start, s.word_end) for s in one.starts] != []
    spans = [sorted((s.word_start, s.word_end) for s in step.starts for _ in range(s.count)) for step in (one, other)]
    assert spans[0] == spans[1]


def test_spans_of_several_windows_stand_where_their_words_do():
    model = dpe_mner.load()
    text = " ".join(f"word{k}" for k in range(400))
    told = model.predict(text, explain=True, steps=1)
    starts = told.steps[0].starts
    assert max(start.word_start for start in starts) > 300
    assert all(text[start.start : start.end].split()[0] == f"word{start.word_start}" for start in starts)


def test_every_entity_of_a_long_answer_is_in_its_last_step():
    text = " , ".join(
        f"{name} met Kevin Durant in Paris" for name in ("Tim Cook", "Emma Stone", "Stephen Curry", "Tom Hanks")
    )
    told = dpe_mner.load().predict(text, explain=True, steps=1)
    assert len(told.entities) > 8
    held = {(entity.start, entity.end, entity.label) for entity in told.steps[-1].candidates}
    assert {(entity.start, entity.end, entity.label) for entity in told.entities} <= held
