"""The text baselines: legal tags, spans against brute force, overfitting, exact resume, one-line errors."""

from __future__ import annotations

import itertools
import json
import math
import sys
from pathlib import Path

import pytest
import torch
from conftest import LABELS, POSTS, batch_of, conll, jsonl
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from dpe_mner import InputError, Post
from dpe_mner.baselines.build import KINDS, BuiltBaseline, Description, new_baseline
from dpe_mner.baselines.checkpoint import load_baseline
from dpe_mner.baselines.crf import CrfHead, begin_orphans, legal_tags, tag_spans
from dpe_mner.baselines.glove import read_glove
from dpe_mner.baselines.predict import predict_posts, score_predictions
from dpe_mner.baselines.run import train_baseline
from dpe_mner.baselines.settings import BaselineSettings
from dpe_mner.baselines.span import span_candidates
from dpe_mner.data.tags import read_tags, write_tags
from dpe_mner.data.words import words_of
from dpe_mner.reasoning.decode import choose
from dpe_mner.reasoning.rows import rows_of
from dpe_mner.representations.collate import collate
from dpe_mner.settings import EncoderSettings
from dpe_mner.training.recipe import Recipe
from dpe_mner.types import LabelledSpan

CLASSES = 4
TINY = BaselineSettings.model_validate(
    {"dropout": 0.0, "bilstm": {"word_size": 12, "character_size": 8, "hidden_size": 16, "dropout": 0.0}}
)


def tag_names(classes: int) -> list[str]:
    return ["O", *(f"{prefix}-{c}" for c in range(1, classes) for prefix in "BI")]


@pytest.fixture
def built(encoders):
    def make(kind: str, posts=POSTS, **encoder) -> BuiltBaseline:
        name = encoders("bert-uncased")
        torch.manual_seed(2)
        description = Description(kind=kind, labels=LABELS, settings=TINY, encoder=EncoderSettings(**encoder))
        return new_baseline(description, encoder=name, posts=posts)

    return make


@pytest.fixture
def recipe(tmp_path, encoders, write) -> Recipe:
    write("train.txt", conll(POSTS * 2))
    write("valid.txt", conll(POSTS))
    training = {"epochs": 3, "batch_size": 3, "learning_rate": 1e-3, "encoder_learning_rate": 1e-3, "seed": 5}
    return Recipe.model_validate(
        {
            "name": "tiny",
            "encoder": encoders("bert-uncased"),
            # The captions are not there: a baseline must not look for them.
            "data": {"folder": str(tmp_path), "visual_text": "none.jsonl", "images": "none"},
            "training": {**training, "piece_dropout": 0.1},
            "output": str(tmp_path / "run"),
        }
    )


def quiet(_: str) -> None:
    pass


# --- tags and CRF


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_no_crf_ever_emits_an_illegal_sequence(data):
    B, M = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 9))
    lengths = torch.tensor(data.draw(st.lists(st.integers(1, M), min_size=B, max_size=B)))
    torch.manual_seed(data.draw(st.integers(0, 10_000)))
    head = CrfHead(5, CLASSES)
    with torch.no_grad():  # weights that ask for inside tags everywhere
        head.output.weight.mul_(data.draw(st.sampled_from([1.0, 30.0])))
        head.output.bias[2::2] += data.draw(st.sampled_from([0.0, 60.0]))
        for name, parameter in head.transitions.named_parameters():
            parameter.copy_(torch.randn_like(parameter) * 20 if "transitions" in name else parameter)
    states, mask = torch.randn(B, M, 5), torch.arange(M) < lengths[:, None]
    for tags, length in zip(best_tags(head, states, mask), lengths.tolist(), strict=True):
        assert len(tags) == length
        names = [tag_names(CLASSES)[tag] for tag in tags]
        reading = read_tags(names)
        assert reading.orphans == []
        assert tag_spans(tags) == [(s.start, s.end - 1, int(s.label)) for s in reading.spans]


