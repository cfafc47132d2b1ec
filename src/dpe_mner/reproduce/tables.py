"""What each table compares. A row is one line: an id, the paper's label, and what it changes in the recipe."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dpe_mner.errors import InputError, nearest

DEFAULT = "default"  # every other row is compared with this one


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        id: Names its folder; rows of the same id are the same run, whatever table they are in.
        label: What the paper calls it, or what we do where the paper has no such row.
        overrides: Changes to the base recipe, as ``--set`` takes them.
        group: Heading it stands under.
        baseline: Kind of baseline that is trained instead of DPE-MNER.
        epochs: Times the recipe's epochs.
        here: False for systems this package does not train: only the paper's figures are shown.
        asked: Whether it is a language model, which has figures if ``dpe-mner baseline llm`` left a run.
    """

    id: str
    label: str
    overrides: tuple[str, ...] = ()
    group: str = ""
    baseline: str | None = None
    epochs: int = 1
    here: bool = True
    asked: bool = False


@dataclass(frozen=True)
class Table:
    """One table: its number, title and rows; ``detailed`` ones show types, precision and recall too."""

    number: int
    title: str
    rows: tuple[Row, ...]
    detailed: bool = False


def row(id_: str, label: str, *overrides: str, group: str = "", baseline: str | None = None, epochs: int = 1) -> Row:
    """A row that is trained here."""
    return Row(id_, label, overrides, group, baseline, epochs)


def elsewhere(id_: str, label: str, *, group: str) -> Row:
    """A row of which only the paper's figures are known."""
    return Row(id_, label, group=group, here=False)


def asked(id_: str, label: str, *, group: str) -> Row:
    """A language model behind an endpoint."""
    return Row(id_, label, group=group, here=False, asked=True)


TEXT_ONLY = ("data.visual_text=null", "data.images=null", "data.features=null", "settings.pictures={}")
TEXT, LLM, MULTIMODAL = "Text baselines", "LLM baselines", "Multi-modal"
OURS = "No printed figures"

TABLES = {
    1: Table(
        1,
        "Comparison with other systems",
        (
            # Random weights learn slower than pretrained ones, hence its epochs.
            row("bilstm-crf", "BiLSTM-CRF", *TEXT_ONLY, group=TEXT, baseline="bilstm-crf", epochs=5),
            row("bert-crf", "BERT-CRF", *TEXT_ONLY, group=TEXT, baseline="bert-crf"),
            row("bert-span", "BERT-Span", *TEXT_ONLY, group=TEXT, baseline="bert-span"),
            row("text-only", "BERT-Iterative", *TEXT_ONLY, group=TEXT),
            asked("chatgpt", "ChatGPT", group=LLM),
            asked("gpt-4", "GPT-4", group=LLM),
            row("adacoatt", "AdaCoAtt", group=MULTIMODAL, baseline="adacoatt", epochs=5),
            row("umt", "UMT", group=MULTIMODAL, baseline="umt"),
            row("cat-mner", "CAT-MNER", group=MULTIMODAL, baseline="cat-mner"),
            row("fmit", "FMIT", group=MULTIMODAL, baseline="fmit"),
            row("hvpnet", "HVPNet", group=MULTIMODAL, baseline="hvpnet"),
            row("mner-qg", "MNER-QG", group=MULTIMODAL, baseline="mner-qg"),
            row("debiascl", "DebiasCL", group=MULTIMODAL, baseline="debiascl"),
            row("visualpt-moe", "VisualPT-MoE", group=MULTIMODAL, baseline="visualpt-moe"),
            row(DEFAULT, "DPE-MNER", group=MULTIMODAL),
        ),
        detailed=True,
    ),
    2: Table(
        2,
        "Ablation study",
        (
            row(DEFAULT, "Default"),
            row("without-pmi", "w/o PMI", "settings.fusion.prioritize=false"),
            row("without-dmf", "w/o DMF", "settings.fusion.decompose=false"),
            row(
                "without-crm",
                "w/o CRM",
                "settings.loss.align_token=0",
                "settings.loss.align_sentence=0",
                "settings.loss.align_span=0",
            ),
            row("without-token-level", "w/o token-level", "settings.fusion.token_level=false"),
            row("without-span-level", "w/o span-level", "settings.fusion.span_level=false"),
            row("without-sentence-level", "w/o sentence-level", "settings.fusion.sentence_level=false"),
            # 3.4 speaks of these three without a table.
            row("without-crm-token", "w/o CRM (token)", "settings.loss.align_token=0", group=OURS),
            row("without-crm-sentence", "w/o CRM (sentence)", "settings.loss.align_sentence=0", group=OURS),
            row("without-crm-span", "w/o CRM (span)", "settings.loss.align_span=0", group=OURS),
        ),
    ),
    3: Table(
        3,
        "Static multi-modal fusion",
        (
            row(DEFAULT, "Default"),
            row("static-max-pool", "Max-pool", "settings.fusion.strategy=max-pool"),
            row("static-mean-pool", "Mean-pool", "settings.fusion.strategy=mean-pool"),
            row("static-mlp", "MLP", "settings.fusion.strategy=mlp"),
            row("static-moe", "MoE", "settings.fusion.strategy=moe"),
        ),
    ),
    4: Table(
        4,
        "Image features and their priority",
        (
            row(DEFAULT, "Default"),
            row("without-coarse", "w/o Coarse-grained", "settings.fusion.random_features=coarse", group="Features"),
            row("without-fine", "w/o Fine-grained", "settings.fusion.random_features=fine", group="Features"),
            row("reverse-grain", "Reverse Grain", "settings.fusion.reverse_grain=true", group="Priority"),
            row("reverse-gap", "Reverse Gap", "settings.fusion.reverse_gap=true", group="Priority"),
            row(
                "reverse-both",
                "Reverse Grain&Gap",
                "settings.fusion.reverse_grain=true",
                "settings.fusion.reverse_gap=true",
                group="Priority",
            ),
        ),
    ),
}


def choose_tables(numbers: Sequence[str], only: Sequence[str]) -> tuple[list[Table], set[str]]:
    """The tables asked for and the ids of the rows to train.

    Args:
        numbers: As typed; none for all tables, or all that hold one of ``only``.
        only: Row ids; none for all rows.

    Raises:
        InputError: On an unknown table or row, or one that is in none of the tables, naming what there is.
    """
    for number in numbers:
        if number not in map(str, TABLES):
            raise InputError(f"--table {number!r}: no such table; there are {', '.join(map(str, TABLES))}")
    tables = [TABLES[k] for k in sorted({int(number) for number in numbers} or TABLES)]
    known = _trained(TABLES.values())
    for name in only:
        if name not in known:
            raise InputError(f"--only {name!r}: no such row{nearest(name, known)}; rows: {', '.join(known)}")
        if name not in _trained(tables):
            where = [str(table.number) for table in TABLES.values() if name in _trained([table])]
            raise InputError(f"--only {name!r}: not in the tables asked for; it is in --table {where[0]}")
    if only and not numbers:
        tables = [table for table in tables if set(only) & set(_trained([table]))]
    return tables, set(only or _trained(tables))


def rows_of(tables: Iterable[Table]) -> list[Row]:
    """Each row to train once, the default first: the others are compared with it."""
    found = {row.id: row for table in tables for row in table.rows if row.here}
    return sorted(found.values(), key=lambda row: row.id != DEFAULT)


def _trained(tables: Iterable[Table]) -> list[str]:
    return [row.id for row in rows_of(tables)]
