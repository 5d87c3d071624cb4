"""The rule that sells reserve, by hand: break-even is 100 USD/MWh (new, 30 kW) and 60 (old, 10 kW)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from agents.baselines import Knowledge, ReserveOffering, ReserveOfferingParams, applicable, rules
from agents.baselines.base import local_hour
from agents.baselines.reserve import within_power
from agents.baselines.table import build
from minesim.arrays import NUMPY
from minesim.bench.rollout import rollout
from minesim.control.actuate import FleetCurves, target_level
from minesim.control.observe import schema as schema_of
from minesim.envs.core import EnvConfig, build_world

Observe = Callable[..., np.ndarray]


def clock(hour: float) -> dict[str, float]:
    return {"hour_sin": np.sin(2 * np.pi * hour / 24), "hour_cos": np.cos(2 * np.pi * hour / 24)}


@pytest.fixture
def rule(knowledge: Knowledge) -> ReserveOffering:
    return ReserveOffering(
        Knowledge(knowledge.schema, knowledge.fleet, offers_reserve=True),
        ReserveOfferingParams(call_factor=1.0, share=0.9, overhead=1.0),
    )


def act(rule: ReserveOffering, observation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Levels asked for and share of the present load that is offered."""
    running = (rule.knowledge.schema.read(observation, "level") > 0).astype(np.float32)
    action = rule.act(observation)
    level = target_level(action[..., :2], running, rule.knowledge.fleet.level_min, xp=NUMPY)
    return np.asarray(level), 0.5 * (action[..., 2] + 1.0)


@pytest.mark.parametrize("hour", [0.0, 0.25, 5.75, 6.0, 11.75, 12.0, 12.25, 17.5, 18.0, 23.75])
def test_the_clock_is_read_back_from_its_circle(observe: Observe, knowledge: Knowledge, hour: float) -> None:
    assert local_hour(knowledge.schema, observe(**clock(hour)), xp=NUMPY) == pytest.approx([hour])


def test_reserve_income_moves_the_break_even(rule: ReserveOffering, observe: Observe) -> None:
    # At 140 USD/MWh nothing mines; 0.9 x 100 USD/MW-h of reserve makes it 50: both run and all of it is offered.
    level, share = act(rule, observe(price_last_usd_per_mwh=140.0, site_power_frac=1.0))
    assert level == pytest.approx([0.0, 0.0])
    assert share == pytest.approx(0.0)
    rule.reset()
    paid = observe(price_last_usd_per_mwh=140.0, reserve_price_usd_per_mw_h=100.0, site_power_frac=1.0)
    level, share = act(rule, paid)
    assert level == pytest.approx([1.0, 1.0], abs=1e-3)
    assert share == pytest.approx(0.9, abs=1e-3)


def test_only_what_lasts_is_offered(rule: ReserveOffering, observe: Observe) -> None:
    # At 90 less 9 the new cohort (30 of 40 kW) runs at its best preset for 81 USD/MWh, the old one stops.
    seen = observe(price_last_usd_per_mwh=90.0, reserve_price_usd_per_mw_h=10.0, site_power_frac=1.0)
    level, share = act(rule, seen)
    assert level == pytest.approx([0.8, 0.0], abs=1e-3)
    assert share == pytest.approx(0.9 * 0.8 * 0.75, abs=1e-3)


def test_the_price_of_an_hour_is_what_was_said_before_it(rule: ReserveOffering, observe: Observe) -> None:
    values = {"price_last_usd_per_mwh": 140.0, "site_power_frac": 1.0}
    act(rule, observe(**values, **clock(9.75), reserve_price_usd_per_mw_h=200.0))
    level, share = act(rule, observe(**values, **clock(10.0), reserve_price_usd_per_mw_h=0.0))
    assert level == pytest.approx([1.0, 1.0], abs=1e-3)
    assert share == pytest.approx(0.9, abs=1e-3)
    # The next hour pays nothing: it stops when that hour opens, not before, because the offer stands.
    standing = {**values, "reserve_held_frac": 0.9}
    level, _ = act(rule, observe(**standing, **clock(10.25), reserve_price_usd_per_mw_h=0.0))
    assert level == pytest.approx([1.0, 1.0], abs=1e-3)
    level, share = act(rule, observe(**standing, **clock(11.0), reserve_price_usd_per_mw_h=0.0))
    assert level == pytest.approx([0.0, 0.0])
    assert share == pytest.approx(0.0)


def test_a_standing_offer_is_worth_its_penalty_too(rule: ReserveOffering, observe: Observe) -> None:
    # 60 USD/MW-h: worth 0.9 x 60 = 54 at the opening (116 left: stop), 108 while the offer stands (62 left: run).
    values = {"price_last_usd_per_mwh": 170.0, "reserve_price_usd_per_mw_h": 60.0, "site_power_frac": 1.0}
    assert act(rule, observe(**values, **clock(8.0)))[0] == pytest.approx([0.0, 0.0])
    rule.reset()
    act(rule, observe(**{**values, "price_last_usd_per_mwh": 20.0}, **clock(8.0)))
    level, _ = act(rule, observe(**values, reserve_held_frac=0.9, **clock(8.25)))
    assert level == pytest.approx([1.0, 0.0], abs=1e-3)


