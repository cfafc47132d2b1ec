"""Posts joined back into natural text and predicted as a string, against the given words.

``# NBA : Kawhi Leonard wins !`` becomes ``#NBA: Kawhi Leonard wins!``; gold entities move along, in characters.
"""

from __future__ import annotations

import argparse

import dpe_mner
from dpe_mner.data.dataset import load_dataset
from dpe_mner.evaluation.answers import evaluate_posts
from dpe_mner.pipeline import PredictionOptions
from dpe_mner.types import LabelledSpan, Post

_NO_SPACE_BEFORE = set(".,!?:;)]}%’'”…")
_NO_SPACE_AFTER = set("#@([{$“‘'’")


def natural(post: Post) -> Post:
    """The post as one would write it. A quote opens and closes in turn; an apostrophe clings to both sides."""
    text, starts, ends, inside_quote = "", [], [], False
    cling = True
    for word in post.words:
        closing = word in _NO_SPACE_BEFORE or (word == '"' and inside_quote)
        if not (cling or closing) and text:
            text += " "
        starts.append(len(text))
        text += word
        ends.append(len(text))
        cling = word in _NO_SPACE_AFTER or (word == '"' and not inside_quote)
        if word == '"':
            inside_quote = not inside_quote
    spans = [LabelledSpan(start=starts[e.start], end=ends[e.end - 1], label=e.label) for e in post.entities or ()]
    return Post(id=post.id, text=text, caption=post.caption, tags=post.tags, entities=spans)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("--visual-text")
    parser.add_argument("--model")
    arguments = parser.parse_args()
    posts = load_dataset(arguments.data, visual_text=arguments.visual_text, label_map={"OTHER": "MISC"}).posts
    model = dpe_mner.load(arguments.model)
    options = PredictionOptions(batch_size=64)
    raw = [natural(post) for post in posts]
    print("e.g.", raw[1].text)
    given_f1 = evaluate_posts(model, posts, options).overall.f1
    raw_f1 = evaluate_posts(model, raw, options).overall.f1
    print(f"given words F1 {given_f1:.2f}, raw text F1 {raw_f1:.2f}, difference {raw_f1 - given_f1:+.2f}")


if __name__ == "__main__":
    main()
