"""Errors by kind, by hand and by their laws; comparisons; the command end to end."""

from __future__ import annotations

import itertools
import json
import sys
from collections import Counter
from dataclasses import replace

import pytest
from conftest import POSTS, conll
from helpers import assert_refused, run
from hypothesis import given, settings
from hypothesis import strategies as st

from dpe_mner import InputError, Post
from dpe_mner.data.words import join_words, split_text
from dpe_mner.evaluation.compare import compare, verdict_of
from dpe_mner.evaluation.errors import count_errors, kind_of, known_entities, outcomes_of, pair_up, surface
from dpe_mner.evaluation.score import score
from dpe_mner.evaluation.without import without

PER, LOC = "PER", "LOC"
SPANS = st.sets(
    st.tuples(st.integers(0, 8), st.integers(1, 4), st.sampled_from([PER, LOC, "ORG"])).map(
        lambda row: (row[0], row[0] + row[1], row[2])
    ),
    max_size=6,
)


@pytest.mark.parametrize(
    ("gold", "predicted", "kinds"),
    [
        ([(0, 5, PER)], [(0, 5, PER)], ["correct"]),
        ([(0, 5, PER)], [(0, 3, PER)], ["boundary"]),
        ([(0, 5, PER)], [(0, 5, LOC)], ["type"]),
        ([(0, 5, PER)], [(3, 9, LOC)], ["both"]),
        ([(0, 5, PER)], [], ["missed"]),
        ([], [(0, 5, PER)], ["spurious"]),
        ([(0, 5, PER)], [(5, 9, PER)], ["missed", "spurious"]),  # neighbours do not overlap
        # One prediction over two gold entities goes to the one it shares most with; the other is missed.
        ([(0, 3, PER), (4, 10, PER)], [(0, 10, PER)], ["missed", "boundary"]),
        ([(0, 4, PER), (5, 9, PER)], [(0, 9, PER)], ["boundary", "missed"]),  # as much with both: the first
        ([(0, 3, PER), (4, 10, LOC)], [(0, 10, PER)], ["boundary", "missed"]),  # the right type goes first
        # Of two predictions inside one gold entity the one that shares less is spurious.
        ([(0, 9, PER)], [(0, 3, PER), (4, 9, PER)], ["spurious", "boundary"]),
        ([(0, 9, PER)], [(0, 5, LOC), (6, 9, LOC)], ["both", "spurious"]),
        ([(0, 9, PER)], [(0, 4, PER), (5, 9, PER)], ["boundary", "spurious"]),
        ([(0, 9, PER)], [(0, 3, PER), (4, 9, LOC)], ["boundary", "spurious"]),
        # What is right stays right, whatever else overlaps it.
        ([(0, 5, PER)], [(0, 5, PER), (0, 9, PER)], ["correct", "spurious"]),
        ([(0, 5, PER), (0, 5, LOC)], [(0, 5, LOC)], ["correct", "missed"]),
        ([(0, 5, PER), (3, 9, LOC)], [(0, 5, LOC)], ["type", "missed"]),  # the same span before the same type
    ],
)
def test_kinds_by_hand(gold, predicted, kinds):
    assert [kind_of(*pair) for pair in pair_up(gold, predicted)] == kinds


@given(st.lists(st.tuples(SPANS, SPANS), max_size=5))
@settings(max_examples=150, deadline=None)
def test_counts_add_up_and_agree_with_the_score(posts):
    words = join_words(list("abcdefg"))
    outcomes = [outcomes_of(words, gold, guesses, known={"a"}) for gold, guesses in posts]
    counts = count_errors(outcomes)
    golds, guesses = sum(len(g) for g, _ in posts), sum(len(p) for _, p in posts)
    assert counts.total.total() - counts.total["spurious"] == golds
    assert counts.total.total() - counts.total["missed"] == guesses
    report = score([g for g, _ in posts], [p for _, p in posts])
    assert report.overall.recall == pytest.approx(100 * counts.total["correct"] / golds if golds else 0)
    for split in (counts.by_type, counts.by_length, counts.by_seen):
        if split is not None:
            assert sum(split.values(), Counter()) == counts.total
    assert counts.confusion.total() == counts.total.total()
    for label, row in counts.by_type.items():
        support = report.per_type[label].support if label in report.per_type else 0
        assert row.total() - row["spurious"] == support


