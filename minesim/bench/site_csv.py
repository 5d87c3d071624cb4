"""Read an operator's own CSV: timestamps, prices and, when there are any, hashrate, power and outside temperature.

Fleet tools and utilities name and scale their columns each in their own way, so names are matched tolerantly and units
are taken from the header (``Price ($/MWh)``, ``hashrate_phs``) or from the cells (``1.02 PH/s``). What cannot be read
for certain is refused with the line number rather than guessed.
"""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from minesim.errors import DataFileError, explain
from minesim.units import SECONDS_PER_HOUR

FloatArray = NDArray[np.float64]
Stamps = Any
"""A pandas Series of timestamps (the stubs of pandas do not carry its element type through)."""

STEPS_S = (300, 900, 1800, 3600)
"""Spacings a file may have."""


@dataclass(frozen=True)
class SiteRecord:
    """What a site's CSV says, in minesim's units.

    Attributes:
        time_utc: starts of the intervals, shape (T,), datetime64[s], evenly spaced.
        step_s: spacing.
        price_usd_per_mwh: shape (T,).
        hashrate_ths, power_w, temp_amb_c: shape (T,), NaN where a cell is empty; None when there is no such column.
        notes: how columns, units and gaps were read, for the report.
    """

    time_utc: NDArray[np.datetime64]
    step_s: int
    price_usd_per_mwh: FloatArray
    hashrate_ths: FloatArray | None = None
    power_w: FloatArray | None = None
    temp_amb_c: FloatArray | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Quantity:
    """A quantity a file may hold: how its column is called and which units it may have.

    ``units`` maps a spelling (lower case, letters and ``/`` only) to the factor into minesim's unit; ``default`` is the
    unit of a bare number under a header without unit ("" = refuse).
    """

    label: str
    column_names: tuple[str, ...]
    units: dict[str, float] = field(default_factory=dict)
    default: str = ""
    option: str = ""


TIME = Quantity(
    "time",
    ("timestamp", "timestamp_utc", "datetime", "date_time", "date", "time", "time_utc", "utc", "interval_start", "ts"),
)
CLOCK = Quantity("time of day", ("time", "hour", "clock"))
PRICE = Quantity(
    "price",
    (
        "price",
        "power_price",
        "energy_price",
        "electricity_price",
        "spot_price",
        "lmp",
        "spp",
        "settlement_point_price",
        "tariff",
        "rate",
    ),
    {
        "usd/mwh": 1.0,
        "$/mwh": 1.0,
        "mwh": 1.0,
        "usd/kwh": 1000.0,
        "$/kwh": 1000.0,
        "c/kwh": 10.0,
        "ct/kwh": 10.0,
        "cent/kwh": 10.0,
        "cents/kwh": 10.0,
        "¢/kwh": 10.0,
    },
    option="--price-unit",
)
HASHRATE = Quantity(
    "hashrate",
    ("hashrate", "hash_rate", "total_hashrate", "site_hashrate", "avg_hashrate", "average_hashrate", "hr"),
    {"gh/s": 1e-3, "ghs": 1e-3, "th/s": 1.0, "ths": 1.0, "ph/s": 1e3, "phs": 1e3, "eh/s": 1e6, "ehs": 1e6},
    option="--hashrate-unit",
)
POWER = Quantity(
    "power",
    ("power", "total_power", "site_power", "consumption", "power_consumption", "load", "demand", "meter"),
    {"w": 1.0, "watt": 1.0, "watts": 1.0, "kw": 1e3, "mw": 1e6},
    option="--power-unit",
)
TEMPERATURE = Quantity(
    "outside temperature",
    ("temp_amb", "temp", "temperature", "ambient", "ambient_temp", "ambient_temperature", "outside_temperature"),
    {"c": 1.0, "degc": 1.0, "°c": 1.0, "f": -1.0, "degf": -1.0, "°f": -1.0},
    default="c",
)
"""Fahrenheit is marked by -1, because it is no mere factor."""
MEASURED = (PRICE, HASHRATE, POWER, TEMPERATURE)


