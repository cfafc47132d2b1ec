"""What requests cost, and whether another one fits into what may be spent."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from dpe_mner.errors import InputError
from dpe_mner.llm.request import Usage


@dataclass(frozen=True, kw_only=True)
class Prices:
    """Of a million tokens, in whatever currency the budget is in."""

    tokens_in: float
    tokens_out: float

    def cost(self, usage: Usage) -> float:
        """Of some tokens."""
        return (self.tokens_in * usage.tokens_in + self.tokens_out * usage.tokens_out) / 1e6


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one call of the command may spend.

    Attributes:
        money: In the prices' currency; None for no limit.
        tokens: Of requests and answers together; None for no limit.
        prices: Needed for a limit of money.

    Raises:
        InputError: If they do not fit together.
    """

    money: float | None = None
    tokens: int | None = None
    prices: Prices | None = None

    def __post_init__(self) -> None:
        if self.money is not None and self.prices is None:
            raise InputError("--budget needs the prices of a million tokens; add --price-in X --price-out Y")
        prices = (self.prices.tokens_in, self.prices.tokens_out) if self.prices else ()
        if any(price < 0 for price in prices) or (self.money or 0) < 0 or (self.tokens or 0) < 0:
            raise InputError("--budget, --max-tokens-total, --price-in and --price-out are at least 0")

    @property
    def any(self) -> bool:
        """Whether there is one."""
        return self.money is not None or self.tokens is not None


class Ledger:
    """Counts what is spent, and lets requests begin as long as it stays within the limits.

    A request is expected to cost as much as the dearest so far. Until the first answer has told what one costs, one
    is under way at a time.

    Args:
        limits: Of this call.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.spent = Usage()
        self.under_way = 0
        self._dearest = Usage()
        self._changed = asyncio.Condition()

    @property
    def money(self) -> float | None:
        """Spent; None without prices."""
        return None if self.limits.prices is None else self.limits.prices.cost(self.spent)

    async def begin(self) -> bool:
        """Wait until a request fits.

        Returns:
            False if none will any more; nothing has begun then.
        """
        async with self._changed:
            await self._changed.wait_for(lambda: self._fits() or not self.under_way)
            if not self._fits():
                return False
            self.under_way += 1
            return True

    async def end(self, usage: Usage | None) -> None:
        """A request has ended, with an answer or without (None)."""
        async with self._changed:
            self.under_way -= 1
            if usage is not None:
                self.spent += usage
                self._dearest = max(self._dearest, usage, key=self._weight)
            self._changed.notify_all()

    def _weight(self, usage: Usage) -> float:
        return usage.tokens if self.limits.prices is None else self.limits.prices.cost(usage)

    def _fits(self) -> bool:
        limits = self.limits
        if not limits.any:
            return True
        if not self._dearest.tokens:
            return not self.under_way and (limits.money is None or limits.money > 0) and limits.tokens != 0
        more = self.under_way + 1
        if limits.tokens is not None and self.spent.tokens + more * self._dearest.tokens > limits.tokens:
            return False
        if limits.money is not None and limits.prices is not None:
            return limits.prices.cost(self.spent) + more * limits.prices.cost(self._dearest) <= limits.money
        return True

    def told(self) -> str:
        """Which limit was met, for people."""
        spent = f"{self.spent.tokens} tokens"
        if self.money is not None:
            spent += f", cost {self.money:.4f}"
        limits = [f"--budget {self.limits.money:g}"] if self.limits.money is not None else []
        limits += [f"--max-tokens-total {self.limits.tokens}"] if self.limits.tokens is not None else []
        return f"{' and '.join(limits)}: another request would not fit (so far {spent})"
