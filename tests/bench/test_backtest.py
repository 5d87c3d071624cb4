"""Backtests of an operator's CSV through the command line and the library."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from agents.baselines import applicable, tuned_rules
from minesim.bench.backtest import ACTUAL, COHORTS, Assumed, Backtest, backtest, save
from minesim.bench.backtest_command import parse_miners
from minesim.bench.site_csv import SiteRecord, read_site_csv
from minesim.cli import app
from minesim.errors import CatalogError, DataFileError, ParamsError

HOURS = 26
MINERS = (("S19j Pro", 4),)
GIVEN = Assumed(miners=MINERS, hashprice_usd_per_phs_day=50.0)


def record(step_s: int = 3600, start: str = "2026-10-01", **columns: float | np.ndarray | None) -> SiteRecord:
    rows = HOURS * 3600 // step_s
    values = {"price_usd_per_mwh": 30.0, **columns}
    return SiteRecord(
        time_utc=np.datetime64(start, "s") + np.arange(rows) * np.timedelta64(step_s, "s"),
        step_s=step_s,
        **{name: value if value is None else value * np.ones(rows) for name, value in values.items()},  # type: ignore[arg-type]
    )


def by_agent(result: Backtest) -> dict[str, dict[str, float]]:
    return {row["agent"]: row for row in result.rows()}


def test_always_stock_earns_what_paper_says() -> None:
    result = backtest(record(), tuned_rules, GIVEN)
    row = by_agent(result)["always_stock"]
    # Four miners of 104 TH/s at 50 USD per PH/s and day, about 4 % fees, for 26 h; energy at 30 USD/MWh.
    assert row["revenue_usd"] == pytest.approx(4 * 0.104 * 50.0 * 26 / 24 * 0.96, rel=0.03)
    assert row["energy_usd"] == pytest.approx(row["energy_kwh"] * 0.03, rel=1e-6)
    assert row["energy_kwh"] == pytest.approx(4 * 3.06 * 26, rel=0.06)
    assert list(by_agent(result)) == list(applicable(offers_reserve=False))
    assert result.days == pytest.approx(26 / 24)


def test_rules_leave_dear_hours() -> None:
    price = np.full(HOURS, 20.0)
    price[12:18] = 900.0
    rows = by_agent(
        backtest(record(price_usd_per_mwh=price), tuned_rules, Assumed(**{**vars(GIVEN), "price_known": "day_ahead"}))
    )
    assert rows["threshold"]["gain_usd"] > 30.0
    assert rows["threshold"]["load_factor"] < 0.8 * rows["always_stock"]["load_factor"]


def test_finer_and_coarser_rows_are_the_same_site() -> None:
    profits = [
        by_agent(backtest(record(step_s), tuned_rules, GIVEN))["always_stock"]["profit_usd"]
        for step_s in (300, 900, 3600)
    ]
    assert profits == pytest.approx([profits[0]] * 3, rel=1e-9)


def test_own_line_is_settled_by_the_same_bill() -> None:
    assumed = Assumed(**{**vars(GIVEN), "adder_usd_per_mwh": 5.0, "demand_usd_per_kw": 10.0})
    power = np.full(HOURS, 12e3)
    power[3] = 15e3
    power[20] = np.nan
    result = backtest(record(hashrate_ths=400.0, power_w=power), tuned_rules, assumed)
    row = by_agent(result)[ACTUAL]
    energy_mwh = (24 * 12 + 15) / 1000.0
    assert row["energy_usd"] == pytest.approx(energy_mwh * 35.0)
    assert row["demand_usd"] == pytest.approx(150.0)
    assert row["revenue_usd"] == pytest.approx(0.4 * 50.0 * 25 / 24 * 0.9587, rel=1e-3)
    assert row["profit_usd"] == pytest.approx(row["revenue_usd"] - row["energy_usd"] - 150.0)
    assert any("4 of 104 quarter hours without a reading as off" in note for note in result.notes)


def test_half_of_an_own_line_is_told() -> None:
    result = backtest(record(power_w=12e3), tuned_rules, GIVEN)
    assert ACTUAL not in by_agent(result)
    assert any("needs both a hashrate and a power column" in note for note in result.notes)


def test_fleet_is_guessed_from_the_power_column_and_says_so() -> None:
    result = backtest(record(power_w=31e3), tuned_rules, Assumed(hashprice_usd_per_phs_day=50.0))
    note = next(note for note in result.notes if note.startswith("fleet assumed"))
    assert "10 x Antminer S19j Pro (104T)" in note
    assert "--miners" in note
    assert by_agent(result)["always_stock"]["energy_kwh"] == pytest.approx(10 * 3.06 * 26, rel=0.06)


def test_large_fleets_are_split_into_cohorts() -> None:
    from minesim.bench.backtest import _site

    spec = _site(record(), Assumed(miners=(("S19j Pro", 1000), ("S19 XP", 1000))), [])
    assert len(spec.cohorts) == COHORTS
    assert sum(cohort.count for cohort in spec.cohorts) == 2000


def test_packaged_coin_history_and_weather() -> None:
    assumed = Assumed(miners=MINERS, weather="dallas_tx")
    result = backtest(record(start="2023-08-05"), tuned_rules, assumed)
    # Hashprice in August 2023 was about 70 to 75 USD per PH/s and day.
    revenue = by_agent(result)["always_stock"]["revenue_usd"] / (4 * 0.104 * 26 / 24 * 0.9587)
    assert 60.0 < revenue < 80.0
    assert float(result.traces["temp_amb_c"].max()) > 35.0


def test_coin_price_and_difficulty_can_be_given() -> None:
    assumed = Assumed(miners=MINERS, coin_price_usd=42_000.0, difficulty=7.2e13)
    row = by_agent(backtest(record(start="2023-12-01"), tuned_rules, assumed))["always_stock"]
    hashprice = 86400e15 * 6.25 * 42_000.0 / (7.2e13 * 2**32)
    assert row["revenue_usd"] == pytest.approx(4 * 0.104 * hashprice * 26 / 24 * 0.96, rel=0.03)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"hashprice_usd_per_phs_day": None}, DataFileError, r"no packaged coin price for 2026-10-01.*--hashprice"),
        ({"hashprice_usd_per_phs_day": -1.0}, ParamsError, "hashprice is -1"),
        ({"hashprice_usd_per_phs_day": None, "coin_price_usd": 5e4}, ParamsError, "only one of coin price and diff"),
        ({"weather": "dallas_tx"}, DataFileError, r"no packaged weather of dallas_tx for 2026-10-01.*--temp-c"),
        ({"weather": "houston"}, DataFileError, "houston"),
        ({"price_known": "never"}, ParamsError, "known 'never'; allowed: day_ahead, after_interval"),
        ({"miners": (("S19j Prow", 4),)}, CatalogError, "Did you mean 'S19j Pro"),
        ({"miners": (("S19j Pro", 0),)}, ParamsError, "counts of 1 or more"),
        ({"limits": "brigde"}, ParamsError, "Did you mean 'bridge'"),
    ],
)
def test_impossible_assumptions(change: dict[str, object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        backtest(record(), tuned_rules, Assumed(**{**vars(GIVEN), **change}))  # type: ignore[arg-type]


def test_less_than_a_day_is_refused() -> None:
    short = SiteRecord(
        np.datetime64("2026-10-01", "s") + np.arange(5) * np.timedelta64(3600, "s"), 3600, np.ones(5) * 30
    )
    with pytest.raises(DataFileError, match="the file covers 5 h; allowed: a day or more"):
        backtest(short, tuned_rules, GIVEN)


@pytest.mark.parametrize("text", ["S19j Pro", "S19j Pro:", ":4", "S19j Pro:four", "S19j Pro:-4"])
def test_miners_option(text: str) -> None:
    assert parse_miners("S19j Pro: 200") == ("S19j Pro", 200)
    with pytest.raises(ParamsError, match="is not MODEL:COUNT"):
        parse_miners(text)


def test_files_are_whole(tmp_path: Path) -> None:
    own = record(hashrate_ths=400.0, power_w=12e3)
    result = backtest(own, tuned_rules, GIVEN)
    json_path, png_path = save(result, own, tmp_path / "new")
    told = json.loads(json_path.read_text())
    assert [row["agent"] for row in told["rules"]] == [*applicable(offers_reserve=False), ACTUAL]
    assert told["rules"][0]["gain_usd"] == 0.0
    assert told["rules"][-1]["stops_per_miner"] is None
    assert png_path.read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["backtest.json", "backtest.png"]


def write(folder: Path, text: str) -> Path:
    path = folder / "site.csv"
    path.write_text(text)
    return path


def test_command_line(tmp_path: Path) -> None:
    rows = "\n".join(f"2026-10-0{1 + hour // 24} {hour % 24:02d}:00,{20 + 50 * (hour == 9)}" for hour in range(HOURS))
    path = write(tmp_path, "Time,Price ($/MWh)\n" + rows)
    out = tmp_path / "out"
    result = CliRunner().invoke(
        app, ["backtest", str(path), "--hashprice", "50", "-m", "S19j Pro:4", "--out", str(out)], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    for name in applicable(offers_reserve=False):
        assert name in result.output
    assert "no hardware was touched" in " ".join(result.output.split())
    assert (out / "backtest.json").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("when,what\n1,2\n3,4\n", "DataFileError: no time column among 'when', 'what'"),
        ("time,price_usd_mwh\n2026-10-01 00:00,x\n2026-10-01 01:00,2\n", "line 2: 'x' in column 'price_usd_mwh'"),
    ],
)
def test_command_line_errors_are_one_message(tmp_path: Path, text: str, message: str) -> None:
    out = tmp_path / "out"
    result = CliRunner().invoke(app, ["backtest", str(write(tmp_path, text)), "--out", str(out)])
    assert result.exit_code == 1
    assert message in result.output
    assert "Traceback" not in result.output
    assert not out.exists()


def test_example_file_can_be_read() -> None:
    path = Path(__file__).parents[2] / "examples" / "site_october.csv"
    own = read_site_csv(path)
    assert own.step_s == 3600
    assert len(own.time_utc) == 31 * 24
    assert own.hashrate_ths is not None
    assert own.power_w is not None
