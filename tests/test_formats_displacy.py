"""displaCy's page: every character is there, labels and names are shown and never run."""

from __future__ import annotations

import re
from collections import Counter
from html.parser import HTMLParser

import pytest
from found import LABELS, predictions
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dpe_mner.formats.base import FormatOptions
from dpe_mner.formats.predicted import predicted_post
from dpe_mner.formats.registry import FORMATS
from dpe_mner.types import Entity, LabelledSpan, Post, Prediction

pytest.importorskip("spacy", reason="spaCy is not installed")


class Page(HTMLParser):
    """What a browser would show of each post."""

    def __init__(self) -> None:
        super().__init__()
        self.figures: list[dict] = []
        self.tags: Counter[str] = Counter()
        self._open: list[str] = []

    def handle_starttag(self, tag, attributes):
        self.tags[tag] += 1
        assert {name for name, _ in attributes} <= {"style", "class", "lang", "charset"}
        if tag == "figure":
            self.figures.append({"title": "", "text": "", "marks": [], "labels": [], "style": ""})
        if tag == "br":
            self.figures[-1]["text"] += "\n"
        if tag == "div":
            self.figures[-1]["style"] = dict(attributes)["style"]
        if tag == "mark":
            self.figures[-1]["marks"].append("")
        if tag == "span":
            self.figures[-1]["labels"].append("")
        if tag not in {"br", "meta"}:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        where = self._open[-1] if self._open else ""
        if where == "h2":
            self.figures[-1]["title"] += data
        elif where == "span":
            self.figures[-1]["labels"][-1] += data
        elif where == "mark":
            self.figures[-1]["marks"][-1] += data
            self.figures[-1]["text"] += data
        elif where == "div":
            self.figures[-1]["text"] += data


def drawn(posts, folder):
    """The page, parsed, and what it left out."""
    left_out = Counter()
    path = folder / "page.html"
    assert FORMATS["displacy"].write(posts, path, FormatOptions(), left_out) == len(posts)
    page = Page()
    page.feed(path.read_text(encoding="utf-8"))
    page.close()
    assert not page._open
    return page, left_out


def squeezed(text):
    return "".join(text.split())


@given(found=st.lists(predictions(), min_size=1, max_size=3))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_page_shows_the_text_and_what_was_found(tmp_path_factory, found):
    page, _ = drawn([predicted_post(one, post) for post, one in found], tmp_path_factory.mktemp("page"))
    assert len(page.figures) == len(found)
    for figure, (post, one) in zip(page.figures, found, strict=True):
        assert squeezed(figure["text"]) == squeezed(post.text)
        assert squeezed(figure["title"]) == squeezed(post.id)
        assert [squeezed(mark) for mark in figure["marks"]] == [squeezed(entity.text) for entity in one.entities]
        shown = [squeezed(f"{entity.label} {entity.score:.2f}") for entity in one.entities]
        assert [squeezed(label) for label in figure["labels"]] == shown
    assert set(page.tags) <= set("html head meta title body figure h2 div mark span br".split())


def test_labels_of_people_have_no_score_and_colours_differ(tmp_path):
    spans = tuple(LabelledSpan(start=k, end=k + 1, label=label) for k, label in enumerate(LABELS))
    post = Post(id="a", text="x" * len(spans), entities=spans)
    page, left_out = drawn([post, Post(id="b", text="y")], tmp_path)
    assert [label.strip() for label in page.figures[0]["labels"]] == [label.strip() for label in LABELS]
    assert left_out["posts without labels (drawn as posts without entities)"] == 1
    shown = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert len(set(re.findall(r"<mark[^>]*background: (#\w+)", shown))) >= 3


def test_right_to_left_and_overlap(tmp_path):
    text = "#שלום עולם"
    both = [Entity(text, "PER", 0, 10, 0, 3, 0.5), Entity("עולם", "LOC", 6, 10, 2, 3, 0.5)]
    page, left_out = drawn([predicted_post(Prediction("1", text, both)), Post(id="2", text="hi שלום")], tmp_path)
    assert ["direction: rtl" in figure["style"] for figure in page.figures] == [True, False]
    assert left_out["entities that overlap another"] == 1
    assert page.figures[0]["marks"][0].strip() == text
