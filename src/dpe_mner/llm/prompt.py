"""What a model is told and shown: the instruction, solved examples, and the post with or without its picture."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dpe_mner.data.gold import gold_characters
from dpe_mner.data.words import words_of
from dpe_mner.errors import InputError
from dpe_mner.types import Post

Picture = Literal["none", "caption", "image"]
Message = dict[str, Any]

MEANINGS = {
    "PER": "a person, or a group of people with a name of its own: given names, family names, nicknames, accounts",
    "LOC": "a place: country, city, region, street, building, venue, mountain, river",
    "ORG": "an organization: company, club, team, band, agency, party, school, newspaper, broadcaster",
    "MISC": "any other name: event, competition, work of art, film, song, product, animal, nationality, holiday",
    "OTHER": "any other name: event, competition, work of art, film, song, product, animal, nationality, holiday",
}
"""What the types of the Twitter corpora mean, in our words; other types are given by their name alone."""

_TYPES = "{types}"  # where the types go in a user's own instruction
_INSTRUCTION = """\
You mark the named entities in a post from social media.

Types:
{types}

Answer with one JSON object and nothing else:
{"entities": [{"text": "...", "label": "..."}]}

Rules:
- "text" is copied from the post character by character, spaces included: whole words, only those of the name.
- "label" is one of the types above.
- List the entities in the order of the post. One that the post has several times is listed as often.
- Entities do not overlap. Words that name nothing are not listed.
- A post without entities is answered by {"entities": []}.
"""
_ABOUT_PICTURE = {
    "caption": "- The post's picture is described. It may help to decide; entities are in the post alone.\n",
    "image": "- The post's picture is given. It may help to decide; entities are in the post alone.\n",
}


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """Everything of a request but the post.

    Attributes:
        instruction: The system message.
        labels: Types that are asked for.
        picture: What of the picture is shown.
    """

    instruction: str
    labels: tuple[str, ...]
    picture: Picture = "none"

    def messages(self, post: Post, examples: Sequence[Post] = (), image: str | None = None) -> list[Message]:
        """The messages of a request.

        Args:
            post: To be answered.
            examples: Labelled posts, shown in this order as if the model had answered them, without their pictures.
            image: Address of the post's picture (``data:``), if it is shown.
        """
        shown: list[Message] = [{"role": "system", "content": self.instruction}]
        for example in examples:
            shown.append({"role": "user", "content": self._text(example)})
            shown.append({"role": "assistant", "content": solved(example, self.labels)})
        text = self._text(post)
        if image is None:
            return [*shown, {"role": "user", "content": text}]
        parts = [{"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": image}}]
        return [*shown, {"role": "user", "content": parts}]

    def _text(self, post: Post) -> str:
        text = f"Post: {words_of(post).text}"
        caption = " ".join(post.caption.split()) if self.picture == "caption" and post.caption else ""
        whole = f"{text}\nPicture: {caption}" if caption else text
        return whole.encode("utf-8", errors="replace").decode("utf-8")  # half a surrogate pair cannot be sent


def make_prompt(labels: Sequence[str], *, picture: Picture = "none", file: Path | None = None) -> Prompt:
    """Our instruction, or a user's.

    Args:
        labels: Types to ask for.
        picture: What of the picture is shown.
        file: Text to use instead of ours; ``{types}`` in it stands for the lines that name and explain the types.

    Raises:
        InputError: If the file cannot be read, or does not name every type.
    """
    lines = "\n".join(f"- {label}: {MEANINGS[label]}" if label in MEANINGS else f"- {label}" for label in labels)
    if file is None:
        instruction = _INSTRUCTION.replace(_TYPES, lines) + _ABOUT_PICTURE.get(picture, "")
        return Prompt(instruction=instruction, labels=tuple(labels), picture=picture)
    try:
        own = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not valid UTF-8"
        raise InputError(f"--prompt {file}: cannot be read ({reason})") from None
    instruction = own.replace(_TYPES, lines)
    missing = [label for label in labels if label not in instruction]
    if missing:
        raise InputError(
            f"--prompt {file}: does not name {', '.join(missing)}; write the types out, or {_TYPES} where they go"
        )
    return Prompt(instruction=instruction, labels=tuple(labels), picture=picture)


def solved(post: Post, labels: Sequence[str]) -> str:
    """The right answer to a labelled post, as a model is to give it; types that are not asked for are left out."""
    words = words_of(post)
    gold = sorted(gold_characters(post, words))
    entities = [{"text": words.text[start:end], "label": label} for start, end, label in gold if label in labels]
    return json.dumps({"entities": entities}, ensure_ascii=False)


def in_order(labels: Sequence[str]) -> tuple[str, ...]:
    """Types in the paper's order, others by name after them: a prompt must not depend on what a file holds most of."""
    known = [label for label in MEANINGS if label in labels]
    return (*known, *sorted(set(labels) - set(known)))
