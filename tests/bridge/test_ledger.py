"""Booking what miners earn, and closing a day."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minesim.bridge import documents
from minesim.bridge.rollouts.ledger import OpenPeriod, Work, book, close, open_period, spoil
from minesim.bridge.telling.outcomes import Market

MARKET = Market(revenue_usd_per_ths_h=0.002, price_usd_per_mwh=50.0)
START_S = 1_750_000_000.0


def work(
    wave: str = "0", power_w: float | None = 3000.0, hashrate_ths: float | None = 100.0, cost: float = 0.0
) -> Work:
    return Work(wave, "a", 3300.0, 110.0, power_w, hashrate_ths, cost)


def test_a_day_of_two_miners_by_hand() -> None:
    period = open_period(START_S)
    for cycle in range(1440):
        period = book(
            period, START_S + 60.0 * (cycle + 1), 60.0, [work(), work(cost=0.001 if cycle == 7 else 0.0)], MARKET
        )
    day = close(period, START_S + 86400.0)
    (cell,) = day.cells
    assert cell.profit_usd == pytest.approx(2 * 24 * (100 * 0.002 - 0.003 * 50) - 0.001)
    assert cell.reference_usd == pytest.approx(2 * 24 * 110 * 0.002)
    assert cell.peak_w == pytest.approx(6000.0)
    assert cell.rated_w == 6600.0
    assert day.valid


def test_the_peak_is_the_mean_of_the_worst_quarter_of_an_hour() -> None:
    period = open_period(START_S)
    for minute in range(60):
        power_w = 3000.0 if 20 <= minute < 25 else 1500.0
        period = book(period, START_S + 60.0 * (minute + 1), 60.0, [work(power_w=power_w)], MARKET)
    assert close(period, START_S + 3600.0).cells[0].peak_w == pytest.approx((5 * 3000.0 + 10 * 1500.0) / 15)


def test_silence_is_neither_profit_nor_loss() -> None:
    def profit_share(silent: int) -> tuple[float, bool]:
        period = open_period(START_S)
        for cycle in range(10):
            quiet = cycle < silent
            one = work(power_w=None, hashrate_ths=None) if quiet else work()
            period = book(period, START_S + 60.0 * (cycle + 1), 60.0, [one], MARKET)
        day = close(period, START_S + 600.0)
        return (day.cells[0].profit_usd / day.cells[0].reference_usd if day.cells else 0.0), day.valid

    assert profit_share(2) == (pytest.approx(profit_share(0)[0]), True)
    assert profit_share(3)[1] is False
    assert profit_share(10)[1] is False


def test_a_spoilt_or_empty_day_is_not_compared() -> None:
    booked = book(open_period(START_S), START_S + 60.0, 60.0, [work()], MARKET)
    assert close(booked, START_S + 86400.0).valid
    assert not close(spoil(booked), START_S + 86400.0).valid
    assert not close(open_period(START_S), START_S + 86400.0).valid


@given(st.lists(st.tuples(st.sampled_from(["holdback", "0", "1"]), st.floats(0, 5000), st.floats(0, 200)), min_size=1))
def test_waves_add_up_to_the_site(rows: list[tuple[str, float, float]]) -> None:
    works = [work(wave, power_w, ths) for wave, power_w, ths in rows]
    apart = close(book(open_period(START_S), START_S + 900.0, 900.0, works, MARKET), START_S + 900.0)
    whole = 0.25 * sum(MARKET.profit_usd_per_h(ths, power_w) for _, power_w, ths in rows)
    assert sum(cell.profit_usd for cell in apart.cells) == pytest.approx(whole, abs=1e-9)
    assert sum(cell.peak_w for cell in apart.cells) == pytest.approx(sum(power_w for _, power_w, _ in rows), abs=1e-6)


def test_an_open_day_survives_a_restart() -> None:
    period = book(open_period(START_S), START_S + 60.0, 60.0, [work(), work("holdback")], MARKET)
    assert documents.from_json(OpenPeriod, documents.to_json(period), origin="journal", fix="") == period
