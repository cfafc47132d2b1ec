"""The figures of the paper's Tables 1 to 4, as printed (Zheng et al., LREC-COLING 2024)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

DATASETS = ("twitter2015", "twitter2017")  # the order of the paper's columns
TYPES = ("PER", "LOC", "ORG", "MISC")


@dataclass(frozen=True)
class PaperFigures:
    """What the paper prints of one row and data set, in percent; None or absent where it prints nothing."""

    f1: float
    precision: float | None = None
    recall: float | None = None
    per_type: Mapping[str, float] = field(default_factory=dict)


def source(table: int) -> str:
    """Where a figure is from."""
    return f"DPE-MNER, Table {table}"


def paper_figures(table: int, row: str, dataset: str) -> PaperFigures | None:
    """The paper's figures of a row, None where it has none.

    Args:
        table: 1 to 4.
        row: Its id, see :mod:`dpe_mner.reproduce.tables`.
        dataset: ``twitter2015`` or ``twitter2017``.
    """
    line = (_DETAILED if table == 1 else _OVERALL[table]).get(row)
    if line is None or dataset not in DATASETS:
        return None
    half = line.split("|")[DATASETS.index(dataset)].split()
    if len(half) == 1:
        return PaperFigures(f1=float(half[0]))
    *types, precision, recall, f1 = (None if cell == "-" else float(cell) for cell in half)
    assert f1 is not None
    per_type = {label: value for label, value in zip(TYPES, types, strict=True) if value is not None}
    return PaperFigures(f1=f1, precision=precision, recall=recall, per_type=per_type)


# Table 1: F1 of PER, LOC, ORG, MISC, then precision, recall and F1 over all; Twitter2015 | Twitter2017.
_DETAILED = {
    "bilstm-crf": "82.34 76.83 51.59 32.52 70.32 68.05 69.17 | 87.91 78.57 76.67 59.32 82.69 78.16 80.37",
    "bert-crf": "84.74 80.51 60.27 37.29 69.22 74.59 71.81 | 90.25 83.05 81.13 62.21 83.32 83.57 83.44",
    "bert-span": "85.35 81.88 62.06 43.23 75.52 73.83 74.76 | 90.84 85.55 81.99 69.77 85.68 84.60 85.14",
    "text-only": "86.64 83.58 63.15 44.35 75.42 76.76 76.09 | 91.81 82.95 85.28 68.84 87.82 84.83 86.30",
    "chatgpt": "- - - - - - 50.21 | - - - - - - 57.5",
    "gpt-4": "- - - - - - 57.98 | - - - - - - 66.61",
    "adacoatt": "81.98 78.95 53.07 34.02 72.75 68.74 70.69 | 89.63 77.46 79.24 62.77 84.16 80.24 82.15",
    "umt": "85.24 81.58 63.03 39.45 71.67 75.23 73.41 | 91.56 84.73 82.24 70.10 85.28 85.34 85.31",
    "cat-mner": "85.57 82.53 63.77 43.38 76.19 74.65 75.41 | 91.90 85.96 83.38 68.67 87.04 84.97 85.99",
    "fmit": "86.77 83.93 64.88 42.97 75.11 77.43 76.25 | 93.14 86.52 83.93 70.90 87.51 86.08 86.79",
    "hvpnet": "- - - - 73.87 76.82 75.32 | - - - - 85.84 87.93 86.87",
    "mner-qg": "85.31 81.65 63.41 41.32 77.43 72.15 74.70 | 92.92 86.19 84.52 71.67 88.26 85.65 86.94",
    "debiascl": "85.97 81.84 64.02 43.38 74.45 76.13 75.28 | 93.46 84.15 84.42 67.88 87.59 86.11 86.84",
    "visualpt-moe": "- - - - 76.11 75.16 75.63 | - - - - 86.89 87.96 87.42",
    "default": "87.31 84.36 65.93 48.48 76.86 78.27 77.56 | 92.37 87.47 86.33 73.83 88.46 87.34 87.90",
}

# Tables 2 to 4: F1 over all; Twitter2015 | Twitter2017.
_OVERALL = {
    2: {
        "default": "77.56 | 87.90",
        "without-pmi": "77.17 | 87.54",
        "without-dmf": "76.92 | 87.19",
        "without-crm": "76.85 | 87.38",
        "without-token-level": "77.23 | 87.54",
        "without-span-level": "77.05 | 87.49",
        "without-sentence-level": "77.26 | 87.75",
    },
    3: {
        "default": "77.56 | 87.90",
        "static-max-pool": "76.79 | 87.02",
        "static-mean-pool": "76.50 | 86.70",
        "static-mlp": "76.28 | 86.34",
        "static-moe": "77.15 | 87.26",
    },
    4: {
        "default": "77.56 | 87.90",
        "without-coarse": "76.97 | 87.29",
        "without-fine": "76.54 | 86.86",
        "reverse-grain": "77.26 | 87.37",
        "reverse-gap": "77.42 | 87.51",
        "reverse-both": "77.12 | 87.23",
    },
}
