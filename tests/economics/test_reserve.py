from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import minesim.data
from minesim.arrays import NUMPY, Array, Namespace, torch_namespace
from minesim.economics import reserve
from minesim.economics.facts import fact_value
from minesim.economics.reserve import ECRS_2023, ECRS_2024, ECRS_LIKE, ReserveOutcome, ReserveProduct, ReserveState
from minesim.errors import ParamsError

DT_S = 300.0
SLOT_H = 1 / 12
STRICT = dataclasses.replace(
    ECRS_LIKE, shortfall_penalty_usd_per_mwh=1150.0, unheld_penalty_factor=1.0, restore_min=30.0
)


def play(
    load_mw: list[float],
    called: list[float],
    *,
    request_mw: list[float] | float,
    price: float = 24.0,
    product: ReserveProduct = STRICT,
    xp: Namespace = NUMPY,
) -> tuple[list[ReserveOutcome], list[ReserveState]]:
    """Run sub-intervals of 5 min from a full hour on; the load before the first one is that of the first."""

    def scalar(value: float) -> Array:
        return np.asarray(value) if xp is NUMPY else torch.tensor(value, dtype=torch.float64)

    state = reserve.initial_state(scalar(load_mw[0]), xp=xp)
    requests = [request_mw] * len(load_mw) if isinstance(request_mw, float) else request_mw
    outcomes, states = [], []
    for slot, (load, call, request) in enumerate(zip(load_mw, called, requests, strict=True)):
        offered = reserve.fix_offer_mw(
            scalar(request), state.offered_mw, hour_start=scalar(float(slot % 12 == 0)), called=scalar(call), xp=xp
        )
        state = dataclasses.replace(state, offered_mw=offered)
        states.append(state)
        outcomes.append(reserve.settle(scalar(load), scalar(call), scalar(price), state, product, dt_s=DT_S, xp=xp))
        state = reserve.advance(scalar(load), scalar(call), state, dt_s=DT_S, xp=xp)
    return outcomes, states


def total(outcomes: list[ReserveOutcome], name: str) -> float:
    return float(sum(getattr(outcome, name) for outcome in outcomes))


def test_a_held_hour_earns_price_times_mw() -> None:
    outcomes, _ = play([10.0] * 12, [0.0] * 12, request_mw=4.0)
    assert total(outcomes, "income_usd") == pytest.approx(24.0 * 4.0)
    assert total(outcomes, "unheld_penalty_usd") == total(outcomes, "shortfall_penalty_usd") == 0.0


def test_a_part_that_is_not_held_is_unpaid_and_penalised() -> None:
    outcomes, _ = play([3.0] * 12, [0.0] * 12, request_mw=4.0)
    assert total(outcomes, "income_usd") == pytest.approx(24.0 * 3.0)
    assert total(outcomes, "unheld_penalty_usd") == pytest.approx(24.0 * 1.0)
    assert float(outcomes[0].unheld_mw) == 1.0


def test_ten_minutes_to_respond_then_the_missing_energy_is_penalised() -> None:
    """4 of 10 MW sold; called after 15 min for 30 min; the load falls to 7.5 MW at once, so 1.5 MW are missing in the
    last 4 of 6 slots: 0.5 MWh, 575 USD, and not paid."""
    load = [10.0] * 3 + [7.5] * 6 + [10.0] * 3
    outcomes, states = play(load, [0.0] * 3 + [1.0] * 6 + [0.0] * 3, request_mw=4.0)
    shortfall = [float(outcome.shortfall_mwh) for outcome in outcomes]
    np.testing.assert_allclose(shortfall, [0.0] * 5 + [1.5 * SLOT_H] * 4 + [0.0] * 3)
    assert total(outcomes, "shortfall_penalty_usd") == pytest.approx(0.5 * 1150.0)
    assert total(outcomes, "income_usd") == pytest.approx(24.0 * (4.0 - 0.5))
    assert [float(state.minutes_since_call) for state in states[3:9]] == [0.0, 5.0, 10.0, 15.0, 20.0, 25.0]
    assert {float(state.baseline_mw) for state in states[3:10]} == {10.0}


def test_delivering_more_than_sold_earns_no_more() -> None:
    full = play([10.0] * 3 + [0.0] * 9, [0.0] * 3 + [1.0] * 9, request_mw=4.0)[0]
    exact = play([10.0] * 3 + [6.0] * 9, [0.0] * 3 + [1.0] * 9, request_mw=4.0)[0]
    assert total(full, "income_usd") == total(exact, "income_usd") == pytest.approx(96.0)
    assert total(full, "shortfall_mwh") == total(exact, "shortfall_mwh") == 0.0


def test_ignoring_a_call_costs_the_whole_offer_and_no_more() -> None:
    outcomes, _ = play([10.0, 10.0] + [14.0] * 10, [0.0, 0.0] + [1.0] * 10, request_mw=4.0)
    assert total(outcomes, "shortfall_mwh") == pytest.approx(4.0 * 8 * SLOT_H)