def read_site_csv(
    path: str | Path,
    *,
    timezone: str = "UTC",
    price_unit: str = "",
    hashrate_unit: str = "",
    power_unit: str = "",
    fill_gaps: bool = False,
) -> SiteRecord:
    """Read a site's CSV.

    Args:
        path: the file; comma, semicolon or tab separated, first row names the columns.
        timezone: IANA zone of timestamps without one of their own.
        price_unit, hashrate_unit, power_unit: unit of the column where the header does not say.
        fill_gaps: hold the last known price over missing intervals instead of refusing them.

    Raises:
        DataFileError: unreadable file, missing column, unknown unit, unparsable cell (with its line number), gap,
            duplicate or impossible value.
    """
    path = Path(path)
    header, rows = _read_rows(path)
    names = [_plain(cell) for cell in header]
    origin = path.name
    time_column = _find(header, names, TIME)
    if time_column is None:
        raise DataFileError(_missing_column(TIME, header, origin))
    time_utc, notes = _times(header, names, rows, time_column, timezone, origin)
    stated = {"price": price_unit, "hashrate": hashrate_unit, "power": power_unit}
    values: dict[str, FloatArray | None] = {}
    for quantity in MEASURED:
        column = _find(header, names, quantity)
        if column is None:
            values[quantity.label] = None
            continue
        values[quantity.label], note = _numbers(
            header[column], [row[column] for row in rows], quantity, stated.get(quantity.label, ""), origin
        )
        notes.append(note)
    price = values["price"]
    if price is None:
        raise DataFileError(_missing_column(PRICE, header, origin))
    _check_values(price, values["hashrate"], values["power"], origin)
    return _on_even_grid(
        SiteRecord(
            time_utc, 0, price, values["hashrate"], values["power"], values["outside temperature"], tuple(notes)
        ),
        fill_gaps,
        origin,
    )


def _read_rows(path: Path) -> tuple[list[str], list[list[str]]]:
    if not path.exists():
        raise DataFileError(explain(f"there is no file {str(path)!r}", fix="Give the path of your site's CSV file."))
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataFileError(
            explain(
                f"{path.name} is not a text file in UTF-8 (byte {error.start})",
                fix="Export it as 'CSV UTF-8'; spreadsheets (.xlsx) have to be saved as CSV first.",
            )
        ) from error
    except OSError as error:
        raise DataFileError(explain(f"{path.name} cannot be read: {error.strerror}")) from error
    first_line = text.partition("\n")[0]
    separator = max(",;\t", key=first_line.count)
    table = [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(text), delimiter=separator)]
    while table and not any(table[-1]):
        table.pop()
    if len(table) < 3:
        raise DataFileError(
            explain(f"{path.name} has {max(len(table) - 1, 0)} data rows", allowed="a header row and at least 2 rows")
        )
    header, *rows = table
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise DataFileError(
                explain(
                    f"line {number} has {len(row)} cells, the header has {len(header)}",
                    origin=path.name,
                    fix="Look for a stray separator or a cut-off last line; decimal commas need ';' as separator.",
                )
            )
    if separator == ";":
        rows = [[re.sub(r"^(-?\d+),(\d+)", r"\1.\2", cell) for cell in row] for row in rows]
    return header, rows


def _plain(name: str) -> str:
    """Header in plain form: lower case, words joined by underscores, without unit."""
    bare = re.sub(r"[\[(].*?[\])]", "", name).strip().lower()
    return re.sub(r"[^a-z0-9]+", "_", bare).strip("_")


def _unit_of(name: str, quantity: Quantity) -> str:
    """Unit in a header, '' if none: in brackets or as the last words of the name."""
    bracket = re.search(r"[\[(](.*?)[\])]", name)
    if bracket:
        return re.sub(r"\s+", "", bracket.group(1)).lower()
    plain = _plain(name)
    for unit in sorted(quantity.units, key=len, reverse=True):
        suffix = re.sub(r"[^a-z]+", "_", unit.replace("$", "usd")).strip("_")
        for ending in (suffix, suffix.replace("_", "_per_")):
            if suffix and plain.endswith("_" + ending):
                return unit
    return ""


def _find(header: list[str], names: list[str], quantity: Quantity) -> int | None:
    """Column of a quantity: an exact name first, else the name with a unit suffix."""
    for wanted in quantity.column_names:
        if wanted in names:
            return names.index(wanted)
    for wanted in quantity.column_names:
        for index, name in enumerate(names):
            if name.startswith(wanted + "_") and _unit_of(header[index], quantity) in quantity.units:
                return index
    return None


