"""A GPU is never asked for a value in the middle of a pass: the host would wait for all that was launched before."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from conftest import POSTS, batch_of
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoConfig, AutoModel

from dpe_mner.representations import text
from dpe_mner.types import Post

# Sizes of the result, or a Python value, depend on the data: on a GPU each of these waits.
WAITING = {"_local_scalar_dense", "is_nonzero", "nonzero", "masked_select", "equal", "_unique2", "unique_dim"}
EVEN = [Post(words=["Kevin", "Durant", "wins"]) for _ in range(3)]  # no padding
SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
DISTILBERT = {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24}


class Watch(TorchDispatchMode):
    """Notes the operations that would wait."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket.__name__ in WAITING:
            self.seen.append(str(func))
        return func(*args, **(kwargs or {}))


def test_the_watch_sees_what_waits():
    values = torch.ones(3)
    with Watch() as watch:
        bool(values.all())
        values.nonzero()
        values.sum().item()
    assert len(watch.seen) == 3


@pytest.mark.parametrize("kind", ["bert-uncased", "roberta", "electra"])
@pytest.mark.parametrize("posts", [POSTS, EVEN], ids=["padded", "even"])
def test_neither_training_nor_reasoning_waits_for_a_value(build, kind, posts, monkeypatch):
    monkeypatch.setattr(text, "_AT_ONCE", frozenset())  # as if the CPU were a GPU
    model = build(kind, encoder={"caption_layers": 1}, loss={"unroll": 2})
    batch = batch_of(model, posts, gold=True)
    with Watch() as watch:
        model.train()(batch, torch.Generator().manual_seed(0)).loss.backward()
        model.eval().reason(batch, steps=2)
    assert watch.seen == []


@pytest.mark.parametrize("kind", sorted(text._FULL_ATTENTION))
def test_the_mask_of_every_pair_says_what_the_flat_one_says(kind):
    torch.manual_seed(0)
    encoder = AutoModel.from_config(
        AutoConfig.for_model(kind, **(DISTILBERT if kind == "distilbert" else SIZES))
    ).eval()
    ids = torch.randint(5, 50, (3, 7))
    mask = torch.arange(7) < torch.tensor([7, 4, 1])[:, None]
    given = text.attention_mask(encoder, mask)
    assert given.shape == (3, 1, 7, 7)
    with torch.no_grad():
        flat = encoder(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        pairs = encoder(input_ids=ids, attention_mask=given).last_hidden_state
        blind = encoder(input_ids=ids).last_hidden_state
    assert torch.allclose(flat[mask], pairs[mask], atol=1e-6)
    assert not torch.allclose(blind[mask], pairs[mask], atol=1e-3)


def test_other_encoders_get_the_flat_mask():
    mask = torch.ones(2, 3, dtype=torch.bool)
    for kind in ("deberta-v2", "modernbert"):
        assert text.attention_mask(SimpleNamespace(config=AutoConfig.for_model(kind)), mask).shape == (2, 3)
    eager = SimpleNamespace(config=AutoConfig.for_model("bert", attn_implementation="eager"))
    assert text.attention_mask(eager, mask).dtype == torch.long
