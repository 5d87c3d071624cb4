"""Tune on validation weeks: every candidate on the same weeks, the highest mean profit at a cost of stops wins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from minesim.bench.regret import profit_at_scale
from minesim.bench.rollout import OnStep, Panel, rollout
from minesim.control.policy import Policy
from minesim.envs.core import World

TRIED = ("profit_usd", "wear_usd", "restart_usd")
"""What is kept of a candidate: enough for its profit at any cost of wear and stops."""


def try_policies(
    policies: Sequence[Policy], world: World, starts: NDArray[np.datetime64], *, on_step: OnStep | None = None
) -> xr.Dataset:
    """Run every policy on every week, all in one batch.

    Args:
        policies: candidates.
        world: compiled traces and site.
        starts: validation weeks, (W,).
        on_step: progress callback.

    Returns:
        ``TRIED`` over ``candidate`` and ``week``, USD; candidates in the given order.
    """
    sums = rollout(Panel(policies, len(starts)), world, np.tile(starts, len(policies)), on_step=on_step)
    shape = (len(policies), len(starts))
    return xr.Dataset(
        {name: (("candidate", "week"), sums[name].to_numpy().reshape(shape), {"units": "USD"}) for name in TRIED}
    )


def pick(tried: xr.Dataset, scale: float = 1.0) -> tuple[int, float]:
    """Number and mean profit (USD a week) of the best candidate at a cost scale; the first where several are equal."""
    means = profit_at_scale(tried, scale).mean("week").to_numpy()
    best = int(np.argmax(means))
    return best, float(means[best])


def at_edge(candidates: Sequence[Mapping[str, float]], chosen: Mapping[str, float]) -> list[str]:
    """Parameters that ended at the edge of what was tried: a better value may lie beyond."""
    found = []
    for key, value in chosen.items():
        tried = {candidate[key] for candidate in candidates}
        if len(tried) > 1 and value in (min(tried), max(tried)):
            found.append(key)
    return found


def as_text(candidates: Sequence[Mapping[str, float]], chosen: Mapping[str, float]) -> str:
    """The chosen parameters for people, how many were tried, and whether the search should have gone further.

    >>> as_text([{"factor": 0.5}, {"factor": 1.0}, {"factor": 2.0}], {"factor": 2.0})
    'factor 2 (best of 3; factor at the edge of the search)'
    """
    text = ", ".join(f"{key.replace('_', ' ')} {value:g}" for key, value in chosen.items()) or "no parameters"
    if len(candidates) == 1:
        return text
    edge = ", ".join(key.replace("_", " ") for key in at_edge(candidates, chosen))
    return f"{text} (best of {len(candidates)}{f'; {edge} at the edge of the search' if edge else ''})"
