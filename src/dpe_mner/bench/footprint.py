"""Part ``memory``: peak memory of prediction and of training steps, each in a process of its own.

A process's peak never falls, so whatever ran before in the same one would be counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from itertools import cycle, islice
from multiprocessing import get_context
from typing import Any

import torch

from dpe_mner.bench.subject import Subject, peak_memory
from dpe_mner.bench.training import TRAIN_BATCH, TRAIN_SPANS, trained_as
from dpe_mner.bench.workload import one_batch, with_gold
from dpe_mner.checkpoints.loading import load_checkpoint
from dpe_mner.data.words import words_of
from dpe_mner.errors import InputError
from dpe_mner.model import DPEMNERModel
from dpe_mner.types import Post

_STEPS = 4


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a process needs to load the model and begin; nothing in it is a tensor."""

    checkpoint: str
    posts: Sequence[Post]
    batch_size: int
    device: str
    dtype: str
    threads: int

    def subject(self) -> Subject:
        """The same subject as the parent's, in this process."""
        torch.set_num_threads(self.threads)
        model = load_checkpoint(DPEMNERModel, self.checkpoint, device=self.device, dtype=self.dtype)
        return Subject(model=model, posts=self.posts, batch_size=self.batch_size)


def check(subject: Subject) -> None:
    """Refuse a model that no other process can load."""
    subject.named_checkpoint("memory")


def measure(subject: Subject) -> dict[str, Any]:
    """Peak memory in MB of the whole process, libraries included; on a GPU of what PyTorch allocates there.

    ``prediction_mb``: all posts predicted. ``training_mb``: four AdamW steps in float32 at batch 32 and 60 spans on
    the longest posts, the worst case. ``idle_mb``: the model loaded and nothing done.
    """
    task = Task(
        checkpoint=subject.named_checkpoint("memory"),
        posts=[replace(post, image=None) for post in subject.posts],  # a picture in memory need not travel
        batch_size=subject.batch_size,
        device=str(subject.device),
        dtype=str(subject.model.dtype).removeprefix("torch."),
        threads=torch.get_num_threads(),
    )
    works = {"idle_mb": idle, "prediction_mb": predicting, "training_mb": training}
    peaks = {name: round(in_fresh_process(work, task), 1) for name, work in works.items()}
    return {"memory": peaks | {"training_batch": TRAIN_BATCH, "training_spans": TRAIN_SPANS}}


def in_fresh_process(work: Callable[[Task], float], task: Task) -> float:
    """The result of ``work`` in a process that has done nothing before.

    Raises:
        InputError: If the process is killed, as it is when memory runs out.
    """
    try:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            return pool.submit(work, task).result()
    except BrokenProcessPool:
        raise InputError(f"bench: memory ({work.__name__}) was killed; most likely memory ran out") from None


def idle(task: Task) -> float:
    """Peak of loading the model, in MB."""
    return peak_memory(task.subject().device)


def predicting(task: Task) -> float:
    """Peak of predicting all posts, in MB."""
    subject = task.subject()
    subject.predict()
    return peak_memory(subject.device)


def training(task: Task) -> float:
    """Peak of training steps on the longest posts, in MB."""
    subject = task.subject()
    model = subject.model.float()
    model.use_transformers()  # as training does
    trained = trained_as(model, noise={"spans": TRAIN_SPANS})
    longest = cycle(sorted(subject.posts, key=lambda post: -len(words_of(post))))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
    model.train()
    for step in range(_STEPS):
        batch = with_gold(one_batch(model, list(islice(longest, TRAIN_BATCH))))
        trained(batch, torch.Generator(device=subject.device).manual_seed(step)).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return peak_memory(subject.device)
