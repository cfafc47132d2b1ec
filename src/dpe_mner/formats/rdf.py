"""Graphs of posts as N-Triples, Turtle and JSON-LD, a post at a time: a graph of millions of them fits no memory.

Strings are written with the few escapes that N-Triples knows, which Turtle shares; serializers of whole graphs choose
long strings for texts of many lines, which strict readers refuse where such a text ends in quotation marks.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from dpe_mner.formats.base import Format, FormatOptions, write_file
from dpe_mner.formats.graph import NAMESPACES, Iri, Literal, Node, nodes_of, term
from dpe_mner.formats.rdf_reading import read_json_ld, read_n_triples, read_turtle
from dpe_mner.types import Post

_TYPE = term("rdf:type")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f", '"': '\\"', "\\": "\\\\"}
_ESCAPED = re.compile(r'[\x00-\x1f"\\\x7f]')

# Terms as the context of Web Annotation has them (http://www.w3.org/ns/anno.jsonld), written out so that nothing need
# be fetched; what is of other vocabularies keeps its prefix.
_KEYS = {
    "oa:hasBody": "body", "oa:hasTarget": "target", "oa:hasSource": "source", "oa:hasSelector": "selector",
    "oa:motivatedBy": "motivation", "oa:hasPurpose": "purpose", "oa:start": "start", "oa:end": "end",
    "oa:exact": "exact", "oa:prefix": "prefix", "oa:suffix": "suffix", "rdf:value": "value",
    "dcterms:conformsTo": "conformsTo",
}  # fmt: skip
_NAMED = (
    "Annotation", "SpecificResource", "TextualBody", "TextPositionSelector", "TextQuoteSelector", "FragmentSelector",
    "classifying", "linking", "tagging",
)  # fmt: skip
_REFERENCES = (
    "oa:hasBody", "oa:hasTarget", "oa:hasSource", "oa:hasSelector", "dcterms:conformsTo", "schema:image",
    "schema:contentUrl", "schema:additionalProperty", "itsrdf:taClassRef",
)  # fmt: skip
_VOCABULARY = ("oa:motivatedBy", "oa:hasPurpose")
_TYPED = {
    "oa:start": "nonNegativeInteger",
    "oa:end": "nonNegativeInteger",
    "itsrdf:taConfidence": "double",
    "schema:value": "double",
}


def _context() -> dict[str, Any]:
    context: dict[str, Any] = {"id": "@id", "type": "@type", **NAMESPACES}
    context |= {name: f"oa:{name}" for name in _NAMED}
    for name in dict.fromkeys((*_KEYS, *_REFERENCES, *_TYPED)):
        kind = "@id" if name in _REFERENCES else "@vocab" if name in _VOCABULARY else None
        if name in _TYPED:
            kind = f"xsd:{_TYPED[name]}"
        context[_KEYS.get(name, name)] = {"@id": name, "@type": kind} if kind else name
    return context


def _escape(text: str) -> str:
    return _ESCAPED.sub(lambda found: _SHORT.get(found[0]) or f"\\u{ord(found[0]):04X}", text)


def _triple_object(value: Iri | Literal) -> str:
    if isinstance(value, Iri):
        return f"<{value}>"
    quoted = f'"{_escape(value.text)}"'
    return f"{quoted}^^<{term(f'xsd:{value.datatype}')}>" if value.datatype else quoted


def _turtle_object(value: Iri | Literal) -> str:
    if isinstance(value, Iri):
        return value.short or f"<{value}>"
    quoted = f'"{_escape(value.text)}"'
    return f"{quoted}^^xsd:{value.datatype}" if value.datatype else quoted


def _triples(nodes: list[Node]) -> str:
    return "".join(
        f"<{node.iri}> <{predicate}> {_triple_object(value)} .\n"
        for node in nodes
        for predicate, value in node.statements
    )


def _turtle(nodes: list[Node]) -> str:
    blocks = []
    for node in nodes:
        said: dict[Iri, list[str]] = {}
        for predicate, value in node.statements:
            said.setdefault(predicate, []).append(_turtle_object(value))
        lines = [
            f"{'a' if predicate == _TYPE else predicate.short} {', '.join(values)}"
            for predicate, values in said.items()
        ]
        blocks.append(f"<{node.iri}> " + " ;\n    ".join(lines) + " .\n")
    return "\n" + "".join(blocks)


def _objects(nodes: list[Node]) -> Iterator[str]:
    """The post and its annotations, each resource inside the one that mentions it first."""
    waiting = {node.iri: node for node in nodes}

    def describe(node: Node) -> dict[str, Any]:
        value: dict[str, Any] = {"id": node.iri}
        for predicate, given in node.statements:
            short = predicate.short
            key = "type" if predicate == _TYPE else _KEYS.get(short, short)
            said = reference(given, short) if isinstance(given, Iri) else _plain(given)
            if key not in value:
                value[key] = said
            elif isinstance(value[key], list):
                value[key].append(said)
            else:
                value[key] = [value[key], said]
        return value

    def reference(iri: Iri, predicate: str) -> Any:
        if iri in waiting:
            return describe(waiting.pop(iri))
        named = predicate in _VOCABULARY or predicate == "rdf:type"
        return iri.short.removeprefix("oa:") if named and iri.short else iri

    for node in nodes:
        if waiting.pop(node.iri, None) is not None:
            yield json.dumps(describe(node), ensure_ascii=False)


def _plain(value: Literal) -> str | int | float:
    if value.datatype == "double":
        return float(value.text)
    return int(value.text) if value.datatype else value.text


def _write_n_triples(posts: Iterable[Post], path: Path, options: FormatOptions, left_out: Counter[str]) -> int:
    return write_file(path, map(_triples, nodes_of(posts, options, left_out)))


def _write_turtle(posts: Iterable[Post], path: Path, options: FormatOptions, left_out: Counter[str]) -> int:
    parts = map(_turtle, nodes_of(posts, options, left_out))
    head = "".join(f"@prefix {prefix}: <{namespace}> .\n" for prefix, namespace in NAMESPACES.items())

    def with_head() -> Iterator[str]:
        yield head
        yield from parts

    return write_file(path, with_head()) - 1


def _write_json_ld(posts: Iterable[Post], path: Path, options: FormatOptions, left_out: Counter[str]) -> int:
    parts = nodes_of(posts, options, left_out)

    def document() -> Iterator[str]:
        yield f'{{"@context": {json.dumps(_context())},\n"@graph": ['
        before = "\n"
        for nodes in parts:
            yield before + ",\n".join(_objects(nodes))
            before = ",\n"
        yield "\n]}\n"

    return write_file(path, document()) - 2


def _format(name: str, about: str, read: Any, write: Any) -> Format:
    return Format(name, about, read, write, offsets=False, scores=True, grounding=True)


TURTLE = _format("turtle", "a knowledge graph in Turtle", read_turtle, _write_turtle)
N_TRIPLES = _format("n-triples", "a knowledge graph in N-Triples", read_n_triples, _write_n_triples)
JSON_LD = _format("json-ld", "a knowledge graph in JSON-LD", read_json_ld, _write_json_ld)
