"""Scorecards written by hand: weekly profits that are simple to reckon with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

WEEKS = 12
HARMLESS = {
    "wear_usd": 10.0,
    "restart_usd": 0.0,
    "hardware_stress_usd": 10.0,
    "stops_per_miner": 7.0,
    "trips": 0.0,
    "temp_chip_max_c": 75.0,
    "violation_share": 0.0,
    "hashrate_rel_sd": 0.01,
    "efficiency_j_per_th": 30.0,
}
KINDS = {"always_stock": "rule", "threshold": "rule", "peak_avoiding": "rule", "ppo": "learned", "mpc": "mpc"}


def wave(weeks: int = WEEKS) -> np.ndarray:
    """What all agents share: good and bad weeks, 0 on average."""
    found = 100.0 * np.sin(np.arange(weeks))
    return found - found.mean()


def card(
    profit: Mapping[str, Mapping[str, float]],
    bound: Mapping[str, float | None],
    *,
    metrics: Mapping[tuple[str, str], float] | None = None,
    weeks: int = WEEKS,
    seeds: int = 1,
    spread: Mapping[str, Sequence[float]] | None = None,
    **attrs: Any,
) -> xr.Dataset:
    """A scorecard of a suite ``hand``.

    Args:
        profit: scenario -> agent -> mean profit, USD a week; one who is left out did not play there.
        bound: scenario -> mean of the bound, None where there is none.
        metrics: (agent, metric) -> value, where it is not harmless.
        weeks, seeds: numbers of them.
        spread: agent -> what its weeks have beside the mean and the common wave.
        attrs: further attributes.
    """
    agents = list(dict.fromkeys(agent for row in profit.values() for agent in row))
    scenarios = list(profit)
    shape = (len(agents), len(scenarios), weeks, seeds)
    dims = ("agent", "scenario", "week", "seed")
    found = np.full(shape, np.nan)
    for j, scenario in enumerate(scenarios):
        for i, agent in enumerate(agents):
            if agent in profit[scenario]:
                own = np.asarray((spread or {}).get(agent, np.zeros(weeks)), float)
                found[i, j] = (profit[scenario][agent] + wave(weeks) + own)[:, None]
    tables = {"profit_usd": found}
    for name, value in HARMLESS.items():
        tables[name] = np.broadcast_to(
            np.array([(metrics or {}).get((agent, name), value) for agent in agents])[:, None, None, None], shape
        ).copy()
    limit = np.full((len(scenarios), weeks, seeds, 1), np.nan)
    for j, scenario in enumerate(scenarios):
        if bound[scenario] is not None:
            limit[j, ..., 0] = (bound[scenario] + wave(weeks))[:, None]
    starts = np.datetime64("2023-07-01", "ns") + np.arange(weeks) * np.timedelta64(7, "D")
    return xr.Dataset(
        {name: (dims, table) for name, table in tables.items()}
        | {
            "bound_usd": (("scenario", "week", "seed", "scale"), limit),
            "profit_scaled_usd": ((*dims, "scale"), found[..., None]),
            "validation_scaled_usd": (("agent", "scenario", "scale"), found.mean((2, 3))[..., None]),
        },
        coords={
            "agent": agents,
            "scenario": scenarios,
            "week": np.arange(weeks),
            "seed": np.arange(seeds),
            "scale": [1.0],
            "kind": ("agent", [KINDS[agent] for agent in agents]),
            "week_start": (("scenario", "week"), np.tile(starts, (len(scenarios), 1))),
        },
        attrs={
            "suite": "hand",
            "created": "2026-11-01T00:00:00+00:00",
            "site": "one_s19j_pro",
            "difficulty": "medium",
            "limits": "seed",
            "code": "0",
            **attrs,
        },
    )
