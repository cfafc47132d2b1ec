"""Output never destroys input, and what is finished is kept: however a run ends, a later one goes on after it."""

from __future__ import annotations

import errno
import gzip
import json
import os
import random
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import POSTS, conll, jsonl
from helpers import assert_refused, lines_of, run
from PIL import Image

from dpe_mner.commands.finished import FinishedLines, as_line, whole_lines
from dpe_mner.commands.main import Ended
from dpe_mner.data.writing import replacing, write_whole
from dpe_mner.errors import InputError
from dpe_mner.model import DPEMNERModel

ROWS = [{"id": str(k % 3), "text": f"Kevin {'x ' * (k % 5)}Paris {k}"} for k in range(30)]


@pytest.fixture(autouse=True)
def short_stretches(monkeypatch):
    """A batch is written as soon as it is there, so that a run of few posts can be cut off amid its lines."""
    monkeypatch.setattr("dpe_mner.commands.predict._AT_ONCE", 1)


@pytest.fixture
def posts(write):
    return write("posts.jsonl", jsonl(ROWS))


@pytest.fixture
def ended(monkeypatch):
    """Let the third stretch of posts end in an exception, once."""

    def after(error, *, stretches=2):
        predictions = DPEMNERModel.predictions
        calls = []

        def ending(self, stretch, options, **more):
            calls.append(1)
            if len(calls) == stretches + 1:
                raise error
            return predictions(self, stretch, options, **more)

        monkeypatch.setattr(DPEMNERModel, "predictions", ending)

    return after


def predict(posts, output, saved_model, *more):
    return run("predict", posts, "--output", output, "--model", saved_model, "--batch-size", "4", *more)


def finished(path: Path) -> list[str]:
    return path.read_text().splitlines()


# ---- an output that is an input ----


@pytest.mark.parametrize("kind", ["itself", "symlink", "hard link", "dotted", "input of standard output"])
def test_predict_never_writes_over_its_posts(saved_model, posts, tmp_path, kind):
    output = tmp_path / "other.jsonl"
    if kind == "symlink":
        output.symlink_to(posts)
    elif kind == "hard link":
        output.hardlink_to(posts)
    elif kind == "dotted":
        output = tmp_path / "folder" / ".." / posts.name
        (tmp_path / "folder").mkdir()
    else:
        output = posts
    before = posts.read_bytes()
    if kind == "input of standard output":
        command = [sys.executable, "-m", "dpe_mner", "predict", str(posts)]
        with posts.open("ab") as stream:
            ended = subprocess.run(command, stdout=stream, stderr=subprocess.PIPE, timeout=60)
        assert ended.returncode == 2
        assert b"standard output is that file" in ended.stderr
    else:
        assert_refused(predict(posts, output, saved_model), "--output", "already reads")
    assert posts.read_bytes() == before


@pytest.mark.parametrize("name", ["out.jsonl.part", "out.jsonl.journal"])
def test_nor_over_posts_named_like_what_is_written_beside_the_output(saved_model, write, tmp_path, name):
    posts = write(name, jsonl(ROWS))
    before = posts.read_bytes()
    assert_refused(predict(posts, tmp_path / "out.jsonl", saved_model), "already reads")
    assert posts.read_bytes() == before


@pytest.mark.parametrize("option", ["--output", "--html"])
@pytest.mark.parametrize("kind", ["visual text", "image", "model", "picture"])
def test_predict_writes_over_nothing_it_reads(saved_model, posts, write, tmp_path, option, kind):
    visual = write("v.html", jsonl([{"image_id": "0", "caption": "a player"}]))
    picture = tmp_path / "p.png"
    Image.new("RGB", (4, 4)).save(picture)
    target, more = {
        "visual text": (visual, [posts, "--visual-text", visual]),
        "image": (picture, ["--text", "Kevin", "--image", picture]),
        "model": (Path(saved_model) / "config.json", [posts]),
        "picture": (picture, [posts, "--images", tmp_path]),
    }[kind]
    before = target.read_bytes()
    assert_refused(run("predict", *more, option, target, "--model", saved_model), option, "already reads")
    assert target.read_bytes() == before


