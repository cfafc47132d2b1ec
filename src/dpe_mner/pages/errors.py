"""The page of errors: counts, the comparison, and the posts with gold and answer side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dpe_mner.evaluation.analysis import ErrorAnalysis, JudgedPost
from dpe_mner.evaluation.compare import VERDICTS
from dpe_mner.evaluation.errors import KINDS, Counts, Outcome, length_name
from dpe_mner.evaluation.score import Labelled
from dpe_mner.pages.html import Mark, render
from dpe_mner.pages.picture import ShownPicture, shown_picture
from dpe_mner.types import Prediction

MOST_POSTS = 1000  # on a page
MOST_CHARACTERS = 2_000_000  # of their texts
MOST_PICTURES = 150
_LONGEST_SIDE = 320  # pixels of a picture on the page
_NOTHING = -1  # in place of the index of a type
_ABOUT = {
    "boundary": "right type, but a span that only overlaps",
    "type": "right span, wrong type",
    "both": "a span that only overlaps, and the wrong type",
    "missed": "a gold entity without a prediction left for it",
    "spurious": "a prediction without a gold entity left for it",
}
_VERDICTS = {
    "fixed": "right here, wrong there",
    "broken": "wrong here, right there",
    "better": "wrong in both, fewer errors here",
    "worse": "wrong in both, more errors here",
    "other": "wrong in both, as many errors",
}


@dataclass(frozen=True)
class CountRow:
    """A row of a table of counts."""

    name: str
    kinds: list[int]
    gold: int
    recall: float
    f1: float | None = None


@dataclass(frozen=True)
class ShownError:
    """An error of a post, with texts."""

    kind: str
    gold: str
    gold_label: str | None
    predicted: str
    predicted_label: str | None
    score: float | None
    seen: bool | None


@dataclass(frozen=True)
class ListedPost:
    """A post as the page draws it.

    Attributes:
        judged: The post.
        gold: Marks of the gold entities.
        answer: Marks of the predicted entities.
        other: Marks of the other answer; None when it is the same or there is none.
        errors: One line each.
        keys: What the filters look at: kind, index of the gold type, of the predicted type, length, seen or unseen.
        picture: Reduced; None without one, or past the first :data:`MOST_PICTURES`.
    """

    judged: JudgedPost
    gold: list[Mark]
    answer: list[Mark]
    other: list[Mark] | None
    errors: list[ShownError]
    keys: list[tuple[str, int, int, str, str]]
    picture: ShownPicture | None


def error_page(analysis: ErrorAnalysis, *, fetch_urls: bool = False, most: int = MOST_POSTS) -> str:
    """HTML of an analysis; nothing in it points outside the page.

    Args:
        analysis: From :func:`~dpe_mner.evaluation.analysis.analyse`.
        fetch_urls: Download pictures given as URLs.
        most: Posts to list; a changed answer goes before an unchanged one, more errors before fewer.
    """
    listed = analysis.listed
    chosen = _within(listed, most)
    labels = sorted({label for pair in analysis.counts.confusion for label in pair if label is not None})
    index = {label: k for k, label in enumerate(labels)}
    counts = analysis.counts
    per_type = {label: score.f1 for label, score in analysis.report.per_type.items()}
    return render(
        "errors.html.jinja",
        title=f"Errors of {analysis.model} on {analysis.data}",
        analysis=analysis,
        kinds=KINDS,
        about=_ABOUT,
        verdicts={name: _VERDICTS[name] for name in VERDICTS},
        total=_row("all", counts.total, analysis.report.overall.f1),
        by_type=[_row(name, row, per_type.get(name)) for name, row in counts.by_type.items()],
        by_length=[_row(name, row) for name, row in counts.by_length.items() if row],
        by_seen=None if counts.by_seen is None else [_row(name, row) for name, row in counts.by_seen.items()],
        labels=labels,
        confusion=[(gold, [counts.confusion[gold, guess] for guess in (*labels, None)]) for gold in (*labels, None)],
        listed=len(listed),
        wrong=sum(bool(post.errors) for post in analysis.posts),
        posts=_listed(chosen, index, fetch_urls),
        most_pictures=MOST_PICTURES,
        lengths=[name for name, row in counts.by_length.items() if row],
    )


def _within(listed: list[JudgedPost], most: int) -> list[JudgedPost]:
    """As many as a page takes, in their order."""
    kept: set[int] = set()
    room = MOST_CHARACTERS
    for k in sorted(range(len(listed)), key=lambda k: (listed[k].verdict is None, k))[:most]:
        room -= len(listed[k].prediction.text)
        if room < 0 and kept:
            break
        kept.add(k)
    return [post for k, post in enumerate(listed) if k in kept]


def _row(name: str, counts: Counts, f1: float | None = None) -> CountRow:
    gold = counts.total() - counts["spurious"]
    recall = 100 * counts["correct"] / gold if gold else 0.0
    return CountRow(name, [counts[kind] for kind in KINDS], gold, recall, f1)


def _listed(posts: list[JudgedPost], index: Mapping[str, int], fetch_urls: bool) -> list[ListedPost]:
    shown, pictures = [], 0
    for judged in posts:
        picture = None
        if judged.post.image is not None and pictures < MOST_PICTURES:
            pictures += 1
            picture = shown_picture(judged.post.image, longest_side=_LONGEST_SIDE, fetch_urls=fetch_urls)
        golds = [(o.gold, o.kind) for o in judged.outcomes if o.gold is not None]
        scores = {(e.start, e.end, e.label): e.score for e in judged.prediction.entities}
        guesses = [(o.predicted, o.kind) for o in judged.outcomes if o.predicted is not None]
        right = {span for span, _ in golds}
        shown.append(
            ListedPost(
                judged=judged,
                gold=[_mark(span, kind == "correct") for span, kind in golds],
                answer=[_mark(span, kind == "correct", scores[span]) for span, kind in guesses],
                other=_other(judged.other, right) if judged.verdict is not None else None,
                errors=[_error(error, judged.prediction.text, scores) for error in judged.errors],
                keys=[_keys(error, index) for error in judged.errors],
                picture=picture,
            )
        )
    return shown


def _other(prediction: Prediction | None, right: set[Labelled]) -> list[Mark]:
    spans = [((e.start, e.end, e.label), e.score) for e in (prediction.entities if prediction else ())]
    return [_mark(span, span in right, score) for span, score in spans]


def _mark(span: Labelled, right: bool, score: float | None = None) -> Mark:
    start, end, label = span
    note = "" if score is None else f"{score:.2f}"
    # Of overlapping gold entities the longer one is drawn; the lines below name all that went wrong.
    return Mark(start=start, end=end, label=label, note=note, style="" if right else "wrong", rank=end - start)


def _error(outcome: Outcome, text: str, scores: Mapping[Labelled, float]) -> ShownError:
    gold, predicted = outcome.gold, outcome.predicted
    return ShownError(
        kind=outcome.kind,
        gold=text[gold[0] : gold[1]] if gold else "",
        gold_label=gold[2] if gold else None,
        predicted=text[predicted[0] : predicted[1]] if predicted else "",
        predicted_label=predicted[2] if predicted else None,
        score=scores[predicted] if predicted else None,
        seen=outcome.seen,
    )


def _keys(outcome: Outcome, index: Mapping[str, int]) -> tuple[str, int, int, str, str]:
    gold = index[outcome.gold[2]] if outcome.gold else _NOTHING
    predicted = index[outcome.predicted[2]] if outcome.predicted else _NOTHING
    seen = {None: "", True: "seen", False: "unseen"}[outcome.seen]
    return outcome.kind, gold, predicted, length_name(outcome.length), seen
