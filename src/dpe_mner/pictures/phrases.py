"""Noun phrases of a post, for visual grounding: runs of content words, without a tagger and its model."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dpe_mner.data.words import split_text
from dpe_mner.pictures.kinds import Span

MOST_WORDS = 4
_LINK = re.compile(r"https?://\S+|www\.\S+", re.IGNORECASE)
# Words that end a phrase: articles, pronouns, prepositions, conjunctions, auxiliaries, adverbs and the commonest verbs.
_ENDS = frozenset(
    """a about after again all also always am an and any are as at away back be because been before being both but by
    came can come could day did do does doing done down each even ever every few for from get gets getting give go goes
    going gone good got great had has have having he her here hers him his how i if in into is it its just keep know
    let like little look looking looks lol lot love made make makes many may me might mine more most much must my need
    never new next no not now of off oh on once one only or other our ours out over own please put quite really rt s
    said same say says see seen she should since so some soon still such sure t take than thank thanks that the their
    them then there these they thing this those though through till time to today tomorrow tonight too try u under
    until up upon us use very via want wants was way we well went were what when where which while who whom why will
    win wins with without won work would yes yesterday yet you your yours""".split()
)


@dataclass(frozen=True)
class Cue:
    """What grounding looks for: a phrase and its characters in the post's text, or a word that is not from there."""

    text: str
    span: Span | None = None


def noun_phrases(text: str, *, most: int = 8) -> list[str]:
    """Candidate noun phrases in order, without repeats.

    Args:
        text: The post.
        most: At most this many.
    """
    return [phrase.text for phrase in located_phrases(text, most=most)]


def located_phrases(text: str, *, most: int = 8) -> list[Cue]:
    """Noun phrases with the place where each occurs first.

    Args:
        text: The post.
        most: At most this many.
    """
    phrases: dict[str, Cue] = {}
    run: list[int] = []
    split = split_text(_LINK.sub(_dots, text))

    def close() -> None:
        if run:
            own = run[-MOST_WORDS:]
            phrase = " ".join(split.words[k] for k in own)
            phrases.setdefault(phrase.lower(), Cue(phrase, (split.starts[own[0]], split.ends[own[-1]])))
            run.clear()

    for k, word in enumerate(split.words):
        if word.lower() in _ENDS or not any(c.isalpha() for c in word):
            close()
        else:
            run.append(k)
    close()
    return list(phrases.values())[:most]


def _dots(link: re.Match[str]) -> str:
    """What ends a phrase in a link's place, as long as the link: all other characters keep theirs."""
    return f" {'.' * (len(link[0]) - 2)} "


def spans_of(labels: Sequence[str], cues: Sequence[Cue]) -> list[Span | None]:
    """Characters of the phrase that each region answers to.

    A label may be a phrase itself (OWLv2), or what the model took of all phrases in a row, in small letters (Grounding
    DINO): a part of one, or words of several, of which the phrase with most of them counts.

    Args:
        labels: What grounding called the regions.
        cues: What it looked for.

    Returns:
        None for a region of a general word, or of a label that belongs to no phrase.
    """
    found = (_cue_of(_plain(label), cues) for label in labels)
    return [None if cue is None else cue.span for cue in found]


def _cue_of(label: str, cues: Sequence[Cue]) -> Cue | None:
    if not label:
        return None
    solid, words = label.replace(" ", ""), set(label.split())
    likeness: tuple[Callable[[str], int], ...] = (
        lambda cue: cue == label,
        lambda cue: solid in cue.replace(" ", ""),  # of a rare word the model may name some pieces only
        lambda cue: len(words & set(cue.split())),
    )
    plain = [_plain(cue.text) for cue in cues]
    for like in likeness:
        scores = [like(cue) for cue in plain]
        if any(scores):
            return cues[scores.index(max(scores))]
    return None


def _plain(text: str) -> str:
    """Small letters without accents, single spaces: as an uncased tokenizer gives a phrase back."""
    parts = unicodedata.normalize("NFD", text.casefold())
    return " ".join("".join(c for c in parts if not unicodedata.combining(c)).split())
