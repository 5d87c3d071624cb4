"""What the bridge knows of the world outside: series from feeds, how fresh they are, and observations of the market.

A :class:`Feed` delivers intervals of one series. :class:`FeedBook` keeps the last days of every series, judges what is
known, falls back where a feed fails, and builds the same :class:`minesim.control.market.MarketSeries` as the twin.
"""

from __future__ import annotations

import asyncio
import enum
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from minesim.control.market import (
    PEAK_AHEAD_H,
    KnownSeries,
    MarketSeries,
    encode_market,
    market_features,
)
from minesim.data import known
from minesim.data.known import DAY_AHEAD_HOUR
from minesim.economics.tariff import SETTLEMENT_S, MarketEnergy, Tariff, settlement_columns
from minesim.errors import DataFileError, MinesimError, ParamsError, explain, nearest

Floats = npt.NDArray[np.float64]

ROW_S: Final = SETTLEMENT_S
DAY_ROWS: Final = 86400 // ROW_S
HISTORY_ROWS: Final = 3 * DAY_ROWS
"""Three days are kept: observations look back 24 h behind what may be a day late (assumed)."""
ANSWER_S: Final = 10.0
"""A feed has to answer within this, or others would wait for it (assumed)."""
AHEAD_ROWS: Final = 36 * 3600 // ROW_S
"""Observations look 36 h ahead at most."""


@dataclass(frozen=True)
class SeriesRule:
    """How a series is judged.

    Attributes:
        name: what it is, with its unit.
        low, high: the largest range that is taken for possible, as in the twin's data contract.
        known: when a value is known at the earliest (:data:`minesim.data.known.RULES`).
        known_hour: local hour of publication, for ``day_ahead``.
        interval_s: length of its usual interval, s.
        keep_s: how long after its end the last value is taken for good, s (assumed).
        default: what stands for it afterwards; None for the value at the same time of the latest known day.
        lost_s: how long after its end decisions on it stop, s (assumed); infinite where they need not.
    """

    name: str
    low: float
    high: float
    known: str
    interval_s: float = 3600.0
    keep_s: float = 7200.0
    default: float | None = None
    lost_s: float = math.inf
    known_hour: float = float(DAY_AHEAD_HOUR)


_H = 3600.0
SERIES: Final[tuple[SeriesRule, ...]] = (
    SeriesRule("power_price_usd_per_mwh", -5000.0, 20000.0, known.DAY_AHEAD, keep_s=2 * _H, lost_s=24 * _H),
    SeriesRule("coin_price_usd", 1e-12, 1e9, known.AT_START, 900.0, keep_s=24 * _H, lost_s=24 * _H),
    SeriesRule("difficulty", 1e-12, 1e30, known.AT_START, keep_s=7 * 24 * _H, lost_s=7 * 24 * _H),
    SeriesRule("subsidy_coin", 0.0, 1e6, known.AT_START, keep_s=math.inf),
    SeriesRule("fees_coin_per_block", 0.0, 1e4, known.NEXT_DAY, 24 * _H, keep_s=72 * _H, default=0.0),
    SeriesRule("temp_amb_c", -90.0, 60.0, known.AT_START, keep_s=3 * _H),
    SeriesRule("rel_humidity_pct", 0.0, 100.0, known.AT_START, keep_s=3 * _H),
    SeriesRule("peak_probability", 0.0, 1.0, known.DAY_AHEAD, 900.0, keep_s=_H),
    SeriesRule("peak_probability_next_4h", 0.0, 1.0, known.AT_START, 900.0, keep_s=_H),
    SeriesRule("reserve_price_usd_per_mw_h", 0.0, 20000.0, known.DAY_AHEAD),
    SeriesRule("reserve_call", 0.0, 1.0, known.AT_START, 900.0, keep_s=900.0, default=0.0),
    SeriesRule("reserve_offered_mw", 0.0, 1e4, known.AT_START, default=0.0),
    SeriesRule("carbon_g_per_kwh", 0.0, 3000.0, known.AFTER_INTERVAL, keep_s=24 * _H),
)
"""Every series that a feed may deliver; rules of knowledge as in the twin."""
BY_NAME: Final[Mapping[str, SeriesRule]] = {rule.name: rule for rule in SERIES}
ESSENTIAL: Final = ("coin_price_usd", "difficulty", "subsidy_coin", "temp_amb_c")
"""Without these no observation can be made; a market tariff needs ``power_price_usd_per_mwh`` as well."""
ABSENT: Final[Mapping[str, float]] = {"rel_humidity_pct": 50.0}
"""What stands for an optional series without a feed: 50 % humidity (assumed); 0 for the others, as in the twin."""


