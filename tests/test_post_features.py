"""What a batch takes of pictures besides features: number of objects, and the words that regions answer to."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from conftest import POSTS, batch_of
from helpers import image_features

from dpe_mner.pictures.kinds import Objects
from dpe_mner.representations.post_features import PostFeatures
from dpe_mner.training.augment import hide_vision

COUNTED = [Objects(6, 2000, 1000), None, Objects(0, 10, 10), None]


@pytest.fixture
def model(build):
    return build()


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_a_batch_holds_counts_and_densities(model):
    images = [PostFeatures(objects=objects) for objects in COUNTED]
    batch = batch_of(model, POSTS, images=images)
    assert batch.objects.tolist() == [[6, 3], [-1, -1], [0, 0], [-1, -1]]  # a count, and one a million pixels
    assert batch.coarse is batch.fine is None
    assert batch.to("cpu").objects is not None
    assert batch_of(model, POSTS, images=[PostFeatures()] * 4).objects is None
    assert batch_of(model, POSTS).objects is None


def test_objects_are_hidden_with_their_picture(model):
    images = [replace(i, objects=Objects(k, 10, 10)) for k, i in enumerate(image_features(POSTS, [True] * 4))]
    batch = batch_of(model, POSTS, images=images)
    hidden = hide_vision(batch, chance=0.5, generator=generator())
    gone = ~hidden.coarse.mask.any(1)
    assert 0 < gone.sum() < 4
    assert (hidden.objects[gone] == -1).all()
    assert torch.equal(hidden.objects[~gone], batch.objects[~gone])
    without = hide_vision(replace(batch, objects=None), chance=0.5, generator=generator())
    for name in ("caption", "tags", "coarse", "fine"):  # nothing else is drawn for them
        assert torch.equal(getattr(without, name).mask, getattr(hidden, name).mask)


def test_objects_without_a_grid_are_hidden_too(model):
    images = [PostFeatures(objects=Objects(k, 10, 10)) for k in range(4)]
    batch = batch_of(model, POSTS, images=images)
    gone = (hide_vision(batch, chance=0.5, generator=generator()).objects == -1).all(1)
    assert 0 < gone.sum() < 4
    assert hide_vision(batch, chance=0, generator=generator()) is batch
