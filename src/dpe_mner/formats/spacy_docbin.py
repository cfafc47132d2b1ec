"""spaCy's ``.spacy`` files (DocBin): entities, and spans that overlap in the span group spaCy takes by default."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from dpe_mner.data.words import split_text
from dpe_mner.errors import InputError
from dpe_mner.formats.base import Format, FormatOptions, Source, as_text, visual_of, visual_values
from dpe_mner.formats.predicted import as_predicted, lowest_score, read_score, score_of, with_score
from dpe_mner.types import LabelledSpan, Post

_KEY = "dpe_mner"  # of our id, picture, caption and objects among a Doc's user data
_GROUP = "sc"  # spaCy's own default for spans that may overlap


def _spacy() -> Any:
    try:
        import spacy
        import spacy.tokens
        import spacy.util
    except ImportError:
        raise InputError(".spacy files need spaCy; run pip install 'dpe-mner[spacy]'") from None
    if not spacy.tokens.Span.has_extension("score"):  # the same name that the component of a pipeline gives it
        spacy.tokens.Span.set_extension("score", default=None)
    return spacy


def _read(source: Source) -> Iterator[Post]:
    spacy = _spacy()
    if not Path(source.path).is_file():
        raise InputError(f"{source.path}: no such file; give a .spacy file")
    try:
        docs = list(spacy.tokens.DocBin().from_disk(source.path).get_docs(spacy.blank("xx").vocab))
    except OSError as error:
        raise InputError(f"{source.path}: cannot be read ({error.strerror})") from None
    except Exception as error:  # zlib, msgpack and spaCy itself each refuse in their own way
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"{source.path}: not a .spacy file ({type(error).__name__}: {reason})") from None
    for number, doc in enumerate(docs, start=1):
        ours = doc.user_data.get(_KEY)
        kept: dict[str, Any] = ours if isinstance(ours, dict) else {}
        found = {_entity(span): None for span in _spans(doc) if span.label_}
        labelled = bool(found) or doc.has_annotation("ENT_IOB") or _GROUP in doc.spans
        for name in set(doc.spans) - {_GROUP}:
            source.left_out[f"spans of the group {name!r}"] += len(doc.spans[name])
        post = Post(
            id=str(kept.get("id", number)),
            text=doc.text,
            entities=tuple(sorted(found, key=lambda e: (e.start, e.end))) if labelled else None,
            line=number,
            **visual_of(kept),
        )
        yield as_predicted(post) if lowest_score(found) is not None else post


def _entity(span: Any) -> LabelledSpan:
    entity = LabelledSpan(start=span.start_char, end=span.end_char, label=span.label_)
    score = read_score(span._.score)
    return entity if score is None else with_score(entity, score)


def _spans(doc: Any) -> list[Any]:
    return [*doc.ents, *(doc.spans[_GROUP] if _GROUP in doc.spans else ())]


def _write(posts: Iterable[Post], path: Path, options: FormatOptions, left_out: Counter[str]) -> int:
    spacy = _spacy()
    vocab = spacy.blank("xx").vocab
    store = spacy.tokens.DocBin(store_user_data=True)
    count = 0
    for post in posts:
        store.add(_doc(spacy, vocab, post, left_out))
        count += 1
    try:
        store.to_disk(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from None
    return count


def _doc(spacy: Any, vocab: Any, post: Post, left_out: Counter[str]) -> Any:
    text, entities = as_text(post, left_out)
    tokens, spaces = _tokens(text, entities or ())
    doc = spacy.tokens.Doc(vocab, words=tokens, spaces=spaces)
    doc.user_data[_KEY] = {"id": post.id, **visual_values(post, left_out)}
    if entities is None:
        return doc
    spans = [doc.char_span(e.start, e.end, label=e.label) for e in entities]
    for span, entity in zip(spans, entities, strict=True):
        score = score_of(entity)
        if score is not None:
            span._.score = score
    flat = spacy.util.filter_spans(spans)
    doc.set_ents(flat)  # words outside are then known to be outside
    rest = [span for span in spans if span not in flat]
    if rest:
        doc.spans[_GROUP] = rest
    return doc


def _tokens(text: str, entities: Iterable[LabelledSpan]) -> tuple[list[str], list[bool]]:
    """Tokens that give the text back to the character, with an edge at both ends of every entity.

    spaCy keeps a single space after a token as a flag; all other white space is a token of its own.
    """
    words = split_text(text)
    begins, ends = {e.start for e in entities}, {e.end for e in entities}
    edges = sorted({0, len(text), *words.starts, *words.ends, *begins, *ends})
    tokens: list[str] = []
    spaces: list[bool] = []
    for start, end in pairwise(edges):
        part = text[start:end]
        after_word = bool(tokens) and not spaces[-1] and not tokens[-1].isspace()
        if part.startswith(" ") and after_word and start not in begins and start + 1 not in ends:
            spaces[-1] = True
            part = part[1:]
        if part:
            tokens.append(part)
            spaces.append(False)
    return tokens, spaces


SPACY = Format("spacy", "spaCy's .spacy files (DocBin)", _read, _write, offsets=False, scores=True)