@given(SPANS, SPANS)
@settings(max_examples=200, deadline=None)
def test_nothing_left_over_overlaps_and_every_entity_is_used_once(gold, predicted):
    pairs = pair_up(gold, predicted)
    assert sorted(g for g, _ in pairs if g) == sorted(gold)
    assert sorted(p for _, p in pairs if p) == sorted(predicted)
    missed = [g for g, p in pairs if p is None]
    spurious = [p for g, p in pairs if g is None]
    assert not [(g, p) for g, p in itertools.product(missed, spurious) if g[0] < p[1] and p[0] < g[1]]
    assert {g for g, p in pairs if g == p} == gold & predicted
    mirrored = {(p, g) for g, p in pair_up(predicted, gold)}
    assert {kind_of(g, p) for g, p in mirrored} == {kind_of(g, p) for g, p in pairs}


def test_length_and_whether_training_knew_it():
    words = split_text("Kevin Durant enters Oracle Arena, Paris")
    gold = [(0, 12, PER), (20, 32, LOC), (34, 39, LOC)]
    known = known_entities([POSTS[0], Post(text="in PARIS", entities=[])])
    assert known == {"kevindurant", "oraclearena"}
    outcomes = outcomes_of(words, gold, [(20, 39, LOC)], known=known)
    assert [(o.kind, o.length, o.seen) for o in outcomes] == [
        ("missed", 2, True),
        ("boundary", 2, True),
        ("missed", 1, False),
    ]
    assert [o.seen for o in outcomes_of(words, gold, [])] == [None] * 3
    counts = count_errors([outcomes])
    assert counts.by_seen is not None
    assert counts.by_seen["unseen"] == {"missed": 1}
    assert counts.by_length["2"] == {"missed": 1, "boundary": 1}
    assert counts.confusion[LOC, None] == 1
    assert counts.confusion[LOC, LOC] == 1
    assert count_errors([outcomes_of(words, gold, [])]).by_seen is None
    assert surface("O ' Neil\u00a0JR") == surface("O'Neil Jr")


def test_verdicts():
    gold = {(0, 1, PER), (2, 3, LOC)}
    half, none = {(0, 1, PER)}, set()
    assert verdict_of(gold, gold, half) == "fixed"
    assert verdict_of(gold, half, gold) == "broken"
    assert verdict_of(gold, half, none) == "better"
    assert verdict_of(gold, none, half) == "worse"
    assert verdict_of(gold, half, {(2, 3, LOC)}) == "other"


@given(st.lists(st.tuples(SPANS, SPANS, SPANS), max_size=6))
@settings(max_examples=60, deadline=None)
def test_comparison_is_symmetric(posts):
    gold, ours, theirs = ([post[k] for post in posts] for k in range(3))
    there = compare(gold, ours, theirs, other="b", samples=50)
    back = compare(gold, theirs, ours, other="a", samples=50)
    mirrored = {"fixed": "broken", "broken": "fixed", "better": "worse", "worse": "better", "other": "other"}
    assert [(c.post, mirrored[c.verdict]) for c in back.changes] == [(c.post, c.verdict) for c in there.changes]
    assert there.p_value == back.p_value
    assert there.right == back.right[::-1]
    assert there.counts["fixed"] - there.counts["broken"] == there.right[0] - there.right[1]
    assert sum(there.counts.values()) == sum(a != b for a, b in zip(ours, theirs, strict=True))


def test_taking_away():
    posts = [Post(text="x", image="a.jpg", caption="c", tags=["t"]), Post(text="y")]
    assert without(posts, "pictures", reads_pictures=True)[0] == replace(posts[0], image=None)
    # An empty caption of its own: a captioner must not make the one that was taken away.
    assert without(posts, "captions", reads_pictures=True)[0] == replace(posts[0], caption="", tags=())
    assert without(posts, "all", reads_pictures=False)[0] == Post(text="x")
    with pytest.raises(InputError, match="reads no pictures"):
        without(posts, "pictures", reads_pictures=False)
    with pytest.raises(InputError, match="nothing would change"):
        without(posts[1:], "captions", reads_pictures=True)
    with pytest.raises(InputError, match="did you mean 'pictures'"):
        without(posts, "picture", reads_pictures=True)


