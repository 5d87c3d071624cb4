"""Decisions of the rules on observations written by hand: break-even is 100 USD/MWh (new) and 60 (old)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from agents.baselines import (
    RULES,
    AlwaysStock,
    BestFixedPreset,
    FixedPresetParams,
    HysteresisParams,
    HysteresisThrottle,
    Knowledge,
    MyopicBestPreset,
    Patient,
    PatientParams,
    PeakAvoiding,
    PeakAvoidingParams,
    Rule,
    Threshold,
    ThresholdParams,
    applicable,
    rules,
)
from agents.baselines.base import action_for_level, earnings_usd_per_mwh
from agents.baselines.table import build, make_params, plain_params
from minesim.arrays import NUMPY
from minesim.control.actuate import target_level
from minesim.control.policy import Policy
from minesim.errors import ActionError, ParamsError

Observe = Callable[..., np.ndarray]


def asked(rule: Rule, observation: np.ndarray) -> np.ndarray:
    """Levels that the site's own code reads from the rule's action."""
    schema, fleet = rule.knowledge.schema, rule.knowledge.fleet
    running = (schema.read(observation, "level") > 0).astype(np.float32)
    action = rule.act(observation)
    return np.asarray(target_level(action[..., :2], running, fleet.level_min, xp=NUMPY))


def test_breakeven_by_hand() -> None:
    # 1 MW of 30 J/TH miners hashes 33,333 TH/s; at 0.072 USD per TH/s and day that is 2,400 USD a day or 100 an hour.
    assert earnings_usd_per_mwh(100.0, 3000.0, 1.0, 0.072) == pytest.approx(100.0)
    assert earnings_usd_per_mwh(100.0, 3000.0, 0.97, 0.072) == pytest.approx(97.0)


@pytest.mark.parametrize("level", [0.0, 0.55, 0.7, 1.0])
@pytest.mark.parametrize("running", [0.0, 1.0])
def test_action_inverts_target_level(level: float, running: float) -> None:
    level_min = np.array([0.55])
    wished, now = np.array([level]), np.array([running])
    action = action_for_level(wished, now, level_min, xp=NUMPY).astype(np.float32)
    # A stopped cohort starts above -0.85 only, which is 2.6 % of the span above its lowest preset.
    assert target_level(action, now, level_min, xp=NUMPY) == pytest.approx(wished, abs=0.013)


def test_always_stock_asks_for_rated_power_at_any_price(knowledge: Knowledge, observe: Observe) -> None:
    rule = AlwaysStock(knowledge)
    assert asked(rule, observe(price_last_usd_per_mwh=9000.0, level=0.0)) == pytest.approx(np.ones(2))


def test_fixed_preset_asks_for_its_level(knowledge: Knowledge, observe: Observe) -> None:
    rule = BestFixedPreset(knowledge, FixedPresetParams(level=0.8))
    assert asked(rule, observe(price_last_usd_per_mwh=10.0)) == pytest.approx([0.8, 0.8], abs=1e-5)


@pytest.mark.parametrize(
    ("price", "factor", "expected"),
    [(59.0, 1.0, [1, 1]), (61.0, 1.0, [1, 0]), (99.0, 1.0, [1, 0]), (101.0, 1.0, [0, 0]), (59.0, 0.9, [1, 0])],
)
def test_threshold_stops_each_cohort_at_its_breakeven(
    knowledge: Knowledge, observe: Observe, price: float, factor: float, expected: list[int]
) -> None:
    rule = Threshold(knowledge, ThresholdParams(factor))
    assert asked(rule, observe(price_last_usd_per_mwh=price)) == pytest.approx(expected)


def test_threshold_runs_at_negative_prices_and_stops_without_revenue(knowledge: Knowledge, observe: Observe) -> None:
    rule = Threshold(knowledge)
    assert asked(rule, observe(price_last_usd_per_mwh=-40.0)) == pytest.approx([1, 1])
    assert asked(rule, observe(price_last_usd_per_mwh=5.0, hash_revenue_usd_per_ths_day=0.0)) == pytest.approx([0, 0])


def test_hysteresis_waits_throttles_and_remembers(knowledge: Knowledge, observe: Observe) -> None:
    rule = HysteresisThrottle(knowledge, HysteresisParams(full_below=0.8, stop_above=1.2, level_low=0.6))
    new = [asked(rule, observe(price_last_usd_per_mwh=price))[0] for price in (70, 100, 119, 121, 100, 81, 79, 100)]
    # Full, half throttled, throttled, off; stays off between the two prices; on below the lower one; throttled again.
    assert new == pytest.approx([1.0, 0.8, 0.61, 0.0, 0.0, 0.0, 1.0, 0.8], abs=2e-3)


def test_hysteresis_reset_forgets_only_finished_rows(knowledge: Knowledge, observe: Observe) -> None:
    rule = HysteresisThrottle(knowledge, HysteresisParams(full_below=0.8, stop_above=1.2, level_low=0.6))
    between, above = np.full(3, 100.0), np.full(3, 500.0)
    asked(rule, observe(price_last_usd_per_mwh=above))
    rule.reset(np.array([False, True, False]))
    assert asked(rule, observe(price_last_usd_per_mwh=between))[:, 0] == pytest.approx([0.0, 0.8, 0.0], abs=1e-3)
    rule.reset()
    assert asked(rule, observe(price_last_usd_per_mwh=between))[:, 0] == pytest.approx([0.8] * 3, abs=1e-3)


def test_myopic_takes_the_preset_that_earns_most(knowledge: Knowledge, observe: Observe) -> None:
    rule = MyopicBestPreset(knowledge)
    # Revenue per miner and hour at the presets of "new": 0.18, 0.255, 0.30 USD; energy at 50: 0.0825, 0.12, 0.15.
    assert asked(rule, observe(price_last_usd_per_mwh=50.0)) == pytest.approx([1.0, 1.0], abs=1e-4)
    # At 90 USD/MWh: 0.0315, 0.039, 0.03: the middle preset. The old one loses at 60.
    assert asked(rule, observe(price_last_usd_per_mwh=90.0)) == pytest.approx([0.8, 0.0], abs=1e-4)
    # At 105 only the lowest preset still earns (27.5 J/TH breaks even at 109).
    assert asked(rule, observe(price_last_usd_per_mwh=105.0)) == pytest.approx([0.55, 0.0], abs=2e-3)
    assert asked(rule, observe(price_last_usd_per_mwh=110.0)) == pytest.approx([0.0, 0.0])


def test_peak_avoiding_prices_the_predicted_peak(knowledge: Knowledge, observe: Observe) -> None:
    rule = PeakAvoiding(knowledge, PeakAvoidingParams(call_factor=1.0, hold_factor=2.0, demand_factor=1.0))
    calm = observe(price_last_usd_per_mwh=20.0, cp_rate_usd_per_kw=18.9)
    assert asked(rule, calm) == pytest.approx([1.0, 1.0], abs=1e-4)
    # 0.5 % x 18.9 USD/kW over a quarter of an hour is 378 USD/MWh: far above what either cohort earns.
    likely = observe(price_last_usd_per_mwh=20.0, cp_rate_usd_per_kw=18.9, peak_probability=0.005)
    assert asked(rule, likely) == pytest.approx([0.0, 0.0])
    # 0.08 % is 60 USD/MWh: with the price of 20 the old cohort stops, the new one (80 USD/MWh) slows to its best.
    fresh = PeakAvoiding(knowledge, rule.params)
    unlikely = observe(price_last_usd_per_mwh=20.0, cp_rate_usd_per_kw=18.9, peak_probability=0.0008)
    for _ in range(3):
        assert asked(fresh, unlikely) == pytest.approx([0.8, 0.0], abs=1e-4)


def test_peak_avoiding_holds_a_call_and_reset_ends_it(knowledge: Knowledge, observe: Observe) -> None:
    params = PeakAvoidingParams(call_factor=1.0, hold_factor=3.0)
    likely = observe(price_last_usd_per_mwh=20.0, cp_rate_usd_per_kw=18.9, peak_probability=np.full(2, 0.005))
    faint = observe(price_last_usd_per_mwh=20.0, cp_rate_usd_per_kw=18.9, peak_probability=np.full(2, 0.0006))
    rule = PeakAvoiding(knowledge, params)
    assert asked(rule, faint)[:, 0] == pytest.approx([1.0, 1.0], abs=0.25)
    rule.reset()
    asked(rule, likely)
    rule.reset(np.array([True, False]))
    held = asked(rule, faint)[:, 0]
    assert held[0] > 0.7
    assert held[1] == 0.0


def test_peak_avoiding_shaves_only_when_the_month_does_not_pay(knowledge: Knowledge, observe: Observe) -> None:
    rule = PeakAvoiding(knowledge, PeakAvoidingParams(overhead=1.0))
    late = {"price_last_usd_per_mwh": 20.0, "demand_rate_usd_per_kw": 36.0, "month_fraction": 0.95}
    # New cohort: (100 - 20) USD/MWh over the last 36.5 h earns 2.9 USD/kW, less than 36: stay under the peak so far.
    assert asked(rule, observe(**late, month_peak_frac=0.8)) == pytest.approx([0.8, 0.8], abs=1e-3)
    assert asked(rule, observe(**late, month_peak_frac=1.1)) == pytest.approx([1.0, 1.0], abs=1e-3)
    # On the first day 730 h at 80 USD/MWh are worth 58 USD/kW (new), 29 (old): only the new one raises the peak.
    early = observe(price_last_usd_per_mwh=20.0, demand_rate_usd_per_kw=36.0, month_fraction=0.0, month_peak_frac=0.8)
    assert asked(rule, early) == pytest.approx([1.0, 0.8], abs=1e-3)


def hours(*prices: float) -> dict[str, float]:
    """Published prices of the present and the coming hours; the last one goes on."""
    ahead = [*prices, *[prices[-1]] * (24 - len(prices))]
    return {f"price_h{hour:02d}_usd_per_mwh": price for hour, price in enumerate(ahead)}


def test_patient_stops_and_starts_only_where_the_hours_ahead_repay_it(knowledge: Knowledge, observe: Observe) -> None:
    rule = Patient(knowledge, PatientParams(switch_usd=0.05))

    def level_of_new(*prices: float, runs: float) -> float:
        return float(asked(rule, observe(price_last_usd_per_mwh=prices[0], level=runs, **hours(*prices)))[0])

    # At 130 USD/MWh the lowest preset loses 0.2145 - 0.18 = 0.0345 USD/h: one such hour does not repay a stop, two do.
    assert level_of_new(130.0, 20.0, runs=1.0) == pytest.approx(0.55, abs=2e-3)
    assert level_of_new(130.0, 130.0, 20.0, runs=1.0) == 0.0
    # At 95 it earns 0.18 - 0.15675 = 0.02325 USD/h: two hours do not repay a start, three do.
    assert level_of_new(95.0, 95.0, 130.0, runs=0.0) == 0.0
    assert level_of_new(95.0, 95.0, 95.0, 130.0, runs=0.0) > 0.5
    # Loss now, and what is worth a start only later: it waits.
    assert level_of_new(130.0, 20.0, runs=0.0) == 0.0


def test_patient_without_a_threshold_is_peak_avoiding(knowledge: Knowledge, observe: Observe) -> None:
    patient, plain = Patient(knowledge, PatientParams(switch_usd=0.0)), PeakAvoiding(knowledge)
    for price in (10.0, 70.0, 105.0, 130.0):
        observation = observe(price_last_usd_per_mwh=price, peak_probability=0.001, cp_rate_usd_per_kw=18.9)
        assert np.array_equal(patient.act(observation), plain.act(observation))


def test_patient_stops_for_a_peak(knowledge: Knowledge, observe: Observe) -> None:
    rule = Patient(knowledge, PatientParams(switch_usd=0.3))
    likely = observe(price_last_usd_per_mwh=20.0, cp_rate_usd_per_kw=18.9, peak_probability=0.005, **hours(20.0))
    assert asked(rule, likely) == pytest.approx([0.0, 0.0])


@pytest.mark.parametrize("name", RULES)
def test_batch_equals_single_rows(name: str, knowledge: Knowledge, observe: Observe) -> None:
    rng = np.random.default_rng(7)
    series = [
        observe(
            price_last_usd_per_mwh=rng.uniform(-50, 300, 5),
            peak_probability=rng.uniform(0, 0.01, 5),
            cp_rate_usd_per_kw=18.9,
            demand_rate_usd_per_kw=rng.uniform(0, 40, 5),
            month_peak_frac=rng.uniform(0, 1, 5),
            level=rng.integers(0, 2, (5, 2)).astype(float),
        )
        for _ in range(20)
    ]
    batch = build(name, knowledge)
    together = np.stack([batch.act(observation) for observation in series])
    for row in range(5):
        single = build(name, knowledge)
        alone = np.stack([single.act(observation[row]) for observation in series])
        assert np.array_equal(together[:, row], alone)


@pytest.mark.parametrize("name", RULES)
def test_torch_decides_as_numpy(name: str, knowledge: Knowledge, observe: Observe) -> None:
    numpy_rule, torch_rule = build(name, knowledge), build(name, knowledge)
    for price in (10.0, 70.0, 95.0, 130.0, 95.0, -20.0):
        observation = observe(price_last_usd_per_mwh=np.full(3, price), peak_probability=0.001, cp_rate_usd_per_kw=18.9)
        action = torch_rule.act(torch.from_numpy(observation))
        assert isinstance(action, torch.Tensor)
        assert action.dtype == torch.float32
        assert action.numpy() == pytest.approx(numpy_rule.act(observation), abs=1e-5)
        torch_rule.reset(torch.tensor([False, True, False]))
        numpy_rule.reset(np.array([False, True, False]))


@pytest.mark.parametrize("name", RULES)
def test_every_rule_is_a_policy_with_float32_actions_in_bounds(
    name: str, knowledge: Knowledge, observe: Observe
) -> None:
    rule = build(name, knowledge)
    assert isinstance(rule, Policy)
    assert rule.name == name
    for price in (-2000.0, 0.0, 50.0, 20000.0):
        action = rule.act(observe(price_last_usd_per_mwh=price, level=0.0))
        assert action.dtype == np.float32
        assert action.shape == (2,)
        assert np.all(np.abs(action) <= 1.0)


def test_reserve_is_never_offered(knowledge: Knowledge, observe: Observe) -> None:
    table = rules(knowledge.schema, knowledge.fleet, offers_reserve=True)
    action = table["threshold"]().act(observe(price_last_usd_per_mwh=np.full(4, 20.0)))
    assert action.shape == (4, 3)
    assert np.array_equal(action[:, 2], np.full(4, -1.0, np.float32))


def test_foreign_observation_is_refused(knowledge: Knowledge) -> None:
    with pytest.raises(ActionError, match=r"'threshold' got an observation of 3 numbers; allowed: 67"):
        Threshold(knowledge).act(np.zeros(3, np.float32))


def test_table_uses_tuned_parameters_and_names_mistakes(knowledge: Knowledge) -> None:
    table = rules(knowledge.schema, knowledge.fleet, {"threshold": ThresholdParams(1.5)})
    rule = table["threshold"]()
    assert isinstance(rule, Threshold)
    assert rule.params.factor == 1.5
    assert list(table) == list(applicable(offers_reserve=False))
    with pytest.raises(ParamsError, match="Did you mean 'threshold'"):
        build("treshold", knowledge)
    with pytest.raises(ParamsError, match="Did you mean 'factor'"):
        make_params("threshold", {"facter": 1.0})


@pytest.mark.parametrize("name", RULES)
def test_candidates_survive_plain_numbers(name: str) -> None:
    candidates = RULES[name].candidates()
    assert len(candidates) == np.prod([len(values) for values in RULES[name].grid.values()])
    assert [make_params(name, plain_params(params)) for params in candidates] == candidates
