"""Language-model baselines without an endpoint: prompts, examples, answers read, what is kept and what may be spent."""

from __future__ import annotations

import asyncio
import json
import random
import time
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path

import pytest
from conftest import POSTS

from dpe_mner import InputError
from dpe_mner.data.dataset import load_dataset
from dpe_mner.data.gold import gold_characters, gold_of_posts
from dpe_mner.data.words import words_of
from dpe_mner.llm import folder
from dpe_mner.llm.asking import Pace
from dpe_mner.llm.cache import AnswerCache
from dpe_mner.llm.client import asked_wait, is_local
from dpe_mner.llm.examples import NearestExamples, SameExamples, terms_of
from dpe_mner.llm.folder import prepare_folder
from dpe_mner.llm.ledger import Ledger, Limits, Prices
from dpe_mner.llm.parsing import parse_answer
from dpe_mner.llm.prompt import in_order, make_prompt, solved
from dpe_mner.llm.questions import choose_examples
from dpe_mner.llm.request import Answer, Request, Usage
from dpe_mner.training import folder as trained
from dpe_mner.types import LabelledSpan, Post

LABELS = ("PER", "LOC", "ORG")
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def listed(*entities: tuple[str, str]) -> str:
    return json.dumps({"entities": [{"text": text, "label": label} for text, label in entities]})


def read(content: str, text: str = "Paris loves Paris , says Ann Lee of Parisian Ann"):
    return parse_answer(content, words_of(Post(text=text)), LABELS)


def found(parsed) -> list[tuple[int, int, str]]:
    return [(e.start, e.end, e.label) for e in parsed.entities]


# Answers


def test_an_answer_becomes_entities_with_their_places():
    parsed = read(listed(("Ann Lee", "PER"), ("Paris", "LOC")))
    paris, ann = parsed.entities
    assert (paris.text, paris.start, paris.end, paris.word_start, paris.word_end) == ("Paris", 0, 5, 0, 1)
    assert (ann.text, ann.start, ann.end, ann.word_start, ann.word_end, ann.score) == ("Ann Lee", 25, 32, 5, 7, 1.0)
    assert (parsed.readable, parsed.unknown_labels, parsed.not_in_text, parsed.no_place) == (True, 0, 0, 0)


def test_repeats_are_taken_from_the_left_and_no_more_often_than_the_text_has_them():
    assert found(read(listed(("Paris", "LOC")))) == [(0, 5, "LOC")]
    twice = read(listed(("Paris", "LOC"), ("Paris", "ORG")))
    assert found(twice) == [(0, 5, "LOC"), (12, 17, "ORG")]
    more = read(listed(*[("Paris", "LOC")] * 4))
    assert found(more) == [(0, 5, "LOC"), (12, 17, "LOC")]
    assert (more.no_place, more.not_in_text) == (2, 0)


def test_of_two_that_overlap_the_first_listed_stays():
    whole = read(listed(("Ann Lee", "PER"), ("Ann", "PER"), ("Lee", "PER")))
    assert found(whole) == [(25, 32, "PER"), (45, 48, "PER")]  # the second Ann is free, Lee is not
    assert whole.no_place == 1
    parts = read(listed(("Lee", "PER"), ("Ann Lee", "ORG")))
    assert found(parts) == [(29, 32, "PER")]
    assert parts.no_place == 1


@pytest.mark.parametrize("text", ["London", "paris", "Par", "Parisia", "Ann  Lee", "", " ", "Paris loves Paris, says"])
def test_what_is_no_words_of_the_text_is_counted_and_not_guessed(text):
    parsed = read(listed((text, "LOC"), ("Ann", "PER")))
    assert found(parsed) == [(25, 28, "PER")]
    assert parsed.not_in_text == 1


def test_unknown_types_are_counted_and_take_no_place():
    parsed = read(listed(("Ann Lee", "PERSON"), ("Ann", "per"), ("Ann Lee", " PER ")))
    assert found(parsed) == [(25, 32, "PER")]
    assert parsed.unknown_labels == 2


