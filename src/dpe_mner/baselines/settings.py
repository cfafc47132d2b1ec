"""What a baseline has of its own; everything else is the recipe's."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dpe_mner.settings import Section


class CrfSettings(Section):
    """The CRF on top of BiLSTM-CRF and BERT-CRF."""

    learning_rate: float = Field(
        default=1e-2, gt=0, description="of the transitions: few scores that start near 0 and must reach the emissions'"
    )


class BilstmSettings(Section):
    """Words and characters of BiLSTM-CRF."""

    word_size: int = Field(default=100, ge=1, description="width of the word embeddings; that of the GloVe file")
    character_size: int = Field(default=50, ge=1)
    hidden_size: int = Field(default=200, ge=1, description="of each direction")
    layers: int = Field(default=1, ge=1)
    dropout: float = Field(default=0.5, ge=0, lt=1, description="before and after the LSTM")
    learning_rate: float = Field(default=2e-3, gt=0)
    lowercase: bool = Field(default=True, description="look words up in lower case; the characters keep theirs")
    rare_count: int = Field(default=1, ge=0, description="a word this rare in the training posts is a rare word")
    rare_replacement: float = Field(
        default=0.5, ge=0, le=1, description="chance that training reads a rare word as the unknown one"
    )
    glove: str | None = Field(default=None, description="text file of word vectors; random ones when not given")
    glove_words: int | None = Field(
        default=200_000, ge=1, description="take the file's first words, its most frequent; null: all"
    )


class SpanSettings(Section):
    """The span classifier of BERT-Span."""

    max_length: int = Field(default=10, ge=1, description="words; longer entities are never found")
    pooling: Literal["mean", "max"] = Field(default="max", description="of the words inside the span")
    width_size: int = Field(default=25, ge=1, description="of the embedding of a span's length")
    hidden_size: int = Field(default=256, ge=1)


class VisionSizes(Section):
    """Sizes of the image features that a run's pictures give; found out by training."""

    coarse: int | None = Field(default=None, description="channels of y_c; all stages side by side")
    fine: int | None = Field(default=None, description="channels of y_f")
    stages: list[int] = Field(
        default_factory=list, description="channels of each stage, where the features hold several"
    )
    fine_blocks: int = Field(default=1, ge=1, description="blocks of one region")


class CoAttentionSettings(Section):
    """AdaCoAtt."""

    size: int = Field(default=200, ge=1, description="width of attention and gates")


class CatMnerSettings(Section):
    """CAT-MNER."""

    words: dict[str, list[str]] = Field(
        default_factory=dict, description="words that stand for a type, by label; ours, or the label, for any left out"
    )
    temperature: float = Field(default=0.1, gt=0, description="of the softmax over blocks")


class FmitSettings(Section):
    """FMIT."""

    layers: int = Field(default=1, ge=1)
    boundary_weight: float = Field(default=0.5, ge=0, description="of the auxiliary boundary loss")


class MnerQgSettings(Section):
    """MNER-QG."""

    queries: dict[str, str] = Field(
        default_factory=dict, description="the query of a type, by label; ours, or the label, for any left out"
    )
    existence_weight: float = Field(default=0.5, ge=0, description="of the loss on whether a type occurs")


class DebiasClSettings(Section):
    """DebiasCL."""

    layers: int | None = Field(
        default=None, ge=1, description="of fusion; as many as the encoder's when not given, 12 with the paper's"
    )
    contrast: Literal["debiased", "plain", "none"] = "debiased"
    hard_posts: int = Field(default=4, ge=0, description="N: posts of a batch with most objects; 0: no second contrast")


class BaselineSettings(Section):
    """All sections."""

    version: Literal["repaired", "faithful"] = Field(
        default="repaired",
        description="of a system whose published code does otherwise than its paper, or cannot have meant what it does",
    )

    name: str | None = Field(default=None, description="of the run in its metrics; the recipe's and the kind if absent")
    dropout: float = Field(default=0.2, ge=0, lt=1, description="between the encoder's words and the classifier")
    crf: CrfSettings = CrfSettings()
    bilstm: BilstmSettings = BilstmSettings()
    span: SpanSettings = SpanSettings()
    adacoatt: CoAttentionSettings = CoAttentionSettings()
    cat_mner: CatMnerSettings = CatMnerSettings()
    fmit: FmitSettings = FmitSettings()
    mner_qg: MnerQgSettings = MnerQgSettings()
    debiascl: DebiasClSettings = DebiasClSettings()
