"""Made-up posts in which a part of the model must bring everything: what a caption or an earlier step says decides.

Words are numbered, so the tiny encoder can know nothing of them but what training teaches.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np

from dpe_mner.pictures.kinds import PictureParts
from dpe_mner.types import LabelledSpan, Post

LABELS = ("PER", "LOC", "ORG", "MISC")
CUES = ("man", "city", "logo", "poster")  # the word of a caption that decides each type
Task = Literal["caption_decides", "which_name", "steps"]
TASKS: tuple[Task, ...] = get_args(Task)

FILLERS = tuple(f"filler{k}" for k in range(40))
NOISE = tuple(f"noise{k}" for k in range(40))
NAMES = tuple(f"name{k}" for k in range(400))
VOCABULARY = (*FILLERS, *NOISE, *NAMES, *CUES)
CHANNELS = 16  # of the made-up image features of "steps"


Drawn = tuple[Post, PictureParts]


@dataclass(frozen=True)
class Posed:
    """A task: posts to train on, posts to validate on, and the parts of pictures, by the id of the post."""

    train: list[Post]
    valid: list[Post]
    parts: Mapping[str, PictureParts] = field(default_factory=dict)


def made_up(task: Task, *, seed: int, train: int = 2000, valid: int = 300) -> Posed:
    """Draw a task.

    Args:
        task: ``caption_decides``: one name in the post, one word of the caption decides its type. ``which_name``: two
            names, and the caption says which is what. ``steps``: two names of two types; the caption tells the first
            one's, the picture shows both without saying which is which. Eq. 3 with lambda_x 0 hides the picture from
            the first step, which cannot tell the second name. The last step sees the caption at small odds, not at
            none, so what was found need not be known.
        seed: Of all that is drawn.
        train: Training posts.
        valid: Validation posts.
    """
    generator = np.random.default_rng([TASKS.index(task), seed])
    make = {"caption_decides": _caption_decides, "which_name": _which_name, "steps": _steps}[task]
    drawn = [make(generator, f"{task}-{k}") for k in range(train + valid)]
    posts = [post for post, _ in drawn]
    parts = {post.id or "": part for post, part in drawn} if task == "steps" else {}
    return Posed(posts[:train], posts[train:], parts)


def _caption_decides(generator: np.random.Generator, id_: str) -> Drawn:
    kind = int(generator.integers(4))
    caption = [*generator.choice(NOISE, 4), CUES[kind]]
    generator.shuffle(caption)
    words = list(generator.choice(FILLERS, int(generator.integers(4, 9))))
    place = int(generator.integers(len(words) + 1))
    words.insert(place, str(generator.choice(NAMES)))
    return _post(id_, words, caption, [(place, kind)]), PictureParts()


def _which_name(generator: np.random.Generator, id_: str) -> Drawn:
    names = [str(name) for name in generator.choice(NAMES, 2, replace=False)]
    kinds = [int(kind) for kind in generator.integers(4, size=2)]
    order = [int(k) for k in generator.permutation(2)]
    caption = [word for k in order for word in (names[k], CUES[kinds[k]])]
    words, places = with_names(generator, names)
    return _post(id_, words, caption, list(zip(places, kinds, strict=True))), PictureParts()


def _steps(generator: np.random.Generator, id_: str) -> Drawn:
    first, second = (int(kind) for kind in generator.choice(4, 2, replace=False))
    names = [str(name) for name in generator.choice(NAMES, 2, replace=False)]
    words, places = with_names(generator, names)
    caption = [*generator.choice(NOISE, 2), CUES[first]]
    generator.shuffle(caption)
    picture = generator.normal(0, 0.1, CHANNELS)
    picture[[first, second]] += 1
    parts = PictureParts(grid=picture[None].astype(np.float16))
    return _post(id_, words, caption, [(places[0], first), (places[1], second)]), parts


def with_names(generator: np.random.Generator, names: list[str]) -> tuple[list[str], list[int]]:
    """Filler words with the names among them, in order and never side by side, and where the names stand."""
    words: list[str] = []
    places = []
    for name in names:
        words += [str(word) for word in generator.choice(FILLERS, int(generator.integers(1, 4)))]
        places.append(len(words))
        words.append(name)
    words += [str(word) for word in generator.choice(FILLERS, int(generator.integers(0, 3)))]
    return words, places


def _post(id_: str, words: list[str], caption: list[str], entities: list[tuple[int, int]]) -> Post:
    return Post(
        id=id_,
        words=tuple(map(str, words)),
        caption=" ".join(map(str, caption)),
        entities=tuple(LabelledSpan(start=k, end=k + 1, label=LABELS[kind]) for k, kind in entities),
    )
