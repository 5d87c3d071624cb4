"""What electricity costs a site: tariffs built of named parts, and the columns and formulas that settle them.

A :class:`Tariff` is data. :func:`settlement_columns` turns it, once per scenario, into columns over the settlement
grid (15 min); the three runtime formulas at the end turn a site's load into money inside a step.
Every billed quantity refers to the metering point of the grid; a site that is metered behind its transformer pays for
the loss as well, so each column is multiplied by ``loss_factor``.
"""

from __future__ import annotations

import dataclasses
import functools
import zoneinfo
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from minesim.arrays import Array, Namespace
from minesim.economics.facts import fact_value
from minesim.economics.reserve import ECRS_LIKE, ReserveProduct
from minesim.errors import ParamsError, TraceError, explain, nearest, pick

if TYPE_CHECKING:
    import pandas as pd

SETTLEMENT_S: Final = 900
"""Length of a settlement and demand interval, s."""

SETTLEMENT_COLUMNS: Final = (
    "energy_price_usd_per_mwh",
    "demand_rate_usd_per_kw",
    "billing_month",
    "cp_charge_usd_per_kw",
    "local_hour",
    "local_weekday",
    "local_day",
    "month_fraction",
)

KWH_PER_MWH: Final = 1000.0
THURSDAY: Final = 3
"""Weekday of 1970-01-01, Monday 0."""

ONTARIO_POOL_CAD: Final = 12e9
"""Global adjustment paid by all customers in 2020, about (energy-efficiency.com 2020)."""
ONTARIO_PEAK_KW: Final = 23_465e3
"""Mean demand of the five peak hours of the base year, kW (IESO, in ``coincident_peaks``)."""
CAD_PER_USD_2020: Final = 1.3415
"""Yearly mean rate (Bank of Canada)."""


@dataclass(frozen=True)
class FlatEnergy:
    """One price at all hours.

    Attributes:
        price_usd_per_mwh: energy price, USD/MWh.
    """

    price_usd_per_mwh: float


@dataclass(frozen=True)
class TimeOfUsePeriod:
    """When a time-of-use price holds, in local clock time.

    Attributes:
        price_usd_per_mwh: energy price, USD/MWh.
        hour_from, hour_to: from (included) to (excluded), 0..24; ``hour_from > hour_to`` goes over midnight.
        weekdays: 0 Monday ... 6 Sunday.
        months: 1..12.
    """

    price_usd_per_mwh: float
    hour_from: float = 0.0
    hour_to: float = 24.0
    weekdays: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6)
    months: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)


@dataclass(frozen=True)
class TimeOfUseEnergy:
    """A price by local hour, weekday and season: the first period that fits, else the base price.

    Attributes:
        base_usd_per_mwh: energy price outside all periods, USD/MWh.
        periods: in order of precedence.
    """

    base_usd_per_mwh: float
    periods: tuple[TimeOfUsePeriod, ...]


@dataclass(frozen=True)
class MarketEnergy:
    """The market price of the scenario, passed through.

    Attributes:
        known: ``day_ahead`` when the price of an hour is published the day before, ``after_interval`` when it is
            known only once the hour is over. The money is the same; what an agent may see is not.
    """

    known: Literal["day_ahead", "after_interval"] = "day_ahead"


@dataclass(frozen=True)
class DemandCharge:
    """A monthly charge on the highest mean load of a 15-min interval of the calendar month (local time).

    Attributes:
        rates_usd_per_kw: rate of each month, January first, USD per kW and month.
        source: of the rate.
    """

    rates_usd_per_kw: tuple[float, ...]
    source: str = "assumed"

    @classmethod
    def constant(cls, rate_usd_per_kw: float, source: str) -> DemandCharge:
        """The same rate in all months."""
        return cls((rate_usd_per_kw,) * 12, source)


