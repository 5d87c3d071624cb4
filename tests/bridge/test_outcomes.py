"""Predictions against measurements."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minesim.bridge.telling.outcomes import (
    Market,
    Outcome,
    Track,
    Values,
    as_document,
    bias_by_day,
    calibrate,
    from_journal,
    outcome,
    profit_error,
)
from minesim.errors import ParamsError

DAY_S = 86400.0


def watts(at_s: float, power_w: float | None) -> tuple[float, Values]:
    return at_s, Values(power_w=power_w)


def test_a_later_decision_is_part_of_the_prediction() -> None:
    """Half an hour at 3 MW, then stopped: the twin is right, though the first decision alone predicted 3 MW."""
    predictions = [watts(0.0, 3e6), watts(1800.0, 0.0)]
    measurements = [watts(t, 3e6 if t < 1800 else 0.0) for t in np.arange(0.0, 3600.0, 60.0)]
    found = outcome(predictions, measurements, 0.0, 3600.0)
    assert found.predicted.power_w == pytest.approx(1.5e6)
    assert found.measured.power_w == pytest.approx(1.5e6)
    assert found.decisions == 2
    assert outcome(predictions, measurements, 0.0, 600.0).predicted.power_w == 3e6


def test_a_decision_in_force_from_before_counts() -> None:
    found = outcome([watts(-900.0, 1e6), watts(300.0, 2e6)], [watts(t, 1e6) for t in range(0, 600, 60)], 0.0, 600.0)
    assert found.predicted.power_w == pytest.approx(1.5e6)


def test_gaps_in_what_was_measured_are_told_by_none() -> None:
    half = [watts(t, 1e6) for t in range(0, 1800, 60)]
    assert outcome([watts(0.0, 1e6)], half, 0.0, 3600.0).measured.power_w is None
    mute = [watts(t, None) for t in range(0, 3600, 60)]
    assert outcome([watts(0.0, 1e6)], mute, 0.0, 3600.0).measured.power_w is None
    assert outcome([], [], 0.0, 3600.0).predicted == Values()


def made(days: int, factor: float, noise: float = 0.0, gain: float = 1.0, seed: int = 0) -> list[Outcome]:
    """Hourly outcomes of a site whose load swings by day."""
    rng = np.random.default_rng(seed)
    found = []
    for hour in range(24 * days):
        predicted = 2e6 + 1e6 * np.sin(hour / 24 * 2 * np.pi)
        real = 2e6 + gain * (predicted - 2e6)
        measured = real * factor * (1.0 + noise * rng.standard_normal())
        found.append(Outcome(hour * 3600.0, 3600.0, Values(power_w=predicted), Values(power_w=measured), 1))
    return found


def test_a_twin_that_is_right_wrong_or_not_known_yet() -> None:
    right = calibrate(made(20, 1.0, noise=0.01), "power_w", 3600.0)
    assert right.verdict(0.02) == "right"
    assert right.count == 480
    assert right.slope == pytest.approx(1.0, abs=0.01)
    assert right.spread == pytest.approx(0.01, rel=0.2)
    wrong = calibrate(made(20, 1.05, noise=0.01), "power_w", 3600.0)
    assert wrong.verdict(0.02) == "wrong"
    assert wrong.bias.estimate == pytest.approx(0.05, abs=0.002)
    assert calibrate(made(2, 1.05, noise=0.01), "power_w", 3600.0).verdict(0.02) == "not known yet"


def test_a_curve_of_the_wrong_shape_shows_in_the_slope_and_not_in_the_bias() -> None:
    found = calibrate(made(20, 1.0, gain=1.2), "power_w", 3600.0)
    assert found.bias.estimate == pytest.approx(0.0, abs=1e-3)
    assert found.slope == pytest.approx(1.2)


def test_flat_predictions_have_no_slope() -> None:
    flat = [Outcome(h * 3600.0, 3600.0, Values(power_w=1e6), Values(power_w=1.01e6), 1) for h in range(48)]
    assert np.isnan(calibrate(flat, "power_w", 3600.0).slope)


def test_drift_by_day() -> None:
    outcomes = [
        Outcome(day * DAY_S, DAY_S, Values(hashrate_ths=100.0), Values(hashrate_ths=100.0 - day), 1) for day in range(5)
    ]
    assert [round(bias, 9) for _, bias, _ in bias_by_day(outcomes, "hashrate_ths", DAY_S)] == [
        0,
        -0.01,
        -0.02,
        -0.03,
        -0.04,
    ]
    assert bias_by_day(outcomes, "hashrate_ths", 600.0) == []


def test_profit_near_zero_is_scaled_by_its_usual_size() -> None:
    profits = [100.0, 0.0, -100.0]
    outcomes = [
        Outcome(i * DAY_S, DAY_S, Values(profit_usd_per_h=p), Values(profit_usd_per_h=p + 1.0), 1)
        for i, p in enumerate(profits)
    ]
    assert calibrate(outcomes, "profit_usd_per_h", DAY_S).bias.estimate == pytest.approx(1.0 / (200.0 / 3.0))


def test_rows_of_the_journal() -> None:
    told = Outcome(0.0, 600.0, Values(power_w=1.0), Values(power_w=2.0), 2)
    document = json.loads(json.dumps(as_document(told)))
    rows = [
        SimpleNamespace(at_s=0.0, horizon_s=600.0, measured=document),
        SimpleNamespace(at_s=0.0, horizon_s=3600.0, measured=None),
    ]
    assert from_journal(rows) == [told]


def test_a_track_tells_a_horizon_and_forgets_what_is_older_than_a_day() -> None:
    track = Track()
    for minute in range(3 * 1440):
        at_s = 60.0 * minute
        if minute % 5 == 0:
            track.predict(at_s, Values(power_w=100.0))
        track.measure(at_s, Values(power_w=90.0 if minute < 1440 else 110.0))
    found = track.outcome(2 * DAY_S - 60.0, DAY_S)
    assert found.measured.power_w == pytest.approx(110.0)
    assert found.predicted.power_w == pytest.approx(100.0)
    assert len(track._measurements) < 1460
    # What was before the track began, or was dropped, is not told.
    assert track.outcome(0.0, 600.0).measured.power_w is None


FACTOR = st.floats(0.0, 1e4)


@given(FACTOR, FACTOR, FACTOR, FACTOR, st.floats(-500, 9000), st.floats(-500, 9000), FACTOR, FACTOR)
def test_profit_error_splits_without_rest(
    ths: float, w: float, real_ths: float, real_w: float, price: float, real_price: float, rate: float, real_rate: float
) -> None:
    then, now = Market(rate, price), Market(real_rate, real_price)
    prices, machines = profit_error(Values(w, ths), Values(real_w, real_ths), then, now)
    whole = now.profit_usd_per_h(real_ths, real_w) - then.profit_usd_per_h(ths, w)
    assert prices + machines == pytest.approx(whole, rel=1e-6, abs=1e-3)
    assert profit_error(Values(w, ths), Values(w, ths), then, now)[1] == 0.0
    assert profit_error(Values(w, ths), Values(real_w, real_ths), then, then)[0] == 0.0


def test_bad_input() -> None:
    with pytest.raises(ParamsError, match="no quantity 'watts'"):
        calibrate(made(1, 1.0), "watts", 3600.0)
    with pytest.raises(ParamsError, match="not known"):
        profit_error(Values(), Values(1.0, 1.0), Market(1.0, 1.0), Market(1.0, 1.0))
