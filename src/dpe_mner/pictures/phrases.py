"""Noun phrases of a post, for visual grounding: runs of content words, without a tagger and its model."""

from __future__ import annotations

import re

from dpe_mner.data.words import split_text

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


def noun_phrases(text: str, *, most: int = 8) -> list[str]:
    """Candidate noun phrases in order, without repeats.

    Args:
        text: The post.
        most: At most this many.
    """
    phrases: list[str] = []
    run: list[str] = []

    def close() -> None:
        if run:
            phrase = " ".join(run[-MOST_WORDS:])
            if phrase.lower() not in {known.lower() for known in phrases}:
                phrases.append(phrase)
            run.clear()

    for word in split_text(_LINK.sub(" . ", text)).words:
        if word.lower() in _ENDS or not any(c.isalpha() for c in word):
            close()
        else:
            run.append(word)
    close()
    return phrases[:most]
