"""A bulk run cut into parts: always the same parts, each whole or not there, each post once. No Ray is needed here."""

from __future__ import annotations

import json
import socket
import sys
from collections import Counter

import pytest
from conftest import jsonl
from helpers import assert_refused, lines_of, run

from dpe_mner.errors import InputError
from dpe_mner.pipeline import PredictionOptions
from dpe_mner.scale import bulk_output, on_ray
from dpe_mner.scale.answering import Answerer, Answers, BulkWork, predicted
from dpe_mner.scale.bulk_output import BulkOutput
from dpe_mner.scale.loading import ModelChoice
from dpe_mner.scale.on_ray import RayActors, check_address, run_on_ray
from dpe_mner.scale.part_files import encoded, failed_path, part_path, write_part
from dpe_mner.scale.rows import Broken, cut, parts_of, post_of, rows_of
from dpe_mner.scale.sources import check_columns, columns_of, parse_columns, sources_of
from dpe_mner.types import Entity, Post, Prediction

ROWS = [{"id": f"p{k}", "text": f"Kevin visits Paris {'again ' * (k % 5)}{k}"} for k in range(23)]


def source_of(path):
    (source,) = sources_of(str(path))
    return source


class Echo:
    """A model that fails at a text with ``bad`` in it, whatever is beside it."""

    def predictions(self, posts, options):
        for post in posts:
            if "bad" in (post.text or ""):
                raise RuntimeError("this one is bad")
            yield Prediction(id=post.id, text=post.text or "", entities=[])


def test_parts_are_the_same_whatever_is_done_already(write):
    source = source_of(write("posts.jsonl", jsonl(ROWS)))
    parts = list(parts_of(source, {}, rows=5))
    assert [part.name for part in parts] == [f"000000-{k:06d}" for k in range(5)]
    assert [part.last for part in parts] == [False] * 4 + [True]
    assert [number for part in parts for number, _ in part.rows] == list(range(1, 24))
    again = list(parts_of(source, {}, rows=5, done={"000000-000001", "000000-000004"}))
    assert [part.rows is None for part in again] == [False, True, False, False, True]
    assert [again[k].rows for k in (0, 2, 3)] == [parts[k].rows for k in (0, 2, 3)]
    assert [part.last for part in again] == [part.last for part in parts]


def test_rows_of_many_bytes_make_short_parts():
    rows = [(k, {"image": b"x" * 100, "text": "y"}) for k in range(1, 8)]
    assert [len(part) for part in cut(rows, 100, most_bytes=250)] == [2, 2, 2, 1]
    assert [len(part) for part in cut(rows, 3, most_bytes=10)] == [1] * 7  # one that is too long alone is a part


def test_an_empty_source_is_one_empty_part(write):
    (part,) = parts_of(source_of(write("posts.jsonl", "\n\n")), {}, rows=5)
    assert part.rows == []
    assert part.last


def test_lines_that_are_no_posts_say_why(write):
    content = b'\xef\xbb\xbf{"text": "a"}\n[1]\n{"text": "b\xff"}\n{broken\n\n{"caption": "c"}\n{"words": ["d"]}\n'
    found = {}
    for row in rows_of(source_of(write("posts.jsonl", content)), {}):
        try:
            found[row[0]] = post_of(row, {}).id
        except ValueError as error:
            found[row[0]] = str(error)
    assert found[1] == "1"
    assert found[7] == "7"
    assert "not a JSON object" in found[2]
    assert "UTF-8" in found[3]
    assert "not valid JSON" in found[4]
    assert "'text' or 'words'" in found[6]
    assert 5 not in found


