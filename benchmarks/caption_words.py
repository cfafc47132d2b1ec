"""What word-for-word matches between post and caption could at best repair: the errors of the text alone they touch.

An entity is "in the caption" when one of its words occurs in the post's own caption and in less than one caption in
a hundred.
"""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import replace

import dpe_mner
from dpe_mner.data.dataset import load_dataset
from dpe_mner.data.gold import gold_characters
from dpe_mner.data.words import words_of


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("--visual-text", required=True)
    parser.add_argument("--model")
    arguments = parser.parse_args()
    posts = load_dataset(arguments.data, visual_text=arguments.visual_text, label_map={"OTHER": "MISC"}).posts
    captions = [set((post.caption or "").casefold().split()) for post in posts]
    common = Counter(word for caption in captions for word in caption)
    model = dpe_mner.load(arguments.model)
    answers = model.predict([replace(post, caption=None, tags=None) for post in posts], batch_size=64)
    counts: Counter[tuple[str, bool]] = Counter()
    for post, caption, entities in zip(posts, captions, answers, strict=True):
        words = words_of(post)
        rare = {word for word in caption if common[word] < len(posts) / 100}
        gold = set(gold_characters(post, words))
        found = {(e.start, e.end, e.label) for e in entities}
        for entity in gold | found:
            kind = "right" if entity in gold & found else "missed" if entity in gold else "spurious"
            text = words.text[entity[0] : entity[1]].casefold()
            counts[kind, any(part in rare for part in text.split())] += 1
    for kind in ("right", "missed", "spurious"):
        inside, outside = counts[kind, True], counts[kind, False]
        print(f"{kind}: {inside + outside} entities, {inside} of them with a word in the own caption")


if __name__ == "__main__":
    main()
