"""Writes the golden checkpoint of the version that is installed, once, at a release; README.md says how."""

from __future__ import annotations

import json
import sys
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from dpe_mner import Post, __version__
from dpe_mner.checkpoints.loading import load_checkpoint, save_checkpoint
from dpe_mner.model import DPEMNERModel
from dpe_mner.settings import Settings
from dpe_mner.types import Prediction

HERE = Path(__file__).resolve().parent
LABELS = ["PER", "LOC", "ORG", "MISC"]
MARGIN = 1e-3  # between the scores of a step, so that rounding elsewhere changes no order
SETTINGS = {
    "noise": {"spans": 12},
    "fusion": {"heads": 2, "mlp_ratio": 1.0, "coarse_image_size": 4, "fine_image_size": 4},
    "heads": {"variant": "pointer", "self_conditioning": True},
    "loss": {"tagging": 1.0},
    "reasoning": {"steps": 2, "start": "quasi", "eta": 0.0},
}
POSTS = [
    Post(id="words", words=("Kevin", "Durant", "enters", "Oracle", "Arena"), caption="a man walks", tags=("person",)),
    Post(id="text", text="Apple opens in Paris, says Tim Cook."),
    Post(id="caption", text="good morning all", caption="a cup of coffee on a table"),
    Post(id="tags", text="The Oscars tonight \U0001f3ac", tags=("trophy", "stage")),
]


def answers(model: DPEMNERModel) -> list[dict[str, Any]]:
    """What a model says of the posts: its entities, and the candidates it had in every step."""
    found = [model.predict(post, explain=True) for post in POSTS]
    return [{"id": prediction.id, **answer(prediction)} for prediction in found]


def answer(prediction: Prediction) -> dict[str, Any]:
    """Entities and the candidates of every step."""
    return {
        "entities": [entity.as_dict() for entity in prediction.entities],
        "steps": [[entity.as_dict() for entity in step.candidates] for step in prediction.steps or ()],
    }


def encoder(folder: Path) -> str:
    """A text encoder of one layer that knows the letters."""
    letters = [chr(code) for code in range(33, 127)]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    tokenizer = Tokenizer(models.WordPiece({piece: k for k, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair=None, special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    named = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, mask_token="[MASK]", **named).save_pretrained(folder)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    BertModel(BertConfig(vocab_size=len(pieces), max_position_embeddings=64, **sizes)).save_pretrained(folder)
    return str(folder)


def make(folder: Path) -> None:
    """Write a small model of random weights with its answers, as it is loaded again."""
    torch.manual_seed(0)
    with TemporaryDirectory() as place:
        model = DPEMNERModel.from_encoder(
            encoder(Path(place)), labels=LABELS, settings=Settings.model_validate(SETTINGS)
        )
    for weight in model.parameters():  # larger than initial ones, so that every part moves the answer
        weight.data += 0.3 * torch.randn_like(weight)
    save_checkpoint(model.eval(), folder, half=True)
    found = answers(load_checkpoint(DPEMNERModel, str(folder)))
    scores = [[candidate["score"] for candidate in step] for row in found for step in row["steps"]]
    assert all(a - b > MARGIN for step in scores for a, b in pairwise(step)), "two scores are too close; another seed"
    assert all(row["entities"] for row in found), "no entities; another seed"
    (folder / "answers.json").write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    target = HERE / __version__
    if target.exists():
        sys.exit(f"{target}: is there already; the answers of a release are never made anew")
    make(target)