@torch.no_grad()
def best_tags(head: CrfHead, states, mask):
    return head.transitions.decode(head.output(states), mask)


def test_training_leaves_forbidden_transitions_forbidden():
    head = CrfHead(5, CLASSES)
    optimizer = torch.optim.AdamW(head.parameters(), lr=0.5, weight_decay=0.5)
    states, tags = torch.randn(2, 4, 5), torch.tensor([[1, 2, 0, 3], [3, 4, -100, -100]])
    for _ in range(30):
        optimizer.zero_grad()
        head.loss(states, tags).backward()
        optimizer.step()
    start, following = legal_tags(CLASSES)
    assert (head.transitions.start_transitions[~start] == -1e4).all()
    assert (head.transitions.transitions[~following] == -1e4).all()
    assert head.transitions.transitions[following].abs().max() < 1e3
    # A score below the smallest forbidden one would open the gate again.
    assert best_tags(head, states, tags >= 0) == [[1, 2, 0, 3], [3, 4]]


@torch.no_grad()
def test_crf_loss_and_scores_against_all_sequences():
    torch.manual_seed(0)
    head, M = CrfHead(5, 3), 4
    start, following = (legal.tolist() for legal in legal_tags(3))
    for name, parameter in head.transitions.named_parameters():
        parameter.copy_(torch.randn_like(parameter) if "transitions" in name else parameter)
    states, length = torch.randn(1, M, 5), 3
    emissions = head.output(states)[0]
    crf = head.transitions
    logs = {}
    for tags in itertools.product(range(5), repeat=length):
        if start[tags[0]] and all(following[a][b] for a, b in itertools.pairwise(tags)):
            score = crf.start_transitions[tags[0]] + crf.end_transitions[tags[-1]]
            score += sum(crf.transitions[a, b] for a, b in itertools.pairwise(tags))
            logs[tags] = float(score + sum(emissions[m, t] for m, t in enumerate(tags)))
    total = math.log(sum(map(math.exp, logs.values())))
    gold = (1, 2, 0)
    loss = head.loss(states, torch.tensor([[*gold, -100]]))
    assert float(loss) == pytest.approx(total - logs[gold], abs=1e-4)
    head.output.bias[1] += 4  # make sure there is an entity to score
    (rows,) = head.decode(states, torch.tensor([[True] * length + [False]]))
    assert rows
    logs = {tags: value + 4 * tags.count(1) for tags, value in logs.items()}
    total = math.log(sum(map(math.exp, logs.values())))
    best = max(logs, key=logs.get)
    assert [row[:3] for row in rows] == tag_spans(best)
    for first, last, _, score in rows:
        marginals = [
            sum(math.exp(value - total) for tags, value in logs.items() if tags[m] == best[m])
            for m in range(first, last + 1)
        ]
        assert score == pytest.approx(min(marginals), abs=6e-4)  # rounded to three digits


@st.composite
def flat_spans(draw):
    spans, position = [], 0
    for gap, length, label in draw(
        st.lists(st.tuples(st.integers(0, 3), st.integers(1, 4), st.integers(1, CLASSES - 1)), max_size=5)
    ):
        first = position + gap
        spans.append((first, first + length - 1, label))
        position = first + length
    return spans, position + draw(st.integers(1, 3))


@given(flat_spans())
def test_tags_and_spans_round_trip(case):
    spans, length = case
    names = write_tags([LabelledSpan(start=f, end=t + 1, label=str(c)) for f, t, c in spans], length)
    tags = [tag_names(CLASSES).index(name) for name in names]
    assert tag_spans(tags) == spans
    assert begin_orphans(torch.tensor([tags])).tolist() == [tags]  # legal tags stay


def test_gold_tags_are_numbered_as_the_crf_reads_them(build):
    batch = batch_of(build(), POSTS, gold=True)
    number = {label: c for c, label in enumerate(LABELS, start=1)}
    for post, tags in zip(POSTS, batch.gold.tags.tolist(), strict=True):
        own = tags[: len(post.words)]
        assert tag_spans(own) == [(e.start, e.end - 1, number[e.label]) for e in post.entities]


