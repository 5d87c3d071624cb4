"""Feeds that are late, wrong or silent, and where their values come from."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minesim.bridge.feed_sources import ConstantSource, FileSource, HttpSource, Layout, SeriesFeed
from minesim.bridge.feeds import BY_NAME, HISTORY_ROWS, FeedBook, FeedError, Freshness, Interval
from minesim.control.market import MARKET_CHANNELS
from minesim.economics.tariff import FlatEnergy, Tariff, tariff
from minesim.errors import DataFileError, ParamsError

ZONE = "America/Chicago"
NOON_S = 1_790_010_000.0  # 2026-09-21 17:00 UTC, noon in Chicago
HOUR = 3600.0
COLUMN = {channel.name: index for index, channel in enumerate(MARKET_CHANNELS)}


@dataclass
class Told:
    """A feed that tells what it is given, or fails."""

    series: str
    intervals: list[Interval] = field(default_factory=list)
    error: str = ""

    async def fetch(self, now_s: float) -> Sequence[Interval]:
        if self.error:
            raise FeedError(self.error)
        return self.intervals


def a_site(bill: Tariff | None = None) -> tuple[FeedBook, dict[str, Told]]:
    """A site with every feed fresh at noon; the price is 10 USD/MWh and its hour of the day."""
    now = {"coin_price_usd": 6e4, "difficulty": 9e13, "subsidy_coin": 3.125, "temp_amb_c": 30.0}
    feeds = {name: Told(name, [Interval(NOON_S, HOUR, value)]) for name, value in now.items()}
    hours = [NOON_S + HOUR * k for k in range(-72, 12)]
    feeds["power_price_usd_per_mwh"] = Told(
        "power_price_usd_per_mwh", [Interval(s, HOUR, 10.0 + (s // HOUR) % 24) for s in hours]
    )
    return FeedBook(list(feeds.values()), bill or tariff("energy_only"), ZONE), feeds


def price_channels(book: FeedBook, now_s: float) -> list[float]:
    market = book.market(now_s).astype(float)
    names = ["price_last_usd_per_mwh", *(f"price_h{hour:02d}_usd_per_mwh" for hour in range(24))]
    channel = MARKET_CHANNELS[COLUMN["price_last_usd_per_mwh"]]
    return [math.expm1(market[COLUMN[name]] * channel.scale) - 10.0 for name in names]  # less the adder


async def test_prices_ahead_are_shown_as_far_as_published_then_the_same_hour_of_the_day_before() -> None:
    book, _ = a_site()
    await book.refresh(NOON_S)
    told = price_channels(book, NOON_S)
    expected = [10.0 + (NOON_S // HOUR + hour) % 24 for hour in [0, *range(24)]]
    assert told == pytest.approx(expected, rel=1e-4)
    assert book.market(NOON_S)[COLUMN["price_known_h"]] * 24.0 == pytest.approx(12.0)
    assert {status.freshness for status in book.status(NOON_S)} == {Freshness.FRESH}


async def test_tomorrows_prices_are_not_used_before_their_hour_of_publication() -> None:
    book, feeds = a_site()
    tomorrow = [Interval(NOON_S + HOUR * k, HOUR, 500.0) for k in range(12, 36)]
    feeds["power_price_usd_per_mwh"].intervals += tomorrow
    await book.refresh(NOON_S)
    assert book.market(NOON_S)[COLUMN["price_known_h"]] * 24.0 == pytest.approx(12.0)
    later_s = NOON_S + HOUR  # 13:00, when the twin takes them for published
    assert book.market(later_s)[COLUMN["price_known_h"]] * 24.0 == pytest.approx(35.0)


async def test_a_real_time_price_is_known_after_its_interval_whatever_the_feed_says() -> None:
    book, _ = a_site(tariff("late_price"))
    await book.refresh(NOON_S)
    assert price_channels(book, NOON_S)[0] == pytest.approx(10.0 + (NOON_S // HOUR - 1) % 24, rel=1e-4)


async def test_a_silent_price_feed_is_last_good_then_the_same_hour_then_lost() -> None:
    book, feeds = a_site()
    await book.refresh(NOON_S)
    for feed in feeds.values():
        feed.error = "no answer"
    last_s = NOON_S + 12 * HOUR  # the first hour without a price
    expectations = [
        (last_s - 900.0, Freshness.FRESH),
        (last_s, Freshness.LAST_GOOD),
        (last_s + 1.5 * HOUR, Freshness.LAST_GOOD),
        (last_s + 3 * HOUR, Freshness.DEFAULT),
    ]
    for now_s, freshness in expectations:
        await book.refresh(now_s)
        status = {s.name: s for s in book.status(now_s)}["power_price_usd_per_mwh"]
        assert (status.freshness, status.error) == (freshness, "no answer")
        assert book.lost(now_s) == ()
        hour = now_s // HOUR if freshness in (Freshness.FRESH, Freshness.DEFAULT) else last_s // HOUR - 1
        assert price_channels(book, now_s)[0] == pytest.approx(10.0 + hour % 24, rel=1e-4)
    assert book.lost(last_s + 25 * HOUR) == ("power_price_usd_per_mwh", "coin_price_usd")
    with pytest.raises(FeedError, match="nothing usable is known of power_price"):
        book.market(last_s + 25 * HOUR)


async def test_a_feed_that_never_answers_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass
    class Endless:
        series: str

        async def fetch(self, now_s: float) -> Sequence[Interval]:
            await asyncio.sleep(3600.0)
            return []

    monkeypatch.setattr("minesim.bridge.feeds.ANSWER_S", 0.05)
    _, feeds = a_site()
    slow = [Endless("carbon_g_per_kwh"), Endless("rel_humidity_pct")]
    book = FeedBook([*slow, *feeds.values()], tariff("energy_only"), ZONE)
    await asyncio.wait_for(book.refresh(NOON_S), 5.0)
    told = {status.name: status for status in book.status(NOON_S)}
    assert "no answer within" in told["carbon_g_per_kwh"].error
    assert told["temp_amb_c"].freshness is Freshness.FRESH
    assert book.lost(NOON_S) == ()


async def test_an_outage_of_one_feed_leaves_the_others_alone() -> None:
    book, feeds = a_site()
    feeds["temp_amb_c"].error = "no answer"
    await book.refresh(NOON_S)
    assert book.lost(NOON_S) == ("temp_amb_c",)
    feeds["temp_amb_c"].error = ""
    await book.refresh(NOON_S)
    assert book.lost(NOON_S) == ()
    assert {s.name: s.error for s in book.status(NOON_S)}["temp_amb_c"] == ""


@pytest.mark.parametrize(
    ("name", "interval"),
    [
        ("power_price_usd_per_mwh", Interval(NOON_S, HOUR, math.nan)),
        ("power_price_usd_per_mwh", Interval(NOON_S, HOUR, 1e9)),
        ("coin_price_usd", Interval(NOON_S, HOUR, -1.0)),
        ("coin_price_usd", Interval(NOON_S, 0.0, 6e4)),
        ("temp_amb_c", Interval(NOON_S, HOUR, 451.0)),
    ],
)
async def test_impossible_values_are_refused_and_the_last_good_ones_stay(name: str, interval: Interval) -> None:
    book, feeds = a_site()
    await book.refresh(NOON_S)
    before = book.market(NOON_S)
    feeds[name].intervals = [interval]
    await book.refresh(NOON_S)
    assert (book.market(NOON_S) == before).all()
    assert {s.name: s.error for s in book.status(NOON_S)}[name] != ""


async def test_a_flat_tariff_needs_no_price_feed() -> None:
    bill = replace(tariff("energy_only"), energy=FlatEnergy(42.0))
    _, feeds = a_site()
    del feeds["power_price_usd_per_mwh"]
    book = FeedBook(list(feeds.values()), bill, ZONE)
    await book.refresh(NOON_S)
    assert price_channels(book, NOON_S) == pytest.approx([42.0] * 25, rel=1e-4)
    assert book.market(NOON_S)[COLUMN["price_known_h"]] * 24.0 == pytest.approx(36.0)


def test_missing_and_doubled_feeds_are_told() -> None:
    with pytest.raises(ParamsError, match="no feed delivers coin_price_usd, difficulty"):
        FeedBook(
            [Told("power_price_usd_per_mwh"), Told("subsidy_coin"), Told("temp_amb_c")], tariff("late_price"), ZONE
        )
    with pytest.raises(ParamsError, match="peak_probability"):
        FeedBook([Told(name) for name in a_site()[1]], tariff("ercot_4cp"), ZONE)
    with pytest.raises(ParamsError, match="two feeds"):
        FeedBook([Told("temp_amb_c"), Told("temp_amb_c")], tariff("late_price"), ZONE)
    with pytest.raises(ParamsError, match="temp_amb_c"):
        FeedBook([Told("temp_amb")], tariff("late_price"), ZONE)


async def test_a_peak_charge_shows_its_rate_and_the_largest_probability_ahead() -> None:
    book, feeds = a_site(tariff("energy_only"))
    peaks = [Interval(NOON_S + 900.0 * k, 900.0, 0.01 * k) for k in range(40)]
    feeds["peak_probability"] = Told("peak_probability", peaks)
    book = FeedBook(list(feeds.values()), tariff("ercot_4cp"), ZONE)
    await book.refresh(NOON_S)
    market = book.market(NOON_S)
    assert market[COLUMN["peak_probability"]] == 0.0
    assert market[COLUMN["peak_probability_next_4h"]] * 0.1 == pytest.approx(0.15)
    part = tariff("ercot_4cp").coincident_peak
    assert part is not None
    assert market[COLUMN["cp_rate_usd_per_kw"]] * 20.0 == pytest.approx(part.rate_of(2026) / 4.0)


@given(st.lists(st.integers(-400, 300), max_size=40), st.integers(0, 200))
@settings(max_examples=30, deadline=None)
def test_memory_comes_back_without_loss_and_does_not_grow(rows: list[int], later: int) -> None:
    book, _ = a_site()
    for row in rows:
        book.take("power_price_usd_per_mwh", [Interval(NOON_S + 900.0 * row, 900.0, 0.1 * row)], NOON_S)
    now_s = NOON_S + 900.0 * later
    book.take("power_price_usd_per_mwh", [Interval(now_s, 900.0, 1.0 / 3.0)], now_s)
    other, _ = a_site()
    other.recall(json.loads(json.dumps(book.to_json())))
    assert other.to_json() == book.to_json()
    assert other.status(now_s) == book.status(now_s)
    assert len(book.to_json()["power_price_usd_per_mwh"]) <= HISTORY_ROWS + 37 * 4 + 97
    oldest = book.to_json()["power_price_usd_per_mwh"][0][0]
    assert oldest >= NOON_S // 900 + later - HISTORY_ROWS


@pytest.mark.parametrize("memory", [{"temp_amb_c": 3}, {"temp_amb_c": [["a", "b"]]}, {"temp_amb_c": [[1, 2, 3]]}])
def test_a_memory_of_something_else_is_refused(memory: dict[str, object]) -> None:
    with pytest.raises(DataFileError):
        a_site()[0].recall(memory)


async def test_observations_are_the_same_after_a_restart() -> None:
    book, _ = a_site()
    await book.refresh(NOON_S)
    other, _ = a_site()
    other.recall(json.loads(json.dumps(book.to_json())))
    for now_s in (NOON_S, NOON_S + 5 * HOUR, NOON_S + 13 * HOUR):
        assert (other.market(now_s) == book.market(now_s)).all()


# ---------------------------------------------------------------------- sources

ROWS = [
    {"start": "2026-09-21T17:00:00Z", "lmp": {"usd": "41.5"}},
    {"start": "2026-09-21T13:00:00-05:00", "lmp": {"usd": -3}},
    {"start": "2026-09-21T19:00:00", "lmp": {"usd": None}},
]
LAYOUT = Layout(rows="data.rows", time="start", value="lmp.usd", interval_s=HOUR)


def answering(reply: httpx.Response, seen: list[httpx.Request] | None = None) -> httpx.AsyncClient:
    def handle(request: httpx.Request) -> httpx.Response:
        if seen is not None:
            seen.append(request)
        return reply

    return httpx.AsyncClient(transport=httpx.MockTransport(handle))


async def test_an_address_that_answers_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRICE_KEY", "hunter2")
    seen: list[httpx.Request] = []
    client = answering(httpx.Response(200, json={"data": {"rows": ROWS}}), seen)
    source = HttpSource("https://prices.example/da?zone=north", LAYOUT, {"X-Key": "env:PRICE_KEY"}, client)
    assert await SeriesFeed("power_price_usd_per_mwh", source).fetch(NOON_S) == [
        Interval(NOON_S, HOUR, 41.5),
        Interval(NOON_S + HOUR, HOUR, -3.0),
    ]
    assert seen[0].headers["X-Key"] == "hunter2"
    assert "hunter2" not in repr(source)


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (httpx.Response(500, text="secret=hunter2"), "status 500"),
        (httpx.Response(200, text="<html>"), "not JSON"),
        (httpx.Response(200, json={"data": {}}), "'data.rows'"),
        (httpx.Response(200, json={"data": {"rows": [{"start": "soon", "lmp": {"usd": 1}}]}}), "not a time"),
        (httpx.Response(200, json={"data": {"rows": [{"start": 1, "lmp": {"usd": "x"}}]}}), "not a number"),
        (httpx.Response(200, json={"data": {"rows": [{"start": 1, "lmp": {"usd": True}}]}}), "not a number"),
        (httpx.Response(200, json={"data": {"rows": [{"start": 1}]}}), "'lmp.usd'"),
    ],
)
async def test_bad_answers_are_feed_errors(reply: httpx.Response, says: str) -> None:
    source = HttpSource("https://prices.example/da?key=hunter2", LAYOUT, {}, answering(reply))
    with pytest.raises(FeedError, match=says) as caught:
        await source.read(NOON_S)
    assert "hunter2" not in str(caught.value)


async def test_no_answer_and_no_secret_are_feed_errors() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectTimeout("to hunter2")

    client = httpx.AsyncClient(transport=httpx.MockTransport(refuse))
    with pytest.raises(FeedError, match="ConnectTimeout"):
        await HttpSource("http://prices.example/", LAYOUT, {}, client).read(NOON_S)
    with pytest.raises(FeedError, match="NOT_SET_ANYWHERE"):
        await HttpSource("http://prices.example/", LAYOUT, {"K": "env:NOT_SET_ANYWHERE"}, client).read(NOON_S)


async def test_files_and_constants(tmp_path: Path) -> None:
    table = tmp_path / "price.csv"
    table.write_text("start,usd\n1790010000,41.5\n1790013600000,42\n1790017200,\n", encoding="utf-8")
    source = FileSource(table, Layout(time="start", value="usd", factor=2.0))
    assert await source.read(NOON_S) == [Interval(NOON_S, HOUR, 83.0), Interval(NOON_S + HOUR, HOUR, 84.0)]
    one = tmp_path / "now.json"
    one.write_text('{"value": 9e13}', encoding="utf-8")
    assert await FileSource(one, Layout()).read(NOON_S) == [Interval(NOON_S, HOUR, 9e13)]
    with pytest.raises(FeedError, match="cannot read"):
        await FileSource(tmp_path / "none.csv", Layout()).read(NOON_S)
    assert (await ConstantSource(3.125).read(NOON_S))[0].value == 3.125


def test_every_series_has_the_twins_range_and_rule() -> None:
    from minesim.scenario.variables import BY_NAME as VARIABLES

    for name, rule in BY_NAME.items():
        if name in VARIABLES:
            assert (rule.low, rule.high) == (VARIABLES[name].low, VARIABLES[name].high)
    assert np.isfinite([rule.interval_s for rule in BY_NAME.values()]).all()
