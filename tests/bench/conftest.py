"""A tiny site on a short generated scenario, and synthetic cells, for tests of the bench."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr

from minesim.bench.rollout import DERIVED, MONEY_TERMS, week_starts
from minesim.envs.core import EnvConfig, World, build_world

WEEKS = 8


@pytest.fixture(scope="session")
def world() -> World:
    """One S19j Pro for two hours of a generated scenario: a rollout takes a few ms."""
    return build_world(EnvConfig(site="one_s19j_pro", split=None, episode_days=1.0 / 12.0, difficulty="easy"))


@pytest.fixture
def make_cell() -> Callable[..., xr.Dataset]:
    """Sums of a rollout as if ``agent`` had earned ``profit`` (weeks,) with each of ``seeds``."""

    def make(profit: np.ndarray, seeds: tuple[int, ...] = (0,), **changes: float) -> xr.Dataset:
        weeks = len(profit)
        runs = weeks * len(seeds)
        starts = np.repeat(week_starts("2023-07-01", weeks), len(seeds)).astype("datetime64[ns]")
        sums = {name: np.zeros(runs) for name in MONEY_TERMS}
        sums |= {name: np.zeros(runs) for name in ("carbon_g", "stops", "trips", "cost")}
        sums |= {name: np.zeros(runs) for name in DERIVED}
        sums["profit_usd"] = np.repeat(np.asarray(profit, np.float64), len(seeds))
        sums["energy_usd"] = np.full(runs, 1000.0)
        sums["revenue_usd"] = sums["profit_usd"] + 1000.0
        sums["energy_kwh"] = np.full(runs, 50_000.0)
        sums["hash_th"] = np.full(runs, 6e9)
        sums["temp_chip_max_c"] = np.full(runs, 75.0)
        for name, value in changes.items():
            sums[name] = np.full(runs, value)
        return xr.Dataset(
            {name: ("run", values) for name, values in sums.items()},
            coords={"start": ("run", starts), "seed": ("run", np.tile(seeds, weeks))},
            attrs={"power_rated_w": 600e3, "miners": 200.0, "duration_h": 168.0, "steps": 2016, "dt_ctrl_s": 300.0},
        )

    return make


@pytest.fixture
def cells(make_cell: Callable[..., xr.Dataset]) -> dict[tuple[str, str], xr.Dataset]:
    """Three agents on two scenarios: one gains on the first and loses on the second, one does as the baseline."""
    rng = np.random.default_rng(0)
    base = 2000.0 + 300.0 * rng.standard_normal(WEEKS)
    gain = 400.0 + 20.0 * rng.standard_normal(WEEKS)
    result = {}
    for scenario, sign in (("north", 1.0), ("south", -1.0)):
        result["always_stock", scenario] = make_cell(base, (0, 1))
        result["threshold", scenario] = make_cell(base + sign * gain, (0, 1), violation_steps=20.0, restart_usd=50.0)
        result["same", scenario] = make_cell(base, (0, 1))
    return result
