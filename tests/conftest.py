"""Tiny encoders and models, built on the spot: nothing here touches a network."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertModel,
    ElectraConfig,
    ElectraModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaModel,
)

from dpe_mner.data.words import words_of
from dpe_mner.model import DPEMNERModel
from dpe_mner.representations.collate import collate
from dpe_mner.reproduce.experiment import choose_experiment
from dpe_mner.reproduce.plan import make_plan
from dpe_mner.reproduce.tables import choose_tables
from dpe_mner.settings import Settings
from dpe_mner.types import LabelledSpan, Post

torch.set_num_threads(1)

_LONGEST = ("test_vision_bench", "test_light", "test_bench", "test_training")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files with the longest tests first: begun last, they would keep one worker busy while the others wait."""
    items.sort(key=lambda item: not item.nodeid.partition(".py")[0].endswith(_LONGEST))


LABELS = ["PER", "LOC", "ORG", "MISC"]
SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 96,
}
FAST = {
    "noise": {"spans": 12, "signal_scale": 2.0, "gold_share": 0.7},
    "fusion": {
        "heads": 4,
        "mlp_ratio": 1.0,
        "coarse_image_size": 10,
        "fine_image_size": 6,
        "relative_positions": 4,
        "visual_neighbours": 1,
        "weights_on": "attention",
    },
    "heads": {"variant": "pointer", "self_conditioning": True},
    "loss": {"tagging": 1.0, "unroll": 2, "pure_noise_share": 0.5},
    "reasoning": {"steps": 3, "start": "quasi", "time_power": 2.0, "combine": "mean", "eta": 0.0},
}


def letters() -> list[str]:
    return [chr(c) for c in range(33, 127)]