def series_rule(name: str) -> SeriesRule:
    """The rule of a series.

    Raises:
        ParamsError: no such series (nearest names suggested).
    """
    if name not in BY_NAME:
        raise ParamsError(explain(f"no series {name!r}", fix=nearest(name, BY_NAME), origin="feeds"))
    return BY_NAME[name]


@dataclass(frozen=True)
class Interval:
    """A value that holds from ``start_s`` (s since 1970 UTC) for ``length_s``."""

    start_s: float
    length_s: float
    value: float


class FeedError(MinesimError):
    """A feed did not answer, or not with what it promises."""


class Feed(Protocol):
    """A source of one series."""

    @property
    def series(self) -> str:
        """Name of the series that it delivers."""

    async def fetch(self, now_s: float) -> Sequence[Interval]:
        """Whatever it can tell by now, newest values included; old ones may be repeated.

        Raises:
            FeedError: no answer, or one that cannot be read.
        """


class Freshness(enum.StrEnum):
    """What an observation uses of a series."""

    FRESH = "fresh"
    LAST_GOOD = "last good value"
    DEFAULT = "default"
    LOST = "lost"
    ABSENT = "no feed"


@dataclass(frozen=True)
class SeriesStatus:
    """How a series stands.

    Attributes:
        name: of the series.
        freshness: what is used.
        behind_s: how much later its newest known value should be, s; infinite where nothing is known.
        error: what its feed last failed with, ``""`` after a success.
    """

    name: str
    freshness: Freshness
    behind_s: float
    error: str


