"""Peak resident memory of training steps, at batch 32 and 60 spans unless told otherwise."""

from __future__ import annotations

import argparse

import torch

from dpe_mner.bench.memory import peak_process_memory
from dpe_mner.model import DPEMNERModel
from dpe_mner.training.examples import ExampleCollator, make_examples
from dpe_mner.training.recipe import load_recipe, resolve_encoder
from dpe_mner.training.train import load_split


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--spans", type=int, default=60)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=4)
    arguments = parser.parse_args()
    recipe = load_recipe(arguments.recipe, [*arguments.set, f"settings.noise.spans={arguments.spans}"])
    data = load_split(recipe, "train")
    labels = recipe.data.labels or data.labels
    model = DPEMNERModel.from_encoder(resolve_encoder(recipe.encoder), labels=labels, settings=recipe.settings)
    examples = sorted(make_examples(data.posts, model.tokenizer, labels), key=lambda e: -e.length)
    collate = ExampleCollator(pad_id=model.tokenizer.pad_id)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
    model.train()
    for step in range(arguments.steps):  # the longest posts of the data set: the worst case
        batch = collate(examples[step * arguments.batch_size : (step + 1) * arguments.batch_size])["batch"]
        model(batch, torch.Generator().manual_seed(step)).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    peak = peak_process_memory() / 1024
    print(f"batch {arguments.batch_size}, {arguments.spans} spans, longest posts, fp32: peak {peak:.2f} GB")


if __name__ == "__main__":
    main()