@pytest.mark.parametrize(
    "content",
    [
        "",
        "Paris (LOC)",
        "null",
        "[]",
        "{}",
        '{"entities": {}}',
        '{"entities": [["Paris", "LOC"]]}',
        '{"entities": [{"text": "Paris"}]}',
        '{"entities": [{"text": "Paris", "label": 3}]}',
        '{"entities": [{"text": "Paris", "label": "LOC"}',
        '{"entities": [], "entities": [{"text": "Paris", "label": "LOC"}]}',
        f"Sure: {listed(('Paris', 'LOC'))}",
        listed(("Paris", "LOC")) * 2,
        "[" * 100_000,
    ],
)
def test_an_answer_of_another_form_is_unreadable(content):
    parsed = read(content)
    assert not parsed.readable
    assert parsed.entities == []


@pytest.mark.parametrize("fence", ["```json\n{}\n```", "```\n{}\n```", " {} \n"])
def test_a_fence_around_the_answer_is_no_part_of_it(fence):
    assert found(read(fence.replace("{}", listed(("Paris", "LOC"))))) == [(0, 5, "LOC")]


def test_words_as_given_count_in_the_joined_text():
    post = Post(words=["@", "Ann-Lee", "", "Ann"])
    parsed = parse_answer(listed(("Ann", "PER"), ("@ Ann-Lee", "PER")), words_of(post), LABELS)
    assert [(e.start, e.end, e.word_start, e.word_end) for e in parsed.entities] == [(0, 9, 0, 2), (11, 14, 3, 4)]


# Prompts


@pytest.mark.parametrize("post", POSTS)
def test_the_solved_form_of_a_post_reads_back_to_its_gold(post):
    labels = ("PER", "LOC", "ORG", "MISC")
    words = words_of(post)
    assert set(found(parse_answer(solved(post, labels), words, labels))) == gold_characters(post, words)


@pytest.mark.parametrize("name", ["twitter2015", "twitter2017"])
def test_right_answers_to_real_posts_lose_nothing(name):
    path = SHARED / name / "valid.txt"
    if not path.is_file():
        pytest.skip(f"{path} is not here")
    dataset = load_dataset(path)
    labels = tuple(dataset.labels)
    answers = [parse_answer(solved(post, labels), words_of(post), labels) for post in dataset.posts]
    assert [set(found(answer)) for answer in answers] == gold_of_posts(dataset.posts)


def test_the_instruction_names_and_explains_the_types():
    prompt = make_prompt(in_order(["LOC", "zeta", "PER", "alpha"]))
    assert prompt.labels == ("PER", "LOC", "alpha", "zeta")
    assert "- PER: a person" in prompt.instruction
    assert "\n- zeta\n" in prompt.instruction
    assert '{"entities": []}' in prompt.instruction
    assert "picture" not in prompt.instruction
    assert "picture" in make_prompt(["PER"], picture="caption").instruction


def test_an_instruction_of_ones_own(write):
    own = make_prompt(LABELS, file=write("p.txt", "Find names.\n{types}\nJSON: {}"))
    assert own.instruction.startswith("Find names.\n- PER: a person")
    assert own.instruction.endswith("JSON: {}")
    with pytest.raises(InputError, match="does not name LOC, ORG"):
        make_prompt(LABELS, file=write("q.txt", "Find PER."))
    with pytest.raises(InputError, match="cannot be read"):
        make_prompt(LABELS, file=write("r.txt", b"\xff\xfe"))


def test_messages_hold_examples_as_turns_and_what_is_shown_of_the_picture():
    post = Post(text="Ann in Rome", caption="a  woman\nat a desk")
    prompt = make_prompt(LABELS, picture="caption")
    system, asked, told, last = prompt.messages(post, POSTS[:1])
    assert [m["role"] for m in (system, asked, told, last)] == ["system", "user", "assistant", "user"]
    assert asked["content"] == "Post: Kevin Durant enters Oracle Arena\nPicture: a basketball player walks in"
    assert json.loads(told["content"])["entities"][0] == {"text": "Kevin Durant", "label": "PER"}
    assert last["content"] == "Post: Ann in Rome\nPicture: a woman at a desk"
    assert make_prompt(LABELS).messages(post)[-1]["content"] == "Post: Ann in Rome"
    parts = make_prompt(LABELS, picture="image").messages(post, image="data:x")[-1]["content"]
    assert parts[1] == {"type": "image_url", "image_url": {"url": "data:x"}}


