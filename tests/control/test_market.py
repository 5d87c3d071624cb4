"""Market features: only known values, finite, inside their bounds, and alike for a bridge's window."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minesim.arrays import NUMPY
from minesim.control.channels import ObservationSchema
from minesim.control.market import (
    MARKET_CHANNELS,
    KnownSeries,
    MarketSeries,
    encode_market,
    hash_revenue_usd_per_ths_day,
    market_features,
)
from minesim.errors import TraceError

NAMES = [channel.name for channel in MARKET_CHANNELS]
ROWS = 4 * 24 * 4


def series(price=None, *, price_end=None, rows: int = ROWS, **changes) -> MarketSeries:
    """Four days of quarter hours; price = row number; everything known at its start unless said otherwise."""
    at = np.arange(rows)
    one = np.ones(rows)
    now = at + 1
    base = MarketSeries(
        dt_s=900.0,
        local_hour=at / 4.0 % 24.0,
        local_weekday=(at // 96 % 7).astype(float),
        month_fraction=at / rows,
        energy_price=KnownSeries(at.astype(float) if price is None else price, now if price_end is None else price_end),
        coin_price_usd=20000.0 * one,
        difficulty=3e13 * one,
        subsidy_coin=6.25 * one,
        fees_coin_per_block=KnownSeries(0.25 * one, now),
        temp_amb_c=25.0 * one,
        rel_humidity_pct=40.0 * one,
        demand_rate_usd_per_kw=6.74 * one,
        peak_probability=0.01 * one,
        peak_probability_next_4h=0.02 * one,
        cp_rate_usd_per_kw=16.7 * one,
        reserve_price=KnownSeries(at.astype(float), now + 8),
        reserve_call=0.0 * one,
        carbon=KnownSeries(300.0 * one, now),
    )
    return dataclasses.replace(base, **changes)


def feature(name: str, of: MarketSeries) -> np.ndarray:
    return market_features(of)[:, NAMES.index(name)]


def test_channels_are_those_of_the_contract():
    assert NAMES[0] == "price_last_usd_per_mwh"
    assert NAMES[1:25] == [f"price_h{hour:02d}_usd_per_mwh" for hour in range(24)]
    assert len(set(NAMES)) == len(NAMES)
    assert all(channel.log for channel in MARKET_CHANNELS if channel.name.startswith(("price_h", "price_last")))
    ObservationSchema(MARKET_CHANNELS).bounds()


def test_real_time_price_is_that_of_the_last_whole_hour():
    at = np.arange(ROWS)
    price = (at // 4).astype(float)
    real_time = series(price, price_end=at // 4 * 4)
    last = feature("price_last_usd_per_mwh", real_time)
    assert last[[4, 7, 8, 11]].tolist() == [0.0, 0.0, 1.0, 1.0]
    # h00 is the hour that runs: not published, so the same hour of yesterday.
    assert feature("price_h00_usd_per_mwh", real_time)[[200, 203]].tolist() == [50 - 24, 50 - 24]
    assert feature("price_h05_usd_per_mwh", real_time)[200] == 55 - 24
    assert feature("price_known_h", real_time)[200] == 0.0


def test_day_ahead_price_shows_the_published_hours_and_fills_the_rest():
    at = np.arange(ROWS)
    price = (at // 4).astype(float)
    published = np.where(at % 96 >= 52, (at // 96 + 2) * 96, (at // 96 + 1) * 96)  # at 13:00
    ahead = series(price, price_end=published)
    noon = 96 + 48
    assert feature("price_last_usd_per_mwh", ahead)[noon] == 36.0
    assert feature("price_h00_usd_per_mwh", ahead)[noon] == 36.0
    assert feature("price_h11_usd_per_mwh", ahead)[noon] == 47.0
    assert feature("price_h12_usd_per_mwh", ahead)[noon] == 48.0 - 24.0  # tomorrow: not out yet
    assert feature("price_known_h", ahead)[noon] == 12.0
    one_pm = 96 + 52
    assert feature("price_h12_usd_per_mwh", ahead)[one_pm] == 49.0
    assert feature("price_known_h", ahead)[one_pm] == 35.0


def test_before_anything_is_known_prices_are_zero_and_finite():
    unknown = series(price_end=np.zeros(ROWS, np.int64))
    values = market_features(unknown)
    assert np.isfinite(values).all()
    assert (values[:, :25] == 0.0).all()


def test_mean_of_a_day_counts_known_rows_only():
    flat = series()
    mean = feature("price_mean_24h_usd_per_mwh", flat)
    assert mean[0] == 0.0
    assert mean[10] == 5.0
    assert mean[200] == pytest.approx(np.arange(105, 201).mean())
    late = series(price_end=np.maximum(np.arange(ROWS) - 3, 0))
    assert feature("price_mean_24h_usd_per_mwh", late)[200] == pytest.approx(np.arange(101, 197).mean())


def test_revenue_by_hand_and_with_the_last_known_fees():
    # 86400e12 x 6.5 x 20000 / (3e13 x 2^32) USD per TH/s and day
    by_hand = 86400e12 * 6.5 * 20000.0 / (3e13 * 2.0**32)
    assert hash_revenue_usd_per_ths_day(6.25, 0.25, 20000.0, 3e13) == pytest.approx(by_hand)
    assert feature("hash_revenue_usd_per_ths_day", series())[5] == pytest.approx(by_hand)
    fees = KnownSeries(np.where(np.arange(ROWS) < 96, 0.25, 99.0), np.arange(ROWS) // 96 * 96)
    revenue = feature("hash_revenue_usd_per_ths_day", series(fees_coin_per_block=fees))
    assert revenue[100] == pytest.approx(by_hand)
    assert revenue[0] == pytest.approx(by_hand * 6.25 / 6.5)


def test_reserve_price_is_that_of_the_next_hour_where_known():
    assert feature("reserve_price_usd_per_mw_h", series())[100] == 104.0
    now_only = KnownSeries(np.arange(ROWS).astype(float), np.arange(ROWS) + 1)
    assert feature("reserve_price_usd_per_mw_h", series(reserve_price=now_only))[100] == 104.0 - 96.0


def test_clock_is_on_the_unit_circle():
    values = series()
    sin, cos = feature("hour_sin", values), feature("hour_cos", values)
    np.testing.assert_allclose(sin**2 + cos**2, 1.0)
    assert sin[24] == pytest.approx(1.0)
    assert feature("week_cos", values)[0] == pytest.approx(1.0)


def test_a_bridge_asks_for_its_last_row_only():
    values = series()
    rows = np.array([ROWS - 1, 17])
    np.testing.assert_array_equal(market_features(values, rows), market_features(values)[rows])


def test_a_window_of_two_days_gives_the_same_as_years():
    at = np.arange(ROWS)
    price = 20.0 + 5.0 * np.sin(at / 11.0)
    whole = series(price, price_end=at // 4 * 4)
    cut = ROWS - 2 * 96
    part = series(
        price[cut:],
        price_end=np.maximum(at // 4 * 4 - cut, 0)[cut:],
        rows=2 * 96,
        local_hour=whole.local_hour[cut:],
        local_weekday=whole.local_weekday[cut:],
        month_fraction=whole.month_fraction[cut:],
        reserve_price=KnownSeries(whole.reserve_price.values[cut:], whole.reserve_price.known_end[cut:] - cut),
    )
    last = np.array([2 * 96 - 1])
    np.testing.assert_allclose(market_features(part, last), market_features(whole, last + cut), rtol=1e-12, atol=1e-12)


def test_row_length_has_to_divide_an_hour():
    with pytest.raises(TraceError, match="1000"):
        market_features(series(dt_s=1000.0))


@given(
    price=st.floats(-1e7, 1e7),
    coin=st.floats(0, 1e9),
    probability=st.floats(0, 1),
    carbon=st.floats(0, 1e5),
    temp=st.floats(-90, 60),
)
def test_encoded_numbers_stay_inside_the_space(price, coin, probability, carbon, temp):
    one = np.ones(8)
    wild = series(
        price * one,
        rows=8,
        coin_price_usd=coin * one,
        peak_probability=probability * one,
        carbon=KnownSeries(carbon * one, np.arange(8) + 1),
        temp_amb_c=temp * one,
        reserve_price=KnownSeries(price * one, np.arange(8) + 1),
    )
    numbers = encode_market(market_features(wild))
    low, high = ObservationSchema(MARKET_CHANNELS).bounds()
    assert numbers.dtype == np.float32
    assert np.isfinite(numbers).all()
    assert (numbers >= low).all()
    assert (numbers <= high).all()


def test_uri_is_inside_the_bounds_and_comes_back():
    numbers = encode_market(market_features(series(np.full(ROWS, 8995.26))))
    channel = MARKET_CHANNELS[0]
    assert channel.decode(np.float64(numbers[5, 0]), xp=NUMPY) == pytest.approx(8995.26, rel=1e-5)
    assert abs(numbers[5, 0]) < 2.5
