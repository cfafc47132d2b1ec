"""The systems by name: what makes each, what it reads of a picture, and what it cannot do without."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Literal

from dpe_mner.baselines.adacoatt import AdaCoAtt
from dpe_mner.baselines.bert_crf import BertCrf
from dpe_mner.baselines.bert_tag import BertTag
from dpe_mner.baselines.bilstm import BilstmCrf
from dpe_mner.baselines.cat_mner import CatMner
from dpe_mner.baselines.debiascl import DebiasCl
from dpe_mner.baselines.fmit import Fmit
from dpe_mner.baselines.hvpnet import Hvpnet
from dpe_mner.baselines.mner_qg import MnerQg
from dpe_mner.baselines.network import Baseline, Parts
from dpe_mner.baselines.span import BertSpan
from dpe_mner.baselines.umt import Umt
from dpe_mner.baselines.visualpt_moe import VisualPtMoe
from dpe_mner.errors import InputError, nearest

NAMES = {"y_c": "image features", "y_f": "image regions", "y_ct": "captions", "y_ft": "object tags"}
_FROM = {
    "y_c": "data.images by settings.pictures.grid",
    "y_f": "data.images by settings.pictures.regions",
    "y_ct": "data.visual_text",
    "y_ft": "data.visual_text",
}


@dataclass(frozen=True, kw_only=True)
class System:
    """A system of Table 1.

    Attributes:
        make: Builds its network.
        reads: Visual representations it reads, if they are there; empty for a text baseline.
        needs: One of these must be there.
        text: What reads the words: numbered words, a pretrained encoder, or one that takes a prefix in every layer.
    """

    make: Callable[[Parts], Baseline]
    reads: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    text: Literal["words", "encoder", "prefix"] = "encoder"

    def lacks(self, kind: str, given: Collection[str]) -> str | None:
        """What the data lack for this system, or None.

        Args:
            kind: Its name.
            given: Representations the data have.
        """
        if not self.needs or set(self.needs) & set(given):
            return None
        wanted = " or ".join(f"{NAMES[name]} ({name}, from {_FROM[name]})" for name in self.needs)
        what = "pictures" if not set(self.needs) & {"y_ct", "y_ft"} else "pictures, captions or tags"
        return f"needs {what}: {kind} reads {wanted}"


def _bilstm(parts: Parts) -> Baseline:
    assert parts.rare is not None
    return BilstmCrf(parts.rare, unknown=parts.unknown, classes=parts.classes, settings=parts.settings.bilstm)


def _text(make: type[BertTag | BertCrf | BertSpan]) -> Callable[[Parts], Baseline]:
    return lambda parts: make(parts.text_encoder, classes=parts.classes, settings=parts.settings)


SYSTEMS: dict[str, System] = {
    "bilstm-crf": System(make=_bilstm, text="words"),
    "bert-tag": System(make=_text(BertTag)),
    "bert-crf": System(make=_text(BertCrf)),
    "bert-span": System(make=_text(BertSpan)),
    "adacoatt": System(make=AdaCoAtt, reads=("y_c",), needs=("y_c",), text="words"),
    "umt": System(make=Umt, reads=("y_c",), needs=("y_c",)),
    "cat-mner": System(make=CatMner, reads=("y_c", "y_ct", "y_ft"), needs=("y_c", "y_ct", "y_ft")),
    "fmit": System(make=Fmit, reads=("y_f", "y_ft"), needs=("y_f", "y_ft")),
    "hvpnet": System(make=Hvpnet, reads=("y_c", "y_f"), needs=("y_c", "y_f"), text="prefix"),
    "mner-qg": System(make=MnerQg, reads=("y_c",)),
    "debiascl": System(make=DebiasCl, reads=("y_c",), needs=("y_c",)),
    "visualpt-moe": System(
        make=VisualPtMoe, reads=("y_c", "y_f", "y_ct", "y_ft"), needs=("y_c", "y_f", "y_ct", "y_ft"), text="prefix"
    ),
}
KINDS: tuple[str, ...] = tuple(SYSTEMS)


def known_kind(kind: str) -> str:
    """The kind of that name.

    Raises:
        InputError: If there is none, naming the nearest.
    """
    if kind not in SYSTEMS:
        raise InputError(f"unknown baseline {kind!r}{nearest(kind, KINDS)}; known baselines: {', '.join(KINDS)}")
    return kind