# Examples


def test_the_same_examples_show_every_type_and_never_the_post_itself():
    for seed in range(5):
        examples = SameExamples(POSTS, 2, random.Random(seed))
        shown = examples.of(Post(text="x"))
        assert {entity.label for post in shown for entity in post.entities} >= {"PER", "LOC"}
        assert shown == examples.of(Post(text="y"))
        for post in POSTS:
            others = examples.of(replace(post, id="other"))
            assert len(others) == 2
            assert post not in others


def test_the_nearest_examples_stand_next_to_the_post():
    nearest = NearestExamples(POSTS, 2)
    assert [post.id for post in nearest.of(Post(text="KEVIN DURANT and Tim"))] == ["b", "a"]
    assert POSTS[0] not in nearest.of(Post(text="Kevin Durant enters Oracle Arena"))
    assert len(nearest.of(Post(text="¿?"))) == 2  # nothing in common with any


def test_similarities_are_those_of_scikit_learn():
    vectorizers = pytest.importorskip("sklearn.feature_extraction.text", reason="scikit-learn is not installed")
    generator = random.Random(1)
    names = ["ann", "bob", "Paris", "!", "rome", "NBA", "x", "the", "of"]
    pool = [Post(id=str(k), words=[generator.choice(names) for _ in range(generator.randrange(9))]) for k in range(30)]
    vectorizer = vectorizers.TfidfVectorizer(analyzer=terms_of)
    matrix = vectorizer.fit_transform(pool)
    nearest = NearestExamples(pool, 1)
    for text in ("ann ann the of", "nowhere at all", "NBA in Paris , x !"):
        post = Post(text=text)
        expected = (matrix @ vectorizer.transform([post]).T).toarray()[:, 0]
        assert nearest.similarities(post) == pytest.approx(expected.tolist())


def test_too_few_examples_are_one_line():
    with pytest.raises(InputError, match="holds 4 posts"):
        choose_examples(POSTS, 5, nearest=True, generator=random.Random(0))


# Requests, answers kept


REQUEST = Request(model="m", messages=[{"role": "user", "content": "x"}])


@pytest.mark.parametrize(
    "change",
    [
        {"model": "n"},
        {"messages": [{"role": "user", "content": "y"}]},
        {"temperature": 0.5},
        {"temperature": None},
        {"seed": 1},
        {"max_tokens": 9},
        {"more": {"top_p": 1}},
        {"endpoint": "http://a/v1"},
    ],
)
def test_every_part_of_a_request_changes_its_key(change):
    assert replace(REQUEST, **change).key != REQUEST.key
    assert replace(REQUEST, **change).key == replace(REQUEST, **change).key


def test_kept_answers_come_back_and_damaged_ones_do_not(tmp_path):
    cache = AnswerCache(tmp_path / "answers")
    assert cache.read(REQUEST.key) is None
    kept = Answer(content="ü\ud83d", finish_reason="stop", usage=Usage(tokens_in=3, tokens_out=4), model="m-1")
    cache.write(REQUEST.key, kept)
    assert cache.read(REQUEST.key) == kept
    (path,) = (tmp_path / "answers").rglob("*.json")
    path.write_text(path.read_text()[:20])
    assert cache.read(REQUEST.key) is None
    cache.write(REQUEST.key, replace(kept, usage=None))
    assert cache.read(REQUEST.key).usage is None


def test_a_place_where_no_answer_can_be_kept_is_one_line(write):
    with pytest.raises(InputError, match="cannot be written"):
        AnswerCache(write("file", "")).write("ab", Answer(content="", finish_reason="", usage=None, model=""))


# What may be spent


def test_a_cost_is_of_a_million_tokens():
    assert Prices(tokens_in=30, tokens_out=60).cost(Usage(tokens_in=1_000_000, tokens_out=500_000)) == 60


