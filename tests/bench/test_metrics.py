"""Metrics of stability, stress, carbon and power drawn by hand, and on courses whose outcome is known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from minesim.bench.metrics import BY_NAME, FAN_LIFE_H, FAN_SET_USD, METRICS, metrics
from minesim.bench.rollout import rollout
from minesim.envs.core import EnvConfig, World, build_world
from tests.bench.two_prices import SITE, START, Always, PriceRule, two_price_world

Cell = Callable[..., xr.Dataset]


def test_ratios_by_hand(make_cell: Cell) -> None:
    cell = make_cell(
        np.array([500.0]),
        hash_commanded_th=8e9,
        hash_square_th=5.4e9,
        fan_miner_h=FAN_LIFE_H / 10.0,
        wear_usd=70.0,
        restart_usd=20.0,
        adapted_usd=30.0,
        adaptable_usd=40.0,
        revenue_possible_usd=3000.0,
        price_crossings=8.0,
        price_crossings_answered=6.0,
        response_minutes=12.5,
    )
    by_hand = {
        "revenue_usd_per_w": 1500.0 / (50_000.0 / 168.0 * 1000.0),
        # Hashrate over command: mean 6/8, mean square 5.4/8.
        "hashrate_rel_sd": (5.4 / 8.0 - (6.0 / 8.0) ** 2) ** 0.5 / (6.0 / 8.0),
        "hardware_stress_usd": 70.0 + 20.0 + 0.1 * FAN_SET_USD,
        "adaptation_score": 0.75,
        "response_share": 0.75,
        "response_minutes": 12.5,
    }
    table = metrics(cell)
    for name, value in by_hand.items():
        assert float(table[name][0]) == pytest.approx(value), name


@pytest.mark.parametrize(
    ("adapted", "adaptable", "expected"),
    [(30.0, 40.0, 0.75), (-5.0, 40.0, 0.0), (30.0, 30.0, 1.0), (10.0, 29.0, np.nan), (0.0, 0.0, np.nan)],
)
def test_adaptation_is_bounded_and_not_applicable_below_one_per_cent(
    make_cell: Cell, adapted: float, adaptable: float, expected: float
) -> None:
    cell = make_cell(np.array([0.0]), adapted_usd=adapted, adaptable_usd=adaptable, revenue_possible_usd=3000.0)
    assert float(metrics(cell)["adaptation_score"][0]) == pytest.approx(expected, nan_ok=True)


def test_decision_quality_is_a_ratio_of_usd(make_cell: Cell) -> None:
    cell = make_cell(np.array([0.0, 0.0]), decision_right_usd=45.0, decision_usd=50.0)
    assert metrics(cell)["decision_quality"].to_numpy() == pytest.approx(0.9)
    assert np.isnan(metrics(make_cell(np.array([0.0])))["decision_quality"]).all()
    nothing = make_cell(np.array([0.0]), decision_right_usd=0.0, decision_usd=0.0)
    assert np.isnan(metrics(nothing)["decision_quality"]).all()


def test_parts_of_a_ratio_are_metrics_and_give_it(make_cell: Cell) -> None:
    table = metrics(rollout(PriceRule(), two_price_world([6, 7, 8]), np.array([START])))
    with_parts = [metric for metric in METRICS if metric.parts is not None]
    assert {"adaptation_score", "decision_quality", "profit_usd_per_kwh"} <= {metric.name for metric in with_parts}
    for metric in with_parts:
        above, below = metric.parts or ("", "")
        assert BY_NAME[above].units, metric.name
        if np.isfinite(table[metric.name]).all():
            assert table[metric.name].to_numpy() == pytest.approx((table[above] / table[below]).to_numpy())


def test_a_steady_course_is_steady_whatever_its_level_and_a_flickering_one_is_not() -> None:
    world = two_price_world([])
    steady = [metrics(rollout(Always(action), world, np.array([START])))["hashrate_rel_sd"] for action in (1.0, 0.2)]
    assert float(steady[0][0]) == 0.0
    # The change to the lower preset at the start takes 3 minutes of a day.
    assert float(steady[1][0]) < 0.05
    noise = metrics(rollout(Always(0.0, drawn_by=0), world, np.array([START])))
    assert float(noise["hashrate_rel_sd"][0]) > 0.2
    off = metrics(rollout(Always(-1.0), world, np.array([START])))
    assert np.isnan(float(off["hashrate_rel_sd"][0]))


def test_stress_grows_with_stops_and_heat() -> None:
    world = two_price_world([6, 7, 8, 15, 16])
    stock, rule, low = (
        float(metrics(rollout(policy, world, np.array([START])))["hardware_stress_usd"][0])
        for policy in (Always(1.0), PriceRule(), Always(-0.5))
    )
    assert rule > 1.1 * stock
    assert low < stock


def test_fans_count_their_turns() -> None:
    world = two_price_world([])
    sums = rollout(Always(1.0), world, np.array([START]))
    miner_h = world.params.curves.count.sum() * 24.0
    assert 0.05 * miner_h < float(sums["fan_miner_h"][0]) < miner_h
    off = rollout(Always(-1.0), world, np.array([START]), options={"running": 0.0})
    assert float(off["fan_miner_h"][0]) == pytest.approx(0.02 * miner_h, rel=0.05)


def test_carbon_is_told_only_where_there_is_a_trace() -> None:
    without = rollout(Always(1.0), two_price_world([]), np.array([START]))
    assert np.isnan(metrics(without)["carbon_kg"]).all()
    generated = build_world(EnvConfig(site=SITE, split=None, episode_days=1.0 / 12.0, difficulty="easy"))
    with_trace = rollout(Always(1.0), generated, generated.table.start_utc[96:97])
    assert (metrics(with_trace)["carbon_kg"] > 0.0).all()


def test_targets_of_the_mission_are_on_the_page() -> None:
    page = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
    for metric in METRICS:
        assert (
            f"| `{metric.name}` | {metric.units} | {metric.formula} | {metric.better} | {metric.target or '-'} |"
            in page
        )
    targets = {metric.name: metric.target for metric in METRICS if metric.target}
    assert targets["adaptation_score"] == "> 0.85"
    assert targets["decision_quality"] == "> 0.9"
    assert targets["response_minutes"] == "< 15"


def test_a_world_of_its_own_per_run_does_not_mix(world: World) -> None:
    """Rows of a batch have their own starts: reaction and response read the traces of each."""
    starts = world.table.start_utc[[96, 480]]

    class Still:
        name = "still"

        def act(self, observation: np.ndarray) -> np.ndarray:
            return np.ones((*observation.shape[:-1], 1))

        def reset(self, done: np.ndarray | None = None) -> None:
            """Nothing to forget."""

    both = rollout(Still(), world, starts)
    for run in range(2):
        alone = rollout(Still(), world, starts[run : run + 1])
        for name in ("adapted_usd", "adaptable_usd", "revenue_possible_usd"):
            assert float(both[name][run]) == pytest.approx(float(alone[name][0]), abs=1e-9)
