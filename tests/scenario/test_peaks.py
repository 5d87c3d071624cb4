"""The peak forecast: hours of earlier years, weather, stated error, and how well it does in 2023."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from minesim.data import load_coincident_peaks
from minesim.economics.tariff import tariff
from minesim.scenario import compile_table, scenario
from minesim.scenario.fit_peaks import days_of, fit, skill
from minesim.scenario.markets import MARKETS
from minesim.scenario.peaks import (
    FORECAST_ERROR_K,
    add_temperature_forecast,
    day_features,
    largest_ahead,
    load_peak_model,
    time_of_day_shares,
)
from tests.scenario.small import compiled, make_traces


def test_shares_of_the_day_come_from_earlier_years_only():
    before, after = time_of_day_shares("4CP", 2020), time_of_day_shares("4CP", 2021)
    assert before.sum() == pytest.approx(1.0)
    # 2020-09-01 peaked at 14:15 to 14:30, far from all earlier peaks; 2021's shares know it, 2020's do not.
    quarter = 14 * 4 + 1
    assert after[quarter] > 1.2 * before[quarter]
    assert (before > 0.0).all()
    assert before.argmax() in (66, 67)


def test_hourly_peaks_count_in_all_four_quarters():
    shares = time_of_day_shares("ICI_5CP", 2023)
    assert shares.sum() == pytest.approx(4.0)
    np.testing.assert_array_equal(shares[0::4], shares[3::4])


def test_a_program_without_a_history_uses_a_broad_afternoon():
    shares = time_of_day_shares("4CP", 2000)
    assert shares.sum() == pytest.approx(1.0)
    assert shares.argmax() in (65, 66)
    np.testing.assert_array_equal(time_of_day_shares("12CP", 2023), time_of_day_shares("4CP", 2023))


def test_features_by_hand():
    highest = np.array([30.0, 34.0, 33.0, 36.0, 28.0])
    forecast = np.array([31.0, 33.0, 35.0, 35.0, 29.0])
    season = np.array([6, 6, 6, 6, 7])
    weekend = np.array([False, False, True, False, False])
    rows = day_features(highest, forecast, season, weekend, n_peaks=1)
    # Day 2: the hottest so far is 34.0; forecast 35, yesterday 34; two days seen.
    assert rows[2].tolist() == [1.0, 0.0, 1.0, 2 / 30]
    # Day 3: forecast 35 against 34, yesterday 33.
    assert rows[3].tolist() == [1.0, -1.0, 0.0, 3 / 30]
    # A new month: compared with the last 30 days' hottest (36), nothing seen yet.
    assert rows[4].tolist() == [-7.0, 0.0, 0.0, 0.0]
    assert rows[0].tolist() == [0.0, 0.0, 0.0, 0.0]
    second = day_features(highest, forecast, season, weekend, n_peaks=2)
    assert second[2][0] == 35.0 - 30.0 - 1.0  # the second hottest is 30.0; clipped at 4
    assert second[3][0] == 35.0 - 33.0


def test_forecast_has_the_stated_error_and_is_seeded(traces):
    long = scenario("ercot").traces.drop_vars("temp_max_fc_c")
    made = add_temperature_forecast(long, seed=3, error_k=FORECAST_ERROR_K)
    daily = made["temp_max_fc_c"].to_series().groupby(made["time"].dt.date.to_numpy()).first()
    truth = scenario("ercot").traces["temp_amb_c"]
    from minesim.data import known

    day = known.local_clock(known.as_seconds(long["time"].to_numpy()), "America/Chicago").astype("datetime64[D]")
    frame = made["temp_max_fc_c"].to_series().groupby(day).agg(["min", "max"])
    assert (frame["min"] == frame["max"]).all(), "one forecast a local day"
    error = (frame["min"] - truth.to_series().groupby(day).max()).to_numpy()
    assert error.std() == pytest.approx(1.5, rel=0.05)
    assert abs(error.mean()) < 0.15
    assert len(daily) > 1400
    again = add_temperature_forecast(long, seed=3, error_k=FORECAST_ERROR_K)
    assert made["temp_max_fc_c"].equals(again["temp_max_fc_c"])
    assert not made["temp_max_fc_c"].equals(add_temperature_forecast(long, seed=4, error_k=1.5)["temp_max_fc_c"])


def test_a_forecast_in_the_data_is_kept(traces):
    own = traces.assign(temp_max_fc_c=("time", np.full(144, 33.0)))
    assert add_temperature_forecast(own, seed=0, error_k=1.5) is own


def test_next_hours_take_the_largest_chance_of_the_same_day():
    chance = np.zeros(40)
    chance[[20, 30]] = [0.2, 0.5]
    day = np.array([0] * 25 + [1] * 15)
    ahead = largest_ahead(chance, day)
    assert ahead[4] == 0.0
    assert (ahead[5:21] == 0.2).all()
    assert (ahead[21:25] == 0.0).all(), "the next day is not looked at"
    assert (ahead[25:31] == 0.5).all()


@pytest.mark.parametrize(
    ("name", "expected"), [("ercot/4cp", 16.0), ("ontario/5cp", 20.0)], ids=["ercot 2020-2023", "ontario 2020-2023"]
)
def test_chances_add_up_to_the_number_of_peaks(name, expected):
    table = compiled(name)
    names = [channel.name for channel in table.market_channels]
    index = names.index("peak_probability")
    chance = table.market[:, index] * table.market_channels[index].scale
    pieces = 4 if "5cp" in name else 1
    assert chance.sum() / pieces == pytest.approx(expected, rel=0.15)
    charged = table.column("cp_charge_usd_per_kw") > 0.0
    assert chance[charged].mean() > 30.0 * chance.mean()


def test_chance_is_zero_out_of_season_and_the_rate_with_it():
    table = compiled("ercot/4cp")
    names = [channel.name for channel in table.market_channels]
    rows = slice(table.row_of("2022-10-02"), table.row_of("2023-05-30"))
    for name in ("peak_probability", "peak_probability_next_4h", "cp_rate_usd_per_kw"):
        assert (table.market[rows, names.index(name)] == 0.0).all()


def test_rate_is_what_a_charged_interval_costs():
    for name in ("ercot/4cp", "ontario/5cp"):
        table = compiled(name)
        number = [channel.name for channel in table.market_channels].index("cp_rate_usd_per_kw")
        rate = table.market[:, number] * table.market_channels[number].scale
        charge = table.column("cp_charge_usd_per_kw")
        np.testing.assert_allclose(rate[charge > 0.0], charge[charge > 0.0], rtol=1e-5)


@pytest.mark.parametrize(("market", "tariff_name"), [("ercot", "ercot_4cp"), ("ontario", "ontario_5cp")])
def test_constants_are_those_of_the_fit(market, tariff_name):
    part = tariff(tariff_name).coincident_peak
    refit = fit(days_of(MARKETS[market], part), part)
    np.testing.assert_allclose(load_peak_model(part.program), refit, rtol=1e-3)


def test_skill_in_2023_ercot():
    """Out of sample: all four days among the likeliest 29 of 122; knowing nothing needs about 98 on average."""
    part = tariff("ercot_4cp").coincident_peak
    score = skill(days_of(MARKETS["ercot"], part), part, load_peak_model("4CP"))
    assert score.days_in_season == 122
    assert score.days_called < 35.0
    assert max(score.rank_in_season) <= 6.0
    assert max(score.interval_rank) <= 3
    assert score.log_loss < 0.85 * score.log_loss_base


def test_skill_in_2023_ontario():
    part = tariff("ontario_5cp").coincident_peak
    score = skill(days_of(MARKETS["ontario"], part), part, load_peak_model("ICI_5CP"))
    assert score.days_called < 16.0
    assert score.log_loss < 0.4 * score.log_loss_base


def test_a_worse_forecast_is_worth_less():
    part = tariff("ercot_4cp").coincident_peak
    days, model = days_of(MARKETS["ercot"], part), load_peak_model("4CP")
    losses = [skill(days, part, model, error_k=error).log_loss for error in (0.0, 1.5, 3.0, 6.0)]
    assert losses == sorted(losses)
    assert losses[-1] > 1.1 * losses[0]


def test_short_user_data_get_a_forecast_from_their_first_day():
    traces = make_traces(step="15min", hours=4 * 24 * 4)
    peaks = scenario("ercot/4cp").peaks
    table = compile_table(scenario(traces, tariff="ercot_4cp", peaks=peaks))
    number = [c.name for c in table.market_channels].index("peak_probability")
    assert np.isfinite(table.market).all()
    assert table.market[: 24 * 4, number].max() > 0.0


def test_peak_rows_do_not_move_when_peaks_are_dropped():
    made = scenario("ercot/4cp")
    fewer = made.peaks[made.peaks["base_year"] <= 2023].iloc[::-1]
    first, second = compiled("ercot/4cp"), compile_table(dataclasses.replace(made, peaks=fewer))
    np.testing.assert_array_equal(first.settle, second.settle)
    assert len(load_coincident_peaks()["market"]) == 136