def test_a_load_that_held_too_little_cannot_deliver() -> None:
    outcomes, _ = play([3.0] * 2 + [0.0] * 10, [0.0] * 2 + [1.0] * 10, request_mw=4.0)
    assert total(outcomes, "shortfall_mwh") == pytest.approx(1.0 * 8 * SLOT_H)


def test_after_a_recall_the_way_back_is_unpaid_but_not_penalised() -> None:
    load = [10.0] * 2 + [6.0] * 2 + [2.0] * 8
    outcomes, states = play(load, [0.0] * 2 + [1.0] * 2 + [0.0] * 8, request_mw=4.0)
    penalty = [float(outcome.unheld_penalty_usd) for outcome in outcomes[4:]]
    np.testing.assert_allclose(penalty, [0.0] * 6 + [24.0 * 2.0 * SLOT_H] * 2)
    assert [float(state.minutes_since_recall) for state in states[4:7]] == [0.0, 5.0, 10.0]
    assert float(outcomes[4].income_usd) == pytest.approx(24.0 * 2.0 * SLOT_H)


def test_an_offer_changes_at_the_full_hour_only_and_never_during_a_call() -> None:
    request = [4.0] * 6 + [9.0] * 6 + [9.0] * 12
    _, states = play([10.0] * 24, [0.0] * 24, request_mw=request)
    assert [float(s.offered_mw) for s in states] == [4.0] * 12 + [9.0] * 12
    _, states = play([10.0] * 24, [0.0] * 10 + [1.0] * 4 + [0.0] * 10, request_mw=[4.0] * 12 + [0.0] * 12)
    assert {float(s.offered_mw) for s in states} == {4.0}


def test_negative_requests_and_prices_are_no_income() -> None:
    outcomes, states = play([10.0] * 12, [0.0] * 12, request_mw=-3.0)
    assert float(states[0].offered_mw) == 0.0
    assert total(outcomes, "income_usd") == 0.0
    outcomes, _ = play([3.0] * 12, [0.0] * 12, request_mw=4.0, price=-5.0)
    assert total(outcomes, "income_usd") == total(outcomes, "unheld_penalty_usd") == 0.0


def test_higher_penalty_never_helps() -> None:
    load, called = [10.0] * 3 + [8.0] * 9, [0.0] * 3 + [1.0] * 9
    net = []
    for rate in (0.0, 1150.0, 2300.0):
        product = dataclasses.replace(STRICT, shortfall_penalty_usd_per_mwh=rate)
        outcomes, _ = play(load, called, request_mw=4.0, product=product)
        net.append(total(outcomes, "income_usd") - total(outcomes, "shortfall_penalty_usd"))
    assert net[0] > net[1] > net[2]


def test_offer_of_a_share_is_limited_by_the_product() -> None:
    product = dataclasses.replace(STRICT, max_share=0.5)
    offers = reserve.offer_of_share_mw(np.array([-1.0, 0.5, 3.0]), np.array([10.0, 10.0, 10.0]), product, xp=NUMPY)
    np.testing.assert_allclose(offers, [0.0, 2.5, 5.0])


def test_torch_gives_the_same_money() -> None:
    rng = np.random.default_rng(3)
    load = rng.uniform(0.0, 10.0, 48).tolist()
    called = (rng.random(48) < 0.4).astype(float).tolist()
    request = rng.uniform(0.0, 10.0, 48).tolist()
    ours, _ = play(load, called, request_mw=request)
    theirs, _ = play(load, called, request_mw=request, xp=torch_namespace())
    for mine, tensor in zip(ours, theirs, strict=True):
        for field in dataclasses.fields(ReserveOutcome):
            assert float(getattr(tensor, field.name)) == float(getattr(mine, field.name))


def test_a_batch_row_is_a_single_site() -> None:
    load = np.array([10.0, 3.0, 0.0])
    state = dataclasses.replace(reserve.initial_state(load, xp=NUMPY), offered_mw=np.array([4.0, 4.0, 4.0]))
    batch = reserve.settle(load, np.array([0.0, 1.0, 0.0]), np.full(3, 24.0), state, STRICT, dt_s=DT_S, xp=NUMPY)
    np.testing.assert_allclose(batch.income_usd, [8.0, 8.0, 0.0])
    np.testing.assert_allclose(batch.unheld_mw, [0.0, 0.0, 4.0])


@pytest.mark.parametrize("field", ["response_min", "shortfall_penalty_usd_per_mwh", "restore_min", "max_share"])
def test_impossible_product_is_refused(field: str) -> None:
    with pytest.raises(ParamsError, match=f"{field} is -1.0"):
        ReserveProduct("x", **{field: -1.0})