@dataclass(frozen=True)
class CoincidentPeakCharge:
    """A yearly charge on the mean load in the few intervals when the whole system peaks.

    Each of the ``count`` intervals of a base year carries ``rate / count`` per kW of mean demand in it. The bill comes
    a year later; here the cost is booked where it is caused.

    Attributes:
        program: value of the column ``program`` of the peaks.
        count: intervals a base year (4CP: 4; the commission staff's proposal of 2026-06: 12).
        months: local months in which a peak can fall.
        interval_min: length of a peak interval, min, a multiple of 15.
        rate_usd_per_kw_year: rate for base years without an entry of their own, USD per kW and year.
        rate_by_base_year: (base year, rate) pairs.
        base_year_first_month: the local month a base year begins with (Ontario: May).
        source: of the rates.
    """

    program: str
    count: int
    months: tuple[int, ...]
    interval_min: int
    rate_usd_per_kw_year: float
    rate_by_base_year: tuple[tuple[int, float], ...] = ()
    base_year_first_month: int = 1
    source: str = "assumed"

    def rate_of(self, base_year: int) -> float:
        """Rate charged on the peaks of a base year, USD per kW and year."""
        return dict(self.rate_by_base_year).get(base_year, self.rate_usd_per_kw_year)


EnergyPart = FlatEnergy | TimeOfUseEnergy | MarketEnergy


@dataclass(frozen=True)
class Tariff:
    """A tariff as the sum of its parts; a part that is None is absent.

    Attributes:
        name: what it is called in reports.
        energy: how energy is priced.
        adder_usd_per_mwh: retail and delivery adder on every MWh.
        loss_factor: billed over metered at the site, 1 + transformer and line loss.
        demand, coincident_peak, reserve: further parts.
        source: of the numbers that the parts do not explain.
    """

    name: str
    energy: EnergyPart
    adder_usd_per_mwh: float = 0.0
    loss_factor: float = 1.0
    demand: DemandCharge | None = None
    coincident_peak: CoincidentPeakCharge | None = None
    reserve: ReserveProduct | None = None
    source: str = "assumed"

    def __post_init__(self) -> None:
        _validate(self)

    @property
    def price_known(self) -> str:
        """When an agent may know the energy price: ``at_start``, ``day_ahead`` or ``after_interval``."""
        return self.energy.known if isinstance(self.energy, MarketEnergy) else "at_start"


def _require(holds: bool, what: str, allowed: str, tariff: Tariff) -> None:
    if not holds:
        raise ParamsError(explain(what, allowed=allowed, origin=f"tariff {tariff.name!r}"))


def _validate(tariff: Tariff) -> None:
    finite = -1e5 < tariff.adder_usd_per_mwh < 1e5
    _require(finite, f"adder_usd_per_mwh is {tariff.adder_usd_per_mwh} USD/MWh", "-1e5 to 1e5 USD/MWh", tariff)
    _require(1.0 <= tariff.loss_factor <= 1.5, f"loss_factor is {tariff.loss_factor}", "1.0 to 1.5", tariff)
    if isinstance(tariff.energy, TimeOfUseEnergy):
        for period in tariff.energy.periods:
            _require(
                0.0 <= period.hour_from <= 24.0 and 0.0 <= period.hour_to <= 24.0,
                f"time-of-use period from {period.hour_from} to {period.hour_to} h",
                "hours 0 to 24",
                tariff,
            )
            _require(set(period.weekdays) <= set(range(7)), f"weekdays {period.weekdays}", "0 to 6", tariff)
            _require(set(period.months) <= set(range(1, 13)), f"months {period.months}", "1 to 12", tariff)
    if tariff.demand is not None:
        rates = tariff.demand.rates_usd_per_kw
        _require(len(rates) == 12, f"{len(rates)} demand rates", "12, January first", tariff)
        _require(all(0.0 <= rate < 1e4 for rate in rates), f"demand rates {rates}", "0 to 1e4 USD/kW-month", tariff)
    if tariff.coincident_peak is not None:
        part = tariff.coincident_peak
        _require(part.count >= 1, f"{part.count} coincident peaks a year", "1 or more", tariff)
        whole = part.interval_min > 0 and part.interval_min % 15 == 0
        _require(whole, f"a peak interval of {part.interval_min} min", "a multiple of 15 min", tariff)
        rates = (part.rate_usd_per_kw_year, *dict(part.rate_by_base_year).values())
        _require(all(0.0 <= rate < 1e5 for rate in rates), f"peak rates {rates}", "0 to 1e5 USD/kW-year", tariff)


