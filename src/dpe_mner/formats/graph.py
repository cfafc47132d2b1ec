"""Posts as a graph: a post, its picture, and an annotation for each entity, in the words of known vocabularies.

Entities are Web Annotations (https://www.w3.org/TR/annotation-model/): the target is a stretch of the post's text, by
position and by quotation; the bodies are the class and the label as it stands in the data. The confidence and the class
are those of ITS 2.0 in RDF, posts and pictures are schema.org's. All resources have IRIs of their own, so that a graph
that is loaded twice is the same graph, and files may be put one after another.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from functools import cache
from typing import NamedTuple
from urllib.parse import quote

from dpe_mner.data.addresses import address_kind
from dpe_mner.errors import InputError
from dpe_mner.formats.base import FormatOptions, as_text, visual_values
from dpe_mner.formats.predicted import PredictedSpan
from dpe_mner.types import Grounding, LabelledSpan, Post

NAMESPACES = {
    "dcterms": "http://purl.org/dc/terms/",
    "itsrdf": "http://www.w3.org/2005/11/its/rdf#",
    "oa": "http://www.w3.org/ns/oa#",
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "schema": "https://schema.org/",
    "xsd": "http://www.w3.org/2001/XMLSchema#",
}
CLASSES = {
    "PER": "Person", "PERSON": "Person", "LOC": "Place", "LOCATION": "Place", "ORG": "Organization",
    "ORGANIZATION": "Organization", "ORGANISATION": "Organization",
}  # fmt: skip
"""Classes of schema.org by label, in capitals; all others are under the base."""
MEDIA_FRAGMENTS = "http://www.w3.org/TR/media-frags/"
CONTEXT = 32  # characters before and after a quotation

_NOT_IN_IRIS = re.compile(r'[\x00-\x20<>"{}|\\^`\x7f-\x9f\ud800-\udfff]')
_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_SURROGATE = re.compile("[\ud800-\udfff]")


class Iri(str):
    """An absolute IRI.

    Attributes:
        short: ``oa:Annotation`` for a term of a vocabulary; empty for any other.
    """

    short: str = ""


class Literal(NamedTuple):
    """A value.

    Attributes:
        text: Its characters; whole pairs of surrogates only.
        datatype: Its XML Schema type by its local name; a string when empty.
    """

    text: str
    datatype: str = ""


Statement = tuple[Iri, Iri | Literal]  # predicate, object


class Node(NamedTuple):
    """A resource and what is said of it, its types first."""

    iri: Iri
    statements: list[Statement]


@cache
def term(name: str) -> Iri:
    """The IRI of ``oa:Annotation`` and the like."""
    prefix, _, local = name.partition(":")
    iri = Iri(NAMESPACES[prefix] + local)
    iri.short = name
    return iri


def check_iri(option: str, iri: str) -> str:
    """An absolute IRI.

    Raises:
        InputError: If it is not one.
    """
    if not _ABSOLUTE.match(iri) or _NOT_IN_IRIS.search(iri):
        raise InputError(f"{option} {iri!r}: not an absolute IRI, e.g. https://example.org/posts/")
    return iri


def check_base(base: str | None) -> str:
    """The IRI that a graph's own resources are named under.

    Raises:
        InputError: If there is none, or nothing can be named under it.
    """
    if base is None:
        raise InputError("a graph needs IRIs for its posts; give what they begin with, --base https://example.org/")
    if not check_iri("--base", base).endswith("/") or "#" in base or "?" in base:
        raise InputError(f"--base {base}: the names of posts are put after it; end it in /, without # or ?")
    return base


class Grapher:
    """Makes the part of the graph that is about one post.

    Args:
        options: Base, and IRIs of classes.
        left_out: Takes what a graph has no place for.

    Raises:
        InputError: If there is no base, or an IRI is none.
    """

    def __init__(self, options: FormatOptions, left_out: Counter[str]) -> None:
        self.base = check_base(options.base)
        self.left_out = left_out
        self._own = {label: Iri(check_iri("--class-iri", iri)) for label, iri in options.class_iris.items()}
        self._met: Counter[int] = Counter()  # hashes of ids: a name of its own for each of millions of posts

    def __call__(self, post: Post) -> list[Node]:
        """The resources of a post, the post first; each is mentioned before it is described."""
        text, entities = as_text(post, self.left_out)
        self.left_out["posts without entities (a graph cannot tell them from unlabelled ones)"] += entities == []
        self.left_out["lists of objects (tags) whose order is not kept"] += len(post.tags or ()) > 1
        iri = self._name(post.id)
        nodes = _Nodes(iri)
        nodes.say(
            iri,
            ("rdf:type", term("schema:SocialMediaPosting")),
            ("dcterms:identifier", _string(post.id)),
            ("schema:text", _string(text)),
        )
        visual = visual_values(post, self.left_out)
        found = entities or []
        if visual or any(isinstance(e, PredictedSpan) and e.grounding and e.grounding.box for e in found):
            nodes.say(iri, ("schema:image", nodes.own("picture")))
            _describe_picture(nodes, visual)
        for entity in found:
            self._annotate(nodes, entity, text)
        return nodes.made()

    def _name(self, identifier: str) -> Iri:
        key = hash(identifier)
        self._met[key] += 1
        again = self._met[key]
        if again > 1:
            self.left_out["ids that are not the only ones (their IRIs end in ;2, ;3, ...)"] += 1
        return Iri(f"{self.base}post/{_segment(identifier)}{f';{again}' if again > 1 else ''}")

    def class_of(self, label: str) -> Iri:
        """The IRI of a label's class."""
        known = CLASSES.get(label.upper())
        if label in self._own:
            return self._own[label]
        return term(f"schema:{known}") if known else Iri(f"{self.base}class/{_segment(label)}")

    def _annotate(self, nodes: _Nodes, entity: LabelledSpan, text: str) -> None:
        place = f"{entity.start}-{entity.end}"
        name = f"{place}-{_segment(entity.label)}"
        annotation, mention = nodes.own(f"entity-{name}"), nodes.own(f"char={entity.start},{entity.end}")
        label, of = nodes.own(f"label-{_segment(entity.label)}"), self.class_of(entity.label)
        nodes.say(
            annotation,
            ("rdf:type", term("oa:Annotation")),
            ("oa:motivatedBy", term("oa:classifying")),
            ("oa:hasBody", of),
            ("oa:hasBody", label),
            ("oa:hasTarget", mention),
            ("itsrdf:taClassRef", of),
        )
        if isinstance(entity, PredictedSpan):
            nodes.say(annotation, ("itsrdf:taConfidence", _number(entity.score)))
        _describe_label(nodes, label, entity.label)
        position, quotation = nodes.own(f"position-{place}"), nodes.own(f"quote-{place}")
        nodes.say(
            mention,
            ("rdf:type", term("oa:SpecificResource")),
            ("oa:hasSource", nodes.post),
            ("oa:hasSelector", position),
            ("oa:hasSelector", quotation),
        )
        nodes.say(
            position,
            ("rdf:type", term("oa:TextPositionSelector")),
            ("oa:start", Literal(str(entity.start), "nonNegativeInteger")),
            ("oa:end", Literal(str(entity.end), "nonNegativeInteger")),
        )
        nodes.say(
            quotation,
            ("rdf:type", term("oa:TextQuoteSelector")),
            ("oa:exact", _string(text[entity.start : entity.end])),
            ("oa:prefix", _string(text[max(entity.start - CONTEXT, 0) : entity.start])),
            ("oa:suffix", _string(text[entity.end : entity.end + CONTEXT])),
        )
        if isinstance(entity, PredictedSpan) and entity.grounding is not None:
            _ground(nodes, name, mention, entity.grounding)


