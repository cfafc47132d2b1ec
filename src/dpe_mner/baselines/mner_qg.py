"""MNER-QG: a query for each type, entities by machine reading (Jia et al., AAAI 2023).

No code was found. Stated in abstract and introduction: a query for each type brings prior knowledge; entities are read
off by machine reading comprehension while the query is grounded in the picture; interaction of the modalities at
several scales; an existence-aware part within the text. The reading block is that of Li et al. (2020): starts, ends,
and which start belongs to which end. All else is a reconstruction:

* every (post, type) is read as ``[CLS] query [SEP] text [SEP]``;
* the map of y_c and its poolings to 4 x 4 and 2 x 2 are attended to by the text, one layer a scale, their updates
  added up;
* existence, a probability that the text has an entity of the type, weighs the query's state, which is added to the
  words before one more layer of self-attention;
* the queries are ours (:mod:`~dpe_mner.baselines.own_words`), or a setting.

**The grounding loss is left out**: nobody has its boxes. So is the attention from picture to text, which only it read.
In training a post is asked for one of the types it has, which counts for all of those, and half of the time for one it
has not, which counts for twice all the others: as many passes through the encoder as a step can bear, and the same loss
in expectation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from dpe_mner.baselines.layers import CrossLayer
from dpe_mner.baselines.network import MultimodalBaseline, Parts
from dpe_mner.baselines.own_words import OwnTexts, queries_of
from dpe_mner.baselines.span_table import following, inside_post
from dpe_mner.baselines.vision import Blocks, image_blocks, pooled_grid
from dpe_mner.decoding.candidates import Candidates, Row, choose, rows_of, sort_candidates
from dpe_mner.representations.batch import Batch, GoldSpans, PieceBatch
from dpe_mner.representations.windows import piece_limit

_MATCH_WEIGHT = 0.1  # start and end count 1; their sum divides all three (Li et al.'s script)
_SCALES = (7, 4, 2)
_DROPOUT = 0.1


class MnerQg(MultimodalBaseline):
    """Reads every post once for each type.

    Args:
        parts: With a text encoder; for y_c with its sizes.
    """

    def __init__(self, parts: Parts) -> None:
        super().__init__()
        own = parts.settings.mner_qg
        self.text_encoder = parts.text_encoder
        h = self.text_encoder.width
        layer = partial(CrossLayer, width=h, heads=parts.heads, dropout=_DROPOUT)
        self.types = parts.classes - 1
        self.existence_weight = own.existence_weight
        self.longest = parts.settings.span.max_length
        self.queries = OwnTexts(queries_of(parts.labels, own.queries), parts.tokenizer)
        self.channels = parts.vision.coarse
        self.image = None if self.channels is None else nn.Linear(self.channels, h)
        self.scales = nn.ModuleList(layer() for _ in _SCALES if self.channels is not None)
        self.exists = nn.Linear(h, 1)
        self.within = layer()
        self.dropout = nn.Dropout(parts.settings.dropout)
        self.start, self.end = nn.Linear(h, 1), nn.Linear(h, 1)
        self.match_first, self.match_last = nn.Linear(h, h), nn.Linear(h, h, bias=False)
        self.match = nn.Sequential(nn.GELU(), nn.Linear(h, 1))

    @property
    def query_pieces(self) -> int:
        """Pieces that a query takes from those the encoder can read."""
        return int(self.queries.ids.shape[1])

    def read(self, batch: Batch, post: Tensor, kind: Tensor) -> Reading:
        """What is read of P pairs of a post and a type (from 0). *Shapes:* (P,) and (P,)."""
        asked = replace(
            batch,
            text=ask(self.queries.pieces(), self._with_room(batch.text), post, kind),
            lengths=batch.lengths[post],
            caption=None,
            tags=None,
            coarse=None,
            fine=None,
            gold=None,
            convention=None if batch.convention is None else batch.convention[post],
        )
        states = self.text_encoder(asked)
        x, mask = self._with_picture(states.x_t, batch, post), asked.word_mask
        exists = self.exists(states.x_g[:, 0]).squeeze(-1)
        x = x + torch.sigmoid(exists)[:, None, None] * states.x_g
        x = self.dropout(self.within(x, Blocks(x, mask)))
        match = self.match(self.match_first(x)[:, :, None] + following(self.match_last(x), self.longest))
        inside = inside_post(asked.lengths, asked.words, self.longest)
        return Reading(exists, self.start(x).squeeze(-1), self.end(x).squeeze(-1), match.squeeze(-1), mask, inside)

    def _with_room(self, text: PieceBatch) -> PieceBatch:
        """The pieces of the posts without padding that would not fit behind a query."""
        room = piece_limit(self.text_encoder.encoder.config) - self.query_pieces + 1
        return PieceBatch(*(getattr(text, f.name)[:, :room] for f in fields(text)))

    def _with_picture(self, x: Tensor, batch: Batch, post: Tensor) -> Tensor:
        if self.image is None or self.channels is None or batch.coarse is None:
            return x
        grid = image_blocks(batch, batch.coarse, self.channels)
        update = torch.zeros_like(x)
        for side, layer in zip(_SCALES, self.scales, strict=True):
            blocks = pooled_grid(grid, side)
            seen = Blocks(self.image(blocks.states)[post], blocks.mask[post])
            update = update + (layer(x, seen) - x) * seen.present[:, None, None]
        return x + update / len(_SCALES)

    def losses(self, batch: Batch, generator: torch.Generator | None = None) -> Mapping[str, Tensor]:
        """Starts, ends, matches and existence, each a mean over posts and types."""
        gold = batch.gold
        assert gold is not None
        post, kind, weight = pairs_to_ask(gold, self.types, generator)
        seen = self.read(batch, post, kind)
        wanted, start, end = gold_table(gold, post, kind, batch.words, self.longest)
        share = weight / (len(batch) * self.types)
        # Every start with every end, as far as gold or this reading has them.
        ends = following(end | (seen.end > 0), self.longest)
        asked = seen.inside & (start | (seen.start > 0))[:, :, None] & ends
        total = 2 + _MATCH_WEIGHT
        boundaries = _cross_entropy(seen.start, start, seen.mask) + _cross_entropy(seen.end, end, seen.mask)
        matches = _cross_entropy(seen.match.flatten(1), wanted.flatten(1), asked.flatten(1))
        exists = functional.binary_cross_entropy_with_logits(
            seen.exists.float(), start.any(1).float(), reduction="none"
        )
        return {
            "boundaries": (share * boundaries).sum() / total,
            "matches": (share * matches).sum() * _MATCH_WEIGHT / total,
            "existence": (share * exists).sum() * self.existence_weight,
        }

    def decode(self, batch: Batch) -> list[list[Row]]:
        """Spans of all types whose start, end and match are each likelier than not, best first, without overlap."""
        B, T, M, L = len(batch), self.types, batch.words, self.longest
        device = batch.lengths.device
        post = torch.arange(B, device=device).repeat_interleave(T)
        seen = self.read(batch, post, torch.arange(T, device=device).repeat(B))
        both = torch.minimum(seen.start[:, :, None], following(seen.end, L))
        logits = torch.minimum(both, seen.match).float()
        scores = torch.where(seen.inside & (logits > 0), torch.sigmoid(logits), 0.0).view(B, -1)
        top = scores.topk(max(int((scores > 0).sum(1).max()), 1))
        kind, span = top.indices // (M * L), top.indices % (M * L)
        spans = torch.stack([span // L, span // L + span % L], dim=-1)
        arrays = (part.cpu().numpy() for part in (spans, kind + 1, top.values))
        candidates = sort_candidates(Candidates(*arrays))
        return [sorted(rows) for rows in rows_of(candidates, choose(candidates, 0.0))]


@dataclass(frozen=True)
class Reading:
    """Logits of P readings, of spans by their first word and length.

    *Shapes:* exists (P,), start, end and mask (P, M), match and inside (P, M, L); ``inside`` is True at spans that end
    within their post.
    """

    exists: Tensor
    start: Tensor
    end: Tensor
    match: Tensor
    mask: Tensor
    inside: Tensor


def ask(queries: PieceBatch, text: PieceBatch, post: Tensor, kind: Tensor) -> PieceBatch:
    """``[CLS] query [SEP] text [SEP]`` for pairs of a post and a type; pieces of the query belong to no word."""
    before = PieceBatch(
        queries.ids[kind],
        queries.mask[kind],
        torch.full_like(queries.word_index[kind], -1),
        queries.shapes[kind],
    )

    def join(name: str) -> Tensor:
        return torch.cat([getattr(before, name), getattr(text, name)[post][:, 1:]], dim=1)

    return PieceBatch(join("ids"), join("mask"), join("word_index"), join("shapes"))


def pairs_to_ask(gold: GoldSpans, types: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor, Tensor]:
    """Posts, types (from 0) and weights to train on; in expectation every post's weights are those of all its types.

    Of the types a post has one is drawn, for all of them; of the others one, for every second post and twice all.

    *Shapes:* (P,) each.
    """
    B = len(gold.count)
    has = torch.zeros(B, types + 1, dtype=torch.bool, device=gold.count.device)
    real = torch.arange(gold.labels.shape[1], device=has.device) < gold.count[:, None]
    has.scatter_(1, torch.where(real, gold.labels, 0), True)
    has = has[:, 1:]
    drawn = torch.rand(B, types, generator=generator, device=has.device)
    second = torch.rand(B, 1, generator=generator, device=has.device) < 0.5
    own = _one_of(has, drawn)
    other = _one_of(~has, drawn) & second
    post, kind = (own | other).nonzero(as_tuple=True)
    weight = torch.where(own, has.sum(1, keepdim=True), 2 * (~has).sum(1, keepdim=True))
    return post, kind, weight[post, kind].float()


def _one_of(allowed: Tensor, drawn: Tensor) -> Tensor:
    """The allowed entry of every row with the largest draw, if there is any. *Shape:* unchanged."""
    best = drawn.masked_fill(~allowed, -1.0).argmax(1, keepdim=True)
    return torch.zeros_like(allowed).scatter_(1, best, True) & allowed


def gold_table(gold: GoldSpans, post: Tensor, kind: Tensor, words: int, longest: int) -> tuple[Tensor, Tensor, Tensor]:
    """Gold spans of pairs of a post and a type, and where any begin and end; longer ones are in the latter alone.

    *Shapes:* (P, M, L), first words by lengths, and (P, M) twice.
    """
    table = torch.zeros(len(post), words, longest, dtype=torch.bool, device=post.device)
    start, end = torch.zeros(2, len(post), words, dtype=torch.bool, device=post.device)
    real = torch.arange(gold.labels.shape[1], device=post.device) < gold.count[:, None]
    pair, entity = (real[post] & (gold.labels[post] == kind[:, None] + 1)).nonzero(as_tuple=True)
    first, last = gold.spans[post[pair], entity].unbind(-1)
    start[pair, first] = end[pair, last] = True
    short = last - first < longest
    table[pair[short], first[short], (last - first)[short]] = True
    return table, start, end


def _cross_entropy(logits: Tensor, wanted: Tensor, mask: Tensor) -> Tensor:
    """Binary cross-entropy, a mean over what the mask leaves. *Shapes:* (P, n) each -> (P,)."""
    each = functional.binary_cross_entropy_with_logits(logits.float(), wanted.float(), reduction="none")
    return (each * mask).sum(1) / mask.sum(1).clamp(min=1)