def settlement_columns(
    tariff: Tariff,
    time_utc: np.ndarray,
    site_timezone: str,
    price_usd_per_mwh: np.ndarray,
    coincident_peaks: pd.DataFrame | None = None,
) -> dict[str, np.ndarray]:
    """Lay a tariff out over the settlement grid.

    Args:
        tariff: see :class:`Tariff`.
        time_utc: starts of the 15-min intervals, ``datetime64`` in UTC, shape ``(T,)``, in order, without holes.
        site_timezone: IANA name, e.g. ``America/Chicago``; calendar, demand months and time of use follow it.
        price_usd_per_mwh: market price of each interval, ``(T,)``; used by :class:`MarketEnergy` only.
        coincident_peaks: the published peaks, columns ``program, interval_start_utc, interval_min, base_year``; must
            name the peaks of every base year whose peak season the grid touches. Rows of other programs are ignored.

    Returns:
        The columns :data:`SETTLEMENT_COLUMNS`, ``(T,)`` float64 each: ``energy_price_usd_per_mwh`` (one MWh at the
        site's meter, all in), ``demand_rate_usd_per_kw`` (of the month), ``billing_month`` (local year x 12 + month),
        ``cp_charge_usd_per_kw`` (per kW of mean demand in the interval; an hourly peak spreads over its four),
        ``local_hour`` (0..24), ``local_weekday`` (0 Monday), ``local_day`` (days since 1970-01-01, local date),
        ``month_fraction`` (share of the local month that has passed at the interval start).

    Raises:
        ParamsError: unknown time zone, or the tariff charges peaks and they are missing or do not fit it.
        TraceError: the grid is not a regular 15-min grid, or a market price is missing.
    """
    seconds = _grid_seconds(time_utc)
    price = np.asarray(price_usd_per_mwh, dtype=np.float64)
    if price.shape != seconds.shape:
        raise TraceError(
            explain(f"power price of shape {price.shape}", allowed=f"{seconds.shape}, one per interval", origin="price")
        )
    calendar = _local_calendar(seconds, site_timezone)
    month = calendar["month"]
    demand = np.zeros(seconds.size)
    if tariff.demand is not None:
        demand = np.asarray(tariff.demand.rates_usd_per_kw, dtype=np.float64)[month - 1]
    peak = np.zeros(seconds.size)
    if tariff.coincident_peak is not None:
        peak = _peak_charges(tariff.coincident_peak, seconds, calendar, coincident_peaks)
    energy = _energy_price(tariff.energy, price, calendar, time_utc) + tariff.adder_usd_per_mwh
    return {
        "energy_price_usd_per_mwh": energy * tariff.loss_factor,
        "demand_rate_usd_per_kw": demand * tariff.loss_factor,
        "billing_month": (calendar["year"] * 12 + month).astype(np.float64),
        "cp_charge_usd_per_kw": peak * tariff.loss_factor,
        "local_hour": calendar["hour"],
        "local_weekday": calendar["weekday"].astype(np.float64),
        "local_day": calendar["day"].astype(np.float64),
        "month_fraction": calendar["month_fraction"],
    }


