"""What a step hands to the next: found entities written over the words."""

from __future__ import annotations

import torch
from conftest import POSTS, batch_of

from dpe_mner.reasoning.found import found_entities
from dpe_mner.reasoning.heads import ReasoningOutput


def test_found_entities_against_brute_force():
    torch.manual_seed(0)
    B, N, M, C = 2, 5, 6, 4
    output = ReasoningOutput(torch.randn(B, N, M), torch.randn(B, N, M), torch.randn(B, N, C))
    found = found_entities(output)
    p = output.types.softmax(-1)
    wanted = torch.zeros(B, M, 2 * (C - 1))
    for b in range(B):
        for n in range(N):
            left, right = int(output.left[b, n].argmax()), int(output.right[b, n].argmax())
            if left > right:
                continue
            for c in range(1, C):
                for word in range(left, right + 1):
                    wanted[b, word, c - 1] = max(wanted[b, word, c - 1], p[b, n, c])
                wanted[b, left, C - 1 + c - 1] = max(wanted[b, left, C - 1 + c - 1], p[b, n, c])
    torch.testing.assert_close(found.words, wanted)
    torch.testing.assert_close(found.types, p)


def test_a_step_reads_what_the_step_before_found(build):
    model = build()
    batch = batch_of(model, POSTS[:2])
    with torch.no_grad():
        text, visual = model.encode(batch)
        times = torch.full((1, 2), 300)
        context = model.network.prepare(text, visual, times, model.noise.signal_share(times))
        ends = torch.zeros(2, 4, 2, dtype=torch.long)
        first = model.network(context, 0, ends)
        second = model.network(context, 0, ends, found_entities(first.output))
    assert (first.output.types - second.output.types).abs().max() > 1e-4


def test_without_self_conditioning_it_reads_nothing(build):
    model = build(heads={"self_conditioning": False})
    batch = batch_of(model, POSTS[:2])
    with torch.no_grad():
        text, visual = model.encode(batch)
        times = torch.full((1, 2), 300)
        context = model.network.prepare(text, visual, times, model.noise.signal_share(times))
        ends = torch.zeros(2, 4, 2, dtype=torch.long)
        first = model.network(context, 0, ends)
        second = model.network(context, 0, ends, found_entities(first.output))
    assert torch.equal(first.output.types, second.output.types)