@given(st.lists(st.integers(0, 2 * (CLASSES - 1)), min_size=1, max_size=12))
def test_overlapping_gold_is_made_legal(tags):
    repaired = begin_orphans(torch.tensor([tags]))[0].tolist()
    names = tag_names(CLASSES)
    assert read_tags([names[t] for t in repaired]).orphans == []
    assert read_tags([names[t] for t in repaired]).spans == read_tags([names[t] for t in tags]).spans


# --- spans


@given(st.integers(0, 10_000), st.integers(1, 9), st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_decoded_spans_never_overlap_and_none_better_is_left_out(seed, words, longest):
    torch.manual_seed(seed)
    lengths = torch.randint(1, words + 1, (3,))
    scores = (torch.randn(3, words, longest, CLASSES) * 3).softmax(-1)
    candidates = span_candidates(scores, lengths)
    decoded = rows_of(candidates, choose(candidates, torch.zeros(CLASSES)))
    for b, rows in enumerate(decoded):
        greedy: list[tuple[int, int, int]] = []
        every = [
            (float(scores[b, f, w].max()), f, f + w, int(scores[b, f, w].argmax()))
            for f in range(words)
            for w in range(longest)
            if f + w < lengths[b] and scores[b, f, w].argmax() > 0
        ]
        for _, first, last, label in sorted(every, key=lambda entry: (-entry[0], *entry[1:])):
            if all(last < f or first > t for f, t, _ in greedy):
                greedy.append((first, last, label))
        assert sorted(row[:3] for row in rows) == sorted(greedy)


# --- the three models


@pytest.mark.parametrize("kind", KINDS)
def test_each_overfits_a_handful_of_posts(built, kind):
    baseline = built(kind)
    model = baseline.model.train()
    number = {label: c for c, label in enumerate(LABELS, start=1)}
    windows = [w for i, p in enumerate(POSTS) for w in baseline.pieces.windows(p, words_of(p), index=i)]
    gold = [[(e.start, e.end - 1, number[e.label]) for e in p.entities] for p in POSTS]
    batch = collate(windows, pad_id=baseline.pieces.pad_id, gold=gold)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(80):
        optimizer.zero_grad()
        model(batch, generator).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    assert score_predictions(POSTS, predict_posts(baseline, POSTS)).overall.f1 == 100


@pytest.mark.parametrize("kind", KINDS)
def test_predictions_do_not_depend_on_company_and_long_posts_are_read_whole(built, kind):
    baseline = built(kind, window_words=16, window_overlap=4)
    words = [f"{w}{k}" for k in range(7) for post in POSTS for w in post.words]
    posts = [*POSTS, Post(id="long", words=words), Post(id="none", text=" ")]
    together = predict_posts(baseline, posts)
    alone = [predict_posts(baseline, [post], batch_size=1)[0] for post in posts]
    for one, other in zip(together, alone, strict=True):
        assert [(e.start, e.end, e.label) for e in one.entities] == [(e.start, e.end, e.label) for e in other.entities]
        assert [e.score for e in one.entities] == pytest.approx([e.score for e in other.entities], abs=1.1e-3)
    entities = together[-2].entities
    assert max(e.word_end for e in entities) > len(words) - 16
    assert all(a.word_end <= b.word_start for a, b in itertools.pairwise(entities))
    assert together[-1].warnings == ["the post has no words"]


def test_captions_are_not_read(built):
    bare = [Post(id=p.id, words=p.words) for p in POSTS]
    for kind in KINDS:
        baseline = built(kind)
        assert predict_posts(baseline, POSTS) == predict_posts(baseline, bare)


def test_unseen_words_differ_by_their_characters_and_rare_ones_are_replaced_while_training(built):
    baseline = built("bilstm-crf", posts=[*POSTS, Post(words=("Paris", "Paris", "good"))])
    tokenizer, model = baseline.pieces.tokenizer, baseline.model
    words = ["paris", "PARIS", "Kevin", "Berlin", "Madrid"]
    ids = [piece[0] for piece in tokenizer(words)["input_ids"]]
    assert ids[0] == ids[1] != tokenizer.unk_token_id
    assert ids[3] == ids[4] == tokenizer.unk_token_id
    assert model.rare[ids].tolist() == [False, False, True, False, False]
    batch = words_batch(baseline, ["Paris", "Kevin", "Berlin", "Madrid"], gold=[[(0, 0, 1)]])
    states = model.eval().states(batch, batch.text.ids)
    assert not torch.allclose(states[0, 2], states[0, 3])
    read: list[list[int]] = []
    model.words.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0][0].tolist()))
    model.rare_replacement = 1.0
    model(batch, torch.Generator().manual_seed(0))
    model.decode(batch)
    paris, kevin, unknown = ids[0], ids[2], tokenizer.unk_token_id
    assert read == [[paris, unknown, unknown, unknown], [paris, kevin, unknown, unknown]]


