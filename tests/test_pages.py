"""Pages for eyes: what they show, that nothing in them comes from outside, and that hostile posts stay text."""

from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import replace
from functools import partial
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from conftest import POSTS, conll, jsonl
from helpers import assert_refused, lines_of, run

from dpe_mner.data.gold import gold_characters
from dpe_mner.data.words import words_of
from dpe_mner.evaluation.analysis import analyse
from dpe_mner.evaluation.answers import Answers
from dpe_mner.explain import collect
from dpe_mner.explain.sources import counting, idle, source_weights
from dpe_mner.pages.errors import error_page
from dpe_mner.pages.html import Mark, colour_of, pieces_of
from dpe_mner.pages.picture import shown_picture
from dpe_mner.pages.reasoning import explanation_page
from dpe_mner.reasoning.grounding import best_source
from dpe_mner.types import Entity, Grounding, LabelledSpan, Post, Prediction, ReasoningStep

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)> ' \" {{ 7*7 }} <!--"
SAMPLE = Path(__file__).resolve().parents[2] / "shared" / "data" / "mner_sample"
VOID = {"meta", "img", "input", "br", "link"}


class Page(HTMLParser):
    """A page as a browser reads it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.scripts: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        inside = self.open[-1] if self.open else ""
        (self.scripts if inside == "script" else self.texts if inside != "style" else []).append(data)

    @property
    def text(self) -> str:
        return "".join(self.texts)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def assert_safe(html: str) -> Page:
    """Well-formed, nothing loaded from anywhere, no handler, no script but ours."""
    page = Page(html)
    assert {name for name, _ in page.tags} <= set(
        "html head meta title style body main h1 h2 h3 p b i div span article mark small table tr th td ul li "
        "img input select option button form script svg g path rect text".split()
    )
    for name, attributes in page.tags:
        assert not [key for key in attributes if key.startswith("on")]
        assert not {"href", "srcset", "action"} & set(attributes)
        if "src" in attributes:
            assert name == "img"
            assert attributes["src"].startswith("data:image/jpeg;base64,")
    assert "url(" not in html
    assert "@import" not in html
    assert len(page.scripts) == ("<script" in html)
    assert "alert" not in "".join(page.scripts)
    return page


def entity(text: str, word: str, label: str, score: float = 0.9) -> Entity:
    start = text.index(word)
    first = len(text[:start].split())
    return Entity(word, label, start, start + len(word), first, first + len(word.split()), score)


def explained(text: str, **changes) -> Prediction:
    first = [entity(text, "Paris", "PER", 0.4)]
    then = [entity(text, "Paris", "LOC", 0.8)]
    steps = [
        ReasoningStep(1, 999, first, 0.9, 0.7, {"coarse": 0.31, "fine": 0.42}),
        ReasoningStep(2, 500, then, 0.2, 0.4, {"coarse": 0.53, "fine": 0.64}),
    ]
    made = Prediction(
        id="1",
        text=text,
        entities=then,
        steps=steps,
        relevance={i: {"coarse": 0.5, "fine": 0.6} for i in ("token", "sentence", "span")},
        representations=dict.fromkeys(("x_t", "x_g", "x_s", "y_c", "y_ct", "y_f", "y_ft"), True),
        influence={"coarse": 2.5, "fine": 0.5},
    )
    return replace(made, **changes)


def test_pieces_join_to_the_text():
    marks = [Mark(start=0, end=4, label="A", rank=0.1), Mark(start=2, end=6, label="B", rank=0.9)]
    pieces = pieces_of("abcdefgh", [*marks, Mark(start=6, end=8, label="C")])
    assert [(p.text, p.mark and p.mark.label) for p in pieces] == [("ab", None), ("cdef", "B"), ("gh", "C")]
    assert pieces_of("", []) == []
    assert colour_of("PER") != colour_of("LOC")
    assert colour_of("MISC") == colour_of("OTHER")


def test_a_source_counts_where_its_grain_moves_the_answer():
    made = explained("sunny Paris again", influence={"coarse": 0.1, "fine": 0.099})
    assert counting(made) == {"y_ct": True, "y_c": True, "y_ft": False, "y_f": False}
    assert idle(made) == ["tags", "regions"]
    made = replace(made, representations={"y_ct": True, "y_f": True, "y_c": False})
    assert counting(made) == {"y_ct": True, "y_c": False, "y_ft": False, "y_f": False}
    assert idle(made) == ["regions"]
    assert idle(replace(made, influence={})) == ["caption", "regions"]


def test_a_missing_source_gives_its_weight_to_its_twin():
    step = ReasoningStep(1, 0, [], 0.75, 0.6, {})
    everything = source_weights(step, {"y_c": True, "y_ct": True, "y_f": True, "y_ft": True})
    shares = [share for _, share in everything.named]
    assert shares == pytest.approx([0.45, 0.15, 0.3, 0.1])
    assert (everything.image2text, everything.coarse) == pytest.approx((0.75, 0.6))
    captions = source_weights(step, {"y_ct": True})
    assert (captions.y_ct, captions.image2text, captions.coarse) == (1, 1, 1)
    mixed = source_weights(step, {"y_c": True, "y_ft": True})
    assert [share for _, share in mixed.named] == pytest.approx([0, 0.6, 0.4, 0])
    assert not source_weights(step, {}).any


def test_the_page_shows_every_step_with_weights_relevance_and_sources():
    text = "sunny Paris again"
    post = Post(text=text, caption="a city by day", tags=["tower", "car"])
    page = assert_safe(explanation_page([post], [explained(text)], title="t"))
    for shown in ("step 1 of 2", "noise time 999", "PER 0.40", "LOC 0.80", "caption: a city by day", "tower, car"):
        assert shown in page.text
    assert "image2text 0.90" in page.text
    assert "0.70" in page.text
    assert "coarse 0.53 fine 0.64" in page.text
    assert "caption 63" in page.text.replace("\xa0", " ")  # 0.9 x 0.7
    assert len(page.all("mark")) == 1  # the answer
    classes = [a["class"].split() for a in page.all("path") if "class" in a]
    assert ["faint" in c for c in classes] == [True, False]  # step 1, step 2
    assert ["new" in c for c in classes] == [False, True]
    assert "PER 0.40" in page.text
    assert "LOC 0.80 new" in page.text
    off = [a for a in page.all("span") if a.get("class") == "off"]
    assert not off


def test_a_source_that_is_not_there_is_crossed_out():
    text = "sunny Paris again"
    there = {"x_t": True, "x_g": True, "x_s": True, "y_c": False, "y_ct": True, "y_f": False, "y_ft": False}
    made = explained(text, representations=there, influence={"coarse": 0.5})
    page = assert_safe(explanation_page([Post(text=text)], [made], title="t"))
    assert len([a for a in page.all("span") if a.get("class") == "off"]) == 3
    assert "caption 100" in page.text
    assert "did not change this answer" not in page.text
    nothing = explanation_page([Post(text=text)], [explained(text, representations={"x_t": True})], title="t")
    assert "nothing beside the text" in assert_safe(nothing).text


def only(grain: str) -> dict:
    """What an explanation holds when the other grain does not move the answer."""
    made = explained("sunny Paris again")
    return {
        "steps": [replace(step, span_relevance={grain: step.span_relevance[grain]}) for step in made.steps],
        "relevance": {i: {grain: values[grain]} for i, values in made.relevance.items()},
    }


def test_a_grain_that_does_not_change_the_answer_is_named_and_left_out():
    text = "sunny Paris again"
    made = explained(text, influence={"coarse": 0.02, "fine": 0.5}, **only("fine"))
    page = assert_safe(explanation_page([Post(text=text)], [made], title="t"))
    assert "Caption and picture did not change this answer." in page.text
    assert not [a for a in page.all("span") if a.get("class") == "off"]  # they were there
    assert "relevance to the spans: fine 0.42" in page.text
    assert "coarse 0.31" not in page.text
    shown = page.text.replace("\xa0", " ")
    assert "tags 90 %" in shown  # the fine grain has all there is to share
    assert "caption 63" not in shown
    assert "picture" not in shown.partition("noise time 999")[2].partition("relevance")[0]
    assert len(page.all("td")) == 6
    assert page.text.count("–") == 3


def test_when_nothing_changes_the_answer_nothing_is_shown():
    text = "sunny Paris again"
    bare = explained(text).steps
    made = explained(
        text,
        influence={"coarse": 0.02, "fine": 0.0},
        relevance={i: {} for i in ("token", "sentence", "span")},
        steps=[replace(step, span_relevance={}) for step in bare],
    )
    page = assert_safe(explanation_page([Post(text=text)], [made], title="t"))
    assert "Caption, picture, tags and regions did not change this answer." in page.text
    assert "nothing beside the text" not in page.text
    assert "relevance to" not in page.text
    assert not page.all("table")
    assert not [a for a in page.all("div") if a.get("class") in {"meters", "split"}]


def test_the_picture_is_inside_the_page_with_the_boxes():
    PIL = pytest.importorskip("PIL.Image")
    text = "sunny Paris again"
    big = PIL.new("RGB", (1200, 600), "teal")
    looked = [Grounding(0, "region", "tower", (0.25, 0.1, 0.75, 0.5), 0.61, 2.44, 0.83)]
    html = explanation_page([Post(text=text, image=big)], [explained(text, grounding=looked)], title="t")
    page = assert_safe(html)
    (img,) = page.all("img")
    shown = PIL.open(io.BytesIO(base64.b64decode(img["src"].partition(",")[2])))
    assert (shown.format, shown.size) == ("JPEG", (480, 240))
    (box,) = [a["style"] for a in page.all("b") if "style" in a]
    assert box == "left: 25.00%; top: 10.00%; width: 50.00%; height: 40.00%"
    assert "Paris looked most at the region tower: 2.4 times an even share, relevance 0.83" in page.text


@pytest.mark.parametrize("image", ["gone.jpg", b"no picture", "https://example.org/a.jpg"])
def test_a_bad_picture_is_a_reason_on_the_page(image):
    pytest.importorskip("PIL")
    text = "sunny Paris again"
    page = assert_safe(explanation_page([Post(text=text, image=image)], [explained(text)], title="t"))
    assert "The picture is not shown:" in page.text
    assert not page.all("img")


def test_a_picture_brings_nothing_but_its_pixels():
    PIL = pytest.importorskip("PIL.Image")
    stream = io.BytesIO()
    PIL.new("RGB", (9, 9)).save(stream, "JPEG", comment=b"secret", exif=b"Exif\0\0secret")
    data = base64.b64decode(shown_picture(stream.getvalue(), longest_side=5).uri.partition(",")[2])
    assert b"secret" not in data
    assert PIL.open(io.BytesIO(data)).size == (5, 5)


def test_hostile_posts_stay_text_on_the_page_of_reasoning():
    text = f"Paris {HOSTILE}"
    label = '"><script>alert(3)</script>'
    made = explained(text, warnings=[HOSTILE])
    made = replace(made, entities=[replace(made.entities[0], label=label)], id=HOSTILE)
    made = replace(made, grounding=[Grounding(0, "tag", HOSTILE, (0.0, 0.0, 1.0, 1.0), 0.5)])
    post = Post(id=HOSTILE, text=text, caption=HOSTILE, tags=[HOSTILE, label], image=f"{HOSTILE}.jpg")
    page = assert_safe(explanation_page([post] * 7, [made] * 7, title=HOSTILE))
    assert page.text.count(f"caption: {HOSTILE}") == 7
    assert label in page.text


def test_no_post_makes_an_empty_page():
    assert "<article>" not in explanation_page([], [], title="t")


@pytest.fixture
def posts_file(write):
    return write("posts.jsonl", jsonl([{"id": p.id, "words": list(p.words), "caption": p.caption} for p in POSTS]))


def test_predict_writes_the_page_of_one_post(saved_model, tmp_path):
    page = tmp_path / "o.html"
    post = ("--text", "Kevin Durant enters", "--caption", "a player", "--steps", "2", "--model", saved_model)
    result = run("predict", *post, "--html", page)
    assert result.returncode == 0, result.stderr
    (row,) = lines_of(result.stdout)
    assert len(row["steps"]) == 2  # --html implies --explain
    shown = assert_safe(page.read_text())
    assert "step 2 of 2" in shown.text
    assert "caption: a player" in shown.text
    assert str(page) in result.stderr.decode()


def test_predict_writes_the_page_of_a_file_and_says_what_is_left_out(saved_model, write, tmp_path):
    posts = write("many.jsonl", jsonl([{"id": str(k), "text": f"Kevin {k}"} for k in range(203)]))
    page, output = tmp_path / "o.html", tmp_path / "o.jsonl"
    result = run("predict", posts, "--output", output, "--html", page, "--model", saved_model, "--steps", "1")
    assert result.returncode == 0, result.stderr
    assert [row["id"] for row in lines_of(output.read_bytes())] == [str(k) for k in range(203)]
    html = page.read_text()
    assert html.count("<article>") == 200
    assert "The first 200 of 203 posts are shown." in assert_safe(html).text
    assert "203 posts; the reasoning steps of the first 200 are in" in result.stderr.decode()


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("nowhere/o.html", ["--html", "cannot be written", "nowhere"]),
        (".", ["--html needs a file"]),
        ("", ["--html needs a file"]),
        ("--quiet", ["--html needs a file"]),
        ("posts.jsonl", ["--html", "already"]),
    ],
)
def test_a_page_without_a_place_is_one_line(saved_model, posts_file, tmp_path, place, words):
    before = posts_file.read_bytes()
    error = assert_refused(run("predict", posts_file, "--model", saved_model, "--html", place, cwd=tmp_path), *words)
    assert len(error.strip().splitlines()) == 1
    assert posts_file.read_bytes() == before


def test_html_without_a_name_is_wrong_usage(saved_model):
    assert_refused(run("predict", "--text", "x", "--model", saved_model, "--html"), "--html")


def answers_to(posts, predictions) -> Answers:
    return Answers(list(posts), [gold_characters(post, words_of(post)) for post in posts], list(predictions))


def prediction_of(post: Post, *spans: tuple[int, int, str]) -> Prediction:
    words = words_of(post)
    made = [
        Entity(words.text[words.starts[i] : words.ends[j - 1]], label, words.starts[i], words.ends[j - 1], i, j, 0.7)
        for i, j, label in spans
    ]
    return Prediction(id=post.id, text=words.text, entities=made)


@pytest.fixture
def answers():
    right = [prediction_of(post, *((e.start, e.end, e.label) for e in post.entities)) for post in POSTS]
    wrong = [
        prediction_of(POSTS[0], (0, 1, "PER"), (3, 5, "ORG")),  # boundary, type
        right[1],
        prediction_of(POSTS[2], (0, 1, "LOC")),  # spurious
        prediction_of(POSTS[3], (0, 2, "PER")),  # both
    ]
    return answers_to(POSTS, wrong), answers_to(POSTS, right)


def test_the_page_of_errors_lists_the_worst_first(answers):
    made, right = answers
    analysis = analyse(made, data="valid.txt", model="mine", others=right, other="right")
    page = assert_safe(error_page(analysis))
    cards = page.all("article")
    keys = [json.loads(card["data-errors"]) for card in cards]
    assert [[key[0] for key in card] for card in keys] == [["boundary", "type"], ["spurious"], ["both"]]
    assert [card["data-verdict"] for card in cards] == ["broken"] * 3
    buttons = {a["data-kind"] for a in page.all("button") if "data-kind" in a}
    assert buttons == {"boundary", "type", "both", "missed", "spurious"}
    for shown in ("“Kevin Durant” PER", "“Kevin” PER 0.70", "Not told: no training file", "Compared with: right"):
        assert shown in page.text
    by_type = page.text.partition("By type")[2].partition("By length")[0]
    assert by_type.rstrip().endswith(f"{analysis.report.overall.f1:.2f}")  # the row of all types is the last
    assert "b" not in {post.id for post in (p.post for p in analysis.listed)}  # right in both: not listed


def test_filters_name_what_the_cards_carry(answers):
    analysis = analyse(answers[0], data="d", model="m", train=POSTS[:1], train_data="train.txt")
    page = assert_safe(error_page(analysis))
    ids = {a["id"] for a in page.all("select")}
    assert ids == {"kind", "gold", "predicted", "length", "seen"}  # no comparison, so no filter of verdicts
    options = {a.get("value") for a in page.all("option")}
    for card in page.all("article"):
        for kind, gold, predicted, length, seen in json.loads(card["data-errors"]):
            assert kind in page.text
            assert {str(gold), str(predicted), length} <= options
            assert seen in {"seen", "unseen"}
    for button in page.all("button"):
        for name in ("data-gold", "data-predicted"):
            assert button.get(name) is None or button[name] in options


def test_a_page_takes_so_many_posts_and_says_so(answers):
    made, right = answers
    one = replace(POSTS[0], entities=POSTS[0].entities)
    many = answers_to([one] * 30 + POSTS, [made.predictions[0]] * 30 + made.predictions)
    others = answers_to([one] * 30 + POSTS, [made.predictions[0]] * 30 + right.predictions)
    analysis = analyse(many, data="d", model="m", others=others, other="o")
    page = assert_safe(error_page(analysis, most=10))
    assert len(page.all("article")) == 10
    assert "10 of 33 posts are listed" in page.text
    assert sum(card["data-verdict"] != "" for card in page.all("article")) == 3  # changed answers are all there
    assert "are listed" not in assert_safe(error_page(analysis)).text
    assert len(analysis.as_dict()["listed"]) == 33


@pytest.mark.parametrize("posts", [[], [POSTS[2]]])
def test_a_page_without_posts_or_errors(posts):
    analysis = analyse(answers_to(posts, [prediction_of(post) for post in posts]), data="d", model="m", train=[])
    page = assert_safe(error_page(analysis))
    assert page.all("article") == []
    assert "0 posts have an error" in page.text
    assert json.loads(json.dumps(analysis.as_dict()))["listed"] == []


def test_hostile_posts_stay_text_on_the_page_of_errors():
    label = f"X'\"{HOSTILE}"
    post = Post(
        id=HOSTILE,
        text=f"Paris {HOSTILE}",
        caption=HOSTILE,
        tags=[HOSTILE],
        image=f"{HOSTILE}.jpg",
        entities=[LabelledSpan(start=0, end=5, label=label), LabelledSpan(start=6, end=20, label="LOC")],
    )
    guess = Entity("Paris", "PER", 0, 5, 0, 1, 0.5)
    made = answers_to([post], [Prediction(id=post.id, text=post.text, entities=[guess])])
    other = answers_to([post], [Prediction(id=post.id, text=post.text, entities=[])])
    analysis = analyse(made, data=HOSTILE, model=HOSTILE, train=[post], train_data=HOSTILE, others=other, other=HOSTILE)
    page = assert_safe(error_page(analysis))
    assert f"caption: {HOSTILE}" in page.text
    assert label in page.text
    (card,) = page.all("article")
    assert json.loads(card["data-errors"])
    assert re.search(r"</script>", "".join(page.scripts)) is None


@pytest.mark.skipif(not SAMPLE.is_dir(), reason="needs the pictures in ../shared")
def test_real_pictures_on_both_pages(saved_model, tmp_path):
    pytest.importorskip("PIL")
    page, errors = tmp_path / "o.html", tmp_path / "e.html"
    data = (SAMPLE / "posts.txt", "--images", SAMPLE / "images", "--model", saved_model, "--quiet")
    assert run("predict", *data, "--html", page).returncode == 0
    assert len(assert_safe(page.read_text()).all("img")) == 23
    assert run("evaluate", *data, "--errors", errors).returncode == 0
    assert assert_safe(errors.read_text()).all("img")
    assert page.stat().st_size < 3_000_000


def test_captions_made_of_pictures_are_on_the_page(encoders, tmp_path, monkeypatch):
    pytest.importorskip("lmdb")
    from conftest import LABELS, settings_with
    from vision import MAKERS, write_picture

    from dpe_mner.model import DPEMNERModel

    write_picture(tmp_path / "images" / "a.png", 1)
    torch.manual_seed(1)
    sections = {
        "pictures": {"tags": {"model": MAKERS["detr"](tmp_path / "detr"), "threshold": 0.0}},
        "decision": {"threshold": 0.0},
    }
    model = DPEMNERModel.from_encoder(encoders("bert-uncased"), labels=LABELS, settings=settings_with(**sections))
    with torch.no_grad():  # fresh logits lie too close for vision to move them, and fresh attention is even
        model.network.heads.types.weight.mul_(100)
    monkeypatch.setattr(collect, "best_source", partial(best_source, least=0.0))
    model.save_pretrained(tmp_path / "m")
    (tmp_path / "p.txt").write_text(conll(POSTS[:1]))
    data = (tmp_path / "p.txt", "--images", tmp_path / "images", "--model", tmp_path / "m", "--quiet")
    result = run("predict", *data, "--html", tmp_path / "o.html")
    assert result.returncode == 0, result.stderr
    page = assert_safe((tmp_path / "o.html").read_text())
    assert "tags: " in page.text
    assert [a for a in page.all("b") if "style" in a]  # a box around what an entity looked at
    result = run("evaluate", *data, "--against-without", "pictures", "--errors", tmp_path / "e.html")
    assert result.returncode == 0, result.stderr
    assert "tags: " in assert_safe((tmp_path / "e.html").read_text()).text
