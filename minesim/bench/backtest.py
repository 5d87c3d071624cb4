"""What would each rule have earned on my own site: the twin on an operator's own prices, no hardware touched."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from minesim.arrays import NUMPY
from minesim.bench import figures
from minesim.bench.files import write_json, write_whole
from minesim.bench.metrics import metrics
from minesim.bench.report import usd
from minesim.bench.rollout import MONEY_TERMS, OnStep, Panel, rollout
from minesim.bench.site_csv import FloatArray, SiteRecord
from minesim.catalog import canonical_name
from minesim.control.actuate import FleetCurves
from minesim.control.channels import ObservationSchema
from minesim.control.fleet import CohortSpec
from minesim.control.observe import schema
from minesim.control.policy import Policy
from minesim.data import load_btc, load_weather
from minesim.economics.tariff import DemandCharge, MarketEnergy, Tariff, coincident_peak_usd, demand_increment_usd
from minesim.envs.core import EnvConfig, World, build_world
from minesim.errors import DataFileError, ParamsError, explain
from minesim.scenario import scenario
from minesim.scenario.replay import btc_hourly
from minesim.site_spec import SiteSpec, build_site
from minesim.units import HASHES_PER_DIFFICULTY, SECONDS_PER_DAY, SECONDS_PER_HOUR

ROW_S = 900
COHORTS = 16
"""Parts that a fleet is commanded in; starts are staggered between them."""
ACTUAL = "as_run"
"""Name of the line that shows what the site's own hashrate and power columns earned."""

RuleBuilder = Callable[[ObservationSchema, FleetCurves, str], Mapping[str, Policy]]
"""(schema, fleet, when prices are known) -> rules by name, the baseline first."""


@dataclass(frozen=True)
class Assumed:
    """What the CSV does not say.

    Attributes:
        miners: (model, count) pairs; empty takes ``default_model`` in the number that the CSV's power or hashrate
            suggests.
        hashprice_usd_per_phs_day: gross revenue of 1 PH/s in a day, USD; None takes coin price and difficulty below,
            or the packaged history of the period.
        coin_price_usd, difficulty: of Bitcoin, over the whole period; both or neither.
        adder_usd_per_mwh: on top of the CSV's price.
        demand_usd_per_kw: monthly demand charge.
        price_known: ``day_ahead`` or ``after_interval``.
        timezone: IANA name of the site, for calendar months.
        weather: city of the packaged weather (2020-2023); empty takes the CSV's column, or ``temp_amb_c``.
        temp_amb_c, rel_humidity_pct: constant weather where nothing else is known (assumed).
        limits: what the hardware may do.
    """

    miners: Sequence[tuple[str, int]] = ()
    hashprice_usd_per_phs_day: float | None = None
    coin_price_usd: float | None = None
    difficulty: float | None = None
    adder_usd_per_mwh: float = 0.0
    demand_usd_per_kw: float = 0.0
    price_known: str = "after_interval"
    timezone: str = "UTC"
    weather: str = ""
    temp_amb_c: float = 20.0
    rel_humidity_pct: float = 50.0
    limits: str = "bridge"
    default_model: str = "Antminer S19j Pro (104T)"
    default_count: int = 100


@dataclass(frozen=True)
class Backtest:
    """Outcome of a backtest; money in USD over the whole period.

    Attributes:
        results: metrics over ``agent``, the site's own line (if any) included.
        traces: power, price and temperatures over ``agent`` and ``time``.
        start, end: of the period, UTC.
        notes: how the file was read and what was assumed.
        baseline: first of the rules.
    """

    results: xr.Dataset
    traces: xr.Dataset
    start: np.datetime64
    end: np.datetime64
    notes: Sequence[str] = field(default_factory=tuple)
    baseline: str = ""

    @property
    def days(self) -> float:
        """Length of the period."""
        return float((self.end - self.start) / np.timedelta64(1, "s")) / SECONDS_PER_DAY

    def rows(self) -> list[dict[str, Any]]:
        """One plain record a line of the table, with its difference to the baseline."""
        base = float(self.results["profit_usd"].sel(agent=self.baseline))
        records = []
        for agent in self.results["agent"].to_numpy():
            row = {str(name): float(part.sel(agent=agent)) for name, part in self.results.data_vars.items()}
            records.append({"agent": str(agent), **row, "gain_usd": row["profit_usd"] - base})
        return records


