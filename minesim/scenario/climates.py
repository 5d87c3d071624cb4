"""Climates for cooling: weather, power price and carbon of a place, and what is train, validation and test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import xarray as xr

from minesim.data import known, load_typical_year, load_weather
from minesim.errors import ScenarioError, explain, nearest
from minesim.scenario.core import Scenario
from minesim.scenario.markets import standard_pressure_pa
from minesim.scenario.names import REAL_SPLITS, scenario
from minesim.units import SECONDS_PER_HOUR

Floats = npt.NDArray[np.float64]
Rows = tuple[int, int]
"""From (included) to (excluded), rows of the axis."""
TYPICAL_DAYS: Final = {"train": (1, 15), "validation": (15, 22), "test": (22, 29)}
"""Days of each month of a typical year, the end excluded: it has one of every season, so each split gets a part."""


@dataclass(frozen=True, eq=False)
class Climate:
    """The air, power price and carbon of a place.

    Attributes:
        name: for reports.
        time_utc: starts of rows, datetime64[s], (T,).
        step_s: length of a row, s.
        temp_amb_c, rel_humidity_pct, pressure_pa: outdoor air, (T,).
        price_usd_per_mwh: energy, (T,).
        carbon_g_per_kwh: of grid energy, (T,); 0 where nothing is known.
        site_timezone: IANA name.
        splits: name -> periods, as rows.
    """

    name: str
    time_utc: npt.NDArray[np.datetime64]
    step_s: float
    temp_amb_c: Floats
    rel_humidity_pct: Floats
    pressure_pa: Floats
    price_usd_per_mwh: Floats
    carbon_g_per_kwh: Floats
    site_timezone: str
    splits: Mapping[str, tuple[Rows, ...]]


@dataclass(frozen=True)
class _Place:
    """What a climate is made of.

    Attributes:
        market: whose prices, weather and carbon it takes; empty for a place without a market.
        weather: weather file of a place without a market.
        typical: whether that is a typical year.
        site_timezone, altitude_m: of such a place.
        price_usd_per_mwh, carbon_g_per_kwh: flat (assumed: industrial power in 2023, mean of the grid).
    """

    market: str = ""
    weather: str = ""
    typical: bool = False
    site_timezone: str = "UTC"
    altitude_m: float = 0.0
    price_usd_per_mwh: float = 0.0
    carbon_g_per_kwh: float = 0.0


_PLACES: Final[Mapping[str, _Place]] = {
    "dallas": _Place("ercot"),
    "toronto": _Place("ontario"),
    "philadelphia": _Place("pjm"),
    "san_jose": _Place("caiso"),
    "singapore": _Place("", "singapore", False, "Asia/Singapore", 15.0, 150.0, 410.0),
    "aurora": _Place("", "aurora_co", True, "America/Denver", 1726.0, 75.0, 500.0),
}


def climate_names() -> tuple[str, ...]:
    """Names that :func:`climate` knows beside those of scenarios."""
    return tuple(_PLACES)


def climate(source: Any) -> Climate:
    """Find a climate by name, or take weather and price of a scenario.

    Args:
        source: a name of :func:`climate_names`, or anything that :func:`minesim.scenario.scenario` takes.

    Raises:
        ScenarioError: unknown name (nearest suggested), or hours that are not there.
        DataFileError, TraceError: see :func:`minesim.scenario.scenario`.
    """
    if isinstance(source, Climate):
        return source
    place = _PLACES.get(source) if isinstance(source, str) else None
    if place is None:
        try:
            found = scenario(source)
        except ScenarioError as error:
            fix = nearest(str(source), _PLACES) if isinstance(source, str) else ""
            raise ScenarioError(explain(str(error), fix=fix)) from error
        return _of_traces(found.name, found)
    if place.market:
        return _of_traces(str(source), scenario(place.market))
    data = load_typical_year(place.weather) if place.typical else load_weather(place.weather)
    time = known.as_seconds(data["time"].to_numpy())
    spans = _typical_splits() if place.typical else _real_splits(time)
    flat = np.ones(len(time))
    return Climate(
        name=str(source),
        time_utc=time,
        step_s=SECONDS_PER_HOUR,
        temp_amb_c=_values(data, "temp_amb_c"),
        rel_humidity_pct=_values(data, "rel_humidity_pct"),
        pressure_pa=_pressure_pa(data, place.altitude_m),
        price_usd_per_mwh=place.price_usd_per_mwh * flat,
        carbon_g_per_kwh=place.carbon_g_per_kwh * flat,
        site_timezone=place.site_timezone,
        splits=spans,
    )


def _of_traces(name: str, found: Scenario) -> Climate:
    traces = found.traces
    time = known.as_seconds(traces["time"].to_numpy())
    carbon = _values(traces, "carbon_g_per_kwh") if "carbon_g_per_kwh" in traces else np.zeros(len(time))
    there = np.isfinite(carbon)
    altitude_m = float(traces.attrs.get("altitude_m", 0.0))
    return Climate(
        name=name,
        time_utc=time,
        step_s=found.step_s,
        temp_amb_c=_values(traces, "temp_amb_c"),
        rel_humidity_pct=_values(traces, "rel_humidity_pct"),
        pressure_pa=_pressure_pa(traces, altitude_m),
        price_usd_per_mwh=_values(traces, "power_price_usd_per_mwh"),
        # Carbon series begin a year after the others; before, their mean stands.
        carbon_g_per_kwh=np.where(there, carbon, carbon[there].mean() if there.any() else 0.0),
        site_timezone=found.site_timezone,
        splits={split: ((_row(time, begin), _row(time, end)),) for split, (begin, end) in found.splits.items()},
    )


def _values(data: xr.Dataset, name: str) -> Floats:
    return np.asarray(data[name].to_numpy(), np.float64)


def _pressure_pa(data: xr.Dataset, altitude_m: float) -> Floats:
    if "pressure_pa" in data:
        return _values(data, "pressure_pa")
    return np.full(data.sizes["time"], standard_pressure_pa(altitude_m))


def _row(time_utc: npt.NDArray[np.datetime64], moment: Any) -> int:
    return int(np.searchsorted(time_utc, np.datetime64(moment, "s")))


def _real_splits(time_utc: npt.NDArray[np.datetime64]) -> dict[str, tuple[Rows, ...]]:
    return {name: ((_row(time_utc, begin), _row(time_utc, end)),) for name, (begin, end) in REAL_SPLITS.items()}


def _typical_splits() -> dict[str, tuple[Rows, ...]]:
    """Parts of each month by :data:`TYPICAL_DAYS`; a typical year begins at local midnight and has no leap day."""
    first = np.arange("2021-01", "2022-01", dtype="datetime64[M]").astype("datetime64[D]")
    day = (first - first[0]).astype(np.int64)
    return {
        name: tuple((int(24 * (d + begin - 1)), int(24 * (d + end - 1))) for d in day)
        for name, (begin, end) in TYPICAL_DAYS.items()
    }
