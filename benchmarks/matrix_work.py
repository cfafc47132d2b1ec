"""Matrix work of a prediction against the bare encoder over the posts alone, counted, not timed."""

from __future__ import annotations

import argparse

import torch
from torch.utils.flop_counter import FlopCounterMode

import dpe_mner
from dpe_mner.bench.workload import batches_of
from dpe_mner.data.dataset import load_dataset


@torch.inference_mode()
def main() -> None:
    """Count and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("--visual-text")
    parser.add_argument("--model")
    arguments = parser.parse_args()
    model = dpe_mner.load(arguments.model)
    batches = batches_of(model, load_dataset(arguments.data, visual_text=arguments.visual_text).posts, 64)
    with FlopCounterMode(display=False) as encoder:
        for batch in batches:
            model.text_encoder.encoder(input_ids=batch.text.ids, attention_mask=batch.text.mask.long())
    with FlopCounterMode(display=False) as whole:
        for batch in batches:
            model.reason(batch)
    print(f"{whole.get_total_flops() / encoder.get_total_flops():.2f} times the encoder's matrix work")


if __name__ == "__main__":
    main()