@torch.no_grad()
def test_padding_does_not_reach_the_lstm(built):
    baseline = built("bilstm-crf")
    short, long = (words_batch(baseline, ["Kevin", "in", "Paris"], multiple=m) for m in (1, 8))
    one, other = (baseline.model.eval().states(batch, batch.text.ids) for batch in (short, long))
    torch.testing.assert_close(one, other[:, :3], atol=1e-6, rtol=1e-5)


def words_batch(baseline: BuiltBaseline, words, *, multiple: int = 1, gold=None):
    post = Post(words=words)
    windows = baseline.pieces.windows(post, words_of(post))
    return collate(windows, pad_id=baseline.pieces.pad_id, multiple=multiple, gold=gold)


# --- runs


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_leaves_figures_predictions_and_a_loadable_baseline(recipe, tmp_path, kind):
    lines: list[str] = []
    metrics = train_baseline(recipe, kind, settings=TINY, log=lines.append)
    run = tmp_path / "run"
    assert json.loads((run / "metrics.json").read_text()) == metrics
    assert metrics["baseline"] == kind
    assert metrics["encoder"] == (None if kind == "bilstm-crf" else recipe.encoder)
    assert [entry["epoch"] for entry in metrics["history"]] == [1, 2, 3]
    assert metrics["f1"] == pytest.approx(max(entry["f1"] for entry in metrics["history"]), abs=1e-6)
    assert metrics["validation"]["entities"] == sum(len(p.entities) for p in POSTS)
    assert metrics["train_posts"] == 8
    assert sum(line.startswith("epoch ") for line in lines) == 3
    assert (run / "recipe.yaml").is_file()
    rows = [json.loads(line) for line in (run / "predictions.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == [p.id for p in POSTS]
    assert all(set(row) == {"id", "entities", "warnings"} for row in rows)
    baseline = load_baseline(run)
    assert [p.as_dict() for p in predict_posts(baseline, POSTS)] == rows


@pytest.mark.parametrize("kind", ["bilstm-crf", "bert-span"])
def test_a_killed_run_resumes_bit_for_bit(recipe, tmp_path, kind):
    whole, broken = (recipe.model_copy(update={"output": str(tmp_path / name)}) for name in ("whole", "broken"))
    settings = BaselineSettings()  # with dropout and words replaced
    train_baseline(whole, kind, settings=settings, log=quiet)

    class Killed(Exception):
        pass

    def kill_in_second_epoch(line: str) -> None:
        if line.startswith("epoch 2/"):
            raise Killed

    with pytest.raises(Killed):
        train_baseline(broken, kind, settings=settings, log=kill_in_second_epoch)
    with pytest.raises(InputError, match=r"another baseline \(settings differs"):
        train_baseline(broken, kind, settings=TINY, resume=True, log=quiet)
    metrics = train_baseline(broken, kind, settings=settings, resume=True, log=quiet)
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "broken"))
    assert all(torch.equal(one[key], other[key]) for key in one)
    histories = [(tmp_path / name / "history.jsonl").read_text() for name in ("whole", "broken")]
    assert histories[0] == histories[1]
    assert train_baseline(broken, kind, settings=settings, resume=True, log=quiet) == metrics
    with pytest.raises(InputError, match="holds a run already"):
        train_baseline(broken, kind, settings=settings, log=quiet)


