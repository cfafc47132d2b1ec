"""The corpora of a recipe: one, or several with their own label maps, annotation conventions and shares."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from dpe_mner.data.check import count_by_kind
from dpe_mner.data.columns import Columns
from dpe_mner.data.conventions import with_convention
from dpe_mner.data.dataset import Dataset, load_dataset
from dpe_mner.data.gold import check_labels, gold_summary
from dpe_mner.data.labels import LabelRules
from dpe_mner.errors import InputError
from dpe_mner.evaluation.answers import require_labels
from dpe_mner.formats.registry import read_labelled
from dpe_mner.settings import Convention
from dpe_mner.training.recipe import DataSettings, Recipe, SourceSettings
from dpe_mner.training.sanity import check_splits
from dpe_mner.types import Post

Log = Callable[[str], None]


@dataclass(frozen=True)
class Corpus:
    """One source of labelled posts.

    Attributes:
        name: Of the source; empty when the recipe has only one.
        convention: How it annotates; None when there is nothing to tell apart.
        share: Of each batch; None goes by the number of posts.
        train: Training posts.
        valid: Validation posts.
    """

    name: str
    convention: Convention | None
    share: float | None
    train: Dataset
    valid: Dataset


def load_corpora(data: DataSettings, *, log: Log | None = None) -> list[Corpus]:
    """All corpora of a recipe.

    Args:
        data: The recipe's data section.
        log: Receives a line for what is not read as it stands.

    Raises:
        InputError: If a file is missing or unlabelled, or what is said of the sources does not fit together.
    """
    if not data.sources:
        rules = data.rules
        train, valid = (_load(data.folder, name, data, rules, log=log) for name in (data.train, data.valid))
        _tell([*check_splits(train, valid), *rules.unused()], log)
        return [Corpus("", None, None, train, valid)]
    _check_sources(data.sources)
    corpora = [_corpus(data, source, log=log) for source in data.sources]
    _check_types(data, corpora)
    return corpora


def load_split(recipe: Recipe, split: Literal["train", "valid"], *, log: Log | None = None) -> Dataset:
    """The training or validation posts of a recipe that has one corpus.

    Args:
        recipe: The recipe.
        split: Which of its two.
        log: Receives a line for what is not read as it stands.

    Raises:
        InputError: If the recipe has several, or the file is missing, or has unlabelled posts or no entity.
    """
    data = recipe.data
    if data.sources:
        raise InputError(f"{recipe.name}: has data.sources, and this takes one corpus; give data.train and data.valid")
    return _load(data.folder, getattr(data, split), data, data.rules, log=log)


def load_splits(recipe: Recipe, *, log: Log) -> tuple[Dataset, Dataset]:
    """Both parts of a recipe that has one corpus; what is odd about them is told in a line each.

    Raises:
        InputError: If the recipe has several, or nothing can be learned from them, or measured on them.
    """
    if recipe.data.sources:
        load_split(recipe, "train")  # says so
    (corpus,) = load_corpora(recipe.data, log=log)
    return corpus.train, corpus.valid


def conventions_of(corpora: Sequence[Corpus]) -> list[Convention]:
    """The annotation conventions of corpora, each once, the first corpus's first."""
    found = {corpus.convention.name: corpus.convention for corpus in corpora if corpus.convention is not None}
    return list(found.values())


def all_posts(datasets: Sequence[Dataset]) -> Dataset:
    """Several data sets as one."""
    if len(datasets) == 1:
        return datasets[0]
    together = hashlib.sha256("\n".join(data.sha256 for data in datasets).encode()).hexdigest()
    return Dataset(
        path=", ".join(data.path for data in datasets),
        posts=[post for data in datasets for post in data.posts],
        problems=[problem for data in datasets for problem in data.problems],
        sha256=together,
    )


def batch_shares(given: Sequence[float | None], sizes: Sequence[int]) -> list[float]:
    """Shares that sum to 1: given ones as they are, the rest by size.

    Raises:
        InputError: If the given ones leave nothing for the rest, or do not sum to 1 when all are given.
    """
    said = sum(share for share in given if share is not None)
    rest = sum(size for share, size in zip(given, sizes, strict=True) if share is None)
    if said > 1 + 1e-9 or (rest and said > 1 - 1e-9) or (not rest and abs(said - 1) > 1e-6):
        left = "and leave something for the sources without one" if rest else "to 1"
        raise InputError(f"shares of the sources sum to {said:g}; they must sum {left}")
    return [size / rest * (1 - said) if share is None else share for share, size in zip(given, sizes, strict=True)]


