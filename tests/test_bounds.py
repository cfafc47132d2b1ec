"""What others wrote has bounds: nesting, aliases, regular expressions, sizes; nothing in it runs or asks."""

from __future__ import annotations

import ast
import gzip
import io
import struct
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

import dpe_mner
from dpe_mner.baselines.checkpoint import load_baseline
from dpe_mner.data import conll, files, json_values, source
from dpe_mner.data.columns import Columns
from dpe_mner.data.dataset import load_dataset
from dpe_mner.data.words import split_text
from dpe_mner.errors import InputError
from dpe_mner.llm.parsing import parse_answer
from dpe_mner.pictures import opening
from dpe_mner.pictures.formats import foreign_format
from dpe_mner.pictures.imports import captions_of
from dpe_mner.pictures.opening import PictureError, decode
from dpe_mner.pictures.weights import ProviderError
from dpe_mner.pictures.yolox import YoloxDetector
from dpe_mner.representations.encoders import encoder_config
from dpe_mner.training.recipe import load_recipe
from dpe_mner.training.unique_yaml import load_yaml

SOURCE = Path(dpe_mner.__file__).parent
PATIENCE = 3.0  # seconds for what takes milliseconds; without its bound each would take years


# Regular expressions


@pytest.mark.parametrize(
    "data",
    [b"<?xml?>" * 585, b"<!---->" * 585, b"<?xml?>\n" * 500 + b"<svg", b"<!DOCTYPE svg[]>" * 250, b" \t" * 2000],
    ids=len,
)
def test_bytes_that_are_no_picture_are_told_at_once(data):
    started = time.monotonic()
    assert foreign_format(data) is None
    assert time.monotonic() - started < PATIENCE


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\xef\xbb\xbf \n",
        b'<?xml version="1.0"?>\n<!-- a > b -->',
        b'<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "x.dtd">',
        b'<!DOCTYPE svg PUBLIC "a" "b" [ <!ENTITY c "d"> <!ENTITY e "f"> ]>\n',
    ],
)
def test_a_drawing_is_known_by_whatever_comes_before_it(head):
    assert "SVG" in foreign_format(head + b"<svg xmlns='x'>")


@pytest.mark.parametrize(
    "line", ["# a" + " " * 100_000, "# a" + " b" * 100_000, "#" + " " * 100_000, "#a" + " " * 10**5]
)
def test_a_line_that_is_nearly_a_comment_is_told_at_once(line):
    started = time.monotonic()
    assert not conll.is_comment(line, Columns())
    assert time.monotonic() - started < PATIENCE


@pytest.mark.parametrize(
    "content", ["```\n" + "\n" * 100_000 + "x", "```json" + "\n" * 10**5, "```" + " " * 10**5 + "x\n```"], ids=len
)
def test_an_answer_that_is_nearly_fenced_is_told_at_once(content):
    started = time.monotonic()
    assert not parse_answer(content, split_text("Paris"), ["LOC"]).readable
    assert time.monotonic() - started < PATIENCE


@pytest.mark.parametrize("text", ["a\u200d", "a\u00ad", "\U0001f1e6", "\u0301", "\u0600", "\u0600\u0301", "1\u20e3"])
def test_words_of_endless_signs_are_parted_at_once(text):
    started = time.monotonic()
    split_text(text * 10_000)
    assert time.monotonic() - started < PATIENCE


# Nesting and aliases


@pytest.mark.parametrize("value", ["[" * 100_000, "(" * 100_000, "-" * 100_000 + "1", "{1:" * 5000])
def test_a_nested_value_of_a_table_is_one_line(value, tmp_path):
    path = tmp_path / "captions.tsv"
    path.write_text(f"a\t{value}\n")
    with pytest.raises(InputError, match=r"captions\.tsv:1: not a list"):
        captions_of(path)


@pytest.mark.parametrize("content", ["[" * 100_000, '{"a":' * 100_000, "[]", "1"])
def test_a_baseline_that_is_none_is_one_line(content, tmp_path):
    (tmp_path / "baseline.json").write_text(content)
    with pytest.raises(InputError, match=r"baseline\.json"):
        load_baseline(tmp_path)


