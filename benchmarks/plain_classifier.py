"""The plain token classifier: the same reader, encoder, word features and optimiser, one linear layer, argmax.

The reference our results are held against, text only.
"""

from __future__ import annotations

import argparse
import time

import torch
from torch import nn
from torch.nn import functional

from dpe_mner.data.gold import gold_characters
from dpe_mner.data.tags import read_tags
from dpe_mner.data.words import words_of
from dpe_mner.evaluation.score import score
from dpe_mner.representations.batch import Batch
from dpe_mner.representations.collate import collate
from dpe_mner.representations.encoders import load_pretrained, new_encoder
from dpe_mner.representations.text import TextEncoder
from dpe_mner.representations.tokenizer import load_tokenizer
from dpe_mner.representations.windows import WindowTokenizer
from dpe_mner.settings import EncoderSettings
from dpe_mner.training.examples import ExampleCollator, LengthGroupedBatches, make_examples
from dpe_mner.training.recipe import load_recipe, resolve_encoder
from dpe_mner.training.train import load_split
from dpe_mner.training.trainer import bf16_is_native
from dpe_mner.types import Post


class Classifier(nn.Module):
    """Encoder, dropout, one linear layer over words."""

    def __init__(self, encoder: str, settings: EncoderSettings, tags: int) -> None:
        super().__init__()
        config, pretrained = load_pretrained(encoder)
        self.text = TextEncoder(new_encoder(config), settings)
        self.text.load_encoder(pretrained)
        self.output = nn.Sequential(nn.Dropout(0.2), nn.Linear(self.text.width, tags))

    def forward(self, batch: Batch) -> torch.Tensor:
        """Tag logits. *Shape:* (B, M, tags)."""
        return self.output(self.text(batch).x_t)


def main() -> None:
    """Train, score after each epoch, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--encoder-lr", type=float, default=2e-4)
    parser.add_argument("--head-lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    recipe = load_recipe(arguments.recipe, arguments.set)
    encoder = resolve_encoder(recipe.encoder)
    train, valid = load_split(recipe, "train"), load_split(recipe, "valid")
    labels = recipe.data.labels or train.labels
    names = ["O", *(f"{prefix}-{label}" for label in labels for prefix in "BI")]
    tokenizer = WindowTokenizer(load_tokenizer(encoder), recipe.settings.encoder, max_pieces=512)
    examples = make_examples(train.posts, tokenizer, labels)
    model = Classifier(encoder, recipe.settings.encoder, len(names))
    groups = [
        {"params": model.text.parameters(), "lr": arguments.encoder_lr},
        {"params": model.output.parameters(), "lr": arguments.head_lr},
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.0, fused=True)
    steps = arguments.epochs * -(-len(examples) // arguments.batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda i: min(i / (0.1 * steps), max(0.0, (steps - i) / (0.9 * steps)))
    )
    build = ExampleCollator(pad_id=tokenizer.pad_id)
    half = bf16_is_native() if recipe.training.bf16 == "auto" else recipe.training.bf16
    gold = [gold_characters(p, words_of(p)) for p in valid.posts]
    started = time.monotonic()
    for epoch in range(arguments.epochs):
        order = list(
            LengthGroupedBatches(
                [e.length for e in examples],
                batch_size=arguments.batch_size,
                seed=arguments.seed,
                epoch=lambda epoch=epoch: epoch,
            )
        )
        model.train()
        for k in range(0, len(order), arguments.batch_size):
            batch = build([examples[i] for i in order[k : k + arguments.batch_size]])["batch"]
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                logits = model(batch)
            functional.cross_entropy(
                logits.float().flatten(0, 1), batch.gold.tags.flatten(), ignore_index=-100
            ).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
        report = score(gold, predict(model, valid.posts, tokenizer, names))
        print(f"epoch {epoch + 1}: F1 {report.overall.f1:.2f}  {time.monotonic() - started:.0f} s", flush=True)


@torch.inference_mode()
def predict(
    model: Classifier, posts: list[Post], tokenizer: WindowTokenizer, names: list[str]
) -> list[list[tuple[int, int, str]]]:
    """Entities of each post, in characters."""
    model.eval()
    found: list[list[tuple[int, int, str]]] = [[] for _ in posts]
    windows = [w for i, p in enumerate(posts) for w in tokenizer.windows(p, words_of(p), index=i)]
    for k in range(0, len(windows), 64):
        part = windows[k : k + 64]
        tags = model(collate(part, pad_id=tokenizer.pad_id)).argmax(-1).tolist()
        for window, row in zip(part, tags, strict=True):
            words = words_of(posts[window.post])
            for span in read_tags([names[t] for t in row[: len(window.words)]]).spans:
                first, last = window.first + span.start, window.first + span.end - 1
                found[window.post].append((words.starts[first], words.ends[last], span.label))
    return found


if __name__ == "__main__":
    main()
