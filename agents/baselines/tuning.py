"""Tune a rule on validation weeks: every candidate of its grid on the same weeks, the best mean profit wins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from agents.baselines.base import Knowledge
from agents.baselines.forecast import fit_forecast
from agents.baselines.mpc import build_mpc, mpc_candidates
from agents.baselines.table import RuleParams, build, entry, plain_params
from minesim.bench.rollout import OnStep, Panel, rollout
from minesim.control.policy import Policy
from minesim.envs.core import World


@dataclass(frozen=True)
class Tuned:
    """Outcome of tuning a rule.

    Attributes:
        params: the best candidate, None for a rule without parameters.
        profit_usd_per_week: its mean net profit on the tuning weeks; NaN where nothing was tuned.
        candidates: how many were compared.
    """

    params: RuleParams
    profit_usd_per_week: float
    candidates: int


def try_candidates(
    name: str,
    knowledge: Knowledge,
    world: World,
    starts: NDArray[np.datetime64],
    *,
    on_step: OnStep | None = None,
) -> xr.Dataset:
    """Net profit of every candidate on every week, all in one batch.

    Args:
        name: of the rule.
        knowledge: schema and fleet of ``world``.
        world: compiled traces and site.
        starts: validation weeks, (W,).
        on_step: progress callback.

    Returns:
        ``profit_usd`` over ``candidate`` and ``week``; candidates in the order of the grid.
    """
    candidates = entry(name).candidates()
    return try_policies([build(name, knowledge, params) for params in candidates], world, starts, on_step=on_step)


def try_policies(
    policies: Sequence[Policy], world: World, starts: NDArray[np.datetime64], *, on_step: OnStep | None = None
) -> xr.Dataset:
    """Net profit of every policy on every week, all in one batch; arguments and result as in :func:`try_candidates`."""
    sums = rollout(Panel(policies, len(starts)), world, np.tile(starts, len(policies)), on_step=on_step)
    profit = sums["profit_usd"].to_numpy().reshape(len(policies), len(starts))
    return xr.Dataset({"profit_usd": (("candidate", "week"), profit, {"units": "USD"})})


def pick(name: str, tried: xr.Dataset) -> Tuned:
    """The candidate with the highest mean profit; the first of the grid where several are equal."""
    candidates = entry(name).candidates()
    means = tried["profit_usd"].mean("week").to_numpy()
    best = int(np.argmax(means))
    return Tuned(candidates[best], float(means[best]), len(candidates))


def tune_mpc(world: World, starts: NDArray[np.datetime64], *, on_step: OnStep | None = None) -> Tuned:
    """The best candidate of :func:`agents.baselines.mpc.mpc_candidates` on validation weeks."""
    candidates = mpc_candidates(world)
    forecast = fit_forecast(world)
    tried = try_policies([build_mpc(world, params, forecast) for params in candidates], world, starts, on_step=on_step)
    means = tried["profit_usd"].mean("week").to_numpy()
    best = int(np.argmax(means))
    return Tuned(candidates[best], float(means[best]), len(candidates))


def needs_tuning(name: str) -> bool:
    """Whether a rule has more than one candidate."""
    return len(entry(name).candidates()) > 1


def at_edge(name: str, params: RuleParams) -> list[str]:
    """Parameters that ended at the edge of their grid: a better value may lie beyond."""
    grid, chosen = entry(name).grid, plain_params(params)
    return [key for key, tried in grid.items() if len(tried) > 1 and chosen[key] in (min(tried), max(tried))]


def as_text(params: RuleParams) -> str:
    """Parameters for people: ``factor 1.15``."""
    return ", ".join(f"{key.replace('_', ' ')} {value:g}" for key, value in plain_params(params).items()) or "none"