def test_a_compressed_file_that_is_cut_short_keeps_the_rows_before(write, tmp_path):
    import gzip

    packed = gzip.compress(jsonl(ROWS * 200).encode())
    rows = list(rows_of(source_of(write("posts.jsonl.gz", packed[: len(packed) // 2])), {}))
    assert len(rows) > 1
    assert all(isinstance(value, bytes) for _, value in rows[:-1])
    assert "cannot be read further" in rows[-1][1].reason
    assert rows[-1][0] == len(rows)


def test_csv_rows_with_their_columns_and_their_faults(write):
    content = b'key,body,tags,photo\n1,"a\nb","dog, cat",x.jpg\n2,c,,\n3,d,e,f,g\n4,\xff,,\n'
    source = source_of(write("posts.csv", content))
    columns = parse_columns(["id=key", "text=body", "image=photo"])
    check_columns(source, columns)
    rows = list(rows_of(source, columns))
    assert [number for number, _ in rows] == [1, 2, 3, 4]
    first = post_of(rows[0], columns)
    assert (first.id, first.text, first.tags, first.image) == ("1", "a\nb", ("dog", "cat"), "x.jpg")
    assert post_of(rows[1], columns) == Post(id="2", text="c")
    assert isinstance(rows[2][1], Broken)
    assert isinstance(rows[3][1], Broken)


def test_a_folder_is_its_files_in_order_or_its_pictures(tmp_path):
    (tmp_path / "b").mkdir()
    for name in ("b/2.csv", "a.jsonl.gz", ".hidden.jsonl", "b/_tmp.parquet", "notes.md", "z.jpg"):
        (tmp_path / name).write_text("x")
    assert [(s.number, s.name, s.kind) for s in sources_of(str(tmp_path))] == [
        (0, "a.jsonl.gz", "jsonl"), (1, "b/2.csv", "csv"),
    ]  # fmt: skip
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("2.png", "1.jpg", "1.txt"):
        (photos / name).write_text("Paris")
    (source,) = sources_of(str(photos))
    assert source.kind == "pictures"
    first, second = rows_of(source, {})
    assert post_of(first, {}) == Post(id="1.jpg", text="Paris", image=str(photos / "1.jpg"))
    assert "2.txt" in second[1].reason
    with pytest.raises(InputError, match="JSONL, CSV, Parquet"):
        sources_of(str(tmp_path / "notes.md"))


def test_parquet_with_bytes_of_pictures(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet as parquet

    table = arrow.table({"body": ["a", None], "photo": [b"\x89PNG", None], "wide": [1, 2], "tags": [["x"], None]})
    parquet.write_table(table, tmp_path / "posts.parquet")
    source = source_of(tmp_path / "posts.parquet")
    columns = {"text": "body", "image": "photo"}
    check_columns(source, columns)
    rows = list(rows_of(source, columns))
    assert rows[0][1] == {"body": "a", "photo": b"\x89PNG", "tags": ["x"]}
    post = post_of(rows[0], columns)
    assert (post.id, post.text, post.image, post.tags) == ("1", "a", b"\x89PNG", ("x",))
    with pytest.raises(ValueError, match="'text'"):
        post_of(rows[1], columns)
    (tmp_path / "no.parquet").write_bytes(b"not one")
    with pytest.raises(InputError, match="as Parquet"):
        columns_of(source_of(tmp_path / "no.parquet"))


def test_a_column_that_is_not_there_is_named_with_those_that_are(write):
    with pytest.raises(InputError, match=r"no column 'boby' .*did you mean 'body'"):
        check_columns(source_of(write("a.csv", "key,body\n1,x\n")), {"text": "boby"})
    with pytest.raises(InputError, match=r"no column 'text'; .*--column text="):
        check_columns(source_of(write("b.jsonl", '{"body": "x"}\n')), {})
    with pytest.raises(InputError, match="array"):
        check_columns(source_of(write("c.json", '[{"text": "x"}]')), {})
    with pytest.raises(InputError, match="'txt' is none of"):
        parse_columns(["txt=body"])
    check_columns(source_of(write("d.jsonl", "{broken\n")), {})  # told of line by line


def test_a_post_that_fails_takes_no_other_with_it():
    posts = [Post(id=str(k), text="bad" if k in (3, 4, 10) else "good") for k in range(11)]
    found = predicted(Echo(), posts, PredictionOptions())
    assert [k for k, one in enumerate(found) if isinstance(one, str)] == [3, 4, 10]
    assert "RuntimeError: this one is bad" in found[3]
    assert [one.id for one in found if not isinstance(one, str)] == ["0", "1", "2", "5", "6", "7", "8", "9"]


def test_answers_as_parquet_hold_what_json_holds():
    arrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet as parquet

    entity = Entity(text="Par\udceds", label="LOC", start=0, end=5, word_start=0, word_end=1, score=0.5)
    found = [(7, Prediction(id="a", text="x", entities=[entity], warnings=["w"])), (9, Prediction("b", "y", []))]
    rows = parquet.read_table(arrow.BufferReader(encoded(found, ".parquet", source="s", explain=False))).to_pylist()
    (first, second) = lines_of(encoded(found, ".jsonl", source="s", explain=False))
    assert first["entities"][0]["text"] == "Par\udceds"
    first["entities"][0]["text"] = "Par?s"
    assert rows == [first, second]
    assert first["row"] == 7
    (told, _) = parquet.read_table(arrow.BufferReader(encoded(found, ".parquet", source="s", explain=True))).to_pylist()
    assert json.loads(told["explanation"])["text"] == "x"


@pytest.fixture
def bulk(write, tmp_path):
    """Opens the output of a run over three parts, and does a part of it."""
    source = source_of(write("posts.jsonl", jsonl(ROWS[:6])))
    folder = tmp_path / "out"

    class Bulk:
        parts = tuple(parts_of(source, {}, rows=2))
        path = folder

        def open(self, resume=False, **depends):
            return BulkOutput(folder, {"input": "x", **depends}, [source], ".jsonl", resume=resume)

        def do(self, output, number, failed=()):
            part = self.parts[number]
            answers = Answers([(row, Prediction(str(row), "", [])) for row, _ in part.rows], list(failed))
            written = write_part(
                folder, part.name, ".jsonl", answers, source=source.name, explain=False, run=output.run
            )
            return {"name": part.name, "written": written, "source": 0, "number": number, "last": part.last}

    return Bulk()


def test_what_is_done_is_found_again_whether_or_not_the_manifest_names_it(bulk):
    output = bulk.open()
    output.took(**bulk.do(output, 0))
    output.write()
    bulk.do(output, 2, failed=[(5, "e", "no")])  # and the driver is killed before it hears of it
    output.close()
    with pytest.raises(InputError, match="--resume"):
        bulk.open()
    output = bulk.open(resume=True)
    assert sorted(output.done) == ["000000-000000", "000000-000002"]
    assert (output.rows, output.failed) == (4, 1)
    assert output.left()
    for number in range(3):
        found = bulk.do(output, 1) if number == 1 else {**bulk.do(output, number), "written": None}
        output.took(**found)
    assert not output.left()
    output.write()
    assert json.loads((bulk.path / "manifest.json").read_text())["complete"] is True
    output.close()


def test_a_part_that_is_not_what_the_manifest_says_is_done_again(bulk):
    output = bulk.open()
    for number in range(3):
        output.took(**bulk.do(output, number, failed=[(1, "e", "no")] if number == 1 else ()))
    output.write()
    output.close()
    part_path(bulk.path, "000000-000000", ".jsonl").write_bytes(b"")
    failed_path(bulk.path, "000000-000001").unlink()
    (bulk.path / ".abc.part.jsonl").write_text("half")
    output = bulk.open(resume=True)
    assert sorted(output.done) == ["000000-000002"]
    assert output.left()
    assert not (bulk.path / ".abc.part.jsonl").exists()
    output.close()


def test_other_runs_other_files_and_other_drivers_are_refused(bulk):
    output = bulk.open()
    with pytest.raises(InputError, match="being written by another run"):
        bulk.open(resume=True)
    output.took(**bulk.do(output, 0))
    output.close()
    with pytest.raises(InputError, match=r"another run \(--seed differ"):
        bulk.open(resume=True, **{"--seed": "1"})
    (bulk.path / "manifest.json").write_text("{}")
    with pytest.raises(InputError, match=r"no manifest\.json"):
        bulk.open(resume=True)


def test_a_worker_that_outlived_its_run_writes_nothing_into_another(bulk):
    bulk.open().close()
    with pytest.raises(InputError, match="another run's"):
        write_part(bulk.path, "000000-000000", ".jsonl", Answers(), source="s", explain=False, run="stale")
    assert not list(bulk.path.glob("part-*"))


def in_this_process(monkeypatch, *, ends_after=None):
    """Does the parts here, as Ray would elsewhere, some of them twice; or ends in the middle."""

    class Nothing:
        def __enter__(self):
            return None

        def __exit__(self, *_):
            return None

    def results(_, work, left, done, actors):
        actor, count = on_ray._Actor(work), 0
        for read in on_ray._read({"source": [source.number for source in left]}, work, done):
            for _ in range(2 if count == 1 else 1):
                found = actor({"part": read["part"]})
            yield {key: values[0] for key, values in found.items()}
            count += 1
            if count == ends_after:
                raise KeyboardInterrupt

    monkeypatch.setattr(on_ray, "cluster", lambda actors: Nothing())
    monkeypatch.setattr(on_ray, "require_ray", lambda: None)
    monkeypatch.setattr(on_ray, "_results", results)


def answers_in(folder):
    return [row for path in sorted(folder.glob("part-*.jsonl")) for row in lines_of(path.read_bytes())]


def test_the_command_answers_every_post_once_and_as_without_an_engine(saved_model, write, tmp_path, monkeypatch):
    posts, output = write("posts.jsonl", jsonl(ROWS) + '{"id": "x"}\n'), tmp_path / "out"
    command = ("predict", posts, "--model", saved_model, "--batch-size", "4")
    bulk = (*command, "--engine", "ray", "--output", output, "--part-rows", "5")
    in_this_process(monkeypatch, ends_after=3)
    stopped = run(*bulk)
    assert stopped.returncode == 130
    assert b"3 finished parts" in stopped.stderr
    assert_refused(run(*bulk), "--resume", "3 finished parts")
    assert_refused(run(*bulk, "--resume", "--seed", "1"), "another run", "--seed")
    in_this_process(monkeypatch)
    assert run(*bulk, "--resume").returncode == 0
    told = lines_of(run(*command).stdout)
    found = answers_in(output)
    assert Counter(row["row"] for row in found) == Counter(range(1, 24))
    assert [row["id"] for row in found] == [row["id"] for row in told]
    for one, other in zip(found, told, strict=True):
        assert {e["start"]: e["label"] for e in one["entities"]} == {e["start"]: e["label"] for e in other["entities"]}
        assert one["file"] == "posts.jsonl"
    (failed,) = [row for path in (output / "failed").iterdir() for row in lines_of(path.read_bytes())]
    assert failed["row"] == 24
    assert "'text' or 'words'" in failed["reason"]
    manifest = json.loads((output / "manifest.json").read_text())
    assert (manifest["complete"], manifest["posts"], manifest["failed"]) == (True, 23, 1)
    assert run(*bulk, "--resume").returncode == 0  # nothing is left to do


def test_a_model_that_cannot_be_loaded_is_one_line(write, tmp_path):
    source = source_of(write("posts.jsonl", jsonl(ROWS)))
    work = BulkWork(
        sources=[source], columns={}, model=ModelChoice(name=str(tmp_path)), options=PredictionOptions(),
        visual_text=None, part_rows=5, folder=tmp_path, ending=".jsonl",
    )  # fmt: skip
    with pytest.raises(InputError, match=str(tmp_path)):
        Answerer(work)
    actor = on_ray._Actor(work)
    read = next(on_ray._read({"source": [0]}, work, frozenset()))
    assert str(tmp_path) in actor(read)["error"][0]


def test_nothing_left_needs_no_ray(bulk, monkeypatch):
    monkeypatch.setattr(on_ray, "require_ray", lambda: pytest.fail("ray was asked for"))
    output = bulk.open()
    for number in range(3):
        output.took(**bulk.do(output, number))
    work = BulkWork(
        sources=output.sources, columns={}, model=ModelChoice(), options=PredictionOptions(),
        visual_text=None, part_rows=2, folder=bulk.path, ending=".jsonl",
    )  # fmt: skip
    assert list(run_on_ray(work, output, RayActors())) == []
    output.close()


def test_an_address_where_nobody_answers_is_one_line():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match="does not answer"):
            check_address(f"ray://127.0.0.1:{port}")
    with pytest.raises(InputError, match="HOST:PORT"):
        check_address("somewhere")
    check_address("auto")


def test_without_ray_one_line_says_what_to_install(write, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    posts = write("posts.jsonl", jsonl(ROWS))
    assert_refused(run("predict", posts, "--engine", "ray", "--output", tmp_path / "out"), "dpe-mner[ray]")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("p.jsonl", "--engine", "rya"), ("--engine", "local or ray")),
        (("p.jsonl", "--actors", "2"), ("--actors", "--engine ray")),
        (("--text", "Paris", "--engine", "ray"), ("--text", "--engine ray")),
        (("p.jsonl", "--engine", "ray"), ("--output FOLDER",)),
        (("-", "--engine", "ray", "--output", "out"), ("a file or a folder",)),
        (("p.jsonl", "--engine", "ray", "--output", "out", "--actors", "0"), ("--actors", "from 1")),
        (("p.jsonl", "--engine", "ray", "--output", "out", "--gpus-per-actor", "-1"), ("--gpus-per-actor",)),
        (("p.jsonl", "--engine", "ray", "--output", "out", "--part-format", "xml"), ("jsonl or parquet",)),
        (("p.jsonl", "--engine", "ray", "--output", "out", "--part-rows", "0"), ("--part-rows",)),
        (("p.jsonl", "--engine", "ray", "--output", "p.jsonl"), ("--output", "is a file")),
        (("p.jsonl", "--engine", "ray", "--output", "out", "--column", "text"), ("KEY=COLUMN",)),
        (("p.jsonl", "--engine", "ray", "--output", "out", "--column", "text=no"), ("no column 'no'", "text")),
        (("nowhere", "--engine", "ray", "--output", "out"), ("nowhere", "no such file")),
        (("folder", "--engine", "ray", "--output", "folder/out"), ("lies in the input",)),
    ],
)
def test_bad_usage_is_one_line(arguments, words, tmp_path):
    (tmp_path / "p.jsonl").write_text('{"text": "Paris"}\n')
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "p.jsonl").write_text('{"text": "Paris"}\n')
    assert_refused(run("predict", *arguments, cwd=tmp_path), *words)


def test_the_manifest_is_written_now_and_then_not_at_every_part(bulk, monkeypatch):
    output = bulk.open()
    written = (bulk.path / "manifest.json").read_bytes()
    output.took(**bulk.do(output, 0))
    assert (bulk.path / "manifest.json").read_bytes() == written
    monkeypatch.setattr(bulk_output, "_SECONDS", 0.0)
    output.took(**bulk.do(output, 1))
    assert (bulk.path / "manifest.json").read_bytes() != written
    output.close()