def _grid_seconds(time_utc: np.ndarray) -> np.ndarray:
    """Seconds since 1970 of a regular 15-min grid; (T,) int64."""
    time = np.asarray(time_utc)
    if time.ndim != 1 or time.size == 0 or not np.issubdtype(time.dtype, np.datetime64):
        raise TraceError(
            explain(f"time axis of type {time.dtype} and shape {time.shape}", allowed="datetime64, (T,), not empty")
        )
    seconds = time.astype("datetime64[s]").astype(np.int64)
    wrong = np.flatnonzero(np.diff(seconds) != SETTLEMENT_S)
    if wrong.size or seconds[0] % SETTLEMENT_S:
        at = int(wrong[0]) + 1 if wrong.size else 0
        raise TraceError(
            explain(
                f"time axis breaks at {time[at]} UTC",
                allowed="interval starts every 900 s, on the quarter hour",
                fix="Resample the traces to the settlement grid first.",
            )
        )
    return seconds


@functools.cache
def _time_zones() -> frozenset[str]:
    """IANA names; listing them walks the file system."""
    return frozenset(zoneinfo.available_timezones())


def _local_calendar(seconds: np.ndarray, site_timezone: str) -> dict[str, np.ndarray]:
    """Local clock and calendar of interval starts; (T,) each."""
    import pandas as pd

    if site_timezone not in _time_zones():
        raise ParamsError(
            explain(
                f"no time zone {site_timezone!r}",
                allowed="an IANA name such as 'America/Chicago'",
                fix=nearest(site_timezone, _time_zones()),
            )
        )
    local = pd.DatetimeIndex(seconds.astype("datetime64[s]"), tz="UTC").tz_convert(site_timezone)
    clock = local.tz_localize(None)
    day = clock.to_numpy().astype("datetime64[D]").astype(np.int64)
    year = clock.year.to_numpy(dtype=np.int64)
    month = clock.month.to_numpy(dtype=np.int64)
    months, inverse = np.unique(year * 12 + month - 1, return_inverse=True)
    edges = pd.DatetimeIndex(
        (months[:, None] + np.arange(2) - 1970 * 12).ravel().astype("datetime64[M]").astype("datetime64[s]")
    )
    edges_s = edges.tz_localize(
        site_timezone, ambiguous=np.ones(edges.size, dtype=bool), nonexistent="shift_forward"
    ).tz_convert("UTC")
    begins, ends = edges_s.tz_localize(None).to_numpy().astype("datetime64[s]").astype(np.int64).reshape(-1, 2).T
    return {
        "year": year,
        "month": month,
        "day": day,
        "weekday": (day + THURSDAY) % 7,
        "hour": (clock.hour + clock.minute / 60.0).to_numpy(dtype=np.float64),
        "month_fraction": (seconds - begins[inverse]) / (ends - begins)[inverse],
    }


def _energy_price(
    part: EnergyPart, price: np.ndarray, calendar: dict[str, np.ndarray], time_utc: np.ndarray
) -> np.ndarray:
    """Energy price before adder and loss, USD/MWh; (T,)."""
    if isinstance(part, FlatEnergy):
        return np.full(price.size, part.price_usd_per_mwh)
    if isinstance(part, MarketEnergy):
        missing = np.flatnonzero(~np.isfinite(price))
        if missing.size:
            raise TraceError(
                explain(
                    f"power_price_usd_per_mwh is missing at {time_utc[missing[0]]} UTC ({missing.size} in all)",
                    allowed="a finite USD/MWh in every interval",
                    fix="Fill the price, or choose a period without a hole.",
                )
            )
        return price
    result = np.full(price.size, part.base_usd_per_mwh)
    hour = calendar["hour"]
    for period in reversed(part.periods):
        if period.hour_from <= period.hour_to:
            in_hours = (hour >= period.hour_from) & (hour < period.hour_to)
        else:
            in_hours = (hour >= period.hour_from) | (hour < period.hour_to)
        fits = in_hours & np.isin(calendar["weekday"], period.weekdays) & np.isin(calendar["month"], period.months)
        result = np.where(fits, period.price_usd_per_mwh, result)
    return result