def wordpiece_tokenizer(*, lower: bool) -> PreTrainedTokenizerFast:
    alphabet = letters()
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *alphabet, *(f"##{c}" for c in alphabet)]
    tokenizer = Tokenizer(models.WordPiece({t: i for i, t in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lower)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair=None, special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )


def byte_tokenizer() -> PreTrainedTokenizerFast:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {t: i for i, t in enumerate(["<s>", "<pad>", "</s>", "<unk>", "<mask>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        pad_token="<pad>",
        cls_token="<s>",
        sep_token="</s>",
        bos_token="<s>",
        eos_token="</s>",
        mask_token="<mask>",
    )


def save_encoder(folder: Path, kind: str) -> str:
    torch.manual_seed(0)
    if kind == "roberta":
        tokenizer = byte_tokenizer()
        model = RobertaModel(RobertaConfig(vocab_size=len(tokenizer), pad_token_id=1, **SIZES))
    elif kind == "electra":
        tokenizer = wordpiece_tokenizer(lower=True)
        model = ElectraModel(ElectraConfig(vocab_size=len(tokenizer), embedding_size=16, **SIZES))
    else:
        tokenizer = wordpiece_tokenizer(lower=kind == "bert-uncased")
        model = BertModel(BertConfig(vocab_size=len(tokenizer), **SIZES))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def encoders(tmp_path_factory) -> Callable[[str], str]:
    made: dict[str, str] = {}

    def get(kind: str) -> str:
        if kind not in made:
            made[kind] = save_encoder(tmp_path_factory.mktemp(kind), kind)
        return made[kind]

    return get


def settings_with(**sections) -> Settings:
    merged = {name: dict(values) for name, values in FAST.items()}
    for name, values in sections.items():
        merged.setdefault(name, {}).update(values)
    return Settings.model_validate(merged)


@pytest.fixture
def build(encoders) -> Callable[..., DPEMNERModel]:
    """A tiny model at its real initial values."""

    def make(kind: str = "bert-uncased", **sections) -> DPEMNERModel:
        encoder = encoders(kind)  # before the seed: building it draws numbers
        torch.manual_seed(1)
        model = DPEMNERModel.from_encoder(encoder, labels=LABELS, settings=settings_with(**sections))
        return model.eval()

    return make


@pytest.fixture(scope="session")
def saved_model(tmp_path_factory, encoders) -> str:
    """Folder of a tiny random checkpoint."""
    encoder = encoders("bert-uncased")  # before the seed: building it draws numbers
    torch.manual_seed(1)
    model = DPEMNERModel.from_encoder(encoder, labels=LABELS, settings=settings_with())
    folder = tmp_path_factory.mktemp("saved")
    model.save_pretrained(folder)
    return str(folder)


POSTS = [
    Post(
        id="a",
        words=("Kevin", "Durant", "enters", "Oracle", "Arena"),
        caption="a basketball player walks in",
        tags=("person", "ball"),
        entities=(LabelledSpan(start=0, end=2, label="PER"), LabelledSpan(start=3, end=5, label="LOC")),
    ),
    Post(
        id="b",
        words=("Apple", "opens", "in", "Paris", "says", "Tim", "Cook"),
        caption="a glass building",
        entities=(
            LabelledSpan(start=0, end=1, label="ORG"),
            LabelledSpan(start=3, end=4, label="LOC"),
            LabelledSpan(start=5, end=7, label="PER"),
        ),
    ),
    Post(id="c", words=("good", "morning", "all"), entities=()),
    Post(
        id="d",
        words=("The", "Oscars", "tonight"),
        tags=("trophy",),
        entities=(LabelledSpan(start=1, end=2, label="MISC"),),
    ),
]
VALID = [replace(post, id=f"{post.id}{k}") for k in range(3) for post in POSTS]


@pytest.fixture
def posts() -> list[Post]:
    return list(POSTS)


def batch_of(model: DPEMNERModel, posts, *, gold: bool = False, images=None, multiple: int = 1):
    number = {label: c for c, label in enumerate(LABELS, start=1)}
    windows = [w for i, p in enumerate(posts) for w in model.tokenizer.windows(p, words_of(p), index=i)]
    spans = [[(e.start, e.end - 1, number[e.label]) for e in p.entities or ()] for p in posts] if gold else None
    return collate(windows, pad_id=model.tokenizer.pad_id, gold=spans, images=images, multiple=multiple)


@pytest.fixture
def write(tmp_path) -> Callable[[str, str | bytes], Path]:
    def to_file(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return to_file


def conll(posts) -> str:
    from dpe_mner.data.tags import write_tags

    blocks = []
    for post in posts:
        tags = write_tags(post.entities or (), len(post.words))
        blocks.append("\n".join([f"IMGID:{post.id}", *(f"{w}\t{t}" for w, t in zip(post.words, tags, strict=True))]))
    return "\n\n".join(blocks) + "\n"


def jsonl(rows) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


@pytest.fixture
def recipe_file(tmp_path, encoders, write) -> Path:
    """A recipe for a tiny encoder and twelve validation posts."""
    write("train.txt", conll(POSTS))
    write("valid.txt", conll(VALID))
    write("visual.jsonl", jsonl([{"image_id": p.id, "caption": "a player"} for p in (*POSTS, *VALID)]))
    values = {
        "encoder": encoders("bert-uncased"),
        "data": {"folder": str(tmp_path), "visual_text": "visual.jsonl"},
        "settings": FAST,
        "training": {"epochs": 2, "batch_size": 4, "learning_rate": 1e-3, "encoder_learning_rate": 1e-3},
    }
    return write("twitter2017-tiny.yaml", yaml.safe_dump(values))


@pytest.fixture
def plan_for(recipe_file, tmp_path):
    """A plan of the tiny recipe; options as the command line takes them."""

    def make(*, tables=(), only=(), **options):
        experiment = choose_experiment(output=tmp_path / "out", recipe=recipe_file, **options)
        return make_plan(experiment, *choose_tables(list(tables), list(only)))

    return make
