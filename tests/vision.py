"""Tiny random vision models of the true classes, saved as folders, and pictures drawn on the spot."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from conftest import wordpiece_tokenizer
from PIL import Image
from transformers import (
    BertTokenizerFast,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipImageProcessor,
    BlipProcessor,
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    ConvNextConfig,
    ConvNextImageProcessor,
    ConvNextModel,
    DetrConfig,
    DetrForObjectDetection,
    DetrImageProcessor,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    GroundingDinoImageProcessor,
    GroundingDinoProcessor,
    MobileNetV2Config,
    MobileNetV2ImageProcessor,
    MobileNetV2Model,
    Owlv2Config,
    Owlv2ForObjectDetection,
    ResNetConfig,
    ResNetModel,
    SiglipConfig,
    SiglipImageProcessor,
    SiglipModel,
    SwinConfig,
    ViTConfig,
    ViTImageProcessor,
    ViTModel,
)

from dpe_mner.pictures.extract import Extractor, picture_files
from dpe_mner.pictures.reader import PictureReader
from dpe_mner.pictures.store import PictureStore

RESNET = {"embedding_size": 8, "hidden_sizes": [8, 12], "depths": [1, 1], "layer_type": "basic"}
TRANSFORMER = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
SQUARE = {"height": 64, "width": 64}


def picture(seed: int = 0, size: tuple[int, int] = (80, 60)) -> Image.Image:
    """Smooth coloured noise."""
    drawn = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(drawn).resize(size, resample=2)


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def write_picture(path: Path, seed: int = 0, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(seed, **options).save(path)
    return path


def resnet(folder: Path) -> str:
    torch.manual_seed(0)
    ResNetModel(ResNetConfig(**RESNET)).save_pretrained(folder)
    ConvNextImageProcessor(size={"shortest_edge": 64}, crop_pct=1.0).save_pretrained(folder)
    return str(folder)


def convnext(folder: Path) -> str:
    torch.manual_seed(0)
    ConvNextModel(ConvNextConfig(hidden_sizes=[4, 4, 6, 8], depths=[1, 1, 1, 1])).save_pretrained(folder)
    ConvNextImageProcessor(size={"shortest_edge": 64}, crop_pct=1.0).save_pretrained(folder)
    return str(folder)


def mobilenet(folder: Path) -> str:
    torch.manual_seed(0)
    MobileNetV2Model(MobileNetV2Config(image_size=64, depth_multiplier=0.1, min_depth=4)).eval().save_pretrained(folder)
    size = {"shortest_edge": 64}
    MobileNetV2ImageProcessor(size=size, crop_size={"height": 64, "width": 64}).save_pretrained(folder)
    return str(folder)


def vit(folder: Path) -> str:
    torch.manual_seed(0)
    ViTModel(ViTConfig(image_size=64, patch_size=16, **TRANSFORMER)).save_pretrained(folder)
    ViTImageProcessor(size=SQUARE).save_pretrained(folder)
    return str(folder)


def clip(folder: Path) -> str:
    torch.manual_seed(0)
    tokenizer = wordpiece_tokenizer(lower=True)
    text = {"vocab_size": len(tokenizer), "max_position_embeddings": 8, **TRANSFORMER}
    text |= {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
    vision = {"image_size": 64, "patch_size": 32, **TRANSFORMER}
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)).save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": 64}, crop_size=SQUARE).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def siglip(folder: Path) -> str:
    torch.manual_seed(0)
    tokenizer = wordpiece_tokenizer(lower=True)
    text = {"vocab_size": len(tokenizer), "max_position_embeddings": 8, **TRANSFORMER}
    text |= {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
    vision = {"image_size": 64, "patch_size": 32, **TRANSFORMER}
    SiglipModel(SiglipConfig(text_config=text, vision_config=vision)).save_pretrained(folder)
    SiglipImageProcessor(size=SQUARE).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def detr(folder: Path) -> str:
    torch.manual_seed(0)
    config = DetrConfig(
        use_timm_backbone=False,
        use_pretrained_backbone=False,
        backbone=None,
        backbone_config=ResNetConfig(**RESNET, out_features=["stage2"]),
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        num_queries=6,
        num_labels=3,
        id2label={0: "person", 1: "ball", 2: "cup"},
        label2id={"person": 0, "ball": 1, "cup": 2},
    )
    DetrForObjectDetection(config).save_pretrained(folder)
    DetrImageProcessor(size={"shortest_edge": 64, "longest_edge": 96}).save_pretrained(folder)
    return str(folder)


def blip(folder: Path) -> str:
    torch.manual_seed(0)
    tokenizer = wordpiece_tokenizer(lower=True)
    tokenizer.save_pretrained(folder)
    size = len(tokenizer)
    text = {
        "vocab_size": size,
        "max_position_embeddings": 32,
        "encoder_hidden_size": 16,
        "bos_token_id": 2,
        "sep_token_id": 3,
        "eos_token_id": 3,
        "pad_token_id": 0,
        **TRANSFORMER,
    }
    vision = {"image_size": 64, "patch_size": 32, **TRANSFORMER}
    config = BlipConfig(text_config=text, vision_config=vision, projection_dim=8)
    BlipForConditionalGeneration(config).save_pretrained(folder)
    bert = BertTokenizerFast.from_pretrained(str(folder))
    BlipProcessor(BlipImageProcessor(size=SQUARE), bert).save_pretrained(folder)
    return str(folder)


def owl(folder: Path) -> str:
    from transformers import Owlv2ImageProcessor, Owlv2Processor

    torch.manual_seed(0)
    tokenizer = wordpiece_tokenizer(lower=True)  # a query that begins with piece 0 counts as padding
    text = {"vocab_size": len(tokenizer), "max_position_embeddings": 16, **TRANSFORMER}
    tokenizer.model_max_length = 16
    text |= {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
    vision = {"image_size": 64, "patch_size": 16, **TRANSFORMER}
    config = Owlv2Config(text_config=text, vision_config=vision, projection_dim=16)
    model = Owlv2ForObjectDetection(config)
    torch.nn.init.zeros_(model.box_head.dense2.weight)  # random ones give boxes without area
    model.save_pretrained(folder)
    Owlv2Processor(Owlv2ImageProcessor(size=SQUARE), tokenizer).save_pretrained(folder)
    return str(folder)


def dino(folder: Path) -> str:
    torch.manual_seed(0)
    wordpiece_tokenizer(lower=True).save_pretrained(folder)
    tokenizer = BertTokenizerFast.from_pretrained(str(folder))
    text = {"model_type": "bert", "vocab_size": len(tokenizer), "max_position_embeddings": 64, **TRANSFORMER}
    swin = {"image_size": 64, "embed_dim": 8, "depths": [1, 1], "num_heads": [1, 1], "window_size": 4}
    config = GroundingDinoConfig(
        backbone_config=SwinConfig(**swin, out_features=["stage1", "stage2"]),
        text_config=text,
        d_model=32,
        encoder_layers=1,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        num_queries=6,
        max_text_len=24,
        num_feature_levels=3,
        encoder_n_points=2,
        decoder_n_points=2,
    )
    GroundingDinoForObjectDetection(config).save_pretrained(folder)
    images = GroundingDinoImageProcessor(size={"shortest_edge": 64, "longest_edge": 96})
    GroundingDinoProcessor(images, tokenizer).save_pretrained(folder)
    return str(folder)


MAKERS = {
    "resnet": resnet, "convnext": convnext, "vit": vit, "clip": clip, "detr": detr, "blip": blip, "owl": owl,
    "dino": dino, "mobilenet": mobilenet, "siglip": siglip,
}  # fmt: skip


def extract(settings, folder, path, **options):
    """Extract all pictures of a folder into the store of that path."""
    store = PictureStore(path, write=True)
    try:
        return Extractor(PictureReader(settings), store, folder, batch_size=2, **options)(picture_files(folder))
    finally:
        store.close()
