"""Every choice the network makes, as one typed and validated thing that is saved with the checkpoint.

Sections follow the rooms of the package. Defaults are the paper's where the paper gives them
(N spans, T diffusion steps, h width); the recipes override them by name.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from dpe_mner.errors import InputError, nearest

S = TypeVar("S", bound="Section")

PriorityName = Literal["bounded", "literal", "literal-flipped"]
Exchange = Literal["bottleneck", "direct"]
ReadingOrder = Literal["parallel", "text-first"]
HeadVariant = Literal["paper", "pointer"]
Combination = Literal["last", "mean", "max"]
WeightsOn = Literal["states", "attention"]
AlignOn = Literal["cosine", "gate"]
FusionStrategy = Literal["dynamic", "max-pool", "mean-pool", "mlp", "moe"]
TextLevel = Literal["t", "g", "s"]
Grain = Literal["c", "f"]
TEXT_LEVELS: tuple[TextLevel, ...] = ("t", "g", "s")
GRAINS: tuple[Grain, ...] = ("c", "f")


class Section(BaseModel):
    """A frozen group of settings; an unknown key is an error that names the nearest known one."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class EncoderSettings(Section):
    """Text encoder: pieces to words (x_t) and the sentence (x_g)."""

    word_shapes: bool = Field(
        default=False, description="add a lower/Title/UPPER/other embedding to the input; for uncased encoders"
    )
    split_compounds: bool = Field(
        default=False, description="#NBAFinals is read as NBA Finals (still one word); for uncased encoders"
    )
    window_words: int = Field(default=128, ge=8, description="longer posts are split into windows of this many words")
    window_overlap: int = Field(default=32, ge=0)
    caption_pieces: int = Field(default=64, ge=4, description="captions and tag lists are cut after this many pieces")
    caption_words: bool = Field(
        default=False, description="captions and tags word by word, as the post is; False: piece by piece"
    )
    caption_layers: int | None = Field(
        default=None, ge=1, description="captions and tags run through the first layers only; all when not given"
    )

    @model_validator(mode="after")
    def _overlap_fits(self) -> EncoderSettings:
        if self.window_overlap * 2 > self.window_words:
            raise ValueError("window_overlap must be at most half of window_words")
        return self


class NoiseSettings(Section):
    """Forward process of eq. 1 and the spans it starts from."""

    timesteps: int = Field(default=1000, ge=2, description="T")
    signal_scale: float = Field(default=1.0, gt=0)
    spans: int = Field(default=150, ge=1, description="N in training")
    gold_share: float = Field(default=1.0, ge=0, le=1, description="share of the N spans that start from gold spans")
    anchor_reach: int | None = Field(
        default=None,
        ge=0,
        description="a span answers for the gold span within this many words of its anchor, else for no entity; "
        "None: gold spans are repeated and shared out by cost alone, as in the paper",
    )


class FusionSettings(Section):
    """The three fusion layers, their priorities and the switches of Tables 2 and 4."""

    hidden_size: int | None = Field(default=None, ge=4, description="h; the encoder's width when not given")
    heads: int = Field(default=8, ge=1)
    mlp_ratio: float = Field(default=4.0, ge=0)
    aggregator_mlp_ratio: float = Field(default=0.0, ge=0, description="0: SpanAggr is two attention layers only")
    relative_positions: int = Field(
        default=0, ge=0, description="SpanAggr sees how far words are from a span, up to this many; 0: it does not"
    )
    visual_neighbours: int = Field(
        default=0, ge=0, description="words of captions and tags take in this many to each side; 0: none, as printed"
    )
    exchange: Exchange = Field(
        default="bottleneck", description="how text reads vision: through MBT's few tokens, or each position by itself"
    )
    bottleneck_order: ReadingOrder = Field(
        default="parallel", description="text-first: the tokens meet the text before the picture"
    )
    weights_on: WeightsOn = Field(
        default="states",
        description="what eq. 3 multiplies: visual states, as printed, or the odds of attending to them",
    )
    dropout: float = Field(default=0.1, ge=0, lt=1)
    attention_dropout: float | None = Field(
        default=None, ge=0, lt=1, description="on attention weights; as dropout when not given, 0 trains faster"
    )
    strategy: FusionStrategy = Field(
        default="dynamic", description="all others (Table 3) fuse once, the same for all steps"
    )
    priority: PriorityName = "bounded"
    lambda_x: float = Field(default=0.3, ge=0, le=0.5)
    lambda_y: float = Field(default=0.3, ge=0, le=0.5)
    reverse_gap: bool = False
    reverse_grain: bool = False
    prioritize: bool = Field(default=True, description="False: w/o PMI, plain concatenation")
    decompose: bool = Field(default=True, description="False: w/o DMF, one flat fusion")
    token_level: bool = True
    sentence_level: bool = True
    span_level: bool = True
    random_features: Literal["none", "coarse", "fine"] = Field(
        default="none", description="Table 4: replace a grain's features by random vectors"
    )
    coarse_image_size: int = Field(default=2048, ge=1, description="channels of y_c")
    fine_image_size: int = Field(default=2048, ge=1, description="channels of y_f")

    @property
    def levels(self) -> tuple[TextLevel, ...]:
        """Text levels that meet vision."""
        there = {"t": self.token_level, "g": self.sentence_level, "s": self.span_level}
        return tuple(i for i in TEXT_LEVELS if there[i])