@pytest.mark.parametrize(
    ("command", "option"),
    [
        (["evaluate", "DATA"], "--json"),
        (["evaluate", "DATA", "--train-data", "DATA", "--errors", "e.html"], "--plot"),
        (["evaluate", "other.txt", "--visual-text", "DATA"], "--json"),
        (["bench", "DATA"], "--json"),
        (["bench", "DATA"], "--plot"),
        (["bench", "DATA"], "--output"),
        (["demo", "--model", "MODEL"], "--output"),
        (["export", "--data", "DATA"], "--output"),
        (["extract", "--images", ".", "--grid", "x"], "--output"),
        (["import-visual", "--captions", "DATA"], "--output"),
        (["reproduce", "--data", "."], "--output"),
        (["train", "DATA"], "--output"),
    ],
)
def test_no_command_writes_over_what_it_reads(saved_model, write, tmp_path, command, option):
    data = write("data.svg", conll(POSTS))  # an ending that every option takes
    write("other.txt", conll(POSTS))
    folder = command[0] in {"extract", "reproduce"}
    target = Path(saved_model) / "config.json" if "MODEL" in command else tmp_path if folder else data
    before = target.read_bytes() if not folder else sorted(tmp_path.iterdir())
    named = [{"DATA": data, "MODEL": saved_model}.get(part, part) for part in command]
    assert_refused(run(*named, option, target, cwd=tmp_path), option)
    assert before == (target.read_bytes() if not folder else sorted(tmp_path.iterdir()))


# ---- an output that is there already ----


def test_an_output_stays_until_its_lines_are_there(saved_model, write, posts, tmp_path):
    output = write("out.jsonl", "precious\n")
    output.chmod(0o640)
    bad = write("bad.jsonl", "{bad\n[]\n")
    assert_refused(predict(bad, output, saved_model), "2 lines could not be used")
    assert_refused(predict(write("empty.jsonl", ""), output, saved_model), "holds no post")
    assert output.read_text() == "precious\n"
    link = tmp_path / "link.jsonl"
    link.symlink_to(output)
    assert predict(posts, link, saved_model).returncode == 0
    assert link.is_symlink()
    assert len(finished(output)) == len(ROWS)
    assert output.stat().st_mode & 0o777 == 0o640
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith("out")) == ["out.jsonl"]


def test_a_file_is_whole_or_as_it_was(tmp_path):
    path = tmp_path / "x.json"
    write_whole(path, "one")

    def fail_amid():
        with replacing(path) as part:
            part.write_text("two")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_amid()
    assert path.read_text() == "one"
    assert list(tmp_path.iterdir()) == [path]


# ---- a run that is ended ----


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt(), 130), (Ended(signal.SIGTERM), 143)])
def test_a_stopped_run_keeps_its_lines_and_goes_on(saved_model, posts, tmp_path, ended, error, status, monkeypatch):
    whole, output = tmp_path / "whole.jsonl", tmp_path / "out.jsonl"
    assert predict(posts, whole, saved_model).returncode == 0
    output.write_text("earlier\n")
    with monkeypatch.context():
        ended(error)
        result = predict(posts, output, saved_model)
    told = result.stderr.decode()
    assert result.returncode == status
    assert told.count("\n") == 1
    assert "12 finished posts are in" in told
    assert "--resume" in told
    assert output.read_text() == "earlier\n"
    part = tmp_path / "out.jsonl.part"
    assert finished(part) == finished(whole)[:12]
    monkeypatch.undo()
    assert_refused(predict(posts, output, saved_model), "12 finished lines of an earlier run", "--resume")
    with part.open("a") as stream:
        stream.write(finished(whole)[12][:20])  # a line that was torn
    going_on = predict(posts, output, saved_model, "--resume")
    assert going_on.returncode == 0, going_on.stderr
    assert b"12 posts are done already" in going_on.stderr
    assert output.read_bytes() == whole.read_bytes()
    assert not part.exists()
    assert not (tmp_path / "out.jsonl.journal").exists()


def test_before_the_first_line_nothing_is_left_behind(saved_model, posts, tmp_path, ended):
    ended(KeyboardInterrupt(), stretches=0)
    assert predict(posts, tmp_path / "out.jsonl", saved_model).returncode == 130
    assert [p.name for p in tmp_path.iterdir()] == [posts.name]


