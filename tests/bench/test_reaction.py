"""Adaptation and response where the right thing to do is known."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from minesim.bench.metrics import metrics
from minesim.bench.reaction import fleet_options, reaction, response
from minesim.bench.rollout import rollout
from minesim.envs.core import World
from tests.bench.two_prices import HIGH, LOW, START, Always, PriceRule, two_price_world

DEAR = (6, 7, 8, 15, 16, 17, 18)


@pytest.fixture(scope="module")
def world() -> World:
    return two_price_world(DEAR)


@pytest.fixture(scope="module")
def calm() -> World:
    return two_price_world([])


def run(policy: object, world: World) -> xr.Dataset:
    return rollout(policy, world, np.array([START]))  # type: ignore[arg-type]


def score(policy: object, world: World) -> float:
    return float(metrics(run(policy, world))["adaptation_score"][0])


def test_what_can_be_gained_by_hand(world: World) -> None:
    sums = run(Always(1.0), world)
    options = fleet_options(world.params.curves)
    assert options.miners == pytest.approx([50.0])
    revenue = world.table.column("hash_revenue_usd_per_ths_day")[0]
    assert world.table.column("hash_revenue_usd_per_ths_day") == pytest.approx(revenue)
    low, high = (
        50.0 * (revenue * options.paid_ths[0] / 24.0 - price * options.power_w[0] / 1e6) for price in (LOW, HIGH)
    )
    assert low.max() > 0.0
    assert (high < 0.0).all()
    fixed = max(0.0, (17.0 * low + 7.0 * high).max())
    assert float(sums["adaptable_usd"][0]) == pytest.approx(17.0 * low.max() - fixed)
    assert float(sums["revenue_possible_usd"][0]) == pytest.approx(
        24.0 * 50.0 * revenue * options.paid_ths[0, -1] / 24.0
    )
    assert float(sums["adapted_usd"][0]) == pytest.approx(17.0 * low[-1] + 7.0 * high[-1] - fixed, abs=0.01)


@pytest.mark.parametrize("policy", [Always(1.0), Always(-1.0), Always(0.0)])
def test_a_policy_that_never_moves_gains_nothing(policy: Always, world: World) -> None:
    assert score(policy, world) == pytest.approx(0.0, abs=0.01)


def test_always_on_is_exactly_zero_where_running_is_the_best_fixed_command() -> None:
    spike = two_price_world([12])
    assert float(run(Always(1.0), spike)["adapted_usd"][0]) == pytest.approx(0.0, abs=0.01)
    assert score(PriceRule(), spike) > 0.85


def test_the_right_rule_is_near_one_and_its_inverse_and_noise_at_zero(world: World) -> None:
    assert score(PriceRule(), world) > 0.95
    assert score(PriceRule(runs_when_dear=True), world) == 0.0
    assert score(Always(0.0, drawn_by=0), world) < 0.1
    assert 0.3 < score(PriceRule(delay=6), world) < score(PriceRule(), world)


def test_where_nothing_can_be_gained_there_is_no_score(calm: World) -> None:
    assert np.isnan(score(Always(1.0), calm))
    assert np.isnan(score(Always(-1.0), calm))


def test_no_course_of_commands_beats_hindsight(world: World) -> None:
    rng = np.random.default_rng(0)
    curves = world.params.curves
    rows = np.repeat(world.table.row_of(START), 20)
    preset = rng.integers(0, 8, (20, world.horizon_steps))
    throttle, on = rng.uniform(0.2, 1.0, preset.shape), rng.integers(0, 2, preset.shape)
    power_w = on * (curves.preset_fixed_w[0, preset] * (1.0 - throttle) + throttle * curves.preset_power_w[0, preset])
    hash_ths = on * throttle * curves.preset_hashrate_ths[0, preset] * curves.net_revenue_factor[0]
    per_ths_step = world.table.column("hash_revenue_usd_per_ths_day")[0] * world.config.dt_ctrl_s / 86400.0
    money = reaction(world, rows, 50.0 * (hash_ths * per_ths_step).sum(axis=1), 50.0 * power_w * 1e-3)
    assert (money.adapted <= money.adaptable + 1e-9).all()


def test_a_coincident_peak_counts_as_its_interval_price(world: World) -> None:
    import dataclasses

    settle = world.table.settle.copy()
    row = world.table.row_of(START) + 8
    settle[row, world.table.settle_index["cp_charge_usd_per_kw"]] = 10.0
    charged = dataclasses.replace(world, table=dataclasses.replace(world.table, settle=settle))
    start = np.array([world.table.row_of(START)])
    kilowatts = np.full((1, world.horizon_steps), 100.0)
    plain, peak = (reaction(each, start, np.array([1000.0]), kilowatts) for each in (world, charged))
    fixed_difference = peak.adaptable - plain.adaptable
    assert plain.adapted - peak.adapted == pytest.approx(1000.0 - fixed_difference, abs=20.0)


# --------------------------------------------------------------------- response


def test_an_immediate_stop_takes_one_step_and_a_start_takes_the_boot() -> None:
    stops = metrics(run(PriceRule(), two_price_world(range(12, 24))))
    assert float(stops["response_minutes"][0]) == 5.0
    starts = metrics(run(PriceRule(), two_price_world(range(12))))
    firmware = two_price_world([]).params.firmware
    boot_min = (firmware.start_delay_s + firmware.ramp_s) / 60.0
    assert boot_min <= float(starts["response_minutes"][0]) <= boot_min + 10.0


def test_a_late_rule_is_late_by_its_delay() -> None:
    world = two_price_world(range(12, 24))
    assert float(metrics(run(PriceRule(delay=4), world))["response_minutes"][0]) == 25.0


def test_ramps_of_the_limits_count() -> None:
    world = two_price_world(range(12), limits="seed")
    sums = run(PriceRule(), world)
    # Five cohorts, one each five minutes, then the boot of the fifth.
    assert 25.0 <= float(sums["response_minutes"][0]) <= 40.0
    assert float(sums["price_crossings"][0]) == float(sums["price_crossings_answered"][0]) == 1.0


def test_who_does_not_follow_has_no_time_but_a_share(world: World) -> None:
    table = metrics(run(Always(1.0), world))
    assert np.isnan(float(table["response_minutes"][0]))
    assert float(table["response_share"][0]) == 0.0
    assert float(metrics(run(PriceRule(), world))["response_share"][0]) == 1.0
    assert float(metrics(run(PriceRule(runs_when_dear=True), world))["response_share"][0]) == 0.0


def test_without_crossings_there_is_neither(calm: World) -> None:
    table = metrics(run(Always(1.0), calm))
    assert np.isnan(float(table["response_minutes"][0]))
    assert np.isnan(float(table["response_share"][0]))


def test_who_acts_ahead_of_a_known_price_took_no_time() -> None:
    world = two_price_world(range(12, 24))
    power = np.full((1, world.horizon_steps), 150.0)
    power[0, 12 * 12 - 3 :] = 1.0
    early = response(world, np.array([world.table.row_of(START)]), power)
    assert (early.minutes[0], early.crossings[0], early.answered[0]) == (0.0, 1.0, 1.0)