def spend(limits: Limits, usages: list[Usage], *, at_once: int) -> tuple[int, int]:
    """Requests that were let begin, and the most under way at once, with as many clients as wanted."""

    async def all_clients() -> tuple[int, int]:
        ledger, left, most = Ledger(limits), list(usages), 0

        async def client() -> None:
            nonlocal most
            while left and await ledger.begin():
                usage = left.pop(0) if left else None
                most = max(most, ledger.under_way)
                await asyncio.sleep(0.001)
                await ledger.end(usage)

        await asyncio.gather(*(client() for _ in range(at_once)))
        return len(usages) - len(left), most

    return asyncio.run(asyncio.wait_for(all_clients(), 5))


def test_no_more_is_begun_than_fits():
    usage = Usage(tokens_in=90, tokens_out=10)
    assert spend(Limits(), [usage] * 20, at_once=4) == (20, 4)
    assert spend(Limits(tokens=1000), [usage] * 20, at_once=4) == (10, 4)
    assert spend(Limits(tokens=250), [usage] * 20, at_once=8) == (2, 1)
    prices = Prices(tokens_in=1e4, tokens_out=1e4)  # 1 a request
    assert spend(Limits(money=5.5, prices=prices), [usage] * 20, at_once=3) == (5, 3)
    assert spend(Limits(money=0, prices=prices), [usage] * 20, at_once=3) == (0, 0)
    assert spend(Limits(tokens=0), [usage], at_once=3) == (0, 0)


def test_limits_that_do_not_fit_together():
    with pytest.raises(InputError, match="--price-in X --price-out Y"):
        Limits(money=1.0)
    with pytest.raises(InputError, match="at least 0"):
        Limits(tokens=-1)


def test_waiting_times_double_are_spread_and_never_less_than_asked_for():
    pace, generator = Pace(first_wait=1.0, longest_wait=6.0), random.Random(0)
    for attempt, most in enumerate([1.0, 2.0, 4.0, 6.0, 6.0]):
        waits = {pace.wait(attempt, 0.0, generator) for _ in range(50)}
        assert most / 2 <= min(waits) < max(waits) <= most
    assert pace.wait(0, 9.0, generator) == 9.0


def test_retry_after_is_seconds_or_a_date():
    assert asked_wait({"retry-after": "7"}) == 7
    assert asked_wait({"retry-after": "7", "retry-after-ms": "1500"}) == 1.5
    assert 50 < asked_wait({"retry-after": formatdate(time.time() + 60, usegmt=True)}) <= 60
    assert [asked_wait(h) for h in ({}, {"retry-after": "soon"}, {"retry-after": "-3"}, {"retry-after": "nan"})] == [
        0
    ] * 4


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://localhost:8000/v1", True),
        ("http://127.0.0.1/v1", True),
        ("http://[::1]:80", True),
        ("http://192.168.0.7:11434/v1", True),
        ("https://api.openai.com/v1", False),
        ("https://8.8.8.8/v1", False),
        ("https://localhost.example.org/v1", False),
    ],
)
def test_local_addresses(url, local):
    assert is_local(url) is local


# Folders


def test_files_have_the_names_of_other_runs():
    assert (folder.METRICS, folder.PREDICTIONS) == (trained.METRICS, trained.PREDICTIONS)


def test_a_folder_of_something_else_is_refused(tmp_path):
    prepare_folder(tmp_path / "new", {"model": "m"}, "abc")
    (tmp_path / "new" / "metrics.json").write_text(
        json.dumps({"baseline": "llm", "settings": {"model": "m"}, "valid_sha256": "abc"})
    )
    prepare_folder(tmp_path / "new", {"model": "m"}, "abc")
    with pytest.raises(InputError, match=r"another run \(the posts, model differ\)"):
        prepare_folder(tmp_path / "new", {"model": "n"}, "abd")
    (tmp_path / "new" / "metrics.json").write_text('{"f1": 3}')
    with pytest.raises(InputError, match="not of dpe-mner baseline llm"):
        prepare_folder(tmp_path / "new", {"model": "m"}, "abc")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text("{}")
    with pytest.raises(InputError, match=r"holds config\.json"):
        prepare_folder(tmp_path / "other", {}, "")


def test_entities_that_cut_a_word_are_shown_as_the_whole_word():
    post = Post(text="Parisian life", entities=[LabelledSpan(start=0, end=5, label="LOC")])
    assert json.loads(solved(post, LABELS)) == {"entities": [{"text": "Parisian", "label": "LOC"}]}
