"""``dpe-mner baseline llm`` against a server in this process: answers, faults, limits, going on, and bad input."""

from __future__ import annotations

import base64
import gc
import io
import json
import random
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest
from conftest import POSTS, conll, jsonl
from helpers import assert_refused, run
from llm_server import answer, cut, damaged, dripping, late, listing, serving, status
from PIL import Image

from dpe_mner import InputError
from dpe_mner.data.words import words_of
from dpe_mner.evaluation.score import score
from dpe_mner.llm.asking import Asker, Pace
from dpe_mner.llm.cache import AnswerCache
from dpe_mner.llm.client import Endpoint
from dpe_mner.llm.ledger import Limits
from dpe_mner.llm.prompt import make_prompt
from dpe_mner.llm.questions import Questions
from dpe_mner.llm.run import ask_posts
from dpe_mner.types import Post

pytest.importorskip("openai", reason="the openai package is not installed")

GOLD = {
    words_of(post).text: [(" ".join(post.words[e.start : e.end]), e.label) for e in post.entities] for post in POSTS
}
LABELS = ("PER", "LOC", "ORG", "MISC")


def right(text: str):
    """The gold answer to a post."""
    return listing(*GOLD.get(text, ()))


@pytest.fixture
def server(monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    with serving() as found:
        found.usual = right
        yield found


@pytest.fixture
def data(write):
    return write("valid.txt", conll(POSTS))


def command(server, data, folder, *more):
    return run("baseline", "llm", data, "--model", "tiny", "--base-url", server.url, "--output", folder, *more)


def metrics_in(folder):
    return json.loads((folder / "metrics.json").read_text())


def predictions_in(folder):
    return [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]


def ask(server, tmp_path, *, posts=POSTS, timeout=5.0, retries=2, concurrency=2, limits=None, **questions):
    """Ask from Python, with short waiting times."""
    asker = Asker(
        Endpoint(base_url=server.url, key_name="OPENAI_API_KEY", timeout=timeout),
        AnswerCache(tmp_path / "answers"),
        pace=Pace(concurrency=concurrency, retries=retries, first_wait=0.01),
        limits=limits or Limits(),
        generator=random.Random(0),
    )
    return ask_posts(posts, Questions(model="tiny", prompt=make_prompt(LABELS), **questions), asker)


def found(result):
    return [[(e.text, e.label) for e in prediction.entities] for prediction in result.predictions]


RIGHT = [list(entities) for entities in GOLD.values()]


# A whole run


def test_a_run_leaves_predictions_metrics_and_a_table(server, data, tmp_path):
    folder = tmp_path / "run"
    server.usual = lambda text: (
        listing(("Kevin Durant", "PER"), ("Paris", "LOC")) if "Apple" not in text else answer("?")
    )
    done = command(server, data, folder, "--price-in", "10", "--price-out", "100")
    assert done.returncode == 0, done.stderr
    rows, metrics = predictions_in(folder), metrics_in(folder)
    assert [row["id"] for row in rows] == [post.id for post in POSTS]
    assert rows[0]["entities"] == [
        {"text": "Kevin Durant", "label": "PER", "start": 0, "end": 12, "word_start": 0, "word_end": 2, "score": 1.0}
    ]
    assert "not the JSON" in rows[1]["warnings"][0]
    gold = [
        {(0, 12, "PER"), (20, 32, "LOC")},
        {(0, 5, "ORG"), (15, 20, "LOC"), (26, 34, "PER")},
        set(),
        {(4, 10, "MISC")},
    ]
    expected = score(gold, [[(0, 12, "PER")], [], [], []]).as_dict()
    assert metrics["validation"] == expected
    assert metrics["f1"] == expected["f1"] == pytest.approx(200 * 1 / 7)
    counts = metrics["counts"]
    assert (counts["answers"], counts["unparsable"], counts["entities_not_in_text"]) == (4, 1, 5)
    assert (metrics["tokens_in"], metrics["tokens_out"]) == (400, 40)
    assert metrics["cost"] == pytest.approx((400 * 10 + 40 * 100) / 1e6)
    assert metrics["snapshots"] == {"tiny-0001": 4}
    assert metrics["settings"]["labels"] == list(LABELS)
    assert "- MISC: any other name" in metrics["prompt"]
    assert b"F1" in done.stdout
    assert "1 answers are not the JSON asked for" in done.stderr.decode()
    body = server.requests[0]
    assert (body["model"], body["temperature"]) == ("tiny", 0)
    assert not {"seed", "max_tokens"} & set(body)
    assert server.paths[0] == "/v1/chat/completions"


def test_kept_answers_are_not_asked_again(server, data, tmp_path):
    first = command(server, data, tmp_path / "one", "--cache", tmp_path / "answers", "--quiet")
    assert (first.returncode, first.stderr, len(server.requests)) == (0, b"", 4)
    again = command(server, data, tmp_path / "one", "--cache", tmp_path / "answers", "--quiet")
    other = command(server, data, tmp_path / "two", "--cache", tmp_path / "answers", "--quiet")
    assert (again.returncode, other.returncode, len(server.requests)) == (0, 0, 4)
    assert metrics_in(tmp_path / "one")["counts"]["from_cache"] == 4
    assert metrics_in(tmp_path / "one")["tokens_in"] == 400
    assert metrics_in(tmp_path / "one")["this_call"]["tokens_in"] == 0
    assert predictions_in(tmp_path / "one") == predictions_in(tmp_path / "two")
    command(server, data, tmp_path / "three", "--cache", tmp_path / "answers", "--temperature", "0.5")
    assert len(server.requests) == 8


def test_posts_that_are_the_same_are_asked_once(server, tmp_path):
    result = ask(server, tmp_path, posts=[replace(POSTS[0], id=str(k)) for k in range(6)], concurrency=6)
    assert len(server.requests) == 1
    assert found(result) == [list(GOLD[words_of(POSTS[0]).text])] * 6
    assert (result.counts.answers, result.counts.from_cache) == (6, 5)


def test_unlabelled_posts_get_predictions_alone(server, write, tmp_path):
    posts = write("posts.jsonl", jsonl([{"id": "a", "text": "Kevin Durant enters Oracle Arena"}]))
    done = command(server, posts, tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert b"F1" not in done.stdout
    assert [e["label"] for e in predictions_in(tmp_path / "run")[0]["entities"]] == ["PER", "LOC"]
    metrics = metrics_in(tmp_path / "run")
    assert (metrics["f1"], metrics["validation"], metrics["settings"]["labels"]) == (None, None, list(LABELS))


def test_labels_are_mapped_before_they_are_asked_for_and_scored(server, write, tmp_path):
    file = write("valid.txt", conll(POSTS).replace("MISC", "OTHER"))
    assert command(server, file, tmp_path / "run", "--label-map", "OTHER=MISC").returncode == 0
    assert metrics_in(tmp_path / "run")["f1"] == 100
    assert "OTHER" not in server.requests[0]["messages"][0]["content"]


def test_options_reach_the_request(server, data, write, tmp_path):
    train = write("train.txt", conll([replace(post, words=["So", *post.words[1:]], entities=()) for post in POSTS]))
    own = write("prompt.txt", "Names please.\n{types}")
    more = (
        "--shots",
        "2",
        "--examples",
        train,
        "--retrieve",
        "--prompt",
        own,
        "--seed",
        "7",
        "--max-answer-tokens",
        "99",
    )
    more += ("--no-temperature", "--body", "top_p=0.5", "--body", "reasoning_effort=low", "--concurrency", "1")
    assert command(server, data, tmp_path / "run", *more).returncode == 0
    body = server.requests[0]
    assert (body["seed"], body["max_tokens"], body["top_p"], body["reasoning_effort"]) == (7, 99, 0.5, "low")
    assert "temperature" not in body
    assert body["messages"][0]["content"].startswith("Names please.\n- PER")
    turns = [message["content"] for message in body["messages"][1:]]
    assert len(turns) == 5
    assert turns[2] == "Post: So Durant enters Oracle Arena"  # the nearest is next to the post
    assert turns[4] == "Post: Kevin Durant enters Oracle Arena"


# Pictures


def test_a_picture_is_sent_small_and_a_broken_one_costs_a_warning(server, write, tmp_path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    Image.new("RGB", (400, 200), "red").save(pictures / "a.png")
    (pictures / "b.jpg").write_bytes(b"no picture")
    rows = [{"id": name, "text": "Kevin in Paris"} for name in "abc"]
    options = ("--picture", "image", "--images", pictures, "--longest-side", "64", "--concurrency", "1")
    done = command(server, write("posts.jsonl", jsonl(rows)), tmp_path / "run", *options)
    assert done.returncode == 0, done.stderr
    text, shown = server.requests[0]["messages"][-1]["content"]
    assert text == {"type": "text", "text": "Post: Kevin in Paris"}
    head, _, content = shown["image_url"]["url"].partition(",")
    assert head == "data:image/jpeg;base64"
    sent = Image.open(io.BytesIO(base64.b64decode(content)))
    assert (sent.size, sent.getpixel((5, 5))[0] > 240) == ((64, 32), True)
    assert server.requests[1]["messages"][-1]["content"] == "Post: Kevin in Paris"
    warnings = [row["warnings"] for row in predictions_in(tmp_path / "run")]
    assert warnings[0] == []
    assert "b.jpg: is not a picture" in warnings[1][0]
    assert "c.jpg: no such file" in warnings[2][0]
    assert metrics_in(tmp_path / "run")["counts"]["without_picture"] == 2
    assert len(server.requests) == 2  # without their pictures b and c are the same post
    Image.new("RGB", (400, 200), "blue").save(pictures / "a.png")
    command(server, tmp_path / "posts.jsonl", tmp_path / "run", *options)
    assert len(server.requests) == 3  # another picture is another request


def test_captions_are_shown_where_there_are_any(server, data, write, tmp_path):
    visual = write("visual.jsonl", jsonl([{"image_id": "a", "caption": "a player"}]))
    done = command(
        server, data, tmp_path / "run", "--picture", "caption", "--visual-text", visual, "--concurrency", "1"
    )
    assert done.returncode == 0, done.stderr
    assert server.requests[0]["messages"][-1]["content"].endswith("\nPicture: a player")
    assert metrics_in(tmp_path / "run")["counts"]["without_picture"] == 3


# Faults that another try mends


@pytest.mark.parametrize(
    "fault",
    [status(500), status(503), status(408), cut, damaged, answer("x") | {"choices": []}, [], late(0.5)],
)
def test_a_fault_that_passes_is_tried_again(server, tmp_path, fault):
    server.script = [fault]
    result = ask(server, tmp_path, timeout=0.25, posts=POSTS[:1])
    assert found(result) == [list(GOLD[words_of(POSTS[0]).text])]
    assert (result.counts.requests, result.counts.retries, result.counts.answers) == (2, 1, 1)


def test_the_time_limit_is_of_the_whole_answer(server, tmp_path):
    server.script = [dripping(3.0)]
    started = time.monotonic()
    assert ask(server, tmp_path, timeout=0.25, posts=POSTS[:1]).counts.retries == 1
    assert time.monotonic() - started < 2


def test_retry_after_is_kept_to_by_all(server, tmp_path):
    server.script = [status(429, retry_after_ms="300")]
    result = ask(server, tmp_path, concurrency=1)
    first, second, *_ = server.times
    assert 0.3 <= second - first < 2
    assert result.counts.retries == 1
    server.script = [status(429, retry_after="3600")]
    with pytest.raises(InputError, match="asks to come back in 3600 s"):
        ask(server, tmp_path, posts=[Post(text="new")])


def test_a_post_whose_tries_run_out_is_told_and_the_others_are_kept(server, tmp_path):
    def usual(text):
        return status(500, "overloaded") if text.startswith("Apple") else right(text)

    server.usual = usual
    with pytest.raises(
        InputError, match=r"1 posts have no answer after 2 further tries.*overloaded.*3 of 4 posts"
    ) as told:
        ask(server, tmp_path)
    assert "the same command goes on" in str(told.value)
    before = len(server.requests)
    server.usual = right
    assert found(ask(server, tmp_path)) == RIGHT
    assert len(server.requests) == before + 1


def test_a_server_that_answers_nobody_ends_the_run_early(server, tmp_path):
    server.usual = lambda text: status(500, "down")
    with pytest.raises(InputError, match="5 posts in a row had no answer"):
        ask(server, tmp_path, posts=[Post(text=f"post {k}") for k in range(40)], retries=1, concurrency=1)
    assert len(server.requests) == 10


def test_an_answer_that_was_cut_off_is_read_as_nothing_and_counted(server, tmp_path):
    server.usual = lambda text: answer('{"entities": [{"text": "Kev', finish="length")
    result = ask(server, tmp_path)
    assert (result.counts.cut_off, result.counts.unparsable, result.counts.retries) == (4, 4, 0)
    assert result.predictions[0].warnings == ["the answer was cut off; read as no entities"]


def test_an_answer_without_text_is_an_unreadable_one(server, tmp_path):
    server.usual = lambda text: answer(None, finish="content_filter")
    assert ask(server, tmp_path).counts.unparsable == 4


def test_half_a_surrogate_pair_is_sent_as_a_question_mark(server, tmp_path):
    server.usual = lambda text: listing(("Kevin", "PER"))
    result = ask(server, tmp_path, posts=[Post(text="\ud83d Kevin")])
    assert [(e.start, e.end) for e in result.predictions[0].entities] == [(2, 7)]
    assert server.requests[0]["messages"][-1]["content"] == "Post: ? Kevin"


# Faults that no try mends


@pytest.mark.parametrize(
    ("code", "words"),
    [(401, "does not take the key"), (403, "no"), (404, "--model and --base-url"), (402, "no")],
)
def test_what_every_post_would_meet_ends_the_run_at_once(server, data, tmp_path, code, words):
    server.script = [right(words_of(POSTS[0]).text), status(code)]
    error = assert_refused(
        command(server, data, tmp_path / "run", "--concurrency", "1"), words, "1 of 4 posts", server.url
    )
    assert error.count("\n") == 1
    assert len(server.requests) == 2
    assert not (tmp_path / "run" / "metrics.json").exists()
    assert command(server, data, tmp_path / "run").returncode == 0
    assert len(server.requests) == 5
    assert metrics_in(tmp_path / "run")["f1"] == 100


def test_an_account_without_money_is_not_asked_again(server, tmp_path):
    server.script = [status(429, "insufficient_quota")]
    with pytest.raises(InputError, match="insufficient_quota"):
        ask(server, tmp_path, concurrency=1)
    assert len(server.requests) == 1


def test_a_post_that_the_endpoint_does_not_want_is_counted(server, tmp_path):
    def usual(text):
        return status(400, "content policy") if text.startswith("The") else right(text)

    server.usual = usual
    result = ask(server, tmp_path)
    assert (result.counts.refused, result.counts.answers, result.counts.retries) == (1, 3, 0)
    assert result.predictions[3].warnings == ["refused by the endpoint: Error code: 400 - content policy"]


def test_a_request_that_is_wrong_for_every_post_is_one_line(server, data, tmp_path):
    server.usual = lambda text: status(400, "unknown parameter")
    error = assert_refused(command(server, data, tmp_path / "run"), "unknown parameter", "0 of 4 posts")
    assert error.count("\n") == 1
    assert len(server.requests) == 4


def test_nobody_at_the_address_is_one_line(server, data, tmp_path, monkeypatch):
    monkeypatch.setenv("ANY_KEY", "x")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = time.monotonic()
    for url in (f"http://127.0.0.1:{port}/v1", "http://nowhere.invalid/v1"):
        key = () if "127" in url else ("--api-key-env", "ANY_KEY")
        done = run("baseline", "llm", data, "--model", "m", "--base-url", url, "--output", tmp_path / "run", *key)
        assert assert_refused(done, url, "cannot be reached").count("\n") == 1
    assert time.monotonic() - started < 10
    assert not (tmp_path / "run" / "metrics.json").exists()


def test_a_missing_key_is_told_before_anything_is_asked(server, data, tmp_path, monkeypatch):
    arguments = ("baseline", "llm", data, "--model", "m", "--output", tmp_path / "run")
    error = assert_refused(run(*arguments), "api.openai.com", "OPENAI_API_KEY is not set", "--api-key-env")
    assert error.count("\n") == 1
    assert_refused(run(*arguments, "--api-key-env", "OTHER_KEY"), "OTHER_KEY is not set")
    assert not (tmp_path / "run").exists()
    monkeypatch.setenv("OTHER_KEY", "sk-secret")
    server.script = [status(401, "bad key sk-secret")]
    shown = command(server, data, tmp_path / "run", "--api-key-env", "OTHER_KEY", "--concurrency", "1")
    assert "sk-secret" not in assert_refused(shown, "bad key ***")
    assert server.headers[0]["authorization"] == "Bearer sk-secret"
    assert command(server, data, tmp_path / "run", "--api-key-env", "OTHER_KEY").returncode == 0
    written = [path.read_text() for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert len(written) == 6
    assert not any("sk-secret" in text for text in written)


# Limits


def test_requests_under_way_never_exceed_the_limit(server, tmp_path):
    def slow(text):
        time.sleep(0.02)
        return right(text)

    server.usual = slow
    server.script = [status(500)] * 3
    ask(server, tmp_path, posts=[Post(text=f"post {k}") for k in range(24)], concurrency=3)
    assert server.most == 3
    assert len(server.requests) == 27


def test_a_budget_stops_the_run_and_the_same_command_goes_on(server, data, tmp_path):
    prices = ("--price-in", "1000", "--price-out", "1000")  # 0.11 a request
    arguments = (server, data, tmp_path / "run", "--budget", "0.25", *prices)
    error = assert_refused(command(*arguments), "--budget 0.25", "2 of 4 posts", "the same command goes on", "answers")
    assert error.count("\n") == 1
    assert len(server.requests) == 2
    assert not (tmp_path / "run" / "metrics.json").exists()
    done = command(*arguments)
    assert done.returncode == 0, done.stderr
    assert len(server.requests) == 4
    metrics = metrics_in(tmp_path / "run")
    assert metrics["f1"] == 100
    assert (metrics["cost"], metrics["this_call"]["cost"]) == (pytest.approx(0.44), pytest.approx(0.22))
    assert metrics["counts"]["from_cache"] == 2


def test_a_limit_of_tokens_stops_too(server, data, tmp_path):
    error = assert_refused(
        command(server, data, tmp_path / "run", "--max-tokens-total", "330"), "--max-tokens-total 330"
    )
    assert "3 of 4 posts" in error


@pytest.mark.parametrize("usage", [{}, {"prompt_tokens": None, "completion_tokens": "many"}])
def test_odd_numbers_of_tokens_are_none(server, tmp_path, usage):
    server.usual = lambda text: answer({"entities": []}, usage=usage)
    result = ask(server, tmp_path)
    assert (result.counts.answers, result.used.tokens) == (4, 0)


@pytest.mark.parametrize("usage", [None, {}])
def test_an_endpoint_that_does_not_count_cannot_be_held_to_a_limit(server, tmp_path, usage):
    server.usual = lambda text: answer({"entities": []}, usage=usage)
    with pytest.raises(InputError, match="no number of tokens"):
        ask(server, tmp_path, limits=Limits(tokens=1000))
    assert ask(server, tmp_path).counts.answers == 4


def test_ctrl_c_keeps_what_is_done(server, data, tmp_path, monkeypatch, caplog):
    from dpe_mner.llm import asking

    answered = threading.Event()
    original = asking.AnswerCache.write

    def write(self, key, value):
        original(self, key, value)
        if answered.is_set():
            raise KeyboardInterrupt
        answered.set()

    monkeypatch.setattr(asking.AnswerCache, "write", write)
    server.usual = lambda text: right(text) if text.startswith("Kevin") else time.sleep(0.1) or right(text)
    done = command(server, data, tmp_path / "run", "--concurrency", "3")
    assert done.returncode == 130
    assert b"the same command goes on" in done.stderr
    assert b"Traceback" not in done.stderr
    gc.collect()  # of a task whose exception nobody took it is told when the task goes
    assert [record for record in caplog.records if record.name == "asyncio"] == []  # nor in a log, for a fault of ours
    assert len(list((tmp_path / "run" / "answers").rglob("*.json"))) in (2, 3)


# What has to be installed


@pytest.mark.parametrize("missing", [["torch", "transformers", "scipy", "yaml", "sklearn"], ["openai"]])
def test_it_needs_the_openai_package_and_none_of_the_heavy_ones(server, data, tmp_path, missing):
    without = f"import sys\nfor name in {missing!r}: sys.modules[name] = None\n"
    script = f"{without}from dpe_mner.commands.main import main\nmain()"
    given = ["baseline", "llm", data, "--model", "tiny", "--base-url", server.url, "--output", tmp_path / "run"]
    done = subprocess.run([sys.executable, "-c", script, *map(str, given)], capture_output=True, text=True, timeout=60)
    if "openai" in missing:
        assert done.returncode == 2
        assert "pip install 'dpe-mner[llm]'" in done.stderr
        assert done.stderr.count("\n") == 1
    else:
        assert done.returncode == 0, done.stderr
        assert metrics_in(tmp_path / "run")["f1"] == 100


# Wrong usage


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--base-url", "localhost:8000"], ["--base-url", "http://localhost:8000/v1"]),
        (["--base-url", "http://"], ["--base-url"]),
        (["--picture", "images"], ["did you mean 'image'"]),
        (["--shots", "2"], ["--examples FILE"]),
        (["--retrieve"], ["--shots K"]),
        (["--budget", "1"], ["--price-in"]),
        (["--price-in", "1"], ["--price-out", "go together"]),
        (["--body", "x"], ["KEY=JSON"]),
        (["--body", "model=y"], ["not to be changed"]),
        (["--labels", ","], ["names no type"]),
        (["--labels", "PER,LOC"], ["MISC, ORG", "--ignore-label"]),
        (["--prompt", "nowhere.txt"], ["nowhere.txt", "cannot be read"]),
        (["--shots", "9", "--examples", "valid.txt"], ["holds 4 posts"]),
        (["--shots", "1", "--examples", "bare.jsonl"], ["bare.jsonl:1", "no labels"]),
        (["--concurrency", "0"], ["--concurrency"]),
        (["--output", "valid.txt"], ["is a file"]),
        (["--cache", "valid.txt"], ["valid.txt", "cannot be kept"]),
    ],
)
def test_wrong_usage_is_one_line_and_asks_nothing(server, data, write, tmp_path, arguments, words):
    write("bare.jsonl", jsonl([{"text": "Paris"}]))
    given = ("baseline", "llm", "valid.txt", "--model", "m", "--base-url", server.url, "--output", "run", *arguments)
    assert assert_refused(run(*given, cwd=tmp_path), *words).count("\n") == 1
    assert server.requests == []


def test_posts_of_which_some_have_no_labels_are_refused(server, write, tmp_path):
    rows = [{"text": "Paris", "entities": [{"start": 0, "end": 5, "label": "LOC"}]}, {"text": "Rome"}]
    assert_refused(command(server, write("half.jsonl", jsonl(rows)), tmp_path / "run"), "half.jsonl:2", "no labels")
    assert server.requests == []


def test_another_run_in_the_folder_is_refused(server, data, tmp_path):
    assert command(server, data, tmp_path / "run").returncode == 0
    error = assert_refused(command(server, data, tmp_path / "run", "--seed", "3"), "another run", "seed")
    assert error.count("\n") == 1


def test_help_has_examples():
    for arguments in (("baseline", "--help"), ("baseline", "llm", "--help"), ("baseline", "llm", "-h")):
        shown = run(*arguments)
        assert shown.returncode == 0
        assert b"Example" in shown.stdout