def spiky_price(rows: int, seed: int = 0, mean: float = 80.23) -> np.ndarray:
    """An energy price with the spread of ERCOT's summer of 2023: median about 25, rare thousands."""
    hours = np.exp(np.random.default_rng(seed).normal(0.0, 1.5, -(-rows // 4)))
    return np.repeat(hours * mean / np.exp(1.125), 4)[:rows]


YEARS_8 = 8 * 35_040


@pytest.mark.parametrize(
    ("regime", "energy_mean", "figure"),
    [
        (ECRS_2023, 80.23, "ECRS average price 2023 (from June)"),
        (ECRS_2024, 32.0, "ECRS average price 2024"),
    ],
)
def test_mean_reserve_price_is_the_published_one(regime: reserve.CallRegime, energy_mean: float, figure: str) -> None:
    price = spiky_price(YEARS_8, mean=energy_mean)
    trace = reserve.assumed_call_process(price, regime=regime, rng=np.random.default_rng(1))
    published = fact_value("dr_ancillary_figures", figure=figure)
    scaled = trace.reserve_price_usd_per_mw_h.mean() * energy_mean / price.mean()
    assert scaled == pytest.approx(published, rel=0.05)


def test_on_the_real_prices_of_2023_the_regime_gives_the_published_mean_and_call_hours() -> None:
    """ECRS from 2023-06-10 on averaged 76.77 USD/MW-h; 5 to 10 h of calls a month (Marathon 2023)."""
    path = Path(minesim.data.__file__).parent / "traces" / "unverified" / "power_ercot_hubavg_dam_hourly.parquet"
    price = pd.read_parquet(path).set_index("timestamp_utc")["price_usd_mwh"]["2023-06-10":"2023-12-31"].dropna()
    rows = np.repeat(price.to_numpy(), 4)
    traces = [
        reserve.assumed_call_process(rows, regime=ECRS_2023, rng=np.random.default_rng(seed)) for seed in range(20)
    ]
    mean_price = np.mean([trace.reserve_price_usd_per_mw_h.mean() for trace in traces])
    assert mean_price == pytest.approx(76.77, rel=0.05)
    assert 5.0 < np.mean([trace.reserve_call.mean() for trace in traces]) * 720.0 < 10.0


def test_calls_are_rare_short_and_likelier_when_energy_is_dear() -> None:
    price = spiky_price(YEARS_8)
    call = reserve.assumed_call_process(price, regime=ECRS_2023, rng=np.random.default_rng(1)).reserve_call
    assert set(np.unique(call)) == {0.0, 1.0}
    hours_a_month = call.mean() * 720.0
    assert 4.0 < hours_a_month < 14.0
    edges = np.flatnonzero(np.diff(np.concatenate([[0.0], call, [0.0]])))
    length_h = (edges[1::2] - edges[::2]) / 4.0
    assert (length_h <= 2.0).mean() == pytest.approx(0.8, abs=0.05)
    assert price[edges[::2][:-1]].mean() > 3.0 * price.mean()


def test_reserve_price_follows_the_energy_price_and_is_hourly() -> None:
    price = spiky_price(35_040)
    trace = reserve.assumed_call_process(price, regime=ECRS_2023, rng=np.random.default_rng(1))
    assert np.corrcoef(np.log(price), np.log(trace.reserve_price_usd_per_mw_h))[0, 1] > 0.9
    by_hour = trace.reserve_price_usd_per_mw_h.reshape(-1, 4)
    np.testing.assert_array_equal(by_hour, np.repeat(by_hour[:, :1], 4, axis=1))
    assert (
        reserve.assumed_call_process(-price, regime=ECRS_2023, rng=np.random.default_rng(1)).reserve_price_usd_per_mw_h
        == 0.0
    ).all()


@pytest.mark.parametrize("changed", [0, 1, 5000, 34_000])
def test_rows_before_a_changed_price_stay_as_they_were(changed: int) -> None:
    price = spiky_price(35_040)
    other = price.copy()
    other[changed:] = 9000.0
    first, second = (
        reserve.assumed_call_process(p, regime=ECRS_2023, rng=np.random.default_rng(7)) for p in (price, other)
    )
    for name in ("reserve_price_usd_per_mw_h", "reserve_call"):
        np.testing.assert_array_equal(getattr(first, name)[:changed], getattr(second, name)[:changed])
    assert not np.array_equal(first.reserve_call[changed:], second.reserve_call[changed:])


def test_the_same_seed_draws_the_same_trace() -> None:
    price = spiky_price(5000)
    first, second = (
        reserve.assumed_call_process(price, regime=ECRS_2024, rng=np.random.default_rng(3)) for _ in range(2)
    )
    np.testing.assert_array_equal(first.reserve_call, second.reserve_call)
    np.testing.assert_array_equal(first.reserve_price_usd_per_mw_h, second.reserve_price_usd_per_mw_h)


def test_bad_input_of_the_call_process_is_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ParamsError, match="1 not finite"):
        reserve.assumed_call_process(np.array([1.0, np.nan]), regime=ECRS_2023, rng=rng)
    with pytest.raises(ParamsError, match="shape"):
        reserve.assumed_call_process(np.ones((2, 2)), regime=ECRS_2023, rng=rng)
    with pytest.raises(ParamsError, match=r"dt_s is 700\.0 s"):
        reserve.assumed_call_process(np.ones(4), regime=ECRS_2023, rng=rng, dt_s=700.0)
    with pytest.raises(ParamsError, match="Did you mean 'ecrs_2023'"):
        reserve.call_regime("ecrs2023")
