"""Find a scenario by name, or make one of a user's Dataset or file."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import xarray as xr

from minesim.data import known
from minesim.economics import tariff as tariffs
from minesim.economics.tariff import Tariff, tariff_names
from minesim.errors import ScenarioError, TraceError, explain, nearest
from minesim.scenario.core import Scenario, Span
from minesim.scenario.files import SUFFIXES, read_traces
from minesim.scenario.fill import fill_missing
from minesim.scenario.generate import generate
from minesim.scenario.markets import MARKETS
from minesim.scenario.peaks import FORECAST_ERROR_K, add_temperature_forecast
from minesim.scenario.replay import published_peaks, replay_traces
from minesim.scenario.validate import ROW_S, validate

REAL_SPLITS: Final = {
    "train": ("2020-01-01", "2023-01-01"),
    "validation": ("2023-01-01", "2023-07-01"),
    "test": ("2023-07-01", "2024-01-01"),
}
"""Periods of the real scenarios, UTC, the end excluded."""
SHARES: Final = (0.6, 0.8)
"""Where train and validation end in other data, as parts of their whole UTC days."""
TARIFF_ALIASES: Final = {"4cp": "ercot_4cp", "5cp": "ontario_5cp", "energy": "energy_only", "demand": "demand_charge"}
DEFAULT_TARIFF: Final = "energy_only"
GENERATED: Final = {"generated": "ercot", "generated-pjm": "pjm"}
NAME_OPTIONS: Final = ("level", "days", "start", "price_known")
"""Options of :func:`scenario` that a name may carry."""
PEAK_PROGRAMS: Final = {"ercot": "4CP", "ontario": "ICI_5CP", "generated": "4CP"}
"""Scenarios with coincident peaks, and their program."""


def scenario(
    source: str | Path | xr.Dataset | Scenario = "generated",
    *,
    tariff: str | Tariff | None = None,
    seed: int = 0,
    days: int = 60,
    start: Any = "2022-06-01",
    level: str = "medium",
    site_timezone: str | None = None,
    peaks: pd.DataFrame | None = None,
    price_known: str | None = None,
    forecast_error_k: float = FORECAST_ERROR_K,
) -> Scenario:
    """Find or make a scenario.

    Args:
        source: a name ``MARKET`` or ``MARKET/TARIFF`` (``ercot/4cp``; see :func:`scenario_names`), a Dataset, a file
            (csv, parquet, nc, zarr), or a Scenario, which comes back as it is. A name may carry options of
            ``NAME_OPTIONS``: ``generated/4cp?level=hard&days=730``.
        tariff: name or Tariff; overrides the one in the name.
        seed: of generated series, forecast errors and reserve calls.
        days, start, level: of ``generated`` and ``generated-pjm`` only (see :func:`minesim.scenario.generate`).
        site_timezone: IANA name for a file or Dataset that does not carry one.
        peaks: coincident peaks of a user's data, columns ``program, base_year, interval_start_utc, interval_min``;
            without it they are taken from the variable ``coincident_peak``.
        price_known: when the wholesale price is known, instead of what the traces say: ``at_start``, ``day_ahead``,
            ``after_interval``; for studies of what the information is worth.
        forecast_error_k: standard deviation of the forecast of a day's highest temperature, K.

    Raises:
        ScenarioError: unknown name (nearest suggested), or the tariff does not fit the market.
        TraceError: the Dataset or file breaks the contract.
        DataFileError: a packaged or given file cannot be read.
        ParamsError: unknown tariff.
    """
    if isinstance(source, Scenario):
        return source
    if isinstance(source, xr.Dataset) or _is_file(source):
        traces = source.copy() if isinstance(source, xr.Dataset) else read_traces(source, site_timezone=site_timezone)
        if site_timezone is not None:
            traces.attrs["site_timezone"] = site_timezone
        return _of_user(_price_known(traces, price_known), tariff, peaks, seed, forecast_error_k)
    if not isinstance(source, str):
        raise ScenarioError(
            explain(f"cannot make a scenario of {source!r}", allowed="a name, a file, a Dataset or a Scenario")
        )
    plain, _, query = source.partition("?")
    if query:
        given = _options_of(query, source)
        start, level = given.get("start", start), given.get("level", level)
        days, price_known = int(given.get("days", days)), given.get("price_known", price_known)
    name, _, variant = plain.partition("/")
    chosen = _tariff_of(name, tariff if tariff is not None else variant, source)
    if name in GENERATED:
        made = generate(np.random.default_rng(seed), market=GENERATED[name], level=level, start=start, days=days)
        traces, splits = made.traces, _shared(made.traces)
        published: pd.DataFrame | None = made.peaks
    else:
        traces, splits = _replayed(name), _spans(REAL_SPLITS)
        market = MARKETS[name].peak_market
        published = published_peaks(market) if market else None
    return Scenario(
        name=source,
        traces=add_temperature_forecast(_price_known(traces, price_known), seed=seed, error_k=forecast_error_k),
        tariff=chosen,
        site_timezone=str(traces.attrs["site_timezone"]),
        splits=_with_all(splits, traces),
        peaks=published if chosen.coincident_peak is not None else None,
        seed=seed,
    )


def _options_of(query: str, source: str) -> dict[str, str]:
    """Options behind the question mark of a scenario's name.

    Raises:
        ScenarioError: an option without a value, or one that a name cannot carry.
    """
    given: dict[str, str] = {}
    for part in query.split("&"):
        key, _, value = part.partition("=")
        if key not in NAME_OPTIONS or not value:
            raise ScenarioError(
                explain(
                    f"no option {part!r} in a scenario's name",
                    allowed=", ".join(f"{name}=..." for name in NAME_OPTIONS),
                    origin=f"scenario {source!r}",
                    fix=nearest(key, NAME_OPTIONS),
                )
            )
        if key == "days" and not value.isdecimal():
            raise ScenarioError(explain(f"days is {value!r}", allowed="a whole number", origin=f"scenario {source!r}"))
        given[key] = value
    return given


def scenario_names() -> tuple[str, ...]:
    """Names of the ready-made scenarios without their tariff variants."""
    return (*MARKETS, *GENERATED)


def _price_known(traces: xr.Dataset, rule: str | None) -> xr.Dataset:
    """The traces with another rule for the wholesale price; the given ones stay as they are."""
    name = "power_price_usd_per_mwh"
    if rule is None or name not in traces:
        return traces
    if rule not in known.RULES:
        raise TraceError(explain(f"price_known is {rule!r}", allowed=", ".join(known.RULES)))
    changed = traces[name].copy(deep=False)
    changed.attrs = {**changed.attrs, "known": rule}
    return traces.assign({name: changed})


def _is_file(source: object) -> bool:
    return isinstance(source, Path) or (isinstance(source, str) and source.endswith(SUFFIXES))


def _of_user(
    traces: xr.Dataset,
    chosen: str | Tariff | None,
    peaks: pd.DataFrame | None,
    seed: int,
    forecast_error_k: float,
) -> Scenario:
    validate(traces)
    filled = fill_missing(traces)
    bill = (
        chosen
        if isinstance(chosen, Tariff)
        else tariffs.tariff(TARIFF_ALIASES.get(chosen or "", chosen or DEFAULT_TARIFF))
    )
    if peaks is None and bill.coincident_peak is not None:
        peaks = _peaks_of_variable(filled, bill.coincident_peak.program)
    return Scenario(
        name=str(traces.attrs.get("name", "user data")),
        traces=add_temperature_forecast(filled, seed=seed, error_k=forecast_error_k),
        tariff=bill,
        site_timezone=str(traces.attrs["site_timezone"]),
        splits=_with_all(_shared(filled), filled),
        peaks=peaks,
        seed=seed,
    )


def _peaks_of_variable(traces: xr.Dataset, program: str) -> pd.DataFrame | None:
    """Rows whose ``coincident_peak`` is 1, as the table that tariffs settle; None when there is no such variable."""
    if "coincident_peak" not in traces:
        return None
    time = traces["time"].to_numpy()
    step_min = int(np.diff(time[:2]).astype("timedelta64[m]").astype(np.int64)[0])
    starts = pd.DatetimeIndex(time[traces["coincident_peak"].to_numpy() > 0.5])
    local = starts.tz_localize("UTC").tz_convert(str(traces.attrs["site_timezone"]))
    first_month = 5 if program == "ICI_5CP" else 1
    return pd.DataFrame(
        {
            "program": program,
            "base_year": local.year - (local.month < first_month),
            "interval_start_utc": starts,
            "interval_min": step_min,
        }
    )


@functools.lru_cache(maxsize=4)
def _replayed(name: str) -> xr.Dataset:
    traces = replay_traces(MARKETS[name])
    validate(traces)
    return traces


def _spans(splits: Mapping[str, tuple[str, str]]) -> dict[str, Span]:
    return {name: (np.datetime64(begin, "s"), np.datetime64(end, "s")) for name, (begin, end) in splits.items()}


def _with_all(splits: dict[str, Span], traces: xr.Dataset) -> dict[str, Span]:
    time = traces["time"].to_numpy().astype("datetime64[s]")
    return {**splits, "all": (time[0], time[-1] + (time[1] - time[0]))}


def _shared(traces: xr.Dataset) -> dict[str, Span]:
    """Splits of 60, 20 and 20 % in time, cut at UTC midnights where there are enough days."""
    begin, end = _with_all({}, traces)["all"]
    seconds = int((end - begin).astype(np.int64))
    unit = 86400 if seconds >= 5 * 86400 else ROW_S
    first, second = (begin + np.timedelta64(round(seconds * share / unit) * unit, "s") for share in SHARES)
    return {"train": (begin, first), "validation": (first, second), "test": (second, end)}


def _tariff_of(name: str, wanted: str | Tariff, source: str) -> Tariff:
    if name not in scenario_names():
        raise ScenarioError(
            explain(f"no scenario {source!r}", fix=nearest(name, scenario_names()), origin="scenario name")
        )
    if isinstance(wanted, Tariff):
        return wanted
    label = TARIFF_ALIASES.get(wanted, wanted) or DEFAULT_TARIFF
    if label not in tariff_names():
        raise ScenarioError(
            explain(
                f"no tariff variant {wanted!r}",
                fix=nearest(wanted, (*tariff_names(), *TARIFF_ALIASES)),
                origin=f"scenario {source!r}",
            )
        )
    chosen = tariffs.tariff(label)
    part = chosen.coincident_peak
    own = PEAK_PROGRAMS.get(name)
    if part is None or part.program == own:
        return chosen
    if label == "mixed":
        own_part = tariffs.tariff("ontario_5cp").coincident_peak if own == "ICI_5CP" else None
        return dataclasses.replace(chosen, coincident_peak=own_part)
    raise ScenarioError(
        explain(
            f"tariff {label!r} charges {part.program} peaks, which scenario {name!r} does not have",
            allowed=", ".join(n for n in tariff_names() if tariffs.tariff(n).coincident_peak is None),
            origin=f"scenario {source!r}",
        )
    )