class FeedBook:
    """Series of the last days, kept up by feeds; the only memory is what :meth:`to_json` gives.

    Args:
        feeds: one a series at most.
        tariff: how the site is billed.
        site_timezone: IANA name.
        rules: rules that differ from :data:`SERIES`, by name.

    Raises:
        ParamsError: two feeds for a series, or an essential series without one.
    """

    def __init__(
        self,
        feeds: Sequence[Feed],
        tariff: Tariff,
        site_timezone: str,
        rules: Mapping[str, SeriesRule] | None = None,
    ) -> None:
        self.feeds = tuple(feeds)
        self.tariff = tariff
        self.site_timezone = site_timezone
        self._rules = dict(BY_NAME) | dict(rules or {})
        self._values: dict[str, dict[int, float]] = {}
        self._errors: dict[str, str] = {}
        self._judged: tuple[float, dict[str, tuple[SeriesStatus, _Known]]] = (math.nan, {})
        self._calendars: dict[int, dict[str, float]] = {}
        names = [feed.series for feed in self.feeds]
        for name in names:
            series_rule(name)
            if names.count(name) > 1:
                raise ParamsError(explain(f"two feeds deliver {name!r}", allowed="one", origin="feeds"))
            self._values[name] = {}
        absent = [name for name in self.essential if name not in names]
        if absent:
            raise ParamsError(
                explain(
                    f"no feed delivers {', '.join(absent)}",
                    allowed="a feed for each of " + ", ".join(self.essential),
                    origin="feeds",
                    fix="Add it to the section feeds of the inventory.",
                )
            )

    @property
    def essential(self) -> tuple[str, ...]:
        """Series without which the site cannot be run by a policy."""
        price = ("power_price_usd_per_mwh",) if isinstance(self.tariff.energy, MarketEnergy) else ()
        peaks = ("peak_probability",) if self.tariff.coincident_peak is not None else ()
        return (*price, *ESSENTIAL, *peaks)

    # ------------------------------------------------------------------ taking in

    async def refresh(self, now_s: float) -> None:
        """Ask every feed once, all at the same time.

        A failure, or an answer that takes longer than ``ANSWER_S``, is told by :meth:`status` and changes nothing else.
        """
        await asyncio.gather(*(self._refresh(feed, now_s) for feed in self.feeds))

    async def _refresh(self, feed: Feed, now_s: float) -> None:
        try:
            async with asyncio.timeout(ANSWER_S):
                intervals = await feed.fetch(now_s)
            self.take(feed.series, intervals, now_s)
        except (FeedError, TimeoutError) as error:
            self._errors[feed.series] = str(error) or explain(f"no answer within {ANSWER_S:g} s", origin="feed")
            self._judged = (math.nan, {})

    def take(self, name: str, intervals: Iterable[Interval], now_s: float) -> None:
        """Book intervals of a series; later news of the same time replaces earlier.

        Raises:
            FeedError: a value or length that cannot be; nothing is booked then.
        """
        rule, rows = self._rules[name], self._values[name]
        now_row, news = math.floor(now_s / ROW_S), {}
        for interval in intervals:
            if not rule.low <= interval.value <= rule.high:
                raise FeedError(
                    explain(
                        f"{name} is {interval.value} at {_utc(interval.start_s)}", allowed=f"{rule.low} to {rule.high}"
                    )
                )
            if not 0.0 < interval.length_s <= 32 * 86400.0:
                raise FeedError(
                    explain(f"an interval of {name} is {interval.length_s} s long", allowed="up to 32 days")
                )
            first = math.floor(interval.start_s / ROW_S)
            last = max(math.ceil((interval.start_s + interval.length_s) / ROW_S), first + 1)
            for row in range(max(first, now_row - HISTORY_ROWS), min(last, now_row + AHEAD_ROWS + DAY_ROWS)):
                news[row] = float(interval.value)
        self._judged = (math.nan, {})
        rows.update(news)
        for row in [row for row in rows if row < now_row - HISTORY_ROWS and row != max(rows)]:
            del rows[row]
        self._errors.pop(name, None)

    # ------------------------------------------------------------------ what is known

    def status(self, now_s: float) -> tuple[SeriesStatus, ...]:
        """How each series stands that a feed delivers or that is essential."""
        return tuple(self._judge(name, now_s)[0] for name in self._values)

    def lost(self, now_s: float) -> tuple[str, ...]:
        """Essential series on which no decision can rest any more."""
        return tuple(name for name in self.essential if self._judge(name, now_s)[0].freshness == Freshness.LOST)

    def market(self, now_s: float) -> npt.NDArray[np.float32]:
        """Encoded market channels of an observation made now, (C,).

        Raises:
            FeedError: an essential series is lost.
        """
        lost = self.lost(now_s)
        if lost:
            raise FeedError(explain(f"nothing usable is known of {', '.join(lost)}", origin="feeds"))
        series, row = self.market_series(now_s)
        return encode_market(market_features(series, np.array([row]))).reshape(-1)

    def value(self, name: str, now_s: float) -> float:
        """What an observation made now uses of a series."""
        return self._known(name, now_s).now

    def calendar(self, now_s: float) -> dict[str, float]:
        """Settlement columns of the present row that need no price: local day, billing month, rates."""
        row = math.floor(now_s / ROW_S)
        if row not in self._calendars:
            columns = settlement_columns(
                replace(self.tariff, coincident_peak=None), _times(row, 1), self.site_timezone, np.zeros(1)
            )
            # The present row and the one before are asked for again and again.
            kept = {earlier: self._calendars[earlier] for earlier in self._calendars if abs(earlier - row) <= 1}
            self._calendars = kept | {row: {name: float(column[0]) for name, column in columns.items()}}
        return self._calendars[row]

    def market_series(self, now_s: float) -> tuple[MarketSeries, int]:
        """The last days and the known hours ahead on the twin's grid, and the row of the present.

        Rows of a series of which nothing is known are NaN where it is essential.
        """
        now_row = math.floor(now_s / ROW_S)
        price = self._known("power_price_usd_per_mwh", now_s)
        first = min(max(now_row - HISTORY_ROWS, price.first_row), now_row)
        size = now_row + AHEAD_ROWS + 1 - first
        at, end = now_row - first, np.zeros(size, np.int64)

        def laid_out(one: _Known) -> KnownSeries:
            return KnownSeries(one.over(first, size), end + max(one.end_row - first, 0))

        def now(name: str) -> Floats:
            return np.full(size, self._known(name, now_s).now)

        columns = settlement_columns(
            replace(self.tariff, coincident_peak=None),
            _times(first, size),
            self.site_timezone,
            price.over(first, size),
        )
        price_end = end + max(price.end_row - first, 0)
        if not isinstance(self.tariff.energy, MarketEnergy):
            price_end = end + size
        series = MarketSeries(
            dt_s=float(ROW_S),
            local_hour=columns["local_hour"],
            local_weekday=columns["local_weekday"],
            month_fraction=columns["month_fraction"],
            energy_price=KnownSeries(columns["energy_price_usd_per_mwh"], price_end),
            coin_price_usd=now("coin_price_usd"),
            difficulty=now("difficulty"),
            subsidy_coin=now("subsidy_coin"),
            fees_coin_per_block=laid_out(self._known("fees_coin_per_block", now_s)),
            temp_amb_c=now("temp_amb_c"),
            rel_humidity_pct=now("rel_humidity_pct"),
            demand_rate_usd_per_kw=columns["demand_rate_usd_per_kw"],
            peak_probability=now("peak_probability"),
            peak_probability_next_4h=np.full(size, self._peak_ahead(now_s)),
            cp_rate_usd_per_kw=np.full(size, self._peak_rate_usd_per_kw(now_row)),
            reserve_price=laid_out(self._known("reserve_price_usd_per_mw_h", now_s)),
            reserve_call=now("reserve_call"),
            carbon=laid_out(self._known("carbon_g_per_kwh", now_s)),
        )
        return series, at

    def _peak_ahead(self, now_s: float) -> float:
        """Largest peak probability of the next hours: its own feed's, else of what is known ahead."""
        if self._values.get("peak_probability_next_4h"):
            return self._known("peak_probability_next_4h", now_s).now
        one, now_row = self._known("peak_probability", now_s), math.floor(now_s / ROW_S)
        ahead = range(now_row, min(one.end_row, now_row + PEAK_AHEAD_H * 3600 // ROW_S))
        return max([one.now, *(one.values.get(row, 0.0) for row in ahead)])

    def _peak_rate_usd_per_kw(self, now_row: int) -> float:
        """What a kW costs in a charged interval of the present season, USD/kW; 0 outside it."""
        part = self.tariff.coincident_peak
        if part is None:
            return 0.0
        local = known.local_clock(_times(now_row, 1), self.site_timezone).astype("datetime64[M]").astype(np.int64)[0]
        year, month = 1970 + int(local) // 12, int(local) % 12 + 1
        if month not in part.months:
            return 0.0
        base_year = year - (month < part.base_year_first_month)
        pieces = part.interval_min * 60 // ROW_S
        return part.rate_of(base_year) / part.count / pieces * self.tariff.loss_factor

    def _known(self, name: str, now_s: float) -> _Known:
        return self._judge(name, now_s)[1]

    def _judge(self, name: str, now_s: float) -> tuple[SeriesStatus, _Known]:
        if self._judged[0] != now_s:
            self._judged = (now_s, {})
        if name not in self._judged[1]:
            self._judged[1][name] = self._judge_anew(name, now_s)
        return self._judged[1][name]

    def _judge_anew(self, name: str, now_s: float) -> tuple[SeriesStatus, _Known]:
        rule, now_row = self._rules[name], math.floor(now_s / ROW_S)
        error, optional = self._errors.get(name, ""), name not in self.essential
        limit_row = self._limit_row(rule, now_s)
        values = {row: value for row, value in self._values.get(name, {}).items() if row < limit_row}
        if not values:
            if not optional and name in self._values and rule.default is None:
                blank = _Known({}, now_row + 1, math.nan)
                return SeriesStatus(name, Freshness.LOST, math.inf, error), blank
            if name == "power_price_usd_per_mwh" and optional:
                return SeriesStatus(name, Freshness.ABSENT, math.inf, error), _Known({}, now_row + 1, 0.0)
            stands = ABSENT.get(name, 0.0) if rule.default is None else rule.default
            return SeriesStatus(name, Freshness.ABSENT, math.inf, error), _Known({}, 0, stands)
        newest_row = max(row for row in values if row <= now_row) if min(values) <= now_row else min(values)
        end_row = max(values) + 1
        behind_s = max(min(limit_row, now_row + 1) - end_row, 0) * float(ROW_S)
        one = _Known(values, end_row, values[newest_row])
        if behind_s == 0.0:
            return SeriesStatus(name, Freshness.FRESH, behind_s, error), one
        if behind_s <= rule.keep_s:
            return SeriesStatus(name, Freshness.LAST_GOOD, behind_s, error), one
        state = Freshness.DEFAULT if optional or behind_s <= rule.lost_s else Freshness.LOST
        stands = rule.default if rule.default is not None else one.same_time(now_row)
        return SeriesStatus(name, state, behind_s, error), _Known(values | {now_row: stands}, now_row + 1, stands)

    def _limit_row(self, rule: SeriesRule, now_s: float) -> int:
        """Row before which values can be known now, by the rule of the series and of the tariff."""
        how = rule.known
        energy = self.tariff.energy
        if rule.name == "power_price_usd_per_mwh" and how == known.DAY_AHEAD and isinstance(energy, MarketEnergy):
            how = energy.known
        before = known.known_before(
            how,
            np.array([math.floor(now_s)], "datetime64[s]"),
            interval_s=rule.interval_s,
            site_timezone=self.site_timezone,
            known_hour=rule.known_hour,
        )
        before_s = int(before.astype(np.int64)[0])
        if how == known.AFTER_INTERVAL:  # an interval that is over is known as a whole
            before_s = math.ceil(before_s / rule.interval_s) * int(rule.interval_s)
        return -(-before_s // ROW_S)

    # ------------------------------------------------------------------ memory

    def to_json(self) -> dict[str, Any]:
        """The kept series as JSON values; :meth:`recall` takes them."""
        return {name: [[row, value] for row, value in sorted(rows.items())] for name, rows in self._values.items()}

    def recall(self, memory: Mapping[str, Any]) -> None:
        """Take up the series of an earlier run; those that no feed delivers any more are left out.

        Raises:
            DataFileError: not what :meth:`to_json` gives.
        """
        try:
            rows = {name: {int(row): float(value) for row, value in pairs} for name, pairs in memory.items()}
        except (TypeError, ValueError, AttributeError) as error:
            raise DataFileError(explain(f"the kept series cannot be read: {error}", origin="journal")) from error
        self._judged = (math.nan, {})
        for name in self._values:
            self._values[name] = rows.get(name, {}) | self._values[name]


@dataclass(frozen=True)
class _Known:
    """What is known of a series: values by row, the row before which they are known, and what holds now."""

    values: Mapping[int, float]
    end_row: int
    now: float

    @property
    def first_row(self) -> int:
        return min(self.values) if self.values else 2**62

    def same_time(self, row: int) -> float:
        """Value at the same time of the latest known day; with less than a day known, the newest."""
        earlier = row
        while earlier >= self.first_row:
            if earlier in self.values:
                return self.values[earlier]
            earlier -= DAY_ROWS
        return self.now

    def over(self, first: int, size: int) -> Floats:
        """Values on rows; a hole has the value before it, rows before the first known one have that one's."""
        rows = np.arange(first, first + size)
        if not self.values:
            return np.full(size, self.now)
        have = np.array(sorted(self.values))
        index = np.maximum(np.searchsorted(have, rows, side="right") - 1, 0)
        return np.array([self.values[int(row)] for row in have])[index]


def _times(first_row: int, count: int) -> npt.NDArray[np.datetime64]:
    return ((first_row + np.arange(count)) * ROW_S).astype("datetime64[s]")


def _utc(at_s: float) -> str:
    return f"{np.datetime64(math.floor(at_s), 's')} UTC"