@pytest.fixture
def data(write):
    rows = [{"image_id": p.id, "caption": f"{p.id} {p.caption or ''}", "tags": list(p.tags or ())} for p in POSTS]
    visual = write("visual.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    return ("evaluate", write("valid.txt", conll(POSTS)), "--visual-text", visual, "--quiet")


def test_evaluate_writes_the_errors(saved_model, data, write, tmp_path):
    train = write("train.txt", conll(POSTS[:1]))
    page, errors, out = tmp_path / "e.html", tmp_path / "e.json", tmp_path / "s.json"
    asked = ("--errors", page, "--errors", errors, "--json", out, "--train-data", train)
    result = run(*data, "--model", saved_model, "--against-without", "captions", *asked)
    assert result.returncode == 0, result.stderr
    found, scores = json.loads(errors.read_text()), json.loads(out.read_text())
    assert found["errors"] == scores["errors"]
    assert sum(found["errors"].values()) - found["errors"]["spurious"] == scores["entities"] == 6
    assert {name: sum(row.values()) - row["spurious"] for name, row in found["errors_by_seen"].items()} == {
        "seen": 2,
        "unseen": 4,
    }
    assert sum(row["count"] for row in found["confusion"]) == sum(found["errors"].values())
    wrong = [[o["kind"] for o in post["outcomes"]] for post in found["listed"]]
    assert [sum(k != "correct" for k in kinds) for kinds in wrong] == sorted(
        (sum(k != "correct" for k in kinds) for kinds in wrong), reverse=True
    )
    for post in found["listed"]:
        for outcome in post["outcomes"]:
            for side in (outcome["gold"], outcome["predicted"]):
                assert side is None or post["text"][side["start"] : side["end"]] == side["text"]
    against = scores["against"]
    assert against == found["against"]
    assert against["changed"] == sum(against[name] for name in ("fixed", "broken", "better", "worse", "other"))
    assert against["changed"] == sum(post["verdict"] is not None for post in found["listed"])
    assert 0 < against["p_value"] <= 1
    assert f"p = {against['p_value']:.4f}" in result.stdout.decode()
    assert "without captions" in page.read_text()


def test_a_model_against_itself_changes_nothing(saved_model, data, tmp_path):
    out = tmp_path / "s.json"
    assert run(*data, "--model", saved_model, "--against", saved_model, "--json", out).returncode == 0
    scores = json.loads(out.read_text())
    assert (scores["against"]["changed"], scores["against"]["p_value"]) == (0, 1)
    assert scores["against"]["f1"] == scores["f1"]
    assert "errors" not in scores


def test_against_another_model(saved_model, data, build, tmp_path):
    build("electra").save_pretrained(tmp_path / "other")
    out, alone = tmp_path / "s.json", tmp_path / "alone.json"
    assert run(*data, "--model", saved_model, "--against", tmp_path / "other", "--json", out).returncode == 0
    assert run(*data, "--model", tmp_path / "other", "--json", alone).returncode == 0
    assert json.loads(out.read_text())["against"]["f1"] == json.loads(alone.read_text())["f1"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--errors", "e.txt"], [".html or .json"]),
        (["--errors", "no/where/e.html"], ["cannot be written", "no/where"]),
        (["--errors", "."], ["needs a file"]),
        (["--errors", "--quiet"], ["needs a file"]),
        (["--errors", "folder.html"], ["is a folder"]),
        (["--errors", "e.html", "--errors", "e.html"], ["already"]),
        (["--errors", "e.html", "--train-data", "nowhere.txt"], ["nowhere.txt"]),
        (["--train-data", "valid.txt"], ["--errors"]),
        (["--plot", "p.jpg"], [".png or .svg"]),
        (["--against", "x", "--against-without", "all"], ["one comparison"]),
        (["--against-without", "caption"], ["did you mean 'captions'"]),
        (["--against-without", "pictures"], ["reads no pictures"]),
        (["--against", "nowhere/at/all"], ["nowhere/at/all"]),
    ],
)
def test_wrong_usage_of_errors_is_one_line(saved_model, data, tmp_path, options, words):
    (tmp_path / "folder.html").mkdir()
    error = assert_refused(run(*data, "--model", saved_model, *options, cwd=tmp_path), *words)
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "e.html").exists()


def test_an_input_is_never_overwritten(saved_model, data, write):
    path = write("posts.json", json.dumps({"id": "1", "text": "Paris", "entities": []}) + "\n")
    before = path.read_bytes()
    assert_refused(run("evaluate", path, "--model", saved_model, "--errors", path), "already reads")
    assert_refused(run("predict", path, "--model", saved_model, "--html", path), "already reads")
    assert path.read_bytes() == before


def test_the_plot(saved_model, data, tmp_path):
    pytest.importorskip("matplotlib")
    out, svg = tmp_path / "s.json", tmp_path / "p.svg"
    result = run(*data, "--model", saved_model, "--steps", "4", "--plot", svg, "--json", out)
    assert result.returncode == 0, result.stderr
    scores = json.loads(out.read_text())
    assert list(scores["f1_by_steps"]) == ["1", "2", "3", "4", "5"]
    assert scores["f1_by_steps"]["4"] == scores["f1"]
    assert svg.read_text().startswith("<?xml")
    assert run(*data, "--model", saved_model, "--plot", tmp_path / "p.png").returncode == 0
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


def test_the_plot_without_matplotlib_says_how_to_get_it(saved_model, data, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert_refused(run(*data, "--model", saved_model, "--plot", tmp_path / "p.png"), "pip install 'dpe-mner[train]'")
