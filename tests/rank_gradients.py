"""A program for test_ranks.py: gradients of one batch, of which each process has its share.

    RANK=0 WORLD_SIZE=2 ... python rank_gradients.py MODEL OUTPUT 1101

The last word says which of the four posts have a picture.
"""

from __future__ import annotations

import os
import sys

import torch
from conftest import POSTS, batch_of
from helpers import image_features
from safetensors.torch import save_file
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from dpe_mner import ranks
from dpe_mner.checkpoints.loading import load_checkpoint
from dpe_mner.model import DPEMNERModel
from dpe_mner.training.augment import hide_pieces, hide_vision
from dpe_mner.training.shares import with_parts_of_all


def main(folder: str, output: str, pictures: str) -> None:
    """Write the gradients, averaged over the processes, and the sum of their losses."""
    torch.manual_seed(0)
    model = load_checkpoint(DPEMNERModel, folder)
    count = int(os.environ["WORLD_SIZE"])
    if count > 1:
        distributed.init_process_group("gloo")
    posts = list(POSTS[:4])
    images = image_features(posts, [there == "1" for there in pictures])
    share = slice(ranks.rank() * 4 // count, (ranks.rank() + 1) * 4 // count)
    batch = batch_of(model, posts[share], gold=True, images=images[share])
    batch = with_parts_of_all(batch, pad_id=model.tokenizer.pad_id)
    generator = torch.Generator().manual_seed(5)
    batch = hide_vision(batch, chance=0.2, generator=generator)
    batch = hide_pieces(batch, chance=0.2, mask_id=3, generator=generator)
    trained = DistributedDataParallel(model, find_unused_parameters=True) if count > 1 else model
    loss = trained(batch, generator).loss
    (loss * count).backward()
    told = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    told["loss"] = ranks.total(loss.detach())
    if ranks.is_first():
        save_file(told, output)
    if count > 1:
        distributed.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