def test_learning_rates(recipe, monkeypatch):
    from dpe_mner.baselines.trainer import BaselineTrainer

    rates: dict[str, float] = {}

    class Stopped(Exception):
        pass

    def look(self, *args, **kwargs):
        names = {id(p): name for name, p in self.model.named_parameters()}
        for group in self.create_optimizer().param_groups:
            rates.update({names[id(p)]: group["lr"] for p in group["params"]})
        raise Stopped

    monkeypatch.setattr(BaselineTrainer, "train", look)
    own = BaselineSettings.model_validate({"crf": {"learning_rate": 0.5}, "bilstm": {"learning_rate": 0.25}})
    training = recipe.training.model_copy(update={"encoder_learning_rate": 0.1, "learning_rate": 0.2})
    recipe = recipe.model_copy(update={"training": training})
    with pytest.raises(Stopped):
        train_baseline(recipe, "bert-crf", settings=own, log=quiet)
    assert rates["text_encoder.encoder.embeddings.word_embeddings.weight"] == 0.1
    assert rates["crf.output.weight"] == 0.2
    assert rates["crf.transitions.parametrizations.transitions.original"] == 0.5
    rates.clear()
    with pytest.raises(Stopped):
        train_baseline(recipe, "bilstm-crf", settings=own, log=quiet)
    assert rates["lstm.weight_hh_l0"] == rates["words.weight"] == rates["crf.output.weight"] == 0.25
    assert rates["crf.transitions.parametrizations.transitions.original"] == 0.5


def test_entities_too_long_for_a_span_are_told(recipe):
    settings = BaselineSettings.model_validate({"span": {"max_length": 1}})
    lines: list[str] = []
    training = recipe.training.model_copy(update={"epochs": 1})
    train_baseline(recipe.model_copy(update={"training": training}), "bert-span", settings=settings, log=lines.append)
    assert lines[0].startswith("6 of 12 gold entities are longer than 1 words")


# --- errors


@pytest.mark.parametrize(
    ("kind", "hint"), [("bert-srf", "did you mean 'bert-crf'"), ("xyz", "known baselines: bilstm-crf, bert-crf")]
)
def test_an_unknown_kind_names_the_nearest(recipe, kind, hint):
    with pytest.raises(InputError, match=hint):
        train_baseline(recipe, kind, log=quiet)


def test_labels_outside_the_label_set_are_refused(recipe):
    data = recipe.data.model_copy(update={"labels": ["PER", "LOC"]})
    with pytest.raises(InputError, match=r"train\.txt: labels MISC, ORG are unknown"):
        train_baseline(recipe.model_copy(update={"data": data}), "bert-span", log=quiet)