def _missing_column(quantity: Quantity, header: list[str], origin: str) -> str:
    return explain(
        f"no {quantity.label} column among " + ", ".join(repr(name) for name in header),
        allowed="a column called " + ", ".join(quantity.column_names[:5]) + " or like",
        origin=origin,
        fix=f"Rename the column that holds the {quantity.label}, for example to {quantity.column_names[0]!r}.",
    )


def _times(
    header: list[str], names: list[str], rows: list[list[str]], column: int, timezone: str, origin: str
) -> tuple[NDArray[np.datetime64], list[str]]:
    cells = [row[column] for row in rows]
    source = header[column]
    clock = _find(header, names, CLOCK)
    if names[column] == "date" and clock is not None and clock != column:
        cells = [f"{cell} {row[clock]}" for cell, row in zip(cells, rows, strict=True)]
        source = f"{header[column]} + {header[clock]}"
    stamps = _parse_times(cells, origin)
    if stamps.dt.tz is not None:
        zone = "as written in the file"
        utc = stamps.dt.tz_convert("UTC").dt.tz_localize(None)
    else:
        zone = timezone
        utc = _localise(stamps, timezone, cells, origin)
    return utc.to_numpy().astype("datetime64[s]"), [f"time: column {source!r}, zone {zone}"]


def _parse_times(cells: list[str], origin: str) -> Stamps:
    text = pd.Series(cells, dtype="object")
    numeric = pd.to_numeric(text, errors="coerce")
    if numeric.notna().all():
        if numeric.min() < 1e9:
            raise DataFileError(
                explain(
                    f"line 2: the time is the bare number {cells[0]}",
                    allowed="a date and time, or seconds or milliseconds since 1970",
                    origin=origin,
                )
            )
        return pd.to_datetime(numeric, unit="ms" if numeric.max() > 1e11 else "s", utc=True)
    if text.str.fullmatch(r"\d{1,2}:\d\d(:\d\d)?\s*([aApP][mM])?").all():
        raise DataFileError(
            explain(f"line 2: {cells[0]!r} is a time of day without a date", origin=origin, fix="Add a date column.")
        )
    month_first = _try_parse(text, False)
    # pandas would swap month and day even in 2026-10-01.
    year_first = bool(text.str.match(r"\d{4}").all())
    day_first = month_first if year_first else _try_parse(text, True)
    # Read the wrong way, days become months, and the file spans far more time than it does.
    spans = [candidate.max() - candidate.min() for candidate in (month_first, day_first)]
    if spans[0] == spans[1] and not month_first.equals(day_first):
        raise DataFileError(
            explain(
                f"{cells[0]!r} can be read day first or month first, and the file fits both",
                origin=origin,
                fix="Write dates as YYYY-MM-DD.",
            )
        )
    stamps = day_first if spans[1] < spans[0] else month_first
    bad = np.flatnonzero(stamps.isna().to_numpy())
    if bad.size:
        raise DataFileError(
            explain(
                f"line {bad[0] + 2}: cannot read {cells[bad[0]]!r} as a date and time",
                allowed="for example 2026-10-01 00:15 or 2026-10-01T00:15:00-05:00",
                origin=origin,
            )
        )
    return stamps


def _try_parse(text: Stamps, dayfirst: bool) -> Stamps:
    # Offsets that change with daylight saving only fit one column in UTC.
    aware = bool(text.str.contains(r"(?:Z|[+-]\d\d:?\d\d)$", regex=True).all())
    return pd.to_datetime(text, errors="coerce", format="mixed", dayfirst=dayfirst, utc=aware)


def _localise(stamps: Stamps, timezone: str, cells: list[str], origin: str) -> Stamps:
    import zoneinfo

    try:
        zone = zoneinfo.ZoneInfo(timezone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError) as error:
        raise DataFileError(
            explain(
                f"unknown time zone {timezone!r}",
                allowed="an IANA name such as America/Chicago",
                origin="--timezone",
            )
        ) from error
    # In the hour that a clock passes twice, the first pass comes first.
    repeated = stamps.duplicated(keep="first").to_numpy()
    local = stamps.dt.tz_localize(zone, ambiguous=~repeated, nonexistent="NaT")
    bad = np.flatnonzero(local.isna().to_numpy())
    if bad.size:
        raise DataFileError(
            explain(
                f"line {bad[0] + 2}: {cells[bad[0]]!r} does not exist in {timezone} (clocks were put forward)",
                origin=origin,
                fix="Give the zone that the file is really in; many exports are in UTC (--timezone UTC).",
            )
        )
    return local.dt.tz_convert("UTC").dt.tz_localize(None)


