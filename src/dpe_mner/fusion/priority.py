"""The "prioritize" schedules of eq. 3 and 6: how much the easy part weighs at each time.

"Easy" is image2text against image in eq. 3 and coarse against fine in eq. 6. With s = sqrt(alpha_t), which grows
from 0 to 1 while reasoning runs:

* ``bounded`` (the paper's words): ``lambda + (1 - 2 lambda) (1 - s)``, from 1 - lambda down to lambda;
* ``literal`` (the printed formulas): ``lambda s``;
* ``literal-flipped``: ``lambda sqrt(1 - alpha_t)``.
"""

from __future__ import annotations

from torch import Tensor


def schedule_weight(s: Tensor, *, priority: str, minimum: float, reverse: bool = False) -> Tensor:
    """Weight of the easy part; the hard part has one minus it.

    Args:
        s: sqrt(alpha_t). *Shape:* any
        priority: Name of the schedule.
        minimum: lambda_x or lambda_y.
        reverse: Swap the roles of easy and hard (Table 4).

    Returns:
        *Shape:* as ``s``.
    """
    if priority == "bounded":
        weight = minimum + (1 - 2 * minimum) * (1 - s)
    elif priority == "literal":
        weight = minimum * s
    elif priority == "literal-flipped":
        weight = minimum * (1 - s**2).clamp(min=0).sqrt()
    else:
        raise ValueError(f"unknown priority schedule {priority!r}")
    return 1 - weight if reverse else weight


def share_between(weight: Tensor, easy_present: Tensor, hard_present: Tensor) -> tuple[Tensor, Tensor]:
    """Give a missing part weight 0 and its twin the whole weight.

    Args:
        weight: Easy weight. *Shape:* (B,)
        easy_present: Whether the easy part exists. *Shape:* (B,)
        hard_present: Whether the hard part exists. *Shape:* (B,)

    Returns:
        Easy and hard weights, each (B,). Both are 0 where neither part exists.
    """
    easy = weight.where(hard_present, weight.new_ones(())) * easy_present
    hard = (1 - weight).where(easy_present, weight.new_ones(())) * hard_present
    return easy, hard
