"""Rollouts of the real twin on a tiny site, and metrics by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from minesim.bench.metrics import METRICS, metrics
from minesim.bench.rollout import MONEY_TERMS, Panel, rollout, run_seed, week_starts
from minesim.envs.core import World
from minesim.errors import ParamsError, ScenarioError


class Constant:
    """Always the same action."""

    def __init__(self, action: float) -> None:
        self.name = f"constant {action}"
        self.action = action
        self.resets = 0

    def act(self, observation: np.ndarray) -> np.ndarray:
        return np.full((*observation.shape[:-1], 1), self.action, np.float32)

    def reset(self, done: np.ndarray | None = None) -> None:
        self.resets += 1


def starts_of(world: World, count: int) -> np.ndarray:
    return world.table.start_utc[4 * 24 * np.arange(1, count + 1)]


def test_money_adds_up_and_standing_still_earns_nothing(world: World) -> None:
    starts = starts_of(world, 3)
    full, off = (rollout(Constant(action), world, starts) for action in (1.0, -1.0))
    costs = sum(full[name] for name in MONEY_TERMS if name not in ("revenue_usd", "reserve_usd"))
    assert full["profit_usd"].to_numpy() == pytest.approx(
        (full["revenue_usd"] + full["reserve_usd"] - costs).to_numpy()
    )
    assert (full["revenue_usd"] > 0.0).all()
    assert (off["revenue_usd"] < 0.02 * full["revenue_usd"]).all()
    assert (off["off_miner_h"] > 1.9).all()
    assert off["stops"].to_numpy() == pytest.approx(np.ones(3))


def test_energy_is_what_the_traced_power_says(world: World) -> None:
    sums = rollout(Constant(1.0), world, starts_of(world, 2), trace_runs=[1])
    traced = sums["trace_power_site_kw"].isel(traced_run=0).sum() * world.config.dt_ctrl_s / 3600.0
    assert float(sums["energy_kwh"][1]) == pytest.approx(float(traced), rel=1e-5)
    hashes = sums["trace_hashrate_ths"].isel(traced_run=0).sum() * world.config.dt_ctrl_s
    assert float(sums["hash_th"][1]) == pytest.approx(float(hashes), rel=1e-5)
    assert sums.attrs["steps"] == 24


def test_a_panel_equals_its_policies_alone(world: World) -> None:
    starts = starts_of(world, 2)
    policies = [Constant(1.0), Constant(-1.0), Constant(0.0)]
    together = rollout(Panel(policies, 2), world, np.tile(starts, 3))
    for index, action in enumerate((1.0, -1.0, 0.0)):
        alone = rollout(Constant(action), world, starts)
        mine = together["profit_usd"].to_numpy()[2 * index : 2 * index + 2]
        assert mine == pytest.approx(alone["profit_usd"].to_numpy(), rel=1e-12)
    assert all(policy.resets == 1 for policy in policies)


def test_draws_follow_from_seed_and_start_alone() -> None:
    first, second = np.datetime64("2023-07-01", "s"), np.datetime64("2023-07-08", "s")
    assert run_seed(0, first) != run_seed(0, second)
    assert run_seed(0, first) != run_seed(1, first)
    assert run_seed(3, first) == run_seed(3, first)


def test_same_seed_same_result_other_seed_other_silicon(world: World) -> None:
    import dataclasses

    from minesim.envs.core import difficulty

    noisy = dataclasses.replace(world, difficulty=difficulty("medium"))
    starts = starts_of(world, 2)
    one, again, other = (rollout(Constant(1.0), noisy, starts, seeds=[s, s]) for s in (0, 0, 1))
    assert np.array_equal(one["energy_kwh"], again["energy_kwh"])
    assert not np.array_equal(one["energy_kwh"], other["energy_kwh"])


def test_progress_is_told_and_bad_starts_are_refused(world: World) -> None:
    told: list[int] = []
    rollout(Constant(1.0), world, starts_of(world, 1), on_step=told.append)
    assert told == list(range(1, 25))
    with pytest.raises(ParamsError, match="0 starts"):
        rollout(Constant(1.0), world, np.array([], "datetime64[s]"))
    with pytest.raises(ParamsError, match="2 starts with 1 seeds"):
        rollout(Constant(1.0), world, starts_of(world, 2), seeds=[0])
    with pytest.raises(ScenarioError, match="does not fit"):
        rollout(Constant(1.0), world, world.table.start_utc[-1:])


def test_week_starts() -> None:
    weeks = week_starts("2023-07-01", 26)
    assert str(weeks[-1]) == "2023-12-23T00:00:00"
    assert list(week_starts("2023-01-07", 25, every=2)) == list(week_starts("2023-01-07", 25)[::2])


def test_metrics_by_hand(make_cell: Callable[..., xr.Dataset]) -> None:
    table = metrics(make_cell(np.array([500.0]), stops=400.0, off_miner_h=3360.0, violation_steps=504.0, carbon_g=2e7))
    by_hand = {
        "profit_usd": 500.0,
        "profit_usd_per_kwh": 0.01,
        "efficiency_j_per_th": 50_000 * 3.6e6 / 6e9,
        "revenue_usd_per_kw": 1500.0 / 600.0,
        "load_factor": 50_000 / (600 * 168),
        "off_share": 3360 / (200 * 168),
        "stops_per_miner": 2.0,
        "violation_share": 0.25,
        "carbon_kg": 20_000.0,
        "temp_chip_max_c": 75.0,
    }
    for name, value in by_hand.items():
        assert float(table[name][0]) == pytest.approx(value), name


def test_a_site_that_stood_still_has_no_efficiency(make_cell: Callable[..., xr.Dataset]) -> None:
    table = metrics(make_cell(np.array([0.0]), energy_kwh=0.0, hash_th=0.0))
    assert np.isnan(float(table["profit_usd_per_kwh"][0]))
    assert np.isnan(float(table["efficiency_j_per_th"][0]))


def test_every_metric_tells_unit_formula_and_direction() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    for metric in METRICS:
        assert metric.units
        assert metric.formula
        assert metric.better in ("higher", "lower", "neither")


def test_the_documentation_tells_the_formulas_that_are_computed() -> None:
    page = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
    for metric in METRICS:
        assert f"| `{metric.name}` | {metric.units} | {metric.formula} |" in page