def _numbers(name: str, cells: list[str], quantity: Quantity, stated: str, origin: str) -> tuple[FloatArray, str]:
    header_unit = _unit_of(name, quantity)
    unit = stated.replace(" ", "").lower() or header_unit
    if unit and unit not in quantity.units:
        raise DataFileError(
            explain(
                f"unit {unit!r} of column {name!r} is not known",
                allowed=", ".join(quantity.units),
                origin=quantity.option if stated else origin,
            )
        )
    parsed = [_split_number(cell) for cell in cells]
    bad = next((index for index, item in enumerate(parsed) if item is None), None)
    if bad is not None:
        raise DataFileError(
            explain(
                f"line {bad + 2}: {cells[bad]!r} in column {name!r} is not a number",
                origin=origin,
                fix="Leave the cell empty where there is no reading.",
            )
        )
    pairs = [item for item in parsed if item is not None]
    numbers = np.array([number for number, _ in pairs])
    cell_units = [cell_unit for number, cell_unit in pairs if np.isfinite(number)]
    with_unit = [cell_unit for cell_unit in cell_units if cell_unit]
    if with_unit:
        return _convert_by_cell(name, cells, pairs, quantity, header_unit, origin)
    if not unit:
        unit = quantity.default or _refuse_unitless(name, numbers, quantity, origin)
    return _convert(numbers, quantity.units[unit]), f"{quantity.label}: column {name!r} in {unit}"


def _split_number(cell: str) -> tuple[float, str] | None:
    """('1,020.5 PH/s') -> (1020.5, 'ph/s'); an empty cell is NaN; None where there is no number."""
    if cell.lower() in ("", "nan", "null", "none", "n/a", "na", "-"):
        return float("nan"), ""
    match = re.fullmatch(r"\$?\s*([+-]?[\d,]*\.?\d+(?:[eE][+-]?\d+)?)\s*([a-zA-Z°¢$%][a-zA-Z/$ ]*)?", cell)
    if match is None:
        return None
    return float(match.group(1).replace(",", "")), (match.group(2) or "").replace(" ", "").lower()


def _convert_by_cell(
    name: str,
    cells: list[str],
    pairs: list[tuple[float, str]],
    quantity: Quantity,
    header_unit: str,
    origin: str,
) -> tuple[FloatArray, str]:
    values = np.full(len(pairs), np.nan)
    for index, (number, unit) in enumerate(pairs):
        if not np.isfinite(number):
            continue
        if unit not in quantity.units:
            told = f"has the unknown unit {unit!r}" if unit else "has no unit while other cells have one"
            raise DataFileError(
                explain(
                    f"line {index + 2}: {cells[index]!r} in column {name!r} {told}",
                    allowed=", ".join(quantity.units),
                    origin=origin,
                    fix="Give every cell its unit, or none and say the unit in the header.",
                )
            )
        if header_unit in quantity.units and quantity.units[unit] != quantity.units[header_unit]:
            raise DataFileError(
                explain(
                    f"line {index + 2}: {cells[index]!r} contradicts the header {name!r}",
                    origin=origin,
                    fix="Use one unit throughout, or leave the unit out of the header.",
                )
            )
        values[index] = _convert(np.array([number]), quantity.units[unit])[0]
    return values, f"{quantity.label}: column {name!r}, unit by cell"


def _convert(numbers: FloatArray, factor: float) -> FloatArray:
    return (numbers - 32.0) / 1.8 if factor < 0 else numbers * factor


def _refuse_unitless(name: str, numbers: FloatArray, quantity: Quantity, origin: str) -> str:
    example = next(iter(quantity.units))
    low, high = np.nanmin(numbers), np.nanmax(numbers)
    raise DataFileError(
        explain(
            f"column {name!r} ({low:g} to {high:g}) does not say its unit",
            allowed=", ".join(quantity.units),
            origin=origin,
            fix=f"Write it in the header, for example '{name} ({example})', or give {quantity.option} {example}.",
        )
    )


