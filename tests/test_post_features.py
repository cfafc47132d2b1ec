"""What a batch takes of pictures besides features: number of objects, and the words that regions answer to."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import LABELS, POSTS, batch_of
from helpers import image_features

from dpe_mner.data.words import words_of
from dpe_mner.pictures.kinds import Objects, PictureParts, Regions
from dpe_mner.pictures.reader import PictureReader
from dpe_mner.pictures.source import PictureSource
from dpe_mner.pictures.store import PictureStore, SeenFile, region_part
from dpe_mner.predictor import collate_windows, features_of
from dpe_mner.representations.post_features import PostFeatures
from dpe_mner.settings import PictureSettings
from dpe_mner.training.augment import hide_vision
from dpe_mner.training.examples import ExampleCollator, make_examples
from dpe_mner.types import Post

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


def grounded(*phrases, blocks: int = 2) -> PostFeatures:
    """Features of regions that answer to these characters of a post."""
    count = len(phrases)
    features = np.ones((count, blocks, 6), dtype=np.float16)
    return features_of(PictureParts(regions=Regions(features, [(0, 0, 1, 1)] * count, ["x"] * count, phrases)))


def words_seen(model, post: Post, image: PostFeatures) -> list[list[list[int]]]:
    windows = model.tokenizer.windows(post, words_of(post))
    batch = collate_windows(windows, pad_id=model.tokenizer.pad_id, images=[image] * len(windows))
    assert batch.fine_words.shape[:2] == batch.fine.features.shape[:2]
    return batch.fine_words.tolist()


def test_every_block_has_the_words_of_its_regions_phrase(model):
    post = Post(text="so Kevin Durant enters #Oracle Arena")
    (rows,) = words_seen(model, post, grounded((3, 15), None, (24, 36)))
    assert rows == [[1, 2], [1, 2], [-1, -1], [-1, -1], [5, 6], [5, 6]]
    given = Post(words=("so", "Kevin", "Durant", "enters", "#Oracle", "Arena"))  # a word that is more than the phrase
    (rows,) = words_seen(model, given, grounded((3, 15), (24, 36), blocks=1))
    assert rows == [[1, 2], [4, 5]]


def test_words_count_within_the_window(build):
    model = build(encoder={"window_words": 8, "window_overlap": 2})
    words = [f"w{k}" for k in range(12)]
    post = Post(words=words)
    places = words_of(post)
    early, across, late = ((places.starts[a], places.ends[b]) for a, b in ((0, 1), (5, 8), (10, 11)))
    first, second = words_seen(model, post, grounded(early, across, late, blocks=1))
    (start,) = (w.first for w in model.tokenizer.windows(post, places)[1:])
    assert first == [[0, 1], [5, 7], [-1, -1]]
    assert second == [[-1, -1], [max(5 - start, 0), 8 - start], [10 - start, 11 - start]]


def test_posts_without_phrases_have_no_words(model):
    plain = image_features(POSTS, [True] * 4)
    assert batch_of(model, POSTS, images=plain).fine_words is None
    mixed = [grounded((0, 5), blocks=3), plain[1], PostFeatures(), plain[3]]
    words = batch_of(model, POSTS, images=mixed).fine_words
    assert words[0].tolist() == [[0, 0]] * 3 + [[-1, -1]] * 3  # padded as fine is
    assert (words[1:] == -1).all()
    assert features_of(PictureParts(regions=Regions(np.ones((0, 1, 6), np.float16), [], []))).fine is None


def test_words_are_hidden_with_their_regions(model):
    batch = batch_of(model, POSTS, images=[grounded((0, 3))] * 4)
    hidden = hide_vision(batch, chance=0.5, generator=generator())
    gone = ~hidden.fine.mask.any(1)
    assert 0 < gone.sum() < 4
    assert (hidden.fine_words[gone] == -1).all()
    assert torch.equal(hidden.fine_words[~gone], batch.fine_words[~gone])


def test_training_reads_counts_and_words_from_a_store(model, tmp_path):
    pytest.importorskip("lmdb")
    grounding = {"grounding": {"model": "/gone"}, "backbone": "/gone", "fingerprint": "f", "pool": 1}
    settings = {"regions": grounding, "objects": {"model": "/gone", "fingerprint": "f"}}
    reader = PictureReader(PictureSettings.model_validate(settings))  # nothing is loaded: the store is enough
    posts = [
        Post(text=text, image="a.jpg", entities=()) for text in ("Oracle Arena", "in the Oracle Arena", "so be it")
    ]
    found = Regions(np.ones((2, 1, 6), np.float16), [(0, 0, 1, 1)] * 2, ["oracle arena", "cup"])
    store = PictureStore(tmp_path / "s", write=True)
    part = region_part(reader.key("regions"), reader.query(posts[0].text))
    parts = [("k", part, "regions", found), ("k", reader.key("objects"), "objects", Objects(3, 1000, 500))]
    store.add(parts, [("a.jpg", SeenFile(1, 1, "k"))])
    examples = make_examples(posts, model.tokenizer, LABELS, PictureSource(reader, store=store))
    batch = ExampleCollator(pad_id=model.tokenizer.pad_id, store=store)(examples)["batch"]
    store.close()
    assert batch.objects.tolist() == [[3, 6]] * 3
    assert batch.fine.mask.tolist() == [[True, True], [True, True], [False, False]]  # kept by phrases: one has none
    assert batch.fine_words.tolist() == [[[0, 1], [-1, -1]], [[2, 3], [-1, -1]], [[-1, -1], [-1, -1]]]
