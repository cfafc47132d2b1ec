"""Live pipes are answered line by line, and compressed files are read and written by their ending."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import threading

import pytest
from conftest import POSTS, conll, jsonl
from helpers import assert_refused, lines_of, run

from dpe_mner.data.dataset import load_dataset
from dpe_mner.data.files import bare_ending, compressed, open_text
from dpe_mner.data.stretches import Pace, stretches

zstandard = pytest.importorskip("zstandard")
ROWS = [{"id": str(k), "text": f"Kevin visits Paris {k}", "entities": []} for k in range(6)]
LIGHT = (
    "import sys\n"
    "for name in ('torch', 'transformers'): sys.modules[name] = None\n"
    "from dpe_mner.commands.main import main\n"
    "main()\n"
)


def frames(content: bytes, size: int) -> bytes:
    """Several Zstandard frames, as tools that append write them."""
    return b"".join(zstandard.ZstdCompressor().compress(content[k : k + size]) for k in range(0, len(content), size))


PACK = {
    ".gz": gzip.compress,
    ".zst": zstandard.ZstdCompressor().compress,
    ".ZST": lambda content: frames(content, 7),
    ".GZ": lambda content: gzip.compress(content[:9]) + gzip.compress(content[9:]),
}


# ---- live ----


@pytest.mark.parametrize("form", ["jsonl", "conll"])
def test_each_post_is_answered_before_the_next_comes(form):
    command = [sys.executable, "-c", LIGHT, "predict", "-"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    watch = threading.Timer(60, process.kill)  # else a test that waits for an answer would wait for ever
    watch.start()
    try:
        # The second post has begun when the first is asked for: whoever waits for its end never answers.
        given = (
            [b'{"id": "a", "text": "Paris"}\n{"id"', b': "b", "text": "Rome"}\n', b'{"id": "c", "text": ""}\n']
            if form == "jsonl"
            else [b"IMGID:a\nParis\n\nIMGID:b\n", b"Rome\n\n", b"IMGID:c\nx\n\n"]
        )
        for part, name in zip(given, "abc", strict=True):
            process.stdin.write(part)
            process.stdin.flush()
            (row,) = lines_of(process.stdout.readline())
            assert row["id"] == name
        process.stdin.close()
        assert process.stdout.read() == b""
        assert process.wait() == 0
    finally:
        watch.cancel()
        process.kill()
        process.stdout.close()


def test_standard_input_may_be_conll(saved_model):
    piped = run("predict", "-", "--model", saved_model, stdin=b"\xef\xbb\xbf\n" + conll(POSTS).encode())
    assert [row["id"] for row in lines_of(piped.stdout)] == [post.id for post in POSTS]
    assert_refused(run("predict", "-", "--model", saved_model, stdin=b"\n\n"), "holds no post")


def test_named_pipes_are_read_and_written(saved_model, tmp_path):
    given, taken = tmp_path / "in", tmp_path / "out"
    os.mkfifo(given)
    os.mkfifo(taken)
    content: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: given.write_text(jsonl(ROWS))),
        threading.Thread(target=lambda: content.append(taken.read_bytes())),
    ]
    for thread in threads:
        thread.start()
    result = run("predict", given, "--output", taken, "--model", saved_model)
    for thread in threads:
        thread.join()
    assert result.returncode == 0, result.stderr
    assert [row["id"] for row in lines_of(content[0])] == [row["id"] for row in ROWS]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "out"]


def test_stretches_follow_the_time_they_take():
    now = [0.0]
    sizes = []
    for stretch in stretches(range(1000), Pace(4, 64), clock=lambda: now[0]):
        sizes.append(len(stretch))
        now[0] += 0.01 if len(sizes) < 5 else 3.0
    assert sizes[:9] == [4, 8, 16, 32, 64, 32, 16, 8, 4]
    assert sum(sizes) == 1000


@pytest.mark.parametrize("live", [False, True])
def test_what_came_before_an_error_is_worked_on(live):
    def items():
        yield from range(5)
        raise ValueError("broken")

    found = stretches(items(), Pace(3, 3), live=live)
    assert [*next(found), *next(found)] == list(range(5))
    with pytest.raises(ValueError, match="broken"):
        next(found)


def test_a_live_stream_is_taken_as_it_comes():
    gate = threading.Semaphore(0)

    def items():
        for k in range(3):
            yield k
            gate.acquire()

    found = []
    for stretch in stretches(items(), Pace(8, 8), live=True):
        found.append(stretch)
        gate.release()
    assert found == [[0], [1], [2]]
    (whole,) = stretches(iter(range(5)), Pace(8, 8), live=True)
    assert whole == list(range(5))


# ---- compressed ----


@pytest.mark.parametrize("ending", PACK)
def test_compressed_posts_and_visual_text_are_read(saved_model, write, ending):
    pack = PACK[ending]
    for name, content in (("p.jsonl", jsonl(ROWS)), ("p.txt", conll(POSTS))):
        plain = load_dataset(write(name, content)).posts
        assert load_dataset(write(name + ending, pack(content.encode()))).posts == plain
    visual = write("v.jsonl" + ending, pack(jsonl([{"image_id": "a", "caption": "a player"}]).encode()))
    assert load_dataset(write("q.txt", conll(POSTS).replace("IMGID", "IMGID")), visual_text=visual)
    found = load_dataset(write("r.jsonl", jsonl([{"id": "a", "text": "x"}])), visual_text=visual)
    assert found.posts[0].caption == "a player"
    assert open_text(write("t" + ending, pack("\ufeffé".encode()))).read() == "é"


def unzstd(content):
    return zstandard.ZstdDecompressor().decompressobj().decompress(content)


@pytest.mark.parametrize(("ending", "unpack"), [(".gz", gzip.decompress), (".zst", unzstd)])
def test_outputs_are_compressed_by_their_ending(saved_model, write, tmp_path, ending, unpack):
    posts, data = write("p.jsonl", jsonl(ROWS)), write("d.txt", conll(POSTS))
    unpack = (
        unpack if ending == ".gz" else lambda content: zstandard.ZstdDecompressor().decompressobj().decompress(content)
    )
    plain, packed = tmp_path / "o.jsonl", tmp_path / f"o.jsonl{ending}"
    for output in (plain, packed):
        assert run("predict", posts, "--output", output, "--model", saved_model).returncode == 0
    assert unpack(packed.read_bytes()) == plain.read_bytes()
    scores = tmp_path / f"s.json{ending}"
    assert run("evaluate", data, "--model", saved_model, "--json", scores).returncode == 0
    assert lines_of(unpack(scores.read_bytes()).replace(b"\n", b""))[0]["posts"] == len(POSTS)


@pytest.mark.parametrize("ending", [".gz", ".zst"])
def test_of_a_file_that_was_cut_off_everything_before_is_done(saved_model, write, tmp_path, ending):
    rows = [{"id": str(k), "text": f"Paris {(k * 7919) % 1009}"} for k in range(400)]
    content = PACK[ending](jsonl(rows).encode())
    if ending == ".zst":
        content = frames(jsonl(rows).encode(), 4000)
    posts, output = write(f"p.jsonl{ending}", content[: len(content) // 2]), tmp_path / "o.jsonl"
    error = assert_refused(run("predict", posts, "--output", output, "--model", saved_model), "cannot be read further")
    assert "all others are done" in error
    done = [row["id"] for row in lines_of(output.read_bytes())]
    assert 0 < len(done) < 400
    assert done == [row["id"] for row in rows[: len(done)]]
    foreign = write(f"f.jsonl{ending}", jsonl(rows))
    assert_refused(run("predict", foreign, "--model", saved_model), "cannot be read further")


def test_without_zstandard_one_line_says_what_to_install(saved_model, write, tmp_path, monkeypatch):
    packed = write("p.jsonl.zst", compressed(jsonl(ROWS).encode(), "x.zst"))
    plain = write("p.jsonl", jsonl(ROWS))
    monkeypatch.setitem(sys.modules, "zstandard", None)
    for command in (["predict", packed], ["predict", plain, "--output", tmp_path / "o.zst"], ["check-data", packed]):
        more = ["--model", saved_model] if command[0] == "predict" else []
        error = assert_refused(run(*command, *more), "pip install 'dpe-mner[zstd]'")
        assert error.count("\n") == 1
    assert not (tmp_path / "o.zst").exists()


def test_the_ending_before_the_compression_tells_the_format():
    names = ["a.jsonl", "a.JSONL.GZ", "a.b.txt.zst", "a.gz", "a"]
    assert [bare_ending(name) for name in names] == [".jsonl", ".jsonl", ".txt", "", ""]
