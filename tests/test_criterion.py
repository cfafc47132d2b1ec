"""Eq. 20 from tensors alone: the criterion never meets the network."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from conftest import POSTS, batch_of
from test_objective import gold_of, random_output

from dpe_mner.fusion.relevance import PairRelevance, RelevanceGate
from dpe_mner.objective.alignment import alignment_losses
from dpe_mner.objective.criterion import Criterion, NetworkOutputs
from dpe_mner.objective.losses import alignment_loss, doubt_loss, entity_loss, tagging_loss
from dpe_mner.objective.matcher import HungarianMatcher
from dpe_mner.settings import LossSettings, Settings


def pair_of(seed, B=3):
    drawn = torch.Generator().manual_seed(seed)
    logits, odds, printed = (torch.randn(B, B, generator=drawn) for _ in range(3))
    return PairRelevance(logits=logits, odds=odds, printed=printed, present=torch.tensor([True] * B))


def settings(**loss) -> Settings:
    return Settings.model_validate({"heads": {"variant": "pointer"}, "noise": {"gold_share": 0.7}, "loss": loss})


def given(**changes) -> NetworkOutputs:
    values = {
        "outputs": [random_output(3, 6, 5, 4, seed) for seed in (0, 1)],
        "anchors": [torch.zeros(3, 6, dtype=torch.long)] * 2,
        "tags": torch.randn(2, 3, 5, 7, generator=torch.Generator().manual_seed(5)),
        "relevance": {"t": [pair_of(1), pair_of(2)], "s": [pair_of(3)]},
    }
    return NetworkOutputs(**values | changes)


GOLD = gold_of([[(0, 1, 1)], [(2, 2, 2), (3, 4, 1)], []], 5)


def test_the_parts_by_hand():
    found = Criterion(settings(tagging=2.0, align_token=0.5, align_sentence=0.25, align_span=1.5))(given(), GOLD)
    matcher = HungarianMatcher(share=0.7)
    entities = [entity_loss(o, GOLD, matcher(o, GOLD), variant="pointer") for o in given().outputs]
    tagging = [tagging_loss(of_pass, GOLD) for of_pass in given().tags]

    def aligned(seed):
        pair = pair_of(seed)
        return alignment_loss(pair.logits, pair.present, lambda_rel=0.5) + doubt_loss(pair.odds, pair.present)

    expected = {
        "entities": sum(entities) / 2,
        "tagging": 2.0 * sum(tagging) / 2,
        "align_t": 0.5 * (aligned(1) + aligned(2)) / 2,
        "align_s": 1.5 * aligned(3),
    }
    assert found.parts.keys() == expected.keys()  # nothing measured the relevance of sentences
    for name, value in expected.items():
        torch.testing.assert_close(found.parts[name], value)
    torch.testing.assert_close(found.loss, sum(expected.values()))


def test_what_is_not_given_or_weighs_nothing_has_no_part():
    assert Criterion(settings())(given(tags=None, relevance={}), GOLD).parts.keys() == {"entities"}
    parts = Criterion(settings(tagging=1.0, align_span=0.0))(given(), GOLD).parts
    assert parts.keys() == {"entities", "tagging", "align_t"}


def test_as_printed_the_gates_are_ranked():
    pair = pair_of(1)
    (loss,) = alignment_losses({"g": [pair]}, LossSettings(align_on="gate")).values()
    torch.testing.assert_close(loss, alignment_loss(pair.printed, pair.present, lambda_rel=0.5))


def test_anchors_decide_who_answers_where_the_settings_say_so():
    near = Settings.model_validate({"heads": {"variant": "pointer"}, "noise": {"anchor_reach": 0}})
    one, other = (
        Criterion(near)(given(anchors=[torch.full((3, 6), word)] * 2), GOLD).parts["entities"] for word in (0, 4)
    )
    assert not torch.allclose(one, other)


def test_the_modules_of_the_objective_import_no_network():
    code = "import sys, dpe_mner.objective.criterion; print('dpe_mner.reasoning.network' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "False"


@pytest.mark.parametrize("passes", [1, 2])
def test_a_training_pass_is_what_the_criterion_says_of_what_the_network_gave(build, posts, passes):
    model = build(loss={"unroll": passes})
    seen = []
    criterion = model.criterion
    model.criterion = lambda outputs, gold: seen.append((outputs, gold)) or criterion(outputs, gold)
    output = model(batch_of(model, POSTS, gold=True), torch.Generator().manual_seed(0))
    ((outputs, gold),) = seen
    assert len(outputs.outputs) == len(outputs.anchors) == passes
    assert {level: len(pairs) for level, pairs in outputs.relevance.items()} == {"t": 2, "g": 2, "s": 2 * passes}
    again = Criterion(model.settings)(outputs, gold)
    assert torch.equal(again.loss, output.loss)
    again.loss.backward()
    assert model.network.heads.types.weight.grad.abs().sum() > 0


def test_the_doubt_of_a_gate_reaches_no_text():
    gate, x = RelevanceGate(width=4), torch.randn(3, 4, requires_grad=True)
    pairs = gate.pairs(x, torch.randn(3, 8), torch.ones(3, dtype=torch.bool))
    doubt_loss(pairs.odds, pairs.present).backward()
    assert x.grad is None
    assert gate.slope.grad
    pairs.logits.sum().backward()
    assert x.grad.abs().sum() > 0