class _Nodes:
    """The resources of one post in the order they are first spoken of; what is said twice is said once."""

    def __init__(self, post: Iri) -> None:
        self.post = post
        self._said: dict[Iri, dict[Statement, None]] = {}

    def own(self, fragment: str) -> Iri:
        """A resource of the post."""
        return Iri(f"{self.post}#{fragment}")

    def say(self, subject: Iri, *statements: tuple[str, Iri | Literal]) -> None:
        about = self._said.setdefault(subject, {})
        about.update({(term(predicate), value): None for predicate, value in statements})

    def made(self) -> list[Node]:
        return [Node(iri, list(about)) for iri, about in self._said.items()]


def _describe_picture(nodes: _Nodes, visual: Mapping[str, object]) -> None:
    picture, image = nodes.own("picture"), visual.get("image")
    nodes.say(picture, ("rdf:type", term("schema:ImageObject")))
    if isinstance(image, str):
        nodes.say(picture, ("dcterms:identifier", _string(image)))
        if address_kind(image) == "web" and not _NOT_IN_IRIS.search(image):
            nodes.say(picture, ("schema:contentUrl", Iri(image)))
    if "caption" in visual:
        nodes.say(picture, ("schema:caption", _string(str(visual["caption"]))))
    tags = visual.get("tags")
    for tag in tags if isinstance(tags, list) else ():
        nodes.say(picture, ("schema:keywords", _string(tag)))


