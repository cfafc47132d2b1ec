"""Knowledge graphs: rdflib reads all three files as the same graph, in known vocabularies, and posts come back."""

from __future__ import annotations

import json
import logging
import re
import weakref
from collections import Counter

import pytest
from conftest import jsonl
from found import BOXES, expected, predictions, renamed, there_and_back, write_found
from helpers import assert_refused, run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dpe_mner.errors import InputError
from dpe_mner.formats.base import FormatOptions
from dpe_mner.formats.graph import as_fragment
from dpe_mner.formats.predicted import predicted_post
from dpe_mner.formats.rdf_reading import read_fragment
from dpe_mner.formats.registry import FORMATS, convert
from dpe_mner.types import Entity, Grounding, Post, Prediction

rdflib = pytest.importorskip("rdflib", reason="rdflib is not installed")
pytestmark = pytest.mark.filterwarnings("ignore:ConjunctiveGraph:DeprecationWarning")
QUICK = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
GRAPHS = {"turtle": "turtle", "n-triples": "nt", "json-ld": "json-ld"}
OA = rdflib.Namespace("http://www.w3.org/ns/oa#")
ITS = rdflib.Namespace("http://www.w3.org/2005/11/its/rdf#")
BASE = "https://example.org/kb/"

# The classes, properties and motivations of the Web Annotation vocabulary, and the names its JSON-LD context gives to
# properties and values (W3C Recommendation, 23 February 2017), as far as a mention, a quotation and a box need any.
OA_TERMS = set(
    "Annotation FragmentSelector SpecificResource TextPositionSelector TextQuoteSelector TextualBody end exact hasBody "
    "hasPurpose hasSelector hasSource hasTarget motivatedBy prefix start suffix classifying linking tagging".split()
)
CONTEXT = {
    "id": "@id", "type": "@type", "body": "oa:hasBody", "target": "oa:hasTarget", "source": "oa:hasSource",
    "selector": "oa:hasSelector", "motivation": "oa:motivatedBy", "purpose": "oa:hasPurpose", "start": "oa:start",
    "end": "oa:end", "exact": "oa:exact", "prefix": "oa:prefix", "suffix": "oa:suffix", "value": "rdf:value",
    "conformsTo": "dcterms:conformsTo",
}  # fmt: skip

PERSON = Grounding(
    entity=0, source="region", name="person", box=(0.1, 0.2, 0.35, 1.0), weight=0.3, lift=2.5, relevance=0.5
)
POST = Post(id="7", text="Tim Cook is in Paris", image="https://example.org/a.jpg", caption="a man", tags=("man",))
FOUND = Prediction(
    "7",
    "Tim Cook is in Paris",
    [Entity("Tim Cook", "PER", 0, 8, 0, 2, 0.9), Entity("Paris", "MISC", 15, 20, 4, 5, 0.25)],
    grounding=[PERSON],
)


def written(folder, found, name, **options):
    """A file in a format, of posts and their predictions."""
    posts, made = write_found(folder, found)
    out = folder / f"made.{name}"
    given_options = FormatOptions(posts=str(posts), **{"base": BASE, **options})
    done = convert(made, out, read_as="predictions", write_as=name, options=given_options)
    return out, done


def parsed(path, name):
    """The graph, as rdflib has it."""
    return rdflib.Graph().parse(path, format=GRAPHS[name])