def backtest(record: SiteRecord, rules: RuleBuilder, assumed: Assumed, *, on_step: OnStep | None = None) -> Backtest:
    """Run every rule through a site's record in the twin, all side by side under identical conditions.

    Args:
        record: from :func:`minesim.bench.site_csv.read_site_csv`.
        rules: builds the rules.
        assumed: what the record does not say.
        on_step: progress callback.

    Returns:
        Totals over the period.

    Raises:
        ParamsError: an impossible assumption.
        DataFileError: less than a day of data, or no coin price for the period.
        MinesimError: unknown model, city, limits or price rule.
    """
    record = _quarter_hours(record)
    notes = list(record.notes)
    spec = _site(record, assumed, notes)
    world = _world(record, assumed, spec, notes)
    policies = rules(schema(world.cohorts), world.params.curves, assumed.price_known)
    names = list(policies)
    panel = Panel(list(policies.values()), 1)
    starts = np.full(len(names), record.time_utc[0])
    sums = rollout(panel, world, starts, trace_runs=range(len(names)), on_step=on_step)
    table = metrics(sums).rename(run="agent").drop_vars(["start", "seed"]).assign_coords(agent=names)
    step_s = int(sums.attrs["dt_ctrl_s"])
    traces = xr.Dataset(
        {str(name).removeprefix("trace_"): part for name, part in sums.data_vars.items() if "step" in part.dims}
    )
    traces = traces.rename(traced_run="agent", step="time").assign_coords(
        agent=names, time=record.time_utc[0] + np.arange(traces.sizes["step"]) * np.timedelta64(step_s, "s")
    )
    own = _as_run(record, world, assumed, notes)
    if own is not None:
        table = xr.concat([table, own], "agent", join="outer")
    return Backtest(
        results=table,
        traces=traces,
        start=record.time_utc[0],
        end=record.time_utc[-1] + np.timedelta64(ROW_S, "s"),
        notes=tuple(notes),
        baseline=names[0],
    )


def _quarter_hours(record: SiteRecord) -> SiteRecord:
    """The record on whole quarter hours: finer rows averaged, coarser ones held."""
    seconds = record.time_utc.astype("datetime64[s]").astype(np.int64)
    skip = int(np.argmax(seconds % ROW_S == 0)) if (seconds % ROW_S == 0).any() else len(seconds)
    if record.step_s >= ROW_S:
        if skip:
            raise DataFileError(
                explain(f"the first row is at {record.time_utc[0]} UTC", allowed="rows at whole quarter hours")
            )
        held = record.step_s // ROW_S

        def convert(values: FloatArray) -> FloatArray:
            return np.repeat(values, held)

        rows = len(seconds) * held
    else:
        per_row = ROW_S // record.step_s
        rows = (len(seconds) - skip) // per_row

        def convert(values: FloatArray) -> FloatArray:
            return np.asarray(values[skip : skip + rows * per_row].reshape(rows, per_row).mean(axis=1))

    if rows * ROW_S < SECONDS_PER_DAY:
        raise DataFileError(
            explain(f"the file covers {rows * ROW_S / SECONDS_PER_HOUR:g} h", allowed="a day or more, best a month")
        )
    first = record.time_utc[skip if record.step_s < ROW_S else 0]
    columns = {
        name: None if values is None else convert(values)
        for name in ("hashrate_ths", "power_w", "temp_amb_c")
        for values in [getattr(record, name)]
    }
    return SiteRecord(
        time_utc=first + np.arange(rows) * np.timedelta64(ROW_S, "s"),
        step_s=ROW_S,
        price_usd_per_mwh=convert(record.price_usd_per_mwh),
        notes=record.notes,
        **columns,
    )