def _describe_label(nodes: _Nodes, iri: Iri, text: str) -> None:
    nodes.say(
        iri,
        ("rdf:type", term("oa:TextualBody")),
        ("rdf:value", _string(text)),
        ("oa:hasPurpose", term("oa:tagging")),
    )


def _ground(nodes: _Nodes, name: str, mention: Iri, grounding: Grounding) -> None:
    """A second annotation, which links the mention with what it looked at: a part of the picture, or an object."""
    link, seen = nodes.own(f"grounding-{name}"), nodes.own(f"seen-{name}")
    nodes.say(
        link,
        ("rdf:type", term("oa:Annotation")),
        ("oa:motivatedBy", term("oa:linking")),
        ("oa:hasBody", seen),
        ("oa:hasTarget", mention),
    )
    for key in ("weight", "lift", "relevance"):
        value = nodes.own(f"{key}-{name}")
        nodes.say(link, ("schema:additionalProperty", value))
        nodes.say(
            value,
            ("rdf:type", term("schema:PropertyValue")),
            ("schema:propertyID", _string(key)),
            ("schema:value", _number(getattr(grounding, key))),
        )
    if grounding.box is None:
        _describe_label(nodes, seen, grounding.name)
    else:
        box = nodes.own(f"box-{name}")
        nodes.say(
            seen,
            ("rdf:type", term("oa:SpecificResource")),
            ("oa:hasSource", nodes.own("picture")),
            ("oa:hasSelector", box),
            ("schema:name", _string(grounding.name)),
        )
        nodes.say(
            box,
            ("rdf:type", term("oa:FragmentSelector")),
            ("dcterms:conformsTo", Iri(MEDIA_FRAGMENTS)),
            ("rdf:value", _string(as_fragment(grounding.box))),
        )
    nodes.say(seen, ("dcterms:type", _string(grounding.source)))


def as_fragment(box: Iterable[float]) -> str:
    """``xywh=percent:left,top,width,height`` of left, top, right, bottom in shares; no digit is lost."""
    left, top, right, bottom = (100 * Decimal(repr(float(side))) for side in box)
    return "xywh=percent:" + ",".join(f"{side.normalize():f}" for side in (left, top, right - left, bottom - top))


def _segment(name: str) -> str:
    """A name as a part of an IRI; one that is only dots would lead elsewhere."""
    plain = quote(name, safe="", errors="replace")
    return plain.replace(".", "%2E") if plain.strip(".") == "" else plain


def _string(text: str) -> Literal:
    return Literal(_SURROGATE.sub("\ufffd", text))


def _number(value: float) -> Literal:
    return Literal(repr(float(value)), "double")


def nodes_of(posts: Iterable[Post], options: FormatOptions, left_out: Counter[str]) -> Iterator[list[Node]]:
    """The resources of one post after another.

    Raises:
        InputError: If the options name no base, or an IRI is none.
    """
    return map(Grapher(options, left_out), posts)