class HeadSettings(Section):
    """Boundary pointers and type classifier of 2.3.2, and what one step hands to the next."""

    variant: HeadVariant = Field(
        default="paper",
        description="paper: every word is asked by itself whether it is a boundary (sigmoid); pointer: a boundary "
        "points at one word (softmax), H_m says how far it moves, and x_s0 holds a span's ends beside its mean",
    )
    self_conditioning: bool = Field(
        default=False, description="a step sees the entities and types that the step before found"
    )


class LossSettings(Section):
    """Weights of eq. 19, 20 and of the additions to them."""

    tagging: float = Field(
        default=0.0, ge=0, description="of an auxiliary tagging of the words that no head reads; 0: the model has none"
    )
    align_token: float = Field(default=1.0, ge=0)
    align_sentence: float = Field(default=1.0, ge=0)
    align_span: float = Field(default=1.0, ge=0)
    lambda_rel: float = Field(default=0.5, ge=0, le=1)
    align_on: AlignOn = Field(
        default="cosine",
        description="what eq. 17 and 18 rank: the cosine under the gate, or the gate itself, as printed",
    )
    unroll: int = Field(default=1, ge=1, le=3, description="reasoning passes a training step; 2: learn from own output")
    pure_noise_share: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="share of posts whose first pass starts at T-1 from noise, as reasoning does",
    )


class ReasoningSettings(Section):
    """Sampling: gamma steps from T-1 to 0 over N spans."""

    steps: int = Field(default=5, ge=1, description="gamma")
    spans: int | None = Field(default=None, ge=1, description="N at inference; the training N when not given")
    spans_per_word: float = Field(default=0.0, ge=0, description="long posts get at least this many spans a word")
    eta: float = Field(default=1.0, ge=0, le=1)
    time_power: float = Field(default=1.0, ge=1, description="1: even DDIM times; more: late steps at lower noise")
    start: Literal["gaussian", "quasi"] = Field(default="gaussian", description="quasi: evenly spread (Sobol) noise")
    combine: Combination = Field(
        default="last", description="score of a candidate: of the last step, or the mean or maximum over all steps"
    )


class DecisionSettings(Section):
    """When a candidate is an entity, and what its score says; calibrated on validation by the trainer.

    A score s becomes the logistic of ``score_slope`` logit(s) + ``score_offset``, the share of such entities that were
    right on the validation posts; ``threshold`` is compared with that.
    """

    threshold: float = Field(default=0.0, ge=0, le=1)
    score_slope: float = Field(default=1.0, gt=0)
    score_offset: float = 0.0


class GridSettings(Section):
    """y_c: blocks of the whole picture from an image backbone."""

    model: str = Field(description="hub id or folder of a transformers image backbone")
    pool: int | None = Field(default=None, ge=1, description="average the map to this many blocks a side")
    stages: bool = Field(
        default=False,
        description="maps of the backbone's last four resolutions, each averaged to pool x pool blocks (2 x 2 when "
        "pool is not given), side by side in the channels",
    )
    aligned: bool = Field(
        default=False, description="blocks in the space of the words of the model's text tower (CLIP, SigLIP)"
    )
    fingerprint: str | None = Field(default=None, description="of the weights; set by training")

    @model_validator(mode="after")
    def _one_form(self) -> GridSettings:
        if self.stages and self.aligned:
            raise ValueError("stages and aligned exclude each other: stages have no words")
        return self


class CaptionSettings(Section):
    """y_ct: a caption made by an image captioner; a caption that comes with the post wins."""

    model: str = Field(description="hub id or folder of a transformers captioner")
    tokens: int = Field(default=30, ge=1, description="longest caption")
    beams: int = Field(default=3, ge=1)
    prompt: str | None = Field(default=None, description="for image-text-to-text models")
    fingerprint: str | None = None


class DetectorSettings(Section):
    """A model that finds objects: a transformers folder or hub id, or a YOLOX ``.onnx`` file."""

    model: str
    threshold: float = Field(default=0.3, ge=0, le=1)
    count: int = Field(default=5, ge=1, description="at most this many, best first")
    fingerprint: str | None = None


class ObjectSettings(Section):
    """How many objects a picture shows: all that a detector finds above its threshold, without a cap."""

    model: str = Field(description="a detector: a transformers folder or hub id, or a YOLOX .onnx file")
    threshold: float = Field(default=0.3, ge=0, le=1)
    fingerprint: str | None = None


