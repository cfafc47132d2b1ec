"""What the REST interface takes and gives, as its OpenAPI schema describes it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Text = Annotated[str, Field(description="The post as written.", examples=["Kevin Durant enters Oracle Arena"])]


class _In(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class PostIn(_In):
    """One post: either ``text`` or ``words``, and what goes with its picture."""

    id: str = Field(default="", max_length=200, description="Any name; repeated in the answer.")
    text: Text | None = None
    words: list[str] | None = Field(default=None, description="The post already split.")
    caption: str | None = Field(default=None, description="Caption of its picture.")
    tags: list[str] | None = Field(default=None, description="Objects in its picture.")
    image: str | None = Field(
        default=None, description="The picture's file in base64, alone or as a data: URI. Addresses are not fetched."
    )
    convention: str | None = Field(default=None, max_length=200, description="Annotation convention to answer by.")

    @field_validator("tags", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return [tag.strip() for tag in value.split(",") if tag.strip()] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_of_both(self) -> PostIn:
        if (self.text is None) == (self.words is None):
            raise ValueError("a post has either text or words, not both and not neither")
        return self


class ChoicesIn(_In):
    """How to predict; what is absent is the model's own choice."""

    seed: int = Field(default=0, ge=0, lt=2**63, description="Of the starting noise.")
    steps: int | None = Field(default=None, ge=1, description="Reasoning steps.")
    spans: int | None = Field(default=None, ge=1, description="Noisy spans.")


class PostRequest(PostIn, ChoicesIn):
    """One post and how to predict."""


class FormRequest(PostRequest):
    """The same as fields of a form; numbers come as text."""

    model_config = ConfigDict(extra="forbid", strict=False)


class BatchRequest(ChoicesIn):
    """Several posts."""

    posts: list[PostIn] = Field(description="Answered in this order.")


class EntityOut(BaseModel):
    """A named entity; offsets count characters (Unicode code points) and words, ends are exclusive."""

    text: str
    label: str
    start: int
    end: int
    word_start: int
    word_end: int
    score: float = Field(ge=0, le=1)


class PredictionOut(BaseModel):
    """The entities of a post."""

    id: str
    entities: list[EntityOut]
    warnings: list[str]


class BatchOut(BaseModel):
    """Predictions in the order of the posts."""

    predictions: list[PredictionOut]


class StartOut(BaseModel):
    """Equal spans that a reasoning step started from."""

    start: int
    end: int
    word_start: int
    word_end: int
    label: str
    count: int


class StepOut(BaseModel):
    """One reasoning step."""

    step: int
    time: int
    candidates: list[EntityOut]
    image2text_weight: float
    coarse_weight: float
    span_relevance: dict[str, float]
    starts: list[StartOut]


class GroundingOut(BaseModel):
    """What an entity's span looked at most in the picture."""

    entity: int
    source: str
    name: str
    box: list[float] | None
    weight: float
    lift: float
    relevance: float


class ExplanationOut(PredictionOut):
    """The entities of a post and how they came about."""

    text: str
    steps: list[StepOut]
    relevance: dict[str, dict[str, float]]
    representations: dict[str, bool]
    grounding: list[GroundingOut]
    influence: dict[str, float]


class LimitsOut(BaseModel):
    """What a request may ask for."""

    body_bytes: int
    pixels: int
    characters: int
    caption_characters: int
    posts: int
    steps: int
    spans: int


class ModelOut(BaseModel):
    """The model that answers."""

    name: str
    backend: str
    labels: list[str]
    conventions: list[str]
    steps: int
    spans: int
    explains: bool
    reads_pictures: bool
    limits: LimitsOut


class HealthOut(BaseModel):
    """Whether the service answers."""

    status: str
    version: str
    waiting: int


class ErrorDetail(BaseModel):
    """What is wrong."""

    code: str
    message: str
    where: str


class ErrorOut(BaseModel):
    """Every answer that is not a success."""

    error: ErrorDetail
