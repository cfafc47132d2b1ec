"""Labels of a data set under other names, or left out: the same for training, scoring and checking."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from dpe_mner.errors import InputError, nearest
from dpe_mner.types import LabelledSpan, Post


class LabelRules:
    """What becomes of the labels of a data set.

    Args:
        renamed: Old label to new. Every label is looked up once: ``A=B`` with ``B=A`` exchanges two.
        ignored: Labels, old or new, whose entities are left out as if nobody had marked them.
    """

    def __init__(self, renamed: Mapping[str, str] | None = None, ignored: Iterable[str] = ()) -> None:
        self.renamed = dict(renamed or {})
        self.ignored = frozenset(ignored)
        self.met: dict[str, int] = {}
        """Labels met so far, under their old names, and how often."""

    def __call__(self, post: Post) -> Post:
        """The post with its gold entities as they are to be; an unlabelled one as it is."""
        if post.entities is None:
            return post
        kept = []
        for entity in post.entities:
            self.met[entity.label] = self.met.get(entity.label, 0) + 1
            label = self.renamed.get(entity.label, entity.label)
            if not self.ignored & {entity.label, label}:
                kept.append(LabelledSpan(start=entity.start, end=entity.end, label=label))
        return replace(post, entities=tuple(kept))

    def unused(self) -> list[str]:
        """A line for every rule that no label met: a slip of the pen would otherwise do nothing, silently."""
        lines = []
        new = {self.renamed.get(label, label) for label in self.met}
        known = ", ".join(sorted(self.met)) or "none at all"
        for old, label in self.renamed.items():
            if old not in self.met:
                lines.append(
                    f"--label-map {old}={label}: no entity has the label {old!r}{nearest(old, self.met)}; "
                    f"there are {known}"
                )
        for label in sorted(self.ignored - set(self.met) - new):
            lines.append(f"--ignore-label {label}: no entity has it{nearest(label, self.met)}; there are {known}")
        return lines


def parse_label_map(pairs: Sequence[str] | None) -> dict[str, str]:
    """``["OTHER=MISC"]`` to a dictionary.

    Raises:
        InputError: If a pair has no ``=``, or a label is to have two new names.
    """
    renamed: dict[str, str] = {}
    for pair in pairs or ():
        old, equals, new = pair.partition("=")
        if not equals or not old or not new:
            raise InputError(f"--label-map {pair!r}: expected OLD=NEW, e.g. OTHER=MISC")
        if renamed.get(old, new) != new:
            raise InputError(f"--label-map {pair!r}: {old} is renamed to {renamed[old]} already; give one of both")
        renamed[old] = new
    return renamed