class RegionSettings(Section):
    """y_f: crops of the picture, each through the backbone of the grid."""

    detector: DetectorSettings | None = Field(default=None, description="crops are its best boxes")
    grounding: DetectorSettings | None = Field(
        default=None, description="crops are what this open-vocabulary model finds for the post's noun phrases"
    )
    general_words: tuple[str, ...] = Field(
        default=(), description="grounding looks for these in every picture, besides the post's noun phrases"
    )
    crops: bool = Field(default=False, description="crops are ready-made files named by an index, see extract --crops")
    backbone: str | None = Field(default=None, description="another backbone than the grid's")
    count: int = Field(default=3, ge=1, description="R")
    pool: int | None = Field(default=None, ge=1, description="average each region's map to this many blocks a side")
    stages: bool = Field(default=False, description="maps of all stages of each region, as of the grid")
    fingerprint: str | None = None

    @model_validator(mode="after")
    def _one_source(self) -> RegionSettings:
        if (self.detector is not None) + (self.grounding is not None) + self.crops != 1:
            raise ValueError("regions come from exactly one of detector, grounding and crops")
        if self.general_words and self.grounding is None:
            raise ValueError("general_words are looked for by grounding; set it, or leave them out")
        if any(not word.strip() for word in self.general_words):
            raise ValueError("general_words holds an empty word")
        return self

    def unsaid(self, phrases: Collection[str]) -> list[str]:
        """The general words that are not among a post's phrases."""
        said = {phrase.casefold() for phrase in phrases}
        return [word for word in self.general_words if word.casefold() not in said]


class OcrSettings(Section):
    """Text read in the picture; joins the caption in y_ct."""

    threshold: float = Field(default=0.6, ge=0, le=1)
    fingerprint: str | None = None


class PictureSettings(Section):
    """What is made of a raw picture; a part that is absent is neither loaded nor computed."""

    grid: GridSettings | None = None
    caption: CaptionSettings | None = None
    regions: RegionSettings | None = None
    tags: DetectorSettings | None = None
    ocr: OcrSettings | None = None
    objects: ObjectSettings | None = Field(default=None, description="number of objects, and the picture's size")
    longest_side: int = Field(default=1024, ge=32, description="pictures are reduced to this before all else")

    @model_validator(mode="after")
    def _regions_have_a_backbone(self) -> PictureSettings:
        if self.regions is not None and self.regions.backbone is None and self.grid is None:
            raise ValueError("regions need a backbone: set regions.backbone, or grid.model")
        return self


class Settings(Section):
    """All sections."""

    encoder: EncoderSettings = EncoderSettings()
    noise: NoiseSettings = NoiseSettings()
    fusion: FusionSettings = FusionSettings()
    heads: HeadSettings = HeadSettings()
    loss: LossSettings = LossSettings()
    reasoning: ReasoningSettings = ReasoningSettings()
    decision: DecisionSettings = DecisionSettings()
    pictures: PictureSettings = PictureSettings()


class Convention(Section):
    """An annotation convention that a model was trained on."""

    name: str = Field(min_length=1)
    unannotated: tuple[str, ...] = Field(default=(), description="entity types that its corpora do not annotate")


_CHANGEABLE = ("reasoning.", "decision.", "encoder.caption_layers")  # what shapes neither weights nor training


def changed_settings(settings: Settings, changes: Mapping[str, Mapping[str, Any] | Section]) -> Settings:
    """Settings of a loaded model with changes.

    Args:
        settings: As they are.
        changes: Keys and new values by section.

    Raises:
        InputError: If a key or value is wrong, or cannot be changed without training.
    """
    values = settings.model_dump()
    for name, section in changes.items():
        given = section.model_dump() if isinstance(section, Section) else section
        values[name] = {**values.get(name, {}), **given}
    changed = parse_section(Settings, values, where="settings")
    for name in changes:
        before, after = getattr(settings, name), getattr(changed, name)
        for key in type(before).model_fields:
            if getattr(before, key) != getattr(after, key) and not f"{name}.{key}".startswith(_CHANGEABLE):
                raise InputError(
                    f"settings.{name}.{key}: cannot change on a loaded model; reasoning.*, decision.* and "
                    "encoder.caption_layers can, all else needs training: set it in a recipe"
                )
    return changed


def parse_section(kind: type[S], values: Mapping[str, Any], *, where: str) -> S:
    """Validate a mapping against a section.

    Args:
        kind: The section class.
        values: Keys and values as read from YAML or JSON.
        where: Named in the error, e.g. a file.

    Raises:
        InputError: One line with the first wrong key, the nearest known key, and what was expected.
    """
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        raise InputError(f"{where}: {_describe(kind, error)}") from None


def _describe(kind: type[Section], error: ValidationError) -> str:
    first = error.errors()[0]
    path = [str(part) for part in first["loc"]]
    if first["type"] != "extra_forbidden":
        key = ".".join(path) or kind.__name__
        shown = "" if isinstance(first["input"], dict) else f", got {first['input']!r}"
        return f"{key}: {first['msg']}{shown}"
    fields = kind.model_fields
    for part in path[:-1]:
        if part not in fields:  # a place in a list, whose sections the step before has found
            continue
        options = (fields[part].annotation, *get_args(fields[part].annotation))  # X, or X of "X | None"
        fields = next((f for option in options if (f := getattr(option, "model_fields", None))), {})
    known = ", ".join(sorted(fields))
    return f"unknown key {'.'.join(path)!r}{nearest(path[-1], fields)}; known keys: {known}"
