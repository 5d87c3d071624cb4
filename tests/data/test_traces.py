"""What the packaged series say, at points that can be checked by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from minesim.data import (
    load_btc,
    load_carbon,
    load_coincident_peaks,
    load_power,
    load_weather,
    trace_file,
)
from minesim.data.traces_io import POWER_KNOWN, _retargets


def test_uri_is_in_the_ercot_prices():
    price = load_power("ercot")["power_price_usd_per_mwh"]
    assert float(price.sel(time="2021-02-17T06:00")) == pytest.approx(8995.0, abs=1.0)
    assert price.attrs["units"] == "USD/MWh"
    assert price.attrs["known"] == "day_ahead"


@pytest.mark.parametrize("market", POWER_KNOWN)
def test_power_is_hourly_without_holes_and_marks_what_is_missing(market):
    data = load_power(market)
    assert (np.diff(data["time"].to_numpy()) == np.timedelta64(1, "h")).all()
    missing = np.isnan(data["power_price_usd_per_mwh"].to_numpy())
    assert (missing == data["is_missing"].to_numpy()).all()
    assert missing.sum() == (91 if market == "pjm" else 0)


@pytest.mark.parametrize("city", ["dallas_tx", "toronto_on", "philadelphia_pa", "san_jose_ca"])
def test_weather_is_plausible(city):
    data = load_weather(city)
    assert -45.0 < float(data["temp_amb_c"].min()) < 5.0
    assert 30.0 < float(data["temp_amb_c"].max()) < 50.0
    assert float(data["rel_humidity_pct"].min()) >= 0.0
    assert float(data["rel_humidity_pct"].max()) <= 100.0
    july = data["temp_amb_c"].sel(time=slice("2022-07", "2022-07"))
    local = pd.DatetimeIndex(july["time"].to_numpy(), tz="UTC").tz_convert(data.attrs["site_timezone"])
    by_hour = pd.Series(july.to_numpy()).groupby(local.hour).mean()
    assert 13 <= by_hour.idxmax() <= 18
    assert by_hour.idxmin() in range(3, 8)


def test_carbon_covers_2021_to_2023():
    data = load_carbon("us_tex_erco")
    assert data["time"].to_numpy()[0] == np.datetime64("2021-01-01")
    assert 200.0 < float(data["carbon_g_per_kwh"].mean()) < 500.0


def test_coin_price_of_a_day_is_the_close_of_the_day_before():
    stored = pd.read_parquet(trace_file("btc_daily").path).set_index("date")["price_usd"]
    data = load_btc()
    assert float(data["coin_price_usd"].sel(time="2023-12-31")) == stored["2023-12-30"]
    assert data["coin_price_usd"].attrs["known"] == "at_start"


def test_fees_are_those_of_the_day_and_known_the_next():
    stored = pd.read_parquet(trace_file("btc_daily").path).set_index("date").loc["2023-12-31"]
    fees = load_btc()["fees_coin_per_block"]
    assert float(fees.sel(time="2023-12-31")) == stored["fees_native"] / stored["block_count"]
    assert fees.attrs["known"] == "next_day"


def test_difficulty_has_the_published_levels():
    data = load_btc()
    # Published difficulties of the epochs from heights 610848, 631008 and 822528.
    for day, published in (
        ("2020-01-10", 13798783827516),
        ("2020-05-15", 16104807485529),
        ("2023-12-30", 72006146478567),
    ):
        assert float(data["difficulty"].sel(time=day)) == pytest.approx(published, rel=1e-7)


def test_a_day_with_a_retarget_starts_with_the_old_difficulty():
    data = load_btc().sel(time=slice("2020-01-01", "2023-12-31"))
    start, after = data["difficulty"].to_numpy(), data["difficulty_after"].to_numpy()
    hour = data["retarget_hour"].to_numpy()
    np.testing.assert_allclose(start[1:], after[:-1], rtol=1e-7)
    changed = ~np.isnan(hour)
    assert 95 <= changed.sum() <= 106
    assert (hour[changed] >= 0.0).all()
    assert (hour[changed] <= 24.0).all()
    # 2020-01-14: epoch 612864 began at about 22:00 UTC.
    assert float(data["retarget_hour"].sel(time="2020-01-14")) in (22.0, 23.0)


def test_retarget_is_taken_out_of_a_mean_by_hand():
    start, after, hour = _retargets(np.array([10.0, 10.0, 12.5, 20.0, 20.0]))
    assert start.tolist() == [10.0, 10.0, 10.0, 20.0, 20.0]
    assert after.tolist() == [10.0, 10.0, 20.0, 20.0, 20.0]
    # A quarter of the blocks came at the new level: it began at 18 h.
    assert np.isnan(hour[[0, 1, 3, 4]]).all()
    assert hour[2] == 18.0


def test_retarget_at_midnight_and_at_the_ends():
    start, after, hour = _retargets(np.array([10.0, 10.0, 20.0, 20.0, 25.0]))
    assert start.tolist() == [10.0, 10.0, 20.0, 20.0, 20.0]
    assert after[:4].tolist() == [10.0, 10.0, 20.0, 20.0]
    assert after[4] == 20.0  # the last day's new level cannot be told from its mean
    assert np.isnan(hour).all()


def test_peaks_of_2023_and_their_utc_times():
    frame = load_coincident_peaks().to_dataframe()
    ercot = frame[(frame["market"] == "ERCOT") & (frame["base_year"] == 2023)]
    assert [f"{t:%Y-%m-%dT%H:%M}" for t in ercot["interval_end_utc"]] == [
        "2023-06-27T22:00",
        "2023-07-31T22:00",
        "2023-08-10T22:00",
        "2023-09-08T21:45",
    ]
    ontario = frame[(frame["market"] == "IESO") & (frame["base_year"] == 2023)]
    assert len(ontario) == 5
    assert not ontario["is_utc_certain"].any()
    assert ontario["interval_end_utc"].iloc[0] == pd.Timestamp("2023-09-05T21:00")
    assert frame["interval_end_utc"].isna().sum() == 1