def _check_values(price: FloatArray, hashrate: FloatArray | None, power: FloatArray | None, origin: str) -> None:
    checks = (
        (PRICE, price, -1000.0, 25000.0, "USD/MWh"),
        (HASHRATE, hashrate, 0.0, 1e9, "TH/s"),
        (POWER, power, 0.0, 1e10, "W"),
    )
    for quantity, values, low, high, unit in checks:
        if values is None:
            continue
        bad = np.flatnonzero((values < low) | (values > high))
        if bad.size:
            raise DataFileError(
                explain(
                    f"line {bad[0] + 2}: {quantity.label} is {values[bad[0]]:g} {unit}",
                    allowed=f"{low:g} to {high:g} {unit}",
                    origin=origin,
                    fix="Check the unit of the column.",
                )
            )
    known = price[np.isfinite(price)]
    if known.size and 0.0 < float(np.median(np.abs(known))) < 1.0 and float(np.max(np.abs(known))) < 5.0:
        raise DataFileError(
            explain(
                f"the median price is {np.median(known):g} USD/MWh, which is likely meant per kWh",
                origin=origin,
                fix="Say the unit: --price-unit usd/kwh or c/kwh.",
            )
        )


def _on_even_grid(record: SiteRecord, fill_gaps: bool, origin: str) -> SiteRecord:
    """Sort, refuse duplicates, and put the record on an even grid, refusing or filling what is missing."""
    order = np.argsort(record.time_utc, kind="stable")
    time = record.time_utc[order]
    steps = np.diff(time).astype(np.int64)
    twice = np.flatnonzero(steps == 0)
    if twice.size:
        lines = sorted((int(order[twice[0]]) + 2, int(order[twice[0] + 1]) + 2))
        raise DataFileError(
            explain(
                f"lines {lines[0]} and {lines[1]} have the same time {time[twice[0]]} UTC",
                origin=origin,
                fix="Keep one row per interval; in the repeated hour of autumn use UTC or offsets.",
            )
        )
    step_s = int(np.median(steps))
    if step_s not in STEPS_S:
        raise DataFileError(
            explain(
                f"rows are {step_s / 60:g} min apart",
                allowed="5, 15, 30 or 60 min",
                origin=origin,
                fix="Export at one of these spacings.",
            )
        )
    offset = (time - time[0]).astype(np.int64)
    odd = np.flatnonzero(offset % step_s)
    if odd.size:
        raise DataFileError(
            explain(
                f"line {int(order[odd[0]]) + 2}: {time[odd[0]]} UTC is off the {step_s // 60} min grid",
                origin=origin,
                fix="Export at even intervals.",
            )
        )
    position = offset // step_s
    rows = int(position[-1]) + 1
    columns = {
        name: _spread(values, order, position, rows)
        for name in ("price_usd_per_mwh", "hashrate_ths", "power_w", "temp_amb_c")
        if (values := getattr(record, name)) is not None
    }
    grid = time[0] + np.arange(rows) * np.timedelta64(step_s, "s")
    price = columns.pop("price_usd_per_mwh")
    missing = np.flatnonzero(np.isnan(price))
    notes = record.notes
    if missing.size:
        if not fill_gaps or missing[0] == 0:
            start = int(missing[0])
            length = int(np.argmax(~np.isnan(np.append(price[start:], 0.0))))
            raise DataFileError(
                explain(
                    f"no price from {grid[start]} to {grid[start] + np.timedelta64(step_s * length, 's')} UTC "
                    f"({missing.size} intervals missing in all)",
                    origin=origin,
                    fix="Fill the gap in the file, or hold the last known price over gaps with --fill-gaps.",
                )
            )
        price = price[np.maximum.accumulate(np.where(np.isnan(price), 0, np.arange(rows)))]
        hours = missing.size * step_s / SECONDS_PER_HOUR
        notes = (*notes, f"gaps: the last known price was held over {missing.size} intervals ({hours:.1f} h)")
    return SiteRecord(grid, step_s, price, notes=notes, **columns)


def _spread(values: FloatArray, order: NDArray[np.int64], position: NDArray[np.int64], rows: int) -> FloatArray:
    spread = np.full(rows, np.nan)
    spread[position] = values[order]
    return spread
