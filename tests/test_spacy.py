"""The component of spaCy's pipelines: with a model that finds capitals, and with the bundled one."""

from __future__ import annotations

import contextlib
import io
import re
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from dpe_mner.data.entities import make_entity
from dpe_mner.data.words import words_of
from dpe_mner.errors import InputError
from dpe_mner.pipeline import Predicts
from dpe_mner.types import Prediction

spacy = pytest.importorskip("spacy", reason="spaCy is not installed")
component = import_module("dpe_mner.integrations.spacy_component")  # where it is installed, spaCy finds it by itself

ROOT = Path(__file__).parents[1]
LIGHT = {"backend": "onnx"}


class Capitals(Predicts):
    """Finds every word in capitals; remembers what it was asked."""

    labels = ("BIG",)

    def __init__(self) -> None:
        self.stretches: list[list] = []
        self.options = None

    def predictions(self, posts, options):
        self.stretches.append(list(posts))
        self.options = options
        for post in self.stretches[-1]:
            words = words_of(post)
            found = [make_entity(words, k, k, "BIG", 1 / (k + 2)) for k, w in enumerate(words.words) if w.isupper()]
            yield Prediction(post.id, words.text, found, warnings=["no picture"] if post.image == "no.jpg" else [])


def pipeline(fake=None, /, **config):
    nlp = spacy.blank("en")
    made = nlp.add_pipe("dpe_mner", config=config)
    if fake is not None:
        made._model = fake
    return nlp


def found(doc):
    return [(span.text, span.label_, span._.score) for span in doc.ents]


def test_entities_and_scores_of_a_document():
    doc = pipeline(Capitals())("NASA and the UN met")
    assert found(doc) == [("NASA", "BIG", 1 / 2), ("UN", "BIG", 1 / 5)]
    assert [token.ent_iob_ for token in doc] == ["B", "O", "O", "B", "O"]
    assert doc._.dpe_mner_warnings == []


def test_what_belongs_to_a_picture_is_read():
    model = Capitals()
    nlp = pipeline(model, seed=3, batch_size=5)
    doc = nlp.make_doc("NASA")
    doc._.image, doc._.caption, doc._.tags = "no.jpg", "a rocket", ["rocket"]
    assert nlp(doc)._.dpe_mner_warnings == ["no picture"]
    ((post,),) = model.stretches
    assert (post.text, post.image, post.caption, list(post.tags)) == ("NASA", "no.jpg", "a rocket", ["rocket"])
    assert (model.options.seed, model.options.batch_size) == (3, 5)


def test_documents_come_in_batches_and_in_order():
    model = Capitals()
    texts = [f"NASA {k}" for k in range(7)]
    docs = list(pipeline(model).pipe(texts, batch_size=3))
    assert [doc.text for doc in docs] == texts
    assert list(map(len, model.stretches)) == [3, 3, 1]
    assert all(found(doc)[0][0] == "NASA" for doc in docs)
    assert [context for _, context in pipeline(model).pipe([("A", 1), ("B", 2)], as_tuples=True)] == [1, 2]


def test_an_entity_inside_a_token_is_the_token_and_the_surer_one_stays():
    nlp = pipeline(Capitals())
    doc = spacy.tokens.Doc(nlp.vocab, words=["UK-US", "talks"])  # four words of ours
    assert found(nlp(doc)) == [("UK-US", "BIG", 1 / 2)]


@pytest.mark.parametrize(("overwrite", "kept"), [(True, ["BIG", "BIG"]), (False, ["GPE", "BIG"])])
def test_entities_of_earlier_components(overwrite, kept):
    nlp = pipeline(Capitals(), overwrite_ents=overwrite)
    nlp.add_pipe("entity_ruler", first=True).add_patterns([{"label": "GPE", "pattern": "the UN"}])
    doc = nlp("the UN and NASA")
    assert [span.label_ for span in doc.ents] == kept


@pytest.mark.parametrize("text", ["", " ", "😀 NASA", "שלום NASA עולם", "A\nB\t\tC  D"])
def test_odd_texts(text):
    doc = pipeline(Capitals())(text)
    assert doc.text == text
    assert [span.text for span in doc.ents] == [word for word in text.split() if word.isupper()]


def test_scores_are_kept_in_files_of_documents(tmp_path):
    nlp = pipeline(Capitals())
    path = tmp_path / "docs.spacy"
    spacy.tokens.DocBin(docs=[nlp("NASA and ESA")], store_user_data=True).to_disk(path)
    (doc,) = spacy.tokens.DocBin().from_disk(path).get_docs(nlp.vocab)
    assert found(doc) == [("NASA", "BIG", 1 / 2), ("ESA", "BIG", 1 / 4)]


