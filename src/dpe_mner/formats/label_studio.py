"""Label Studio's JSON: the full export with its annotations, and the short one (JSON-MIN)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from dpe_mner.formats.base import (
    Format,
    FormatOptions,
    RawSpan,
    Source,
    as_text,
    identifier_of,
    visual_of,
    visual_values,
    write_array,
)
from dpe_mner.formats.offsets import Offsets
from dpe_mner.formats.predicted import PredictedPost, as_predicted, lowest_score, read_score, score_of, with_score
from dpe_mner.types import LabelledSpan, Post

_TEXT_KEYS = ("text", "content", "sentence", "tweet", "body", "document")
_OTHER_TEXTS = {"image", "caption", "created_at", "updated_at", "id", "annotator", "url"}


def _read(source: Source) -> Iterator[Post]:
    for number, value in source.objects():
        data = value["data"] if isinstance(value.get("data"), dict) else value
        text = _text(data)
        if text is None:
            source.bad(number, "bad-post", "no text to be found in its data; the task is skipped")
            continue
        predicted = source.options.predicted and data is not value
        results = (
            _predicted(value, source) if predicted else _full(value, source) if data is not value else _short(value)
        )
        entities = None
        if results is not None:
            found = [e for result in results for e in _entities(result, text, number, source, scored=predicted)]
            entities = tuple(dict.fromkeys(found))
        identifier = identifier_of({**value, **data}, number)
        post = Post(id=identifier, text=text, entities=entities, line=number, **visual_of(data))
        yield as_predicted(post) if predicted else post


def _text(data: Mapping[str, Any]) -> str | None:
    for key in _TEXT_KEYS:
        if isinstance(data.get(key), str):
            return str(data[key])
    others = [value for key, value in data.items() if isinstance(value, str) and key not in _OTHER_TEXTS]
    return others[0] if len(others) == 1 else None


def _full(task: Mapping[str, Any], source: Source) -> list[Any] | None:
    """What the first annotation that was not cancelled says; None when there is none."""
    found: list[Any] = next(
        (task[key] for key in ("annotations", "completions") if isinstance(task.get(key), list)), []
    )
    kept = [one for one in found if isinstance(one, dict) and not one.get("was_cancelled")]
    kept = [one for one in kept if isinstance(one.get("result"), list)]
    source.left_out["cancelled annotations"] += len(found) - len(kept)
    source.left_out["second annotations of a task"] += max(len(kept) - 1, 0)
    if isinstance(task.get("predictions"), list):
        source.left_out["predictions of a model"] += len(task["predictions"])
    return kept[0]["result"] if kept else None


def _predicted(task: Mapping[str, Any], source: Source) -> list[Any] | None:
    """What the newest prediction of a model says; None when there is none."""
    given = task["predictions"] if isinstance(task.get("predictions"), list) else []
    kept = [one for one in given if isinstance(one, dict) and isinstance(one.get("result"), list)]
    source.left_out["earlier predictions of a task"] += max(len(kept) - 1, 0)
    source.left_out["annotations"] += len(task["annotations"]) if isinstance(task.get("annotations"), list) else 0
    return kept[-1]["result"] if kept else None


def _short(task: Mapping[str, Any]) -> list[Any] | None:
    for value in task.values():
        if isinstance(value, list) and value and all(isinstance(i, dict) and "start" in i for i in value):
            return [{"type": "labels", "value": item} for item in value]
    return [] if isinstance(task.get("label"), list) or "annotator" in task else None


def _entities(result: Any, text: str, line: int, source: Source, *, scored: bool) -> Iterator[LabelledSpan]:
    for raw in _spans(result, source):
        score = read_score(result.get("score")) if scored else None
        if scored and score is None:
            source.bad(line, "bad-entity", f"entity {raw[0]}-{raw[1]}: 'score' is not in [0, 1]; it is left out")
            continue
        for entity in source.entities([raw], text, line=line):
            yield entity if score is None else with_score(entity, score)


def _spans(result: Any, source: Source) -> Iterator[RawSpan]:
    value = result.get("value") if isinstance(result, dict) else None
    labels = value.get("labels") if isinstance(value, dict) else None
    if not isinstance(value, dict) or not isinstance(labels, list) or "start" not in value:
        kind = result.get("type") if isinstance(result, dict) else None
        source.left_out[f"results of type {str(kind)[:30]!r}"] += 1
        return
    surface = value["text"] if isinstance(value.get("text"), str) else None
    for label in labels:
        yield value["start"], value.get("end"), label, surface


def _value(text: str, entity: LabelledSpan, options: FormatOptions) -> dict[str, Any]:
    place = Offsets(text, options.unit).from_characters
    covered = text[entity.start : entity.end]
    return {"start": place(entity.start), "end": place(entity.end), "text": covered, "labels": [entity.label]}


def _write(posts: Iterable[Post], path: Path, options: FormatOptions, left_out: Counter[str]) -> int:
    def task(number: int, post: Post) -> dict[str, Any]:
        text, entities = as_text(post, left_out)
        row: dict[str, Any] = {
            "id": number,
            "data": {"id": post.id, "text": text, **visual_values(post, left_out)},
            "annotations": [],
        }
        if entities is not None:
            result: list[dict[str, Any]] = [
                {
                    "id": f"e{k}",
                    "from_name": "label",
                    "to_name": "text",
                    "type": "labels",
                    "value": _value(text, e, options),
                }
                for k, e in enumerate(entities)
            ]
            if not isinstance(post, PredictedPost):
                row["annotations"] = [{"result": result, "was_cancelled": False}]
                return row
            for one, entity in zip(result, entities, strict=True):
                one["score"] = score_of(entity)
            # A task is sorted by the score of its prediction: what the model is least sure of is seen first.
            lowest = lowest_score(entities)
            said: dict[str, Any] = {"model_version": "dpe-mner", "result": result}
            row["predictions"] = [said if lowest is None else {**said, "score": lowest}]
        return row

    return write_array(path, (task(number, post) for number, post in enumerate(posts, start=1)))


def _write_short(posts: Iterable[Post], path: Path, options: FormatOptions, left_out: Counter[str]) -> int:
    def task(post: Post) -> dict[str, Any]:
        text, entities = as_text(post, left_out)
        row = {"id": post.id, "text": text, **visual_values(post, left_out)}
        if entities is not None:
            row["label"] = [_value(text, entity, options) for entity in entities]
        return row

    return write_array(path, map(task, posts))


LABEL_STUDIO = Format("label-studio", "Label Studio's JSON export", _read, _write, scores=True)
LABEL_STUDIO_MIN = Format("label-studio-min", "Label Studio's JSON-MIN export", _read, _write_short)