def test_a_stopped_site_starts_half_an_hour_before_an_hour_that_pays(rule: ReserveOffering, observe: Observe) -> None:
    values = {
        "price_last_usd_per_mwh": 150.0,
        "price_h01_usd_per_mwh": 150.0,
        "price_known_h": 12.0,
        "reserve_price_usd_per_mw_h": 200.0,
        "site_power_frac": 0.01,
        "level": 0.0,
    }
    act(rule, observe(**{**values, "reserve_price_usd_per_mw_h": 0.0}, **clock(8.0)))
    assert act(rule, observe(**values, **clock(8.25)))[0] == pytest.approx([0.0, 0.0])
    assert act(rule, observe(**values, **clock(8.5)))[0] == pytest.approx([1.0, 1.0], abs=1e-3)


def test_a_call_is_met_from_the_load_before_it_and_the_least_earning_stop_first(
    rule: ReserveOffering, observe: Observe
) -> None:
    values = {"price_last_usd_per_mwh": 20.0, "reserve_price_usd_per_mw_h": 20.0}
    act(rule, observe(**values, **clock(8.0), site_power_frac=1.0))
    called = {**values, "reserve_call": 1.0, "reserve_held_frac": 0.4}
    # Baseline 40 kW less 16 kW leave 24: the new cohort throttles from 30 to 24 kW, the old one (10 kW) stops.
    first, _ = act(rule, observe(**called, **clock(8.25), site_power_frac=1.0))
    assert first == pytest.approx([0.8, 0.0], abs=1e-3)
    # The load has fallen; what counts is still the load before the call.
    second, _ = act(rule, observe(**called, **clock(8.25), site_power_frac=0.6))
    assert second == pytest.approx([0.8, 0.0], abs=1e-3)
    after, _ = act(rule, observe(**values, reserve_held_frac=0.4, **clock(8.5), site_power_frac=0.6))
    assert after == pytest.approx([1.0, 1.0], abs=1e-3)


def test_no_offer_into_a_likely_peak(rule: ReserveOffering, observe: Observe) -> None:
    peak = {"peak_probability": 0.01, "cp_rate_usd_per_kw": 18.9}
    values = {"price_last_usd_per_mwh": 20.0, "reserve_price_usd_per_mw_h": 20.0, "site_power_frac": 1.0}
    level, share = act(rule, observe(**values, **peak))
    assert level == pytest.approx([0.0, 0.0])
    assert share == pytest.approx(0.0)
    careful = ReserveOffering(rule.knowledge, ReserveOfferingParams(call_factor=1.0, ahead_factor=1.0))
    near = observe(**values, cp_rate_usd_per_kw=18.9, peak_probability_next_4h=0.01)
    level, share = act(careful, near)
    assert level == pytest.approx([1.0, 1.0], abs=1e-3)
    assert share == pytest.approx(0.0)


def test_reset_forgets_finished_rows_only(rule: ReserveOffering, observe: Observe) -> None:
    values = {"price_last_usd_per_mwh": np.full(2, 140.0), "site_power_frac": 1.0}
    act(rule, observe(**values, **clock(9.75), reserve_price_usd_per_mw_h=np.full(2, 200.0)))
    rule.reset(np.array([True, False]))
    _, share = act(rule, observe(**values, **clock(10.0), reserve_price_usd_per_mw_h=np.zeros(2)))
    assert share == pytest.approx([0.0, 0.9], abs=1e-3)


def test_within_power_keeps_what_earns_most(knowledge: Knowledge, fleet: FleetCurves, observe: Observe) -> None:
    level = np.ones((4, 2))
    cut = within_power(level, np.array([[1.0], [0.8], [0.5], [0.0]]), observe(), knowledge, fleet, xp=NUMPY)
    # 40 kW: all; 32 kW: new 30, old would get 2 of 10, below its lowest preset; 20 kW: new at 2/3; nothing.
    assert cut == pytest.approx(np.array([[1, 1], [1, 0], [2 / 3, 0], [0, 0]]))


def test_it_applies_only_where_there_are_reserves(knowledge: Knowledge) -> None:
    assert "reserve_offering" in applicable(offers_reserve=True)
    assert "reserve_offering" not in applicable(offers_reserve=False)
    assert "reserve_offering" not in rules(knowledge.schema, knowledge.fleet)
    assert "reserve_offering" in rules(knowledge.schema, knowledge.fleet, offers_reserve=True)


def test_it_is_paid_for_calls_and_pays_no_penalty_on_one_miner() -> None:
    """Half days of ERCOT with a call each: more than half of the most that can be earned, so shedding is in time."""
    world = build_world(EnvConfig(scenario="ercot/reserves", site="one_s19j_pro", split=None, episode_days=0.5))
    rows = world.table.rows_of_split("validation")
    called = rows.start + np.flatnonzero(np.diff(world.table.column("reserve_call")[rows]) > 0)[:6]
    starts = world.table.start_utc[called - called % 4 - 12]
    knowledge = Knowledge(schema_of(1), world.params.curves, offers_reserve=True)
    offered = rollout(build("reserve_offering", knowledge), world, starts)
    silent = rollout(build("myopic_best_preset", knowledge), world, starts)
    rated_mw = world.params.curves.power_rated_site_w * 1e-6
    price = world.table.column("reserve_price_usd_per_mw_h")
    at_most = [price[world.table.row_of(start) + np.arange(48)].mean() * 12.0 * rated_mw * 1.1 for start in starts]
    assert (silent["reserve_usd"] == 0.0).all()
    assert (offered["reserve_usd"].to_numpy() > 0.5 * np.array(at_most)).all()
    assert (offered["reserve_usd"].to_numpy() <= at_most).all()
    assert float(offered["profit_usd"].sum()) > 1.1 * float(silent["profit_usd"].sum())