@given(found=st.lists(predictions(grounded=True), min_size=1, max_size=3))
@settings(QUICK, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
def test_all_three_are_one_graph_of_known_terms(tmp_path_factory, caplog, found):
    folder = tmp_path_factory.mktemp("graph")
    caplog.clear()
    with caplog.at_level(logging.WARNING, "rdflib"):  # it warns of IRIs that are none
        files = {name: written(folder, found, name)[0] for name in GRAPHS}
        graphs = {name: set(parsed(path, name)) for name, path in files.items()}
    assert not caplog.records
    assert graphs["turtle"] == graphs["n-triples"] == graphs["json-ld"]
    lines = files["n-triples"].read_bytes().split(b"\n")
    assert len(set(lines) - {b""}) == len(graphs["n-triples"])  # a triple a line, whatever the texts hold
    for subject, predicate, value in graphs["turtle"]:
        assert subject.startswith(BASE)
        for iri in (predicate, *([value] if predicate == rdflib.RDF.type else [])):
            assert known(iri), iri


def known(iri) -> bool:
    """Whether a vocabulary has the term; rdflib's are closed and refuse others."""
    if iri in OA:
        return iri.removeprefix(OA) in OA_TERMS
    if iri in ITS:
        return iri.removeprefix(ITS) in {"taClassRef", "taConfidence"}
    return any(iri in vocabulary for vocabulary in (rdflib.SDO, rdflib.DCTERMS, rdflib.RDF))


def test_a_term_that_is_not_there_is_found_out():
    assert known(rdflib.SDO.text)
    assert not known(rdflib.URIRef(f"{rdflib.SDO}txet"))
    assert not known(OA.hasTrget)


@pytest.mark.parametrize("name", GRAPHS)
@given(found=st.lists(predictions(grounded=True), min_size=1, max_size=3))
@QUICK
def test_what_was_found_comes_back(tmp_path_factory, name, found):
    found = renamed(found, range(len(found)))
    found = [(post, Prediction(str(one.id), one.text, one.entities, grounding=one.grounding)) for post, one in found]
    back, done = there_and_back(tmp_path_factory.mktemp("graph"), found, name)
    wanted = [expected(*each) for each in found if each[1].entities]
    assert sorted((row for row in back if row["entities"]), key=lambda row: row["id"]) == wanted
    assert len(back) == len(found)
    assert not done.not_written["scores"]


@pytest.mark.parametrize("name", GRAPHS)
def test_posts_keep_their_order_picture_and_id(name, tmp_path):
    others = [(Post(id=f"{k}/é ..", text=f"post {k}", image=f"p/{k}.jpg"), None) for k in range(30)]
    found = [(POST, FOUND), *((post, Prediction(post.id, post.text, [])) for post, _ in others)]
    out, _ = written(tmp_path, found, name)
    convert(out, tmp_path / "back.jsonl", read_as=name, write_as="jsonl")
    back = [json.loads(line) for line in (tmp_path / "back.jsonl").read_text().splitlines()]
    assert [(row["id"], row["image"]) for row in back] == [(post.id, post.image) for post, _ in found]
    assert (back[0]["caption"], back[0]["tags"]) == ("a man", ["man"])


def test_json_ld_has_the_names_of_web_annotation(tmp_path):
    out, _ = written(tmp_path, [(POST, FOUND)], "json-ld")
    document = json.loads(out.read_text(encoding="utf-8"))
    context = {name: value["@id"] if isinstance(value, dict) else value for name, value in document["@context"].items()}
    keys = set()

    def visit(value):
        if isinstance(value, dict):
            keys.update(value)
            for inner in value.values():
                visit(inner)
        elif isinstance(value, list):
            for inner in value:
                visit(inner)

    visit(document["@graph"])
    plain = {key for key in keys if ":" not in key}
    assert {key: context[key] for key in plain} == {key: CONTEXT[key] for key in plain}
    assert plain == set(CONTEXT)
    annotation = document["@graph"][1]
    assert (annotation["type"], annotation["motivation"]) == ("Annotation", "classifying")
    position, quotation = annotation["target"]["selector"]
    assert (position["start"], position["end"], quotation["exact"]) == (0, 8, "Tim Cook")
    assert annotation["itsrdf:taConfidence"] == 0.9


def test_what_a_question_to_the_graph_finds(tmp_path):
    out, _ = written(tmp_path, [(POST, FOUND)], "turtle", class_iris={"MISC": "https://example.org/Thing"})
    graph = parsed(out, "turtle")
    asked = """
        SELECT ?quote ?class ?confidence ?box WHERE {
            ?annotation a oa:Annotation ; oa:hasTarget ?mention ;
                itsrdf:taClassRef ?class ; itsrdf:taConfidence ?confidence .
            ?mention oa:hasSelector/oa:exact ?quote .
            OPTIONAL { ?link oa:hasTarget ?mention ; oa:motivatedBy oa:linking ;
                oa:hasBody/oa:hasSelector/rdf:value ?box }
        } ORDER BY DESC(?confidence)"""
    rows = [tuple(None if value is None else value.toPython() for value in row) for row in graph.query(asked)]
    assert rows == [
        ("Tim Cook", str(rdflib.SDO.Person), 0.9, "xywh=percent:10,20,25,80"),
        ("Paris", "https://example.org/Thing", 0.25, None),
    ]
    (conforms,) = graph.objects(None, rdflib.DCTERMS.conformsTo)
    assert str(conforms) == "http://www.w3.org/TR/media-frags/"
    (picture,) = graph.subjects(rdflib.RDF.type, rdflib.SDO.ImageObject)
    assert str(graph.value(picture, rdflib.SDO.contentUrl)) == POST.image


@pytest.mark.parametrize("name", ["turtle", "n-triples"])
def test_files_may_be_put_one_after_another(name, tmp_path):
    parts = []
    for number in ("1", "2"):
        (tmp_path / number).mkdir()
        found = [(Post(id=number, text=FOUND.text), Prediction(number, FOUND.text, FOUND.entities))]
        parts.append(written(tmp_path / number, found, name)[0])
    joined = tmp_path / "joined"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    assert set(parsed(joined, name)) == set(parsed(parts[0], name)) | set(parsed(parts[1], name))


@pytest.mark.parametrize("name", GRAPHS)
def test_a_post_is_forgotten_once_it_is_written(name, tmp_path):
    alive: list[weakref.ref] = []
    most = 0

    def stream():
        nonlocal most
        for k in range(200):
            post = predicted_post(FOUND, Post(id=str(k), text=FOUND.text))
            alive.append(weakref.ref(post))
            most = max(most, sum(each() is not None for each in alive[-20:]))
            yield post
            del post

    count = FORMATS[name].write(stream(), tmp_path / "o", FormatOptions(base=BASE), Counter())
    assert count == 200
    assert most <= 3


IDS = ["", ".", "..", "a/b", "a b", "%2E", "é", "😀", "x", "x", "x;2", "#", "?q", "http://example.org/z", "\ud800"]


def test_every_post_has_a_name_of_its_own_under_the_base(tmp_path, caplog):
    posts = [predicted_post(Prediction(name, FOUND.text, FOUND.entities), Post(text=FOUND.text)) for name in IDS]
    left_out = Counter()
    for name in GRAPHS:
        FORMATS[name].write(posts, tmp_path / name, FormatOptions(base=BASE), left_out)
        with caplog.at_level(logging.WARNING, "rdflib"):
            graph = parsed(tmp_path / name, name)
        found = set(graph.subjects(rdflib.RDF.type, rdflib.SDO.SocialMediaPosting))
        assert len(found) == len(IDS)
        assert all(re.fullmatch(r"post/[\w.~%;-]*", iri.removeprefix(BASE)) for iri in found)
        assert not {BASE + "post/.", BASE + "post/.."} & {str(iri) for iri in found}
    assert not caplog.records
    assert left_out["ids that are not the only ones (their IRIs end in ;2, ;3, ...)"] == 3


@given(BOXES)
def test_a_box_comes_back_to_the_digit(box):
    assert read_fragment(as_fragment(box)) == box


@pytest.mark.parametrize(
    "text", ["xywh=1,2,3,4", "xywh=percent:1,2,3", "xywh=percent:1,2,3,x", "xywh=percent:1,2,3,nan"]
)
def test_another_fragment_is_no_box(text):
    assert read_fragment(text) is None


FOREIGN = """
@prefix oa: <http://www.w3.org/ns/oa#> . @prefix schema: <http://schema.org/> .
@prefix its: <http://www.w3.org/2005/11/its/rdf#> .
<http://x.org/p/1> schema:articleBody "Tim Cook is in Paris" .
[] a oa:Annotation ; oa:hasBody schema:Place ; oa:hasTarget [ oa:hasSource <http://x.org/p/1> ;
    oa:hasSelector [ a oa:TextPositionSelector ; oa:start 15 ; oa:end 20 ] ] .
[] a oa:Annotation ; its:taClassRef <http://x.org/onto#Chief%20Officer> ; oa:hasTarget [
    oa:hasSource <http://x.org/p/1> ; oa:hasSelector [ oa:start 0 ; oa:end 8 ], [ oa:exact "Tim Cook" ] ] .
[] a oa:Annotation ; oa:hasBody schema:Place ; oa:hasTarget [ oa:hasSource <http://x.org/p/1> ;
    oa:hasSelector [ oa:start 0 ; oa:end 8 ], [ oa:exact "Tom Cook" ] ] .
[] a oa:Annotation ; oa:hasBody schema:Place ; oa:hasTarget <http://x.org/p/1> .
[] a oa:Annotation ; oa:hasBody schema:Place ; oa:hasTarget [ oa:hasSource <http://x.org/p/2> ;
    oa:hasSelector [ oa:start 0 ; oa:end 8 ] ] .
"""


def test_graphs_of_others_are_read(write, tmp_path):
    out = tmp_path / "o.jsonl"
    done = convert(write("x.ttl", FOREIGN), out, read_as="turtle", write_as="jsonl")
    (row,) = map(json.loads, out.read_text().splitlines())
    assert row == {
        "id": "1",
        "text": "Tim Cook is in Paris",
        "entities": [{"start": 0, "end": 8, "label": "Chief Officer"}, {"start": 15, "end": 20, "label": "LOC"}],
    }
    assert ["'Tom Cook'" in str(problem) for problem in done.problems] == [True]
    assert done.not_read["annotations without a class, or a place in a text"] == 1
    assert done.not_read["annotations of something without a text"] == 1


@pytest.mark.parametrize(
    "context",
    ['"http://www.w3.org/ns/anno.jsonld"', '[{}, "http://192.0.2.1/x"]', '{"@import": "http://192.0.2.1/x"}'],
)
def test_nothing_is_fetched(context, write, tmp_path):
    path = write("x.jsonld", f'{{"@context": {{}}, "@graph": [{{"@context": {context}}}]}}')
    with pytest.raises(InputError, match="is on the web, and nothing is fetched"):
        convert(path, tmp_path / "o", read_as="json-ld", write_as="jsonl")


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("content", [b"<x", b"{", b"\xff\xfe", b'{"@context": 3}', b"[" * 5000])
def test_a_damaged_graph_is_one_line(name, content, write, tmp_path):
    path = write("x.graph", content)
    with pytest.raises(InputError) as caught:
        convert(path, tmp_path / "o", read_as=name, write_as="jsonl")
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["--base https://"]),
        (["--base", "example.org/"], ["not an absolute IRI"]),
        (["--base", "https://example.org/a b/"], ["not an absolute IRI"]),
        (["--base", "https://example.org/a"], ["end it in /"]),
        (["--base", "https://example.org/#/"], ["without # or ?"]),
        (["--base", "https://example.org/", "--class-iri", "MISC=a b"], ["--class-iri 'a b'", "not an absolute IRI"]),
    ],
)
def test_wrong_usage(arguments, words, write, tmp_path):
    path = write("p.jsonl", jsonl([{"text": "x"}]))
    given_options = ("--from", "jsonl", "--to", "turtle", "--output", tmp_path / "o.ttl", *arguments)
    assert_refused(run("convert", path, *given_options), *words)
    assert not (tmp_path / "o.ttl").exists()


def test_the_command(write, tmp_path):
    posts, made = write_found(tmp_path, [(POST, FOUND)])
    out = tmp_path / "o.ttl"
    arguments = ("--posts", posts, "--base", BASE, "--class-iri", f"MISC={rdflib.SDO.Thing}", "--output", out)
    done = run("convert", made, "--from", "predictions", "--to", "ttl", *arguments)
    assert done.returncode == 0, done.stderr
    assert set(parsed(out, "turtle").objects(None, ITS.taClassRef)) == {rdflib.SDO.Person, rdflib.SDO.Thing}