def test_looking_at_a_pipeline_loads_nothing(monkeypatch):
    monkeypatch.setattr("dpe_mner.api.load", lambda *_, **__: pytest.fail("a model was loaded"))
    nlp = pipeline(model="/nowhere")
    assert nlp.pipe_labels["dpe_mner"] == []
    assert nlp.analyze_pipes()["summary"]["dpe_mner"]["assigns"] == ["doc.ents", "span._.score"]
    assert spacy.blank("en").from_bytes(nlp.to_bytes(), exclude=["dpe_mner"]) is not None


@pytest.mark.parametrize(("config", "words"), [({"seed": -1}, "seed"), ({"batch_size": 0}, "batch_size")])
def test_wrong_settings_are_one_line(config, words):
    with pytest.raises(InputError, match=words):
        pipeline(**config)


def test_settings_of_another_kind_are_spacys_to_refuse():
    with pytest.raises(Exception, match="overwrite_ents"):
        pipeline(overwrite_ents="perhaps")


def test_a_model_that_is_not_there_is_told_with_the_first_document(tmp_path):
    nlp = pipeline(model=str(tmp_path / "no"), **LIGHT)
    with pytest.raises(InputError, match="no such checkpoint folder"):
        nlp("a text")
    with pytest.raises(InputError, match="no such checkpoint folder"):
        nlp.to_disk(tmp_path / "saved")


def test_an_attribute_of_somebody_else_is_not_taken():
    Span = spacy.tokens.Span
    before = Span.get_extension("score")
    Span.set_extension("score", getter=lambda span: 1.0, force=True)
    try:
        with pytest.raises(InputError, match=r"Span\._\.score is another's"):
            spacy.blank("en").add_pipe("dpe_mner")
    finally:
        Span.set_extension("score", default=before[0], force=True)


def test_the_bundled_model_is_no_part_of_a_saved_pipeline(tmp_path):
    nlp = pipeline(**LIGHT, batch_size=7)
    text = "Kevin Durant enters Oracle Arena"
    expected = found(nlp(text))
    assert [(name, label) for name, label, _ in expected] == [("Kevin Durant", "PER"), ("Oracle Arena", "LOC")]
    nlp.to_disk(tmp_path / "saved")
    assert not (tmp_path / "saved" / "dpe_mner").exists()
    loaded = spacy.load(tmp_path / "saved")
    assert loaded.get_pipe("dpe_mner").options == nlp.get_pipe("dpe_mner").options
    assert found(loaded(text)) == expected


def test_a_saved_pipeline_has_its_own_model(tmp_path):
    from shutil import copytree, rmtree

    from dpe_mner.checkpoints.hub import bundled_folder

    own = tmp_path / "own"
    copytree(bundled_folder(), own)
    nlp = pipeline(model=str(own), **LIGHT)
    text = "Kevin Durant enters Oracle Arena"
    expected = found(nlp(text))
    nlp.to_disk(tmp_path / "saved")
    rmtree(own)
    loaded = spacy.load(tmp_path / "saved")
    assert found(loaded(text)) == expected
    loaded.to_disk(tmp_path / "saved")  # over itself
    loaded.to_disk(tmp_path / "again")
    assert found(spacy.load(tmp_path / "again")(text)) == expected


def test_spacy_finds_the_component_by_its_entry_point(tmp_path):
    points = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]
    ((name, target),) = points["spacy_factories"].items()
    module, attribute = target.split(":")
    assert getattr(import_module(module), attribute) is component.make_component
    about = tmp_path / "installed-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: installed\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[spacy_factories]\n{name} = {target}\n")
    script = (
        f"import sys; sys.path[:0] = {[str(tmp_path), *sys.path]!r}\n"
        "import spacy\n"
        "assert not any(name.startswith('dpe_mner') for name in sys.modules)\n"
        "nlp = spacy.blank('en')\n"
        "nlp.add_pipe('dpe_mner', config={'seed': 5})\n"
        "print(nlp.pipe_names, nlp.config['components']['dpe_mner']['seed'])\n"
    )
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    assert shown.stdout == "['dpe_mner'] 5\n", shown.stderr


def test_the_page_of_documentation_prints_what_it_says():
    page = (ROOT / "docs" / "spacy.md").read_text(encoding="utf-8")
    code, printed = re.search(r"```python\n(.*?)```\n\nprints\n\n```\n(.*?)```", page, re.DOTALL).groups()
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        exec(code.replace('"dpe_mner")', f'"dpe_mner", config={LIGHT})'), {})
    assert shown.getvalue() == printed
    settings = re.findall(
        r"`(\w+)`", " ".join(re.findall(r"^\| (`.*?) \|", page.partition("takes\n")[2], re.MULTILINE))
    )
    assert set(settings) == set(component.DEFAULTS)
