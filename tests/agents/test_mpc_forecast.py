"""Forecasts: fitted on training rows alone, right where prices are known, near the truth of a made series."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from agents.baselines.forecast import (
    LEADS,
    Forecast,
    SeenPrices,
    fit_forecast,
    hour_of_week,
    quarter_of_day,
)
from minesim.envs.core import EnvConfig, World, build_world
from minesim.errors import ParamsError, ScenarioError


@pytest.fixture(scope="module")
def late() -> World:
    return build_world(EnvConfig(scenario="pjm/late_price", site="one_s19j_pro", split=None))


@pytest.fixture(scope="module")
def mixed() -> World:
    return build_world(EnvConfig(scenario="ercot/mixed", site="one_s19j_pro", split=None))


@pytest.fixture(scope="module")
def late_fit(late: World) -> Forecast:
    return fit_forecast(late)


@pytest.fixture(scope="module")
def mixed_fit(mixed: World) -> Forecast:
    return fit_forecast(mixed)


def seen(hours: np.ndarray, *, last: float = 40.0, mean: float = 40.0, known_h: float = 0.0) -> SeenPrices:
    one = np.ones(1)
    return SeenPrices(np.array([12]), last * one, mean * one, hours[None], known_h * one)


def same(a: Forecast, b: Forecast) -> bool:
    return json.dumps(a.to_plain()) == json.dumps(b.to_plain())


@pytest.mark.parametrize("name", ["late", "mixed"])
def test_nothing_beyond_training_is_read(name: str, request: pytest.FixtureRequest) -> None:
    world: World = request.getfixturevalue(name)
    fitted: Forecast = request.getfixturevalue(f"{name}_fit")
    end = world.table.rows_of_split("train").stop
    settle, market = world.table.settle.copy(), world.table.market.copy()
    settle[end:] = np.nan
    market[end:] = np.nan
    changed = replace(world, table=replace(world.table, settle=settle, market=market))
    assert same(fitted, fit_forecast(changed))
    settle[end - 96 : end] *= 3.0
    assert not same(fitted, fit_forecast(changed))


def test_it_is_frozen_and_survives_json(mixed_fit: Forecast) -> None:
    fitted = mixed_fit
    back = Forecast.from_plain(json.loads(json.dumps(fitted.to_plain())))
    assert same(fitted, back)
    with pytest.raises(ValueError, match="read-only"):
        back.season[0] = 1.0
    with pytest.raises(ParamsError, match="call_h"):
        Forecast.from_plain({k: v for k, v in fitted.to_plain().items() if k != "call_h"})
    with pytest.raises(ParamsError, match="season of a forecast is not finite"):
        Forecast.from_plain({**fitted.to_plain(), "season": [float("nan")] * 168})


def test_known_prices_are_taken_as_they_are(mixed_fit: Forecast) -> None:
    hours = np.arange(24) + 20.0
    prices = mixed_fit.prices(seen(hours, known_h=13.0), LEADS, 0.5)
    assert prices[0, :13] == pytest.approx(hours[:13])
    assert not np.allclose(prices[0, 13:24], hours[13:])


def test_quantiles_are_ordered_and_cover_what_they_say_in_training(late: World, late_fit: Forecast) -> None:
    fitted = late_fit
    at = np.arange(96, late.table.rows_of_split("train").stop - 4 * LEADS, 4)
    channel = {c.name: late.table.market[at, i] for i, c in enumerate(late.table.market_channels)}

    def read(name: str) -> np.ndarray:
        number = channel[name].astype(np.float64) * 5.0
        return np.sign(number) * np.expm1(np.abs(number))

    observed = SeenPrices(
        hour_of_week(channel["week_sin"], channel["week_cos"]),
        read("price_last_usd_per_mwh"),
        read("price_mean_24h_usd_per_mwh"),
        np.stack([read(f"price_h{k:02d}_usd_per_mwh") for k in range(24)], axis=1),
        np.zeros(len(at)),
    )
    truth = late.table.column("energy_price_usd_per_mwh")
    low, middle, high = (fitted.prices(observed, LEADS, q) for q in (0.1, 0.5, 0.9))
    assert (low <= middle).all()
    assert (middle <= high).all()
    for lead in (0, 3, 12, 30):
        below = [(truth[at + 4 * lead] < f[:, lead]).mean() for f in (low, middle, high)]
        assert below == pytest.approx([0.1, 0.5, 0.9], abs=0.03)
    # The next hour is forecast better than by the last price, and better than the hour twelve ahead.
    error = [np.median(np.abs(truth[at + 4 * lead] - middle[:, lead])) for lead in (0, 12)]
    assert error[0] < error[1]
    assert error[0] < np.median(np.abs(truth[at] - observed.last))


def test_reserve_calls_and_peaks(mixed_fit: Forecast) -> None:
    fitted = mixed_fit
    prices = np.full((1, 24), 50.0)
    reserve = fitted.reserve_prices(np.array([200.0]), prices)[0]
    # The next hour is known; a high ratio to the energy price fades towards the usual one.
    assert reserve[:2] == pytest.approx([200.0, 200.0])
    assert (np.diff(reserve[1:13]) < 0.0).all()
    assert reserve[-1] == pytest.approx(50.0 * np.exp(fitted.ratio_mean + 0.5 * fitted.ratio_sd**2), rel=0.25)
    assert 0.5 < fitted.call_h < 3.0
    assert float(fitted.calls_per_h(np.array(1e9))) == pytest.approx(float(fitted.calls_per_h(np.array(1000.0))))
    at_noon = (np.array([48]), np.array([0.0]), np.array([0.01]))
    chance = fitted.peak_probability(*at_noon, 24, 0.5)[0]
    assert 15 <= 12 + int(chance.argmax()) <= 18
    # Sure of the day: within four hours the shape has not reached its height, so the height is above what is seen.
    assert chance.max() >= 0.9 * 0.01
    assert fitted.peak_probability(*at_noon, 24, 0.0)[0, 12:] == pytest.approx(np.zeros(12))


def test_clocks() -> None:
    hours = np.arange(168)
    assert hour_of_week(np.sin(2 * np.pi * hours / 168), np.cos(2 * np.pi * hours / 168)).tolist() == hours.tolist()
    quarters = np.arange(96)
    angle = (2 * np.pi * quarters / 96).astype(np.float32)
    assert quarter_of_day(np.sin(angle), np.cos(angle)).tolist() == quarters.tolist()


def test_too_little_to_fit_on(mixed: World) -> None:
    short = replace(mixed.table, splits={**mixed.table.splits, "train": slice(0, 96)})
    with pytest.raises(ScenarioError, match="24 h of training data"):
        fit_forecast(replace(mixed, table=short))
    none = replace(mixed.table, splits={"test": slice(0, 96)})
    with pytest.raises(ScenarioError, match="no split 'train'"):
        fit_forecast(replace(mixed, table=none))
