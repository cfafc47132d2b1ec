"""Posts of a graph, with rdflib: texts, and the Web Annotations that point into them. A graph is read whole."""

from __future__ import annotations

import math
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from dpe_mner.data.json_values import parse_json, reason_of
from dpe_mner.errors import InputError
from dpe_mner.formats.base import Source
from dpe_mner.formats.graph import CLASSES, NAMESPACES, term
from dpe_mner.formats.predicted import as_predicted, lowest_score, read_score, with_score
from dpe_mner.types import Grounding, LabelledSpan, Post

_SCHEMA = (NAMESPACES["schema"], "http://schema.org/")  # both are in use
_LABELS = {value: label for label, value in reversed(CLASSES.items())}  # the first label of a class


def read_turtle(source: Source) -> Iterator[Post]:
    """Posts of a Turtle file.

    Raises:
        InputError: If it cannot be read, or rdflib is missing.
    """
    return _read(source, _content(source), "turtle")


def read_n_triples(source: Source) -> Iterator[Post]:
    """Posts of an N-Triples file.

    Raises:
        InputError: If it cannot be read, or rdflib is missing.
    """
    return _read(source, _content(source), "nt")


def read_json_ld(source: Source) -> Iterator[Post]:
    """Posts of a JSON-LD file whose context is in it.

    Raises:
        InputError: If it cannot be read, names a context on the web, or rdflib is missing.
    """
    content = _content(source)
    try:
        _refuse_remote(source.path, parse_json(content))
    except (ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{source.path}: not JSON-LD ({reason_of(error)})") from None
    return _read(source, content, "json-ld")


def _refuse_remote(path: str, document: Any) -> None:
    """Reading a file fetches nothing: a context that is only named is not read."""
    waiting = [document]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            given = value.get("@context")
            named = [c for c in (given if isinstance(given, list) else [given]) if isinstance(c, str)]
            named += [value["@import"]] if "@import" in value else []
            if named:
                raise InputError(
                    f"{path}: its context {str(named[0])[:80]!r} is on the web, and nothing is fetched; "
                    "write the context into the file, or give the graph as N-Triples or Turtle"
                )
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value


def _content(source: Source) -> str:
    try:
        return Path(source.path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{source.path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise InputError(f"{source.path}: not valid UTF-8; give a graph as text") from None


def _read(source: Source, content: str, kind: str) -> Iterator[Post]:
    try:
        import rdflib
    except ImportError:
        raise InputError("reading a graph needs rdflib; run pip install 'dpe-mner[graph]'") from None
    graph = rdflib.Graph()
    try:
        graph.parse(data=content, format=kind)
    except Exception as error:  # every parser refuses in its own way
        reason = " ".join(str(error).split())[:160]
        raise InputError(f"{source.path}: not a graph in {kind} ({type(error).__name__}: {reason})") from None
    return _Reader(graph, source).posts()


class _Reader:
    """Posts of a parsed graph.

    Args:
        graph: rdflib's.
        source: Takes what cannot be used.
    """

    def __init__(self, graph: Any, source: Source) -> None:
        from rdflib import RDF, URIRef

        self.graph, self.source = graph, source
        self._term = lambda name: URIRef(term(name))
        self._schema = lambda local: [URIRef(namespace + local) for namespace in _SCHEMA]
        self._type = RDF.type

    def posts(self) -> Iterator[Post]:
        """In the order of the file, as far as the graph remembers it."""
        found = self._entities()
        texts = (pair for name in ("text", "articleBody") for key in self._schema(name) for pair in self._said(key))
        seen: dict[Any, str] = {}
        for subject, text in texts:
            seen.setdefault(subject, str(text))
        for subject, text in seen.items():
            entities = [
                e for raw, score, grounding in found.pop(subject, ()) for e in self._made(raw, text, score, grounding)
            ]
            names = self._values(subject, self._term("dcterms:identifier"))
            post = Post(
                id=names[0] if names else _last_part(str(subject)),
                text=text,
                entities=tuple(dict.fromkeys(sorted(entities, key=lambda e: (e.start, e.end)))) or None,
                **self._visual(subject),
            )
            yield as_predicted(post) if lowest_score(post.entities or ()) is not None else post
        self.source.left_out["annotations of something without a text"] += sum(map(len, found.values()))

    def _said(self, predicate: Any) -> Iterator[tuple[Any, Any]]:
        return iter(self.graph.subject_objects(predicate))

    def _values(self, subject: Any, *predicates: Any) -> list[str]:
        return [str(value) for predicate in predicates for value in self.graph.objects(subject, predicate)]

    def _nodes(self, subject: Any, name: str) -> list[Any]:
        return list(self.graph.objects(subject, self._term(name)))

    def _made(
        self, raw: tuple[Any, Any, str, str | None], text: str, score: float | None, grounding: Grounding | None
    ) -> Iterator[LabelledSpan]:
        for span in self.source.entities([raw], text, line=0):
            yield span if score is None else with_score(span, score, grounding)

    def _entities(self) -> dict[Any, list[tuple[Any, float | None, Grounding | None]]]:
        """What is said of each source: a place with its label, the score, and what was looked at."""
        links: dict[Any, Grounding] = {}
        found: dict[Any, list[tuple[Any, float | None, Grounding | None]]] = {}
        annotations = list(self.graph.subjects(self._type, self._term("oa:Annotation")))
        plain = []
        for annotation in annotations:
            if self._term("oa:linking") in self._nodes(annotation, "oa:motivatedBy"):
                grounding = self._grounding(annotation)
                links |= {target: grounding for target in self._nodes(annotation, "oa:hasTarget") if grounding}
                self.source.left_out["annotations that link with no part of a picture"] += grounding is None
            else:
                plain.append(annotation)
        for annotation in plain:
            score = read_score(_as_number(self._values(annotation, self._term("itsrdf:taConfidence"))))
            labels = self._labels(annotation)
            places = 0
            for target in self._nodes(annotation, "oa:hasTarget"):
                for origin in self._nodes(target, "oa:hasSource"):
                    for start, end, exact in self._places(target):
                        places += 1
                        for label in labels:
                            entry = ((start, end, label, exact), score, links.get(target))
                            found.setdefault(origin, []).append(entry)
            self.source.left_out["annotations without a class, or a place in a text"] += not (places and labels)
        return found

    def _places(self, target: Any) -> Iterator[tuple[int | None, int | None, str | None]]:
        selectors = self._nodes(target, "oa:hasSelector")
        quoted = [text for selector in selectors for text in self._values(selector, self._term("oa:exact"))]
        for selector in selectors:
            starts = self._values(selector, self._term("oa:start"))
            ends = self._values(selector, self._term("oa:end"))
            if starts and ends:
                yield _as_whole(starts[0]), _as_whole(ends[0]), quoted[0] if quoted else None

    def _labels(self, annotation: Any) -> list[str]:
        """Labels in words where there are any, else the names of classes."""
        from rdflib import URIRef

        bodies = [*self._nodes(annotation, "oa:hasBody"), *self._nodes(annotation, "itsrdf:taClassRef")]
        said = [text for body in bodies for text in self._values(body, self._term("rdf:value"))]
        if said:
            return list(dict.fromkeys(said))
        return list(dict.fromkeys(_label_of(str(body)) for body in bodies if isinstance(body, URIRef)))

    def _grounding(self, annotation: Any) -> Grounding | None:
        numbers: dict[str, float | None] = {}
        for value in self.graph.objects(annotation, self._schema("additionalProperty")[0]):
            for name in self._values(value, *self._schema("propertyID")):
                numbers[name] = _as_number(self._values(value, *self._schema("value")))
        weight = read_score(numbers.get("weight"))
        for body in self._nodes(annotation, "oa:hasBody"):
            names = self._values(body, *self._schema("name"), self._term("rdf:value"))
            boxes = [
                box
                for selector in self._nodes(body, "oa:hasSelector")
                for text in self._values(selector, self._term("rdf:value"))
                if (box := read_fragment(text)) is not None
            ]
            if names and weight is not None:
                kinds = self._values(body, self._term("dcterms:type"))
                rest = {key: numbers[key] for key in ("lift", "relevance") if numbers.get(key) is not None}
                return Grounding(
                    entity=0, source=kinds[0] if kinds else "region", name=names[0], box=boxes[0] if boxes else None,
                    weight=weight, **rest,  # type: ignore[arg-type]
                )  # fmt: skip
        return None

    def _visual(self, subject: Any) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for picture in (node for key in self._schema("image") for node in self.graph.objects(subject, key)):
            names = self._values(picture, self._term("dcterms:identifier"), *self._schema("contentUrl"))
            captions = self._values(picture, *self._schema("caption"))
            tags = self._values(picture, *self._schema("keywords"))
            found |= {"image": names[0]} if names else {}
            found |= {"caption": captions[0]} if captions else {}
            found |= {"tags": tuple(tags)} if tags else {}
        return found


def read_fragment(text: str) -> tuple[float, float, float, float] | None:
    """Left, top, right, bottom in shares, of ``xywh=percent:left,top,width,height``; None for any other fragment."""
    head, _, numbers = text.partition("xywh=percent:")
    try:
        sides = [Decimal(number) / 100 for number in numbers.split(",")]
    except InvalidOperation:
        return None
    if head or len(sides) != 4 or not all(side.is_finite() for side in sides):
        return None
    left, top, width, height = sides
    return float(left), float(top), float(left + width), float(top + height)


def _as_number(values: list[str]) -> float | None:
    try:
        value = float(values[0])
    except (IndexError, ValueError):
        return None
    return value if math.isfinite(value) else None


def _as_whole(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def _label_of(iri: str) -> str:
    for namespace in _SCHEMA:
        if iri.startswith(namespace) and iri.removeprefix(namespace) in _LABELS:
            return _LABELS[iri.removeprefix(namespace)]
    return _last_part(iri)


def _last_part(iri: str) -> str:
    return unquote(iri.rstrip("/#").replace("#", "/").rpartition("/")[2]) or iri