def _site(record: SiteRecord, assumed: Assumed, notes: list[str]) -> SiteSpec:
    miners = [(canonical_name(model), count) for model, count in assumed.miners]
    if not miners:
        model = canonical_name(assumed.default_model)
        one = build_site(SiteSpec("one", (CohortSpec(model, 1),))).curves
        count, reason = assumed.default_count, "neither --miners nor a power or hashrate column says how many"
        for label, values, rated in (
            ("power", record.power_w, float(one.power_rated_w[0])),
            ("hashrate", record.hashrate_ths, float(one.hashrate_rated_ths[0])),
        ):
            if values is not None and np.nanmax(values) > 0.0:
                count = max(1, round(float(np.nanquantile(values, 0.95)) / rated))
                reason = f"the file's {label} divided by one miner's rating"
                break
        miners = [(model, count)]
        notes.append(f"fleet assumed: {count} x {model} ({reason}); say what you run with --miners")
    total = sum(count for _, count in miners)
    if total < 1 or min(count for _, count in miners) < 1:
        raise ParamsError(explain(f"miners are {miners}", allowed="counts of 1 or more", origin="--miners"))
    cohorts = []
    for model, count in miners:
        parts = max(1, min(count, round(COHORTS * count / total)))
        sizes = [count // parts + (index < count % parts) for index in range(parts)]
        cohorts += [CohortSpec(model, size) for size in sizes]
    return SiteSpec("own site", tuple(cohorts))


def _world(record: SiteRecord, assumed: Assumed, spec: SiteSpec, notes: list[str]) -> World:
    if assumed.price_known not in ("day_ahead", "after_interval"):
        raise ParamsError(
            explain(f"prices are known {assumed.price_known!r}", allowed="day_ahead, after_interval", origin="--known")
        )
    rows = len(record.time_utc)
    # The last observation is made at the end of the last row.
    time = np.append(record.time_utc, record.time_utc[-1] + np.timedelta64(ROW_S, "s"))

    def series(values: FloatArray, units: str) -> tuple[str, FloatArray, dict[str, str]]:
        return "time", np.append(values, values[-1]), {"units": units}

    coin = _coin(record, assumed, notes)
    temp, humidity = _weather(record, assumed, notes)
    traces = xr.Dataset(
        {
            "power_price_usd_per_mwh": series(record.price_usd_per_mwh, "USD/MWh"),
            "temp_amb_c": series(temp, "degC"),
            "rel_humidity_pct": series(humidity, "%"),
            **{name: series(values, units) for name, (values, units) in coin.items()},
        },
        coords={"time": time.astype("datetime64[ns]")},
        attrs={"name": "own site", "site_timezone": assumed.timezone},
    )
    traces["power_price_usd_per_mwh"].attrs["known"] = assumed.price_known
    demand = assumed.demand_usd_per_kw
    tariff = Tariff(
        "own contract",
        MarketEnergy("day_ahead" if assumed.price_known == "day_ahead" else "after_interval"),
        assumed.adder_usd_per_mwh,
        demand=DemandCharge.constant(demand, "given") if demand > 0.0 else None,
        source="given",
    )
    notes.append(
        f"bill: the file's price{f' + {assumed.adder_usd_per_mwh:g} USD/MWh' if assumed.adder_usd_per_mwh else ''}"
        + (f", {demand:g} USD/kW and month" if demand > 0.0 else ", no demand charge")
        + f"; rules know a price {'a day ahead' if assumed.price_known == 'day_ahead' else 'after its interval'}"
    )
    notes.append(f"limits {assumed.limits!r}; wear and stops cost what the twin assumes (see docs/metrics.md)")
    return build_world(
        EnvConfig(
            scenario=scenario(traces, tariff=tariff),
            site=spec,
            limits=assumed.limits,
            difficulty="easy",
            split=None,
            episode_days=rows * ROW_S / SECONDS_PER_DAY,
        )
    )


def _coin(record: SiteRecord, assumed: Assumed, notes: list[str]) -> dict[str, tuple[FloatArray, str]]:
    ones = np.ones(len(record.time_utc))
    price, difficulty, hashprice = assumed.coin_price_usd, assumed.difficulty, assumed.hashprice_usd_per_phs_day
    if hashprice is not None:
        if not 0.0 <= hashprice < 1e5:
            raise ParamsError(
                explain(f"hashprice is {hashprice:g} USD per PH/s and day", allowed="0 to 100000", origin="--hashprice")
            )
        notes.append(f"revenue: {hashprice:g} USD per PH/s and day, gross, over the whole period (given)")
        # One coin a block at this difficulty pays its price per TH/s and day.
        per_ths_day = SECONDS_PER_DAY * 1e12 / HASHES_PER_DIFFICULTY
        return {
            "coin_price_usd": (ones * max(hashprice / 1000.0, 1e-9), "USD"),
            "difficulty": (ones * per_ths_day, "1"),
            "subsidy_coin": (ones, "BTC"),
        }
    if (price is None) != (difficulty is None):
        raise ParamsError(
            explain(
                "only one of coin price and difficulty is given",
                fix="Give both --coin-price and --difficulty, or --hashprice.",
            )
        )
    if price is not None and difficulty is not None:
        notes.append(f"revenue: coin at {price:g} USD, difficulty {difficulty:.4g}, subsidy by date, no fees (given)")
        return {"coin_price_usd": (ones * price, "USD"), "difficulty": (ones * difficulty, "1")}
    hours = record.time_utc.astype("datetime64[h]").astype("datetime64[s]")
    last = load_btc()["time"].to_numpy()[-1].astype("datetime64[s]")
    first = load_btc()["time"].to_numpy()[1].astype("datetime64[s]")
    if hours[0] < first or hours[-1] >= last + np.timedelta64(1, "D"):
        raise DataFileError(
            explain(
                f"there is no packaged coin price for {record.time_utc[0]} to {record.time_utc[-1]} UTC",
                allowed=f"{first.astype('datetime64[D]')} to {last.astype('datetime64[D]')}",
                fix="Give --hashprice (USD per PH/s and day, as your pool shows it), or --coin-price and --difficulty.",
            )
        )
    daily = btc_hourly(hours)
    notes.append("revenue: Bitcoin's price, difficulty and fees of the period (packaged history)")
    return {
        name: (daily[name].to_numpy()[:, 0], daily[name].attrs["units"])
        for name in ("coin_price_usd", "difficulty", "fees_coin_per_block")
    }


def _weather(record: SiteRecord, assumed: Assumed, notes: list[str]) -> tuple[FloatArray, FloatArray]:
    rows = len(record.time_utc)
    humidity = np.full(rows, assumed.rel_humidity_pct)
    if record.temp_amb_c is not None and np.isfinite(record.temp_amb_c).any():
        known = np.where(np.isfinite(record.temp_amb_c), np.arange(rows), -1)
        latest = np.maximum.accumulate(known)
        temp = record.temp_amb_c[np.where(latest >= 0, latest, int(np.argmax(known >= 0)))]
        notes.append(f"weather: the file's temperature, {assumed.rel_humidity_pct:g} % humidity (assumed)")
        return temp, humidity
    if assumed.weather:
        data = load_weather(assumed.weather)
        hours = record.time_utc.astype("datetime64[h]").astype("datetime64[ns]")
        first, last = data["time"].to_numpy()[[0, -1]]
        if hours[0] < first or hours[-1] > last:
            raise DataFileError(
                explain(
                    f"there is no packaged weather of {assumed.weather} for {hours[0].astype('datetime64[D]')} to "
                    f"{hours[-1].astype('datetime64[D]')}",
                    allowed=f"{first.astype('datetime64[D]')} to {last.astype('datetime64[D]')}",
                    fix="Add a temperature column to the file, or give --temp-c.",
                )
            )
        notes.append(f"weather: {assumed.weather} (packaged)")
        at = data.sel(time=hours)
        return at["temp_amb_c"].to_numpy().astype(np.float64), at["rel_humidity_pct"].to_numpy().astype(np.float64)
    notes.append(f"weather: {assumed.temp_amb_c:g} C and {assumed.rel_humidity_pct:g} % all the time (assumed)")
    return np.full(rows, assumed.temp_amb_c), humidity


def _as_run(record: SiteRecord, world: World, assumed: Assumed, notes: list[str]) -> xr.Dataset | None:
    """What the site's own hashrate and power earned, by the same bill; None without both columns."""
    if record.hashrate_ths is None or record.power_w is None:
        if record.hashrate_ths is not None or record.power_w is not None:
            notes.append("your own line needs both a hashrate and a power column; it is left out")
        return None
    seen = np.isfinite(record.hashrate_ths) & np.isfinite(record.power_w)
    if not seen.any():
        notes.append("hashrate and power columns are empty; your own line is left out")
        return None
    rows = len(record.time_utc)
    curves = world.params.curves
    hours = ROW_S / SECONDS_PER_HOUR
    power_kw = np.where(seen, record.power_w, 0.0) * 1e-3
    hashrate = np.where(seen, record.hashrate_ths, 0.0)
    factor = float((curves.net_revenue_factor * curves.count).sum() / curves.count.sum())
    per_day = world.table.column("hash_revenue_usd_per_ths_day")[:rows]
    revenue = hashrate * factor * per_day * (ROW_S / SECONDS_PER_DAY)
    energy = power_kw * hours * 1e-3 * world.table.column("energy_price_usd_per_mwh")[:rows]
    month = world.table.column("billing_month")[:rows]
    rate = world.table.column("demand_rate_usd_per_kw")[:rows]
    first_of_month = np.unique(month, return_index=True)[1]
    peak_kw = np.maximum.reduceat(power_kw, first_of_month)
    demand = float(demand_increment_usd(peak_kw, 0.0 * peak_kw, rate[first_of_month], xp=NUMPY)[0].sum())
    coincident = float(coincident_peak_usd(power_kw, world.table.column("cp_charge_usd_per_kw")[:rows]).sum())
    if not seen.all():
        notes.append(f"your own line counts {int((~seen).sum())} of {rows} quarter hours without a reading as off")
    notes.append(
        f"your own line takes the file's hashrate before fees (x {factor:.4f} is paid) and no wear or cost of stops"
    )
    total = dict.fromkeys(MONEY_TERMS, 0.0)
    total |= {
        "revenue_usd": float(revenue.sum()),
        "energy_usd": float(energy.sum()),
        "demand_usd": demand,
        "coincident_usd": coincident,
    }
    energy_kwh = float(power_kw.sum() * hours)
    hash_th = float(hashrate.sum() * ROW_S)
    total["profit_usd"] = total["revenue_usd"] - total["energy_usd"] - demand - coincident
    total["energy_kwh"] = energy_kwh
    total["profit_usd_per_kwh"] = total["profit_usd"] / energy_kwh if energy_kwh > 0.0 else np.nan
    total["efficiency_j_per_th"] = energy_kwh * 3.6e6 / hash_th if hash_th > 0.0 else np.nan
    total["load_factor"] = float(power_kw.mean() * 1e3 / curves.power_rated_site_w)
    return xr.Dataset({name: ("agent", [value]) for name, value in total.items()}, coords={"agent": [ACTUAL]})


def save(result: Backtest, record: SiteRecord, folder: Path) -> tuple[Path, Path]:
    """Write ``backtest.json`` and ``backtest.png``, each whole or not at all."""
    paths = folder / "backtest.json", folder / "backtest.png"
    write_json(
        paths[0],
        {"start_utc": result.start, "end_utc": result.end, "notes": result.notes, "rules": result.rows()},
    )
    picture = _figure(result, record)
    write_whole(paths[1], lambda beside: picture.savefig(beside, dpi=130))
    return paths


def _figure(result: Backtest, record: SiteRecord) -> Any:
    """Net profit of every line, and price against power over the period."""
    names = [str(name) for name in result.results["agent"].to_numpy()]
    palette = figures.colours(names)
    figure, (bars, price_axes, power_axes) = figures.new_figure(
        10.0, 8.2, 3, gridspec_kw={"height_ratios": [0.36 * len(names) + 0.3, 1.4, 1.7]}
    )
    profit = result.results["profit_usd"].to_numpy()
    bars.barh(range(len(names)), profit, 0.62, color=[palette[name] for name in names])
    bars.axvline(0.0, color=figures.INK, linewidth=0.9)
    for row, value in enumerate(profit):
        bars.annotate(usd(value), (max(value, 0.0), row), xytext=(4, -3), textcoords="offset points", fontsize=9)
    bars.set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
    bars.invert_yaxis()
    bars.margins(x=0.12)
    bars.set_xlabel(f"net profit in {result.days:.1f} days, USD")
    bars.xaxis.set_major_formatter("{x:,.0f}")
    bars.grid(axis="y", visible=False)
    time = result.traces["time"].to_numpy()
    price_axes.step(
        time, result.traces["energy_price_usd_per_mwh"].isel(agent=0).to_numpy(), where="post", color=figures.INK, lw=1
    )
    price_axes.set_ylabel("energy price, USD/MWh")
    others = {name: value for name, value in zip(names, profit, strict=True) if name not in (ACTUAL, result.baseline)}
    for name in (result.baseline, max(others, key=lambda name: others[name])) if others else (result.baseline,):
        kilowatts = result.traces["power_site_kw"].sel(agent=name).to_numpy()
        power_axes.plot(time, kilowatts, color=palette[name], lw=1.2, label=name.replace("_", " "))
    if ACTUAL in names and record.power_w is not None:
        power_axes.plot(record.time_utc, record.power_w * 1e-3, color=palette[ACTUAL], lw=1.0, label="as run")
    power_axes.set_ylabel("site power, kW")
    power_axes.set_ylim(bottom=0.0)
    for axes in (price_axes, power_axes):
        axes.set_xlim(time[0], time[-1])
        axes.tick_params(axis="x", labelsize=8.5)
    figure.legend(*power_axes.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return figure
