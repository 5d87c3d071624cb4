"""Operators' CSV files: what is read, and every kind of mistake that is refused with its place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from minesim.bench.site_csv import read_site_csv
from minesim.errors import DataFileError

Write = Callable[[str], Path]
HOURS = [f"2026-10-01 {hour:02d}:00" for hour in range(24)]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def make(text: str, encoding: str = "utf-8") -> Path:
        path = tmp_path / "site.csv"
        path.write_bytes(text.encode(encoding))
        return path

    return make


def table(header: str, cells: Callable[[int], str], separator: str = ",") -> str:
    return "\n".join([header, *(f"{stamp}{separator}{cells(i)}" for i, stamp in enumerate(HOURS))]) + "\n"


def test_plain_file(write: Write) -> None:
    record = read_site_csv(write(table("timestamp,price_usd_per_mwh", lambda i: str(20 + i))))
    assert record.step_s == 3600
    assert record.time_utc[0] == np.datetime64("2026-10-01T00:00:00")
    assert record.price_usd_per_mwh == pytest.approx(20.0 + np.arange(24))
    assert record.hashrate_ths is None
    assert record.power_w is None


@pytest.mark.parametrize(
    ("column", "cell", "usd_per_mwh"),
    [
        ("Price ($/MWh)", "45.5", 45.5),
        ("LMP [USD/MWh]", "-12", -12.0),
        ("price c/kWh", "4.55", 45.5),
        ("price_cents_per_kwh", "4.55", 45.5),
        ("Energy Price (USD/kWh)", "0.0455", 45.5),
        ("price_usd_mwh", "45.5", 45.5),
        ("Settlement Point Price ($/MWh)", '"1,045.50"', 1045.5),
    ],
)
def test_price_units(write: Write, column: str, cell: str, usd_per_mwh: float) -> None:
    record = read_site_csv(write(table(f"Time,{column}", lambda i: cell)))
    assert record.price_usd_per_mwh == pytest.approx(np.full(24, usd_per_mwh))


@pytest.mark.parametrize(
    ("header", "cell", "ths", "watts"),
    [
        ("Hashrate (PH/s),Power (kW)", "20.5,615", 20500.0, 615e3),
        ("hashrate_ths,power_w", "20500,615000", 20500.0, 615e3),
        ("Total Hashrate,Consumption (MW)", "20.5 PH/s,0.615", 20500.0, 615e3),
        ("hashrate_ehs,load_mw", "0.0205,0.615", 20500.0, 615e3),
    ],
)
def test_fleet_columns(write: Write, header: str, cell: str, ths: float, watts: float) -> None:
    record = read_site_csv(write(table(f"date,price_usd_mwh,{header}", lambda i: f"30,{cell}")))
    assert record.hashrate_ths == pytest.approx(np.full(24, ths))
    assert record.power_w == pytest.approx(np.full(24, watts))


def test_units_may_differ_by_cell_when_every_cell_has_one(write: Write) -> None:
    cell = lambda i: "30," + ("0.9985 PH/s" if i % 2 else "998.5 TH/s")  # noqa: E731
    record = read_site_csv(write(table("time,price_usd_mwh,hashrate", cell)))
    assert record.hashrate_ths == pytest.approx(np.full(24, 998.5))


def test_semicolons_with_decimal_commas_and_a_byte_order_mark(write: Write) -> None:
    text = table("Zeit Time;Price (c/kWh)", lambda i: "4,55", separator=";").replace("Zeit Time", "Timestamp")
    record = read_site_csv(write("\ufeff" + text))
    assert record.price_usd_per_mwh == pytest.approx(np.full(24, 45.5))


def test_fahrenheit(write: Write) -> None:
    record = read_site_csv(write(table("time,price_usd_mwh,Temperature (F)", lambda i: "30,95")))
    assert record.temp_amb_c == pytest.approx(np.full(24, 35.0))


def test_empty_readings_stay_empty_but_prices_do_not(write: Write) -> None:
    record = read_site_csv(write(table("time,price_usd_mwh,power_kw", lambda i: "30," + ("" if i == 3 else "500"))))
    assert record.power_w is not None
    assert np.isnan(record.power_w[3])
    assert np.nansum(record.power_w) == pytest.approx(23 * 500e3)


def test_rows_in_falling_order_are_sorted(write: Write) -> None:
    lines = table("time,price_usd_mwh", lambda i: str(i)).splitlines()
    record = read_site_csv(write("\n".join([lines[0], *reversed(lines[1:])])))
    assert record.price_usd_per_mwh == pytest.approx(np.arange(24.0))


@pytest.mark.parametrize(
    ("stamp", "first_utc"),
    [
        (lambda h: f"10/13/2026 {h:02d}:00", "2026-10-13T05:00:00"),
        (lambda h: f"2026-10-01T{h:02d}:00:00-05:00", "2026-10-01T05:00:00"),
        (lambda h: f"2026-10-01T{h:02d}:00:00Z", "2026-10-01T00:00:00"),
        (lambda h: f"Oct 1, 2026 {h % 12 or 12}:00 {'AM' if h < 12 else 'PM'}", "2026-10-01T05:00:00"),
        (lambda h: str(1790812800 + 3600 * h), "2026-10-01T00:00:00"),
    ],
)
def test_times_and_zones(write: Write, stamp: Callable[[int], str], first_utc: str) -> None:
    rows = "\n".join(f'"{stamp(hour)}",30' for hour in range(24))
    record = read_site_csv(write("time,price_usd_mwh\n" + rows), timezone="America/Chicago")
    if stamp(0).isdigit():
        first_utc = str(np.datetime64(1790812800, "s"))
    assert record.time_utc[0] == np.datetime64(first_utc)
    assert record.step_s == 3600


def test_day_first_dates_are_recognised_by_their_spacing(write: Write) -> None:
    rows = "\n".join(f"{day:02d}/10/2026 {hour:02d}:00,30" for day in (1, 2, 3) for hour in range(24))
    record = read_site_csv(write("time,price_usd_mwh\n" + rows))
    assert record.time_utc[-1] == np.datetime64("2026-10-03T23:00:00")


def test_autumn_hour_passes_twice(write: Write) -> None:
    hours = [0, 1, 1, 2, 3]
    rows = "\n".join(f"2026-11-01 {hour:02d}:00,30" for hour in hours)
    record = read_site_csv(write("time,price_usd_mwh\n" + rows), timezone="America/Chicago")
    assert np.array_equal(record.time_utc, np.datetime64("2026-11-01T05:00:00") + np.arange(5) * np.timedelta64(1, "h"))


def test_date_and_time_in_two_columns(write: Write) -> None:
    rows = "\n".join(f"2026-10-01,{hour:02d}:00,30" for hour in range(24))
    record = read_site_csv(write("Date,Time,price_usd_mwh\n" + rows))
    assert record.time_utc[5] == np.datetime64("2026-10-01T05:00:00")


def replaced(row: int, line: str, header: str = "time,price_usd_mwh") -> str:
    lines = table(header, lambda i: "30").splitlines()
    lines[row - 1] = line
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "0 data rows"),
        (table("when,price_usd_mwh", lambda i: "30"), r"no time column among 'when', 'price_usd_mwh'"),
        (table("time,cost_usd_mwh", lambda i: "30"), r"no price column among 'time', 'cost_usd_mwh'.*Rename"),
        (replaced(7, "2026-13-45 99:00,30"), r"line 7: cannot read '2026-13-45 99:00' as a date"),
        (replaced(7, "2026-10-01 05:00,n0t"), r"line 7: 'n0t' in column 'price_usd_mwh' is not a number"),
        (replaced(7, "2026-10-01 05:00,30,1"), r"line 7 has 3 cells, the header has 2"),
        (replaced(7, "2026-10-01 04:00,30"), r"lines 6 and 7 have the same time 2026-10-01T04:00:00"),
        (replaced(7, "2026-10-01 05:07,30"), r"line 7: 2026-10-01T05:07:00 UTC is off the 60 min grid"),
        (
            replaced(7, "2026-10-01 05:00,"),
            r"no price from 2026-10-01T05:00:00 to 2026-10-01T06:00:00 UTC.*--fill-gaps",
        ),
        (replaced(7, "2026-10-01 05:00,99999"), r"line 7: price is 99999 USD/MWh; allowed: -1000 to 25000"),
        (table("time,price", lambda i: "30"), r"'price' \(30 to 30\) does not say its unit.*--price-unit usd/mwh"),
        (table("time,price (EUR/MWh)", lambda i: "30"), r"unit 'eur/mwh' of column .* is not known; allowed: usd/mwh"),
        (
            table("time,price_usd_mwh", lambda i: "0.045"),
            r"median price is 0.045 USD/MWh, which is likely meant per kWh",
        ),
        (table("time,price_usd_mwh,hashrate", lambda i: "30,100"), r"does not say its unit.*--hashrate-unit"),
        (
            table("time,price_usd_mwh,hashrate", lambda i: "30,100" if i == 5 else "30,1 PH/s"),
            r"line 7: '100' in column 'hashrate' has no unit while other cells have one",
        ),
        (
            table("time,price_usd_mwh,hashrate (TH/s)", lambda i: "30,1 PH/s"),
            r"line 2: '1 PH/s' contradicts the header",
        ),
        (table("time,price_usd_mwh,power_kw", lambda i: "30,-5"), r"line 2: power is -5000 W; allowed: 0 to"),
        ("time,price_usd_mwh\n" + "\n".join(f"2026-10-{d:02d},30" for d in range(1, 9)), "rows are 1440 min apart"),
        (table("time,price_usd_mwh", lambda i: "30").replace("2026-10-01 ", "").replace(":00", ""), "bare number"),
        (table("time,price_usd_mwh", lambda i: "30").replace("2026-10-01 ", ""), "'00:00' is a time of day without"),
    ],
)
def test_mistakes_are_named_with_their_place(write: Write, text: str, message: str) -> None:
    with pytest.raises(DataFileError, match=f"(?s){message}"):
        read_site_csv(write(text))


def test_a_gap_can_be_held(write: Write) -> None:
    lines = table("time,price_usd_mwh", lambda i: str(20 + i)).splitlines()
    del lines[6:8]
    record = read_site_csv(write("\n".join(lines)), fill_gaps=True)
    assert record.price_usd_per_mwh[4:8] == pytest.approx([24.0, 24.0, 24.0, 27.0])
    assert any("held over 2 intervals (2.0 h)" in note for note in record.notes)


def test_ambiguous_dates_are_refused(write: Write) -> None:
    rows = "\n".join(f"01/02/2026 {hour:02d}:00,30" for hour in range(24))
    with pytest.raises(DataFileError, match=r"day first or month first.*YYYY-MM-DD"):
        read_site_csv(write("time,price_usd_mwh\n" + rows))


def test_hour_that_clocks_skip(write: Write) -> None:
    rows = "\n".join(f"2026-03-08 {hour:02d}:00,30" for hour in range(5))
    with pytest.raises(DataFileError, match=r"line 4: '2026-03-08 02:00' does not exist in America/Chicago"):
        read_site_csv(write("time,price_usd_mwh\n" + rows), timezone="America/Chicago")


def test_unknown_zone(write: Write) -> None:
    with pytest.raises(DataFileError, match=r"unknown time zone 'Texas'.*America/Chicago"):
        read_site_csv(write(table("time,price_usd_mwh", lambda i: "30")), timezone="Texas")


def test_missing_file_and_spreadsheet(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match=r"there is no file .*nowhere.csv"):
        read_site_csv(tmp_path / "nowhere.csv")
    sheet = tmp_path / "site.csv"
    sheet.write_bytes(b"PK\x03\x04\xff\xfe\x00")
    with pytest.raises(DataFileError, match="not a text file in UTF-8"):
        read_site_csv(sheet)