def _peak_charges(
    part: CoincidentPeakCharge, seconds: np.ndarray, calendar: dict[str, np.ndarray], peaks: pd.DataFrame | None
) -> np.ndarray:
    """USD per kW of mean demand in each interval; (T,)."""
    import pandas as pd

    columns = ("program", "interval_start_utc", "interval_min", "base_year")
    absent = [name for name in columns if peaks is None or name not in peaks.columns]
    if peaks is None or absent:
        raise ParamsError(
            explain(
                f"coincident peaks lack {', '.join(absent)}",
                allowed=f"a table with {', '.join(columns)}",
                origin=f"peak charge {part.program!r}",
                fix="Pass coincident_peaks, or choose a tariff without a peak charge.",
            )
        )
    mine = peaks[peaks["program"] == part.program]
    base_year = mine["base_year"].to_numpy(dtype=np.int64)
    _check_peak_years(part, base_year, calendar)
    starts_utc = pd.to_datetime(mine["interval_start_utc"], utc=True)
    length_min = mine["interval_min"].to_numpy(dtype=np.int64)
    result = np.zeros(seconds.size)
    for start, minutes, year in zip(starts_utc, length_min, base_year, strict=True):
        if pd.isna(start) or minutes != part.interval_min or start.value % (SETTLEMENT_S * 10**9):
            raise ParamsError(
                explain(
                    f"peak of base year {year} starts at {start} and lasts {minutes} min",
                    allowed=f"a quarter hour in UTC and {part.interval_min} min",
                    origin=f"peak charge {part.program!r}",
                )
            )
        first = (start.value // 10**9 - int(seconds[0])) // SETTLEMENT_S
        pieces = minutes // 15
        inside = np.arange(max(first, 0), min(first + pieces, seconds.size))
        result[inside] += part.rate_of(int(year)) / part.count / pieces
    return result


def _check_peak_years(part: CoincidentPeakCharge, base_year: np.ndarray, calendar: dict[str, np.ndarray]) -> None:
    of_interval = calendar["year"] - (calendar["month"] < part.base_year_first_month)
    needed = np.unique(of_interval[np.isin(calendar["month"], part.months)])
    for year in needed:
        listed = int(np.count_nonzero(base_year == year))
        if not 1 <= listed <= part.count:
            raise ParamsError(
                explain(
                    f"{listed} peaks of base year {year}",
                    allowed=f"1 to {part.count}",
                    origin=f"peak charge {part.program!r}",
                    fix="A year without published peaks cannot be settled; choose another period or tariff.",
                )
            )


def energy_cost_usd(energy_kwh: Array, price_usd_per_mwh: Array) -> Array:
    """Price energy: kWh times USD/MWh over 1000; any shapes that broadcast.

    >>> energy_cost_usd(1500.0, 40.0)
    60.0
    """
    return energy_kwh * price_usd_per_mwh / KWH_PER_MWH


def demand_increment_usd(
    interval_mean_kw: Array, month_peak_kw: Array, rate_usd_per_kw: Array | float, *, xp: Namespace
) -> tuple[Array, Array]:
    """Book a demand interval: what it adds to the month's demand charge, and the new peak.

    The increments of a month add up to rate times highest interval, in whatever order the loads come. The caller
    carries the peak and puts it back to zero when ``billing_month`` changes.

    Args:
        interval_mean_kw: mean load of the 15-min interval, kW.
        month_peak_kw: highest earlier interval of the month, kW, 0 at its start; same shape.
        rate_usd_per_kw: rate of the month, USD/kW.

    Returns:
        The increment, USD, and the peak including this interval, kW.
    """
    peak_kw = xp.maximum(interval_mean_kw, month_peak_kw)
    return rate_usd_per_kw * (peak_kw - month_peak_kw), peak_kw


def coincident_peak_usd(interval_mean_kw: Array, charge_usd_per_kw: Array) -> Array:
    """Charge for the mean load (kW) of a 15-min interval at ``cp_charge_usd_per_kw`` of that interval, USD."""
    return interval_mean_kw * charge_usd_per_kw


CALIFORNIA_SHAPED_TOU: Final = TimeOfUseEnergy(
    base_usd_per_mwh=38.4,
    periods=(
        TimeOfUsePeriod(98.9, 15.0, 20.0, weekdays=(0, 1, 2, 3, 4), months=(6, 7, 8, 9)),
        TimeOfUsePeriod(73.2, 15.0, 20.0, weekdays=(5, 6), months=(6, 7, 8, 9)),
        TimeOfUsePeriod(40.3, months=(6, 7, 8, 9)),
        TimeOfUsePeriod(91.5, 15.0, 20.0),
    ),
)
"""Two seasons, dear from 15 to 20 h: hours and ratios of the CityLearn 2022 tariff (0.21 to 0.54 USD/kWh, mean 0.273),
scaled to a mean of 50 USD/MWh (assumed)."""

ADDER_USD_PER_MWH: Final = 10.0
"""Delivery and retail adder of the ready-made tariffs (assumed)."""


@functools.cache
def _ready_made() -> dict[str, Tariff]:
    market = Tariff("energy_only", MarketEnergy("day_ahead"), ADDER_USD_PER_MWH, source="adder assumed")
    change = functools.partial(dataclasses.replace, market)
    prices = functools.partial(
        fact_value, "capacity_transmission_prices", market="ERCOT", charge="postage stamp transmission rate"
    )
    ercot_4cp = CoincidentPeakCharge(
        program="4CP",
        count=4,
        months=(6, 7, 8, 9),
        interval_min=15,
        rate_usd_per_kw_year=prices(period="2024"),
        rate_by_base_year=((2023, prices(period="2024")), (2024, prices(period="2025")), (2025, prices(period="2026"))),
        source="16 TAC 25.192; PUCT dockets 56050, 57491, 59080 (pending); the 2024 rate for earlier years: assumed",
    )
    ontario_5cp = CoincidentPeakCharge(
        program="ICI_5CP",
        count=5,
        months=tuple(range(1, 13)),
        interval_min=60,
        rate_usd_per_kw_year=ONTARIO_POOL_CAD / ONTARIO_PEAK_KW / CAD_PER_USD_2020,
        base_year_first_month=5,
        source="pool about 12 B CAD in 2020 over 23 465 MW, at 1.3415 CAD/USD; the same for other years: assumed",
    )
    pedernales = DemandCharge.constant(6.74, "Pedernales Electric Cooperative, large power, undated tariff page")
    douglas = DemandCharge.constant(36.0, "Douglas PUD, crypto >= 500 kW, from 2024-01 (wenatcheeworld 2023)")
    ready = (
        market,
        change(name="late_price", energy=MarketEnergy("after_interval")),
        change(name="demand_charge", demand=pedernales),
        change(name="demand_charge_high", demand=douglas),
        change(name="ercot_4cp", coincident_peak=ercot_4cp),
        change(name="ontario_5cp", coincident_peak=ontario_5cp),
        change(name="tou", energy=CALIFORNIA_SHAPED_TOU, source="shape: CityLearn 2022; level and adder assumed"),
        change(name="reserves", reserve=ECRS_LIKE),
        change(
            name="mixed",
            loss_factor=1.015,
            demand=pedernales,
            coincident_peak=ercot_4cp,
            reserve=ECRS_LIKE,
            source="adder and 1.5 % transformer loss assumed",
        ),
    )
    return {tariff.name: tariff for tariff in ready}


def tariff(name: str) -> Tariff:
    """Return a ready-made tariff by name; change parts of it with ``dataclasses.replace``.

    ``energy_only`` (day-ahead price plus adder), ``late_price`` (the same money, price known after the hour),
    ``demand_charge`` (6.74 USD/kW-month), ``demand_charge_high`` (36.00), ``ercot_4cp``, ``ontario_5cp``, ``tou``,
    ``reserves``, ``mixed`` (demand charge, 4CP and reserve, with transformer loss).

    Raises:
        ParamsError: no such tariff (nearest names suggested).
    """
    return pick("tariff", name, _ready_made())


def tariff_names() -> tuple[str, ...]:
    """Names of the ready-made tariffs."""
    return tuple(_ready_made())