def test_resume_begins_where_nothing_is_done(saved_model, posts, tmp_path):
    output = tmp_path / "out.jsonl"
    assert predict(posts, output, saved_model, "--resume").returncode == 0
    assert [row["id"] for row in lines_of(output.read_bytes())] == [row["id"] for row in ROWS]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("input", "input"),
        ("--seed", "--seed"),
        ("--steps", "--steps"),
        ("--explain", "--explain"),
        ("--visual-text", "--visual-text"),
        ("--model", "--model"),
        ("journal", "journal"),
    ],
)
def test_resume_goes_on_with_its_own_run_only(saved_model, posts, write, tmp_path, ended, monkeypatch, change, named):
    output, part = tmp_path / "out.jsonl", tmp_path / "out.jsonl.part"
    ended(KeyboardInterrupt())
    assert predict(posts, output, saved_model).returncode == 130
    monkeypatch.undo()
    before = part.read_bytes()
    more = {"--seed": ["--seed", "4"], "--steps": ["--steps", "1"], "--explain": ["--explain"]}.get(change, [])
    model = saved_model
    if change == "input":
        write("posts.jsonl", jsonl([*ROWS[:-1], {"text": "another"}]))
    elif change == "--visual-text":
        more = ["--visual-text", write("v.jsonl", jsonl([{"image_id": "0", "caption": "x"}]))]
    elif change == "--model":
        model = str(tmp_path / "model")
        subprocess.run(["cp", "-r", saved_model, model], check=True)
        config = json.loads((tmp_path / "model" / "config.json").read_text())
        config["settings"]["decision"]["threshold"] = 0.123
        (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    elif change == "journal":
        (tmp_path / "out.jsonl.journal").unlink()
    assert_refused(predict(posts, output, model, "--resume", *more), "out.jsonl.part", named, "remove it")
    assert part.read_bytes() == before
    if change not in {"input", "journal"}:
        assert predict(posts, output, saved_model, "--resume").returncode == 0


def test_resume_says_where_it_makes_no_sense(saved_model, posts, tmp_path):
    out = ["--output", tmp_path / "o.jsonl"]
    assert_refused(run("predict", posts, "--resume"), "--output")
    assert_refused(run("predict", posts, "--resume", "--output", os.devnull), "--output")
    assert_refused(run("predict", "-", "--resume", *out), "as a file")
    assert_refused(run("predict", "--text", "x", "--resume", *out), "as a file")
    assert_refused(run("predict", posts, "--resume", "--html", tmp_path / "x.html", *out), "--html")


def test_files_of_others_are_left_alone(saved_model, posts, write, tmp_path):
    foreign = write("out.jsonl.part", "no newline")
    assert_refused(predict(posts, tmp_path / "out.jsonl", saved_model), "out.jsonl.part")
    assert foreign.read_text() == "no newline"
    foreign.unlink()
    journal = write("out.jsonl.journal", "my diary")
    assert_refused(predict(posts, tmp_path / "out.jsonl", saved_model), "out.jsonl.journal")
    assert journal.read_text() == "my diary"
    assert not foreign.exists()


def test_two_runs_never_write_one_output(tmp_path):
    first = FinishedLines(tmp_path / "o", {"input": "x"}, resume=False)
    first.write([b"1\n"])
    with pytest.raises(InputError, match="written by another run"):
        FinishedLines(tmp_path / "o", {"input": "x"}, resume=True)
    first.finish()
    assert (tmp_path / "o").read_bytes() == b"1\n"


def test_a_full_disk_is_one_line_and_keeps_whole_lines(saved_model, posts, tmp_path, monkeypatch):
    output, part = tmp_path / "out.jsonl", tmp_path / "out.jsonl.part"
    write, room = os.write, [2500]

    def full(handle, block):
        if os.fstat(handle).st_ino != part.stat().st_ino:
            return write(handle, block)
        if not room[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        count = min(room[0], 700, len(block))
        room[0] -= count
        return write(handle, bytes(block[:count]))

    monkeypatch.setattr(os, "write", full)
    error = assert_refused(predict(posts, output, saved_model), "No space left on device", "--resume")
    assert error.count("\n") == 1
    assert part.read_bytes().endswith(b"\n")
    kept = len(finished(part))
    assert 0 < kept < len(ROWS)
    assert f"{kept} finished posts" in error
    monkeypatch.undo()
    assert predict(posts, output, saved_model, "--resume").returncode == 0
    assert [row["id"] for row in lines_of(output.read_bytes())] == [row["id"] for row in ROWS]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_full_devices_are_one_line(saved_model, posts, write):
    data = write("d.txt", conll(POSTS))
    for command in (
        ["predict", posts, "--output", "/dev/full", "--model", saved_model],
        ["evaluate", data, "--json", "/dev/full", "--model", saved_model],
        ["demo", "--output", "/dev/full", "--model", saved_model],
    ):
        error = assert_refused(run(*command), "/dev/full", "No space left")
        assert len([line for line in error.splitlines() if "error" in line]) == 1
    with open("/dev/full", "wb") as stream:
        for command in (["check-data", str(data)], ["--help"]):
            ended = subprocess.run(
                [sys.executable, "-m", "dpe_mner", *command], stdout=stream, stderr=subprocess.PIPE, timeout=60
            )
            assert ended.returncode == 2
            assert ended.stderr.count(b"\n") == 1
            assert b"no space left" in ended.stderr


@pytest.mark.parametrize("command", [["--help"], ["check-data", "DATA", "--show", "0"]])
def test_a_reader_that_went_away_is_no_error(write, command):
    data = write("d.txt", "IMGID:1\nParis\tI-LOC\n\n" * 20_000)
    named = [str(data) if part == "DATA" else part for part in command]
    process = subprocess.Popen(
        [sys.executable, "-m", "dpe_mner", *named], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.close()
    assert process.wait(timeout=60) == 0
    assert process.stderr.read() == b""
    process.stderr.close()


def test_whole_lines_are_counted_to_the_last_end(write):
    assert whole_lines(write("a", "")) == (0, 0)
    assert whole_lines(write("b", "torn")) == (0, 0)
    assert whole_lines(write("c", "é\n\nx\nto")) == (3, 6)
    assert whole_lines(write("d", b"x" * (1 << 20) + b"\nrest")) == (1, (1 << 20) + 1)


def test_lines_hold_whatever_a_post_holds():
    assert as_line({"a": "é"}) == '{"a": "é"}\n'.encode()
    assert json.loads(as_line({"a": "\ud83d"})) == {"a": "\ud83d"}


def test_compressed_outputs_are_kept_plain_until_they_are_whole(saved_model, posts, tmp_path, ended, monkeypatch):
    plain, output = tmp_path / "plain.jsonl", tmp_path / "out.jsonl.gz"
    assert predict(posts, plain, saved_model).returncode == 0
    ended(KeyboardInterrupt())
    assert predict(posts, output, saved_model).returncode == 130
    monkeypatch.undo()
    assert finished(tmp_path / "out.jsonl.gz.part") == finished(plain)[:12]
    assert predict(posts, output, saved_model, "--resume").returncode == 0
    assert gzip.decompress(output.read_bytes()) == plain.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.jsonl.gz", "plain.jsonl", "posts.jsonl"]


KILLS = 50
# Each run is a process of its own, forked from one that has imported everything: starting Python anew takes seconds.
FORKING = """
import json, os, sys
for name in ('torch', 'transformers'): sys.modules[name] = None
import onnxruntime, tokenizers, dpe_mner.onnx.runtime
import dpe_mner.commands.predict
from dpe_mner.commands.main import main
dpe_mner.commands.predict._AT_ONCE = 1  # a batch is written as soon as it is there
for line in sys.stdin:
    child = os.fork()
    if not child:
        sys.argv, status = json.loads(line), 1
        try:
            main()
            status = 0
        except SystemExit as ended:
            status = ended.code or 0
        finally:
            os._exit(status)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Forking:
    """Runs the command line, killing it after a time."""

    def __init__(self) -> None:
        command = [sys.executable, "-c", FORKING]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)

    def __call__(self, *arguments, seconds: float = 300) -> int:
        self.process.stdin.write((json.dumps(["dpe-mner", *map(str, arguments)]) + "\n").encode())
        child = int(self.process.stdout.readline())
        if not select.select([self.process.stdout], [], [], seconds)[0]:
            os.kill(child, signal.SIGKILL)
        return int(self.process.stdout.readline())

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


@pytest.mark.slow
def test_killed_at_any_moment_and_resumed_every_post_is_there_once(write, tmp_path):
    """Runs are killed and resumed until one finishes, and again from the first post, until fifty were killed."""
    rows = [{"id": str(k % 5), "text": f"Kevin Durant visits Paris {k} {'and more ' * (k % 9)}"} for k in range(24)]
    posts = write("posts.jsonl", jsonl(rows))
    whole, output, part = (tmp_path / name for name in ("whole.jsonl", "out.jsonl", "out.jsonl.part"))
    options = ["--batch-size", "1", "--quiet"]
    predict = Forking()
    begun = time.monotonic()
    assert predict("predict", posts, "--output", whole, *options) == 0
    usual = time.monotonic() - begun
    draw = random.Random(0)
    killed = amid = rounds = 0
    while killed < KILLS:
        output.unlink(missing_ok=True)
        while not output.exists():
            seconds = draw.uniform(0.1, 1.0) * usual
            status = predict("predict", posts, "--output", output, "--resume", *options, seconds=seconds)
            assert status in {0, -signal.SIGKILL}
            killed += status != 0
            amid += 0 < whole_lines(part)[0] < len(rows)
        assert output.read_bytes() == whole.read_bytes()
        rounds += 1
    predict.close()
    assert amid >= KILLS // 5  # else the moments were not spread over the work
    sys.stderr.write(f"{killed} runs killed, {amid} of them amid their lines; {rounds} outputs, all whole\n")