def test_a_missing_extra_says_what_to_install(recipe, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchcrf", None)
    with pytest.raises(InputError, match=r"pip install dpe-mner\[baselines\]"):
        train_baseline(recipe, "bert-crf", log=quiet)


def test_what_is_no_baseline_is_not_loaded(tmp_path, recipe):
    with pytest.raises(InputError, match=r"baseline\.json: missing"):
        load_baseline(tmp_path)
    train_baseline(
        recipe.model_copy(update={"training": recipe.training.model_copy(update={"epochs": 1})}), "bert-crf", log=quiet
    )
    weights = Path(recipe.output) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    with pytest.raises(InputError, match=r"model\.safetensors: damaged") as caught:
        load_baseline(recipe.output)
    assert "\n" not in str(caught.value)


# --- GloVe

GLOVE = "the 0.5 -1 2e-1\nParis 1 2 3\n. . . 4 5 6\nparis 7 8 9\n"


def test_glove_is_read(write):
    path = str(write("g.txt", GLOVE))
    found = read_glove(path, width=3)
    assert found.words == ["the", "Paris", ". . .", "paris"]
    assert found.vectors[2].tolist() == [4, 5, 6]
    lowered = read_glove(path, width=3, lowercase=True)
    assert lowered.words == ["the", "paris", ". . ."]
    assert lowered.vectors[1].tolist() == [1, 2, 3]  # the more frequent spelling
    assert read_glove(path, width=3, limit=2).words == ["the", "Paris"]


def test_glove_vectors_become_the_words(write, encoders):
    path = str(write("g.txt", GLOVE + "Berlin 3 2 1\n"))
    settings = BaselineSettings.model_validate({"bilstm": {"glove": path, "word_size": 3}})
    description = Description(kind="bilstm-crf", labels=LABELS, settings=settings)
    baseline = new_baseline(description, encoder="", posts=POSTS)
    ids = [piece[0] for piece in baseline.pieces.tokenizer(["PARIS", "berlin", "Kevin"])["input_ids"]]
    vectors = baseline.model.words.weight[ids].tolist()
    assert vectors[0] == [1, 2, 3]
    assert vectors[1] == [3, 2, 1]  # a word no post has
    assert ids[2] > 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("the 1 2 3\nof 1 x 3\n", r"g\.txt:2: not a word followed by 3 numbers"),
        ("the 1 2 3\nof 1 nan 3\n", r"g\.txt:2: not a word"),
        ("the 1 2 3\n\n", r"g\.txt:2: not a word"),
        ("the 1 2 3\nof 1 2\n", r"g\.txt:2: 2 numbers where 3 were expected"),
        ("the 1 2 3 4\n", r"g\.txt:1: 4 numbers where 3 were expected; set bilstm\.word_size"),
        ("400000 3\nthe 1 2 3\n", r"g\.txt:1: 1 numbers where 3"),
        (b"the 1 2 3\n\xff\xfe 1 2 3\n", r"g\.txt:2: not valid UTF-8"),
        ("", "holds no word vector"),
    ],
)
def test_bad_glove_lines_are_one_clear_line(recipe, write, content, message):
    path = write("g.txt", content)
    settings = BaselineSettings.model_validate({"bilstm": {"glove": str(path), "word_size": 3}})
    with pytest.raises(InputError, match=message) as caught:
        train_baseline(recipe, "bilstm-crf", settings=settings, log=quiet)
    assert "\n" not in str(caught.value)
    assert not Path(recipe.output).exists()  # the folder stays free for the next try


def test_a_missing_glove_file(recipe, tmp_path):
    settings = BaselineSettings.model_validate({"bilstm": {"glove": str(tmp_path / "no.txt")}})
    with pytest.raises(InputError, match=r"no\.txt: cannot be read"):
        train_baseline(recipe, "bilstm-crf", settings=settings, log=quiet)


def test_a_post_with_overlapping_gold_does_not_break_training(recipe, write):
    entities = [{"start": 0, "end": 3, "label": "PER"}, {"start": 1, "end": 2, "label": "LOC"}]
    write("train.jsonl", jsonl([{"id": "1", "words": ["a", "b", "c"], "entities": entities}]))
    data = recipe.data.model_copy(update={"train": "train.jsonl", "labels": LABELS})
    for kind in ("bert-crf", "bert-span"):
        output = f"{recipe.output}-{kind}"
        metrics = train_baseline(recipe.model_copy(update={"data": data, "output": output}), kind, log=quiet)
        assert all(entry["losses"]["entities"] < 1000 for entry in metrics["history"])
