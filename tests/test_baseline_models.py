"""The text baselines themselves: legal tags, spans against brute force, overfitting, GloVe."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from baseline_parts import TEXT_KINDS, TINY, words_batch
from conftest import LABELS, POSTS, batch_of
from hypothesis import given, settings
from hypothesis import strategies as st

from dpe_mner import Post
from dpe_mner.baselines.build import BuiltBaseline, Description, new_baseline
from dpe_mner.baselines.crf import CrfHead, begin_orphans, legal_tags, tag_spans
from dpe_mner.baselines.predict import predict_posts, validate_baseline
from dpe_mner.baselines.span import span_candidates
from dpe_mner.data.tags import read_tags, write_tags
from dpe_mner.data.words import words_of
from dpe_mner.decoding.candidates import choose, rows_of
from dpe_mner.representations.collate import collate
from dpe_mner.settings import EncoderSettings
from dpe_mner.types import LabelledSpan

CLASSES = 4


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


@torch.no_grad()
def test_each_word_is_tagged_by_itself(built):
    """Entities are those of reading the likeliest tags as a file's, with the score of the least certain one."""
    baseline = built("bert-tag")
    model = baseline.model.eval()
    model.output.weight.mul_(20)  # so that all kinds of tags come up
    words = [w for post in POSTS for w in post.words]
    batch = words_batch(baseline, words, multiple=8)
    scores = model.output(model.text_encoder(batch).x_t)[0, : len(words)].softmax(-1)
    reading = read_tags([tag_names(len(LABELS) + 1)[t] for t in scores.argmax(-1).tolist()])
    assert reading.orphans  # or the case of an inside tag that continues nothing would go untested
    (rows,) = model.decode(batch)
    assert [row[:3] for row in rows] == [(s.start, s.end - 1, int(s.label)) for s in reading.spans]
    for first, last, _, score in rows:
        assert score == pytest.approx(float(scores[first : last + 1].max(-1).values.min()), abs=6e-4)


# --- spans


@given(st.integers(0, 10_000), st.integers(1, 9), st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_decoded_spans_never_overlap_and_none_better_is_left_out(seed, words, longest):
    torch.manual_seed(seed)
    lengths = torch.randint(1, words + 1, (3,))
    scores = (torch.randn(3, words, longest, CLASSES) * 3).softmax(-1)
    candidates = span_candidates(scores, lengths)
    decoded = rows_of(candidates, choose(candidates, 0.0))
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


# --- the four models


@pytest.mark.parametrize("kind", TEXT_KINDS)
def test_each_overfits_a_handful_of_posts(built, kind):
    baseline = built(kind)
    model = baseline.model.train()
    number = {label: c for c, label in enumerate(LABELS, start=1)}
    windows = [w for i, p in enumerate(POSTS) for w in baseline.tokenizer.windows(p, words_of(p), index=i)]
    gold = [[(e.start, e.end - 1, number[e.label]) for e in p.entities] for p in POSTS]
    batch = collate(windows, pad_id=baseline.tokenizer.pad_id, gold=gold)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(80):
        optimizer.zero_grad()
        model(batch, generator).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    assert validate_baseline(baseline, POSTS).report.overall.f1 == 100


@pytest.mark.parametrize("kind", TEXT_KINDS)
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
    for kind in TEXT_KINDS:
        baseline = built(kind)
        assert predict_posts(baseline, POSTS) == predict_posts(baseline, bare)


def test_unseen_words_differ_by_their_characters_and_rare_ones_are_replaced_while_training(built):
    baseline = built("bilstm-crf", posts=[*POSTS, Post(words=("Paris", "Paris", "good"))])
    tokenizer, model = baseline.tokenizer.pretrained, baseline.model
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