def _load(
    folder: str, name: str, files: DataSettings | SourceSettings, rules: LabelRules, *, log: Log | None
) -> Dataset:
    def path(given: str | None) -> str | None:
        return None if given is None else os.path.join(os.path.expanduser(folder), os.path.expanduser(given))

    where = path(name)
    assert where is not None
    read = None
    if files.train_format is not None and name == files.train:
        read = partial(read_labelled, name=files.train_format, option="train_format")
    dataset = load_dataset(
        where,
        visual_text=path(files.visual_text),
        images=path(files.images),
        columns=Columns(word=files.word_column, tag=files.tag_column),
        labels=rules,
        read=read,
    )
    require_labels(dataset)
    if log is not None:
        for kind, found in count_by_kind(dataset.problems).items():
            log(f"warning: {kind}: {len(found)}, the first is {found[0]}")
        for line in (dataset.visual.summary, gold_summary(dataset.posts)):
            if line:
                log(f"{os.path.basename(where)}: {line}")
    return dataset


def _corpus(data: DataSettings, source: SourceSettings, *, log: Log | None) -> Corpus:
    folder = os.path.join(data.folder, os.path.expanduser(source.folder))
    rules = LabelRules(source.label_map | data.label_map, [*source.ignore_labels, *data.ignore_labels])
    convention = Convention(name=source.convention or source.name, unannotated=tuple(source.unannotated))
    train = _load(folder, source.train, source, rules, log=log)
    if source.valid is not None:
        valid = _load(folder, source.valid, source, rules, log=log)
    else:
        held = [text_share(post) < source.hold_out for post in train.posts]
        valid = _part(train, "held out", [post for post, out in zip(train.posts, held, strict=True) if out])
        train = _part(train, "the rest", [post for post, out in zip(train.posts, held, strict=True) if not out])
        for part, posts in (("training", train.posts), ("validation", valid.posts)):
            if not posts:
                raise InputError(f"source {source.name!r}: no {part} post with hold_out {source.hold_out:g}")
    _tell([*check_splits(train, valid), *rules.unused()], log)
    for dataset in (train, valid):
        strange = sorted(set(dataset.labels) & set(source.unannotated))
        if strange:
            raise InputError(
                f"source {source.name!r}: {dataset.path} labels {', '.join(strange)}, which 'unannotated' says it does "
                "not; take it off that list, or map it to another label"
            )
    return Corpus(source.name, convention, source.share, _of(train, convention), _of(valid, convention))


def _part(dataset: Dataset, name: str, posts: list[Post]) -> Dataset:
    """Some posts of a data set, with a hash of their own."""
    digest = hashlib.sha256("\n".join([dataset.sha256, name, *(post.id for post in posts)]).encode("utf-8", "replace"))
    return replace(dataset, path=f"{dataset.path} ({name})", posts=posts, sha256=digest.hexdigest())


def _tell(lines: Sequence[str], log: Log | None) -> None:
    if log is not None:
        for line in lines:
            log(f"warning: {line}")


def _of(dataset: Dataset, convention: Convention) -> Dataset:
    return replace(dataset, posts=list(with_convention(dataset.posts, convention.name)))


def text_share(post: Post) -> float:
    """A number in [0, 1) that a post's text alone decides: equal texts are always on the same side of a split."""
    text = post.text if post.text is not None else " ".join(post.words or ())
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", errors="replace")).digest()[:6], "big") / 2**48


def _check_sources(sources: Sequence[SourceSettings]) -> None:
    """Refuse what can be told without reading a file."""
    names = [source.name for source in sources]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"data.sources: two are called {name!r}; give each a name of its own")
    unannotated: dict[str, tuple[str, set[str]]] = {}
    for source in sources:
        if source.valid is None and source.hold_out == 0:
            raise InputError(f"source {source.name!r}: give it a 'valid' file, or 'hold_out', e.g. 0.1")
        for old, new in source.label_map.items():
            if source.label_map.get(new, new) != new:
                raise InputError(
                    f"source {source.name!r}: label_map makes {old} to {new} and {new} to {source.label_map[new]}; "
                    f"say what {old} becomes in one step"
                )
            if new in source.unannotated:
                raise InputError(f"source {source.name!r}: label_map makes {old} to {new}, which is 'unannotated'")
        convention = source.convention or source.name
        first, types = unannotated.setdefault(convention, (source.name, set(source.unannotated)))
        if types != set(source.unannotated):
            raise InputError(
                f"sources {first!r} and {source.name!r} share the convention {convention!r} but differ in "
                "'unannotated'; give one of them a convention of its own"
            )


def _check_types(data: DataSettings, corpora: Sequence[Corpus]) -> None:
    """Refuse types that are asked for, or left out, and that no source annotates."""
    annotated = {label for corpus in corpora for part in (corpus.train, corpus.valid) for label in part.labels}
    labels = data.labels or sorted(annotated)
    for corpus in corpora:
        for part in (corpus.train, corpus.valid):
            check_labels(part.labels, labels, where=f"source {corpus.name!r}: {part.path}")
    never = [label for label in labels if label not in annotated]
    left = {label for corpus in corpora if corpus.convention is not None for label in corpus.convention.unannotated}
    never += sorted(left - set(labels))
    if never:
        raise InputError(f"no source annotates {', '.join(never)}; take it out of data.labels and 'unannotated'")