def laughs(*keys: str) -> str:
    """A recipe in which every key stands for ten times the one before."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 10)}]" for k in range(1, 9)]
    return "\n".join([*lines, *(f"{key}: *a8" for key in keys)])


@pytest.mark.parametrize("content", [laughs("encoder"), laughs("settings"), "encoder: &a [*a]", "encoder: &a {b: *a}"])
def test_aliases_that_stand_for_too_much_are_one_line(content, write):
    started = time.monotonic()
    with pytest.raises(InputError, match="aliases") as refused:
        load_recipe(write("r.yaml", content))
    assert time.monotonic() - started < PATIENCE
    assert len(str(refused.value)) < 300


def test_aliases_that_stand_for_a_little_are_read():
    assert load_yaml("a: &few [1, 2]\nb: *few\nc: {<<: &more {d: 3}, e: *few}\nf: *more\n") == {
        "a": [1, 2],
        "b": [1, 2],
        "c": {"d": 3, "e": [1, 2]},
        "f": {"d": 3},
    }


@pytest.mark.parametrize("names", ["[", "1", "'a'", "{0: " * 5000, "(" * 50_000, "__import__('os').abort()"])
def test_class_names_that_are_none_are_one_line(names):
    detector = object.__new__(YoloxDetector)
    detector.path = "x.onnx"
    detector.session = SimpleNamespace(
        get_outputs=lambda: [SimpleNamespace(shape=[1, 1, 7])],
        get_modelmeta=lambda: SimpleNamespace(custom_metadata_map={"names": names}),
    )
    with pytest.raises(ProviderError, match="no names by number"):
        detector._class_names()


# Sizes


def test_a_line_without_an_end_is_not_read_into_memory(monkeypatch, tmp_path):
    monkeypatch.setattr(source, "MOST_LINE", 1000)
    path = tmp_path / "bomb.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"text": "Paris"}\n{"text": "' + b"a" * 10**6 + b'"}\n{"text": "Rome"}\n'))
    data = load_dataset(path)
    assert [post.text for post in data.posts] == ["Paris"]
    assert [(problem.kind, problem.line) for problem in data.problems] == [("cut-short", 2)]
    assert data.problems[0].loses_data


def test_an_array_without_an_end_is_not_read_into_memory(monkeypatch, tmp_path):
    monkeypatch.setattr(json_values, "MOST_WHOLE", 1000)
    path = tmp_path / "bomb.json.gz"
    path.write_bytes(gzip.compress(b"[\n" + b'{"text": "a"},\n' * 10_000))
    with pytest.raises(InputError, match="an object a line"):
        load_dataset(path)


def test_a_small_zstandard_file_is_unpacked_in_small_pieces(monkeypatch, tmp_path):
    zstandard = pytest.importorskip("zstandard", reason="zstandard is not installed")
    monkeypatch.setattr(files, "_PIECE", 64)
    path = tmp_path / "bomb.jsonl.zst"
    path.write_bytes(zstandard.ZstdCompressor().compress(bytes(2**26)))
    with files.open_bytes(path) as stream:
        assert stream.read(1) == b"\0"
        assert len(stream.raw._content) < 2**23  # and not all of it


def test_a_download_that_drips_ends(monkeypatch):
    monkeypatch.setattr(opening, "_WHOLE_DOWNLOAD_SECONDS", 0.0)
    monkeypatch.setattr("urllib.request.urlopen", lambda url, timeout: io.BytesIO(b"x" * 200_000))
    with pytest.raises(PictureError, match="not there after"):
        opening.read_bytes("http://example.org/a.jpg", fetch_urls=True)


def test_a_picture_within_an_icon_counts_by_its_own_size():
    stream = io.BytesIO()
    Image.new("1", (9000, 9000)).save(stream, "PNG")
    inner = stream.getvalue()
    head = struct.pack("<HHH", 0, 1, 1) + struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(inner), 22)
    with pytest.raises(PictureError, match="9000 x 9000"):
        decode(head + inner, most_pixels=40_000_000)


# Programs


def test_a_drawing_that_only_a_program_can_draw_starts_none(monkeypatch):
    stream = io.BytesIO()
    Image.new("RGB", (20, 20)).save(stream, "EPS")
    monkeypatch.setattr("subprocess.Popen", lambda *arguments, **options: pytest.fail("a program was started"))
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", "gs")
    with pytest.raises(PictureError, match="PostScript"):
        decode(stream.getvalue())


def test_a_configuration_names_no_code_to_fetch():
    part = {"model_type": "bert", "attn_implementation": "someone/kernel", "_attn_implementation": "someone/kernel"}
    assert encoder_config(part | {"auto_map": {"AutoModel": "x.Y"}})._attn_implementation != "someone/kernel"
    assert encoder_config({"model_type": "clip", "text_config": part}).text_config._attn_implementation is None


UNPICKLING = frozenset({"pickle", "marshal", "shelve", "dill", "joblib", "cloudpickle"})
UNPACKING = frozenset({"tarfile", "zipfile"})  # a name in an archive may lead out of the folder it is unpacked to


def test_the_package_runs_and_unpacks_nothing_that_data_brings():
    seen = set()
    # Ray moves all that the tasks of a run tell each other in this way.
    between_own_tasks = {"on_ray.py": {"pickle", "pickle.loads", "pickle.dumps"}}
    for path in sorted(SOURCE.rglob("*.py")):
        found: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add(node.module or "")
            elif isinstance(node, ast.Call):
                found.add(check_call(path.name, node))
        seen |= found - between_own_tasks.get(path.name, set())
    assert not seen & {*UNPICKLING, *UNPACKING, "eval", "exec", "os.system", "os.popen", "shutil.unpack_archive"}
    assert {"torch.load", "AutoTokenizer.from_pretrained", "subprocess.run"} <= seen  # they are looked at


def check_call(path: str, call: ast.Call) -> str:
    """The name of what is called, whose options must be the safe ones."""
    if not isinstance(call.func, ast.Name | ast.Attribute):
        return ""
    name = ast.unparse(call.func)
    options = {word.arg: ast.unparse(word.value) for word in call.keywords}
    assert options.get("shell", "False") == "False", path
    assert options.get("allow_pickle", "False") == "False", path
    assert name != "torch.load" or options.get("weights_only") == "True", path
    if name.startswith("Auto") and name.endswith(".from_pretrained"):
        assert options.get("trust_remote_code") == "False", path
    return name
