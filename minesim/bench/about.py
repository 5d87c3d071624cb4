"""What a report tells beside its numbers, read from the world that was simulated rather than typed in."""

from __future__ import annotations

from importlib import metadata

import numpy as np

from minesim.economics.tariff import FlatEnergy, MarketEnergy, Tariff
from minesim.envs.core import World

PACKAGES = ("minesim", "numpy", "scipy", "xarray", "gymnasium")
KNOWN_TEXT = {
    "day_ahead": "known a day ahead",
    "after_interval": "known only after the hour",
    "at_start": "known at the start of the hour",
}


def scenario_facts(world: World) -> list[tuple[str, str]]:
    """Market, tariff and what is known when."""
    tariff, traces = world.scenario.tariff, world.scenario.traces
    rule, _ = world.scenario.rule_of("power_price_usd_per_mwh")
    facts = [
        ("market", f"{traces.attrs.get('name', world.scenario.name)}, {world.scenario.site_timezone}"),
        ("energy", _energy(tariff, rule)),
        ("demand charge", _demand(tariff)),
        ("peak charge", _peaks(tariff)),
        ("reserve", f"{tariff.reserve}" if tariff.reserve is not None else "not offered"),
        ("tariff source", tariff.source),
    ]
    return facts


def _energy(tariff: Tariff, rule: str) -> str:
    if isinstance(tariff.energy, MarketEnergy):
        text = f"wholesale price, {KNOWN_TEXT.get(rule, rule)}"
    elif isinstance(tariff.energy, FlatEnergy):
        text = "flat price"
    else:
        text = "time-of-use price"
    losses = f", losses billed x {tariff.loss_factor:g}" if tariff.loss_factor != 1.0 else ""
    return f"{text}, plus {tariff.adder_usd_per_mwh:g} USD/MWh{losses}"


def _demand(tariff: Tariff) -> str:
    if tariff.demand is None:
        return "none"
    rates = sorted(set(tariff.demand.rates_usd_per_kw))
    return " to ".join(f"{rate:g}" for rate in (rates[0], rates[-1])[: min(len(rates), 2)]) + " USD/kW and month"


def _peaks(tariff: Tariff) -> str:
    part = tariff.coincident_peak
    if part is None:
        return "none"
    return f"{part.program}: {part.count} intervals of {part.interval_min} min a year, published dates; {part.source}"


def site_facts(world: World) -> list[tuple[str, str]]:
    """Size, limits and time steps."""
    curves = world.params.curves
    config = world.config
    name = config.site if isinstance(config.site, str) else config.site.name
    factor = curves.net_revenue_factor
    return [
        ("site", f"{name}: {int(curves.count.sum())} miners in {len(curves.models)} cohorts"),
        ("rated power", f"{curves.power_rated_site_w / 1e3:,.0f} kW"),
        ("paid share of revenue", f"{float(np.min(factor)):.4f} (after developer fee, pool fee and rejects)"),
        ("limits", world.limits.name),
        ("difficulty", world.difficulty.name),
        ("control step", f"{config.dt_ctrl_s:g} s, integrated in {world.params.sub_steps} sub-steps"),
        ("episode", f"{config.episode_days:g} days; starts warm and running, with its month's demand peak behind it"),
    ]


def fleet_rows(world: World) -> list[tuple[str, int, float, float, float]]:
    """Model, miners, rated W, rated TH/s and J/TH, one row a model."""
    curves = world.params.curves
    rows = []
    for model in dict.fromkeys(curves.models):
        mine = np.array([name == model for name in curves.models])
        first = int(np.argmax(mine))
        watts, ths = float(curves.power_rated_w[first]), float(curves.hashrate_rated_ths[first])
        rows.append((model, int(curves.count[mine].sum()), watts, ths, watts / ths))
    return rows


def assumptions(world: World) -> list[str]:
    """What the result hangs on that nobody has measured for this site; values as simulated."""
    wear, firmware, room = world.params.wear, world.params.firmware, world.params.room
    level = world.difficulty
    return [
        f"Cost of stops and wear: the forms have sources, the sizes are assumed (scale {wear.scale:g}); a start with a "
        f"board at 40 °C fails with chance {wear.restart_failure_base:g}, e times likelier for each "
        f"{wear.restart_cold_scale_k:g} K colder. The tables repeat each result at 0 to 4 times these costs.",
        f"Times: first hashes {firmware.start_delay_s:g} s after a start, {firmware.preset_change_s:g} s without "
        f"hashing for a preset change, {firmware.ramp_s:g} s from the first hashes to full hashrate (assumed within "
        "what vendors and users state).",
        f"Fans hold chips at {firmware.fan_target_c:g} °C; room air and pad (effectiveness {room.pad_effectiveness:g}, "
        f"on above {room.pad_on_c:g} °C) are assumed, not of a surveyed site.",
        f"Boards differ in leakage by {level.silicon_sd * 100.0:g} % (standard deviation), the firmware's power "
        f"reading is off by up to {level.power_bias * 100.0:g} %, a reading fails in {level.fault_rate * 100.0:g} % "
        "of steps.",
        "Preset tables are firmware values, not wall-meter data; models without a table borrow the shape of the "
        "nearest generation (minesim data describe MODEL shows which).",
        "Revenue is the expectation of a pay-per-share pool: no luck, no pool outage, coins sold at once at the "
        "daily price; the site is too small to move price, difficulty or the grid's peak.",
        f"The {world.scenario.tariff.adder_usd_per_mwh:g} USD/MWh adder stands for delivery and retail; real contracts "
        "differ. Fixed costs (rent, staff, capital) are the same for every rule and left out.",
        "Weather is that of a city near the market, not of the price node.",
        "Coincident peaks are the published ones and booked in the week that causes them, although they are billed a "
        "year later; their prediction carries a stated forecast error.",
        "Every week starts anew from a running site; a stop that spans two weeks is cut.",
    ]


def licences(world: World) -> list[str]:
    """Licence text of the traces, with the scenario's name."""
    text = str(world.scenario.traces.attrs.get("licence", ""))
    return [part.strip() for part in text.split(";") if part.strip()]


def versions() -> dict[str, str]:
    """Versions of the packages that results depend on."""
    import platform

    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
