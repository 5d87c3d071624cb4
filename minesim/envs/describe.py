"""What an environment observes, does, pays and takes as options, as plain rows for the command line and the docs."""

from __future__ import annotations

import dataclasses
import inspect
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from minesim.control.actuate import OFF_BELOW, ON_ABOVE
from minesim.control.channels import Channel, ObservationSchema
from minesim.control.envelope import Limits, limits
from minesim.control.market import MARKET_CHANNELS
from minesim.control.observe import FAULT_AGE_S, SITE_CHANNELS, schema
from minesim.envs.core import Difficulty, EnvConfig, World, difficulty
from minesim.errors import DataFileError, explain
from minesim.tasks.hashrate import REWARD_PRICE_USD_PER_MWH, HashrateTask

Row = tuple[str, ...]

UNITS: Final = (
    ("_usd_per_mw_h", "USD/MW and h"),
    ("_usd_per_mwh", "USD/MWh"),
    ("_usd_per_ths_day", "USD per TH/s and day"),
    ("_usd_per_kw", "USD/kW"),
    ("_g_per_kwh", "g/kWh"),
    ("_kwh", "kWh"),
    ("_kw", "kW"),
    ("_ths", "TH/s"),
    ("_usd", "USD"),
    ("_pct", "%"),
    ("_c", "degC"),
    ("_h", "h"),
    ("_g", "g"),
    ("hours_since_change", "h"),
)
"""Endings of names and their units, the longer ones first; everything else is a pure number."""

_HOURLY: Final = re.compile(r"^price_h(\d\d)_usd_per_mwh$")
HOURLY_PRICES: Final = "price_h00 ... price_h23_usd_per_mwh"

MEANINGS: Final[Mapping[str, str]] = {
    "price_last_usd_per_mwh": "newest known energy price, all in (adder and losses included)",
    HOURLY_PRICES: "price of the hour that many hours ahead where known, else of the same hour of the latest known day",
    "price_known_h": "how far ahead prices are known; 0 where a price is known only after its interval",
    "price_mean_24h_usd_per_mwh": "mean of the last 24 known hours",
    "hash_revenue_usd_per_ths_day": "gross revenue of one TH/s at the newest known coin price, difficulty and fees",
    "temp_amb_c": "outdoor temperature",
    "rel_humidity_pct": "outdoor relative humidity",
    "hour_sin": "local clock on a circle of 24 h",
    "hour_cos": "the same",
    "week_sin": "local weekday and clock on a circle of a week, Monday 0:00 at the start",
    "week_cos": "the same",
    "month_fraction": "elapsed part of the local month, which is the billing month",
    "demand_rate_usd_per_kw": "demand charge of this month",
    "peak_probability": "predicted chance that this quarter hour is charged as a coincident peak",
    "peak_probability_next_4h": "the largest such chance within 4 h",
    "cp_rate_usd_per_kw": "what a kW costs in a charged interval; 0 in months without peaks",
    "reserve_price_usd_per_mw_h": "price of reserve in the next hour as far as known, else a day before",
    "reserve_call": "1 while reserve is called",
    "carbon_last_g_per_kwh": "newest known carbon intensity of the grid",
    "site_power_frac": "metered site power over the fleet's rated power",
    "month_peak_frac": "highest closed demand interval of the month over rated power, carried in at reset",
    "interval_power_frac": "mean power of the running demand interval so far over rated power",
    "reserve_held_frac": "standing reserve offer over rated power",
    "temp_intake_c": "room sensor at the miners' intakes",
    "hashing": "share of full hashing at the end of the last step; 0 while stopped, booting or tripped",
    "level": "commanded power over rated power",
    "power_frac": "power as the firmware estimates it over rated power",
    "hashrate_frac": "hashrate over rated hashrate",
    "temp_chip_c": "hottest chip as the firmware estimates it, whole degrees",
    "temp_board_c": "hottest board, whole degrees",
    "fan_duty": "fan speed over full speed",
    "stops_today": "stops commanded in the present local day",
    "hours_since_change": "time since the last changed command",
    "fault": f"1 where the reading is older than {FAULT_AGE_S:g} s; the other numbers are then the last good ones",
}
"""Channel name -> what it is; the 24 hourly prices share one entry."""

RESET_OPTIONS: Final[Mapping[str, str]] = {
    "start": "UTC time or row number, one for all sites or one for each; None draws a whole hour inside the split",
    "split": "`train`, `validation`, `test` or `all`, or None for all rows; overrides the option of the environment",
    "month_peak_frac": "demand peak of the month so far, share of rated power; by default 1 for a running site, and 0 "
    "on the first day of a month",
    "running": "1 (default) for a site at stock power, 0 for a cold one",
}
"""Keys of ``reset(options={...})``."""

INFO: Final[Mapping[str, str]] = {
    "cost": "constraint cost of the step",
    "profit_usd": "revenue + reserve income - all costs below",
    "revenue_usd": "paid hashrate times what a TH/s earns, after developer fee, pool fee and rejects",
    "energy_usd": "energy at the settled price",
    "demand_usd": "what the closed interval adds to the month's demand charge",
    "coincident_usd": "charge of a coincident-peak interval",
    "reserve_usd": "reserve income less penalties",
    "wear_usd": "expected ageing",
    "restart_usd": "solder fatigue of stops, and restarts that fail (expected, or drawn at difficulty hard)",
    "energy_kwh": "energy of the step",
    "power_site_kw": "mean power of the site",
    "power_cooling_kw": "room fans and pad pump, part of the above",
    "hashrate_ths": "hashrate of the site",
    "temp_chip_max_c": "hottest chip of the step, as the firmware estimates it, not rounded",
    "temp_intake_c": "air at the intakes",
    "temp_amb_c": "outdoor air",
    "energy_price_usd_per_mwh": "settled energy price of the step, which may not have been known",
    "carbon_g": "CO2 equivalent of the step's energy",
    "stops": "miners stopped by command",
    "trips": "miners stopped by their firmware's over-temperature trip",
    "envelope_reason": "worst `minesim.control.envelope.Reason` of the step, 0 for none",
}
"""Keys of ``info`` besides the terms of the reward (``reward_...``)."""


def unit_of(name: str) -> str:
    """Unit that a name's ending states; "1" for a pure number.

    >>> unit_of("price_last_usd_per_mwh"), unit_of("fan_duty")
    ('USD/MWh', '1')
    """
    return next((unit for ending, unit in UNITS if name.endswith(ending)), "1")


def attribute_texts(described: type) -> dict[str, str]:
    """Texts of the section ``Attributes:`` of a class's docstring, by attribute.

    Entries that name several attributes ("a, b: text") count for each of them.
    """
    section = inspect.getdoc(described) or ""
    _, _, section = section.partition("Attributes:\n")
    texts: dict[str, str] = {}
    names: list[str] = []
    for line in section.splitlines():
        if line and not line.startswith(" "):
            break
        entry = re.match(r"^ {4}([a-z0-9_]+(?:, [a-z0-9_]+)*): (.*)$", line)
        if entry:
            names = entry[1].split(", ")
            texts.update(dict.fromkeys(names, entry[2].strip()))
        elif line.strip():
            texts.update({name: f"{texts[name]} {line.strip()}" for name in names})
    return {name: text.replace("``", "`").removesuffix(".") for name, text in texts.items()}


def channel_rows(channels: ObservationSchema) -> list[Row]:
    """Rows (channel, from, numbers, unit, range, number, meaning) of an observation, in its order.

    The 24 hourly prices are one row; a cohort channel has ``M`` numbers.
    """
    rows: list[Row] = []
    for channel in channels.channels:
        name = channel.name
        size = "M" if channel.size > 1 or name not in _SINGLE else "1"
        hourly = _HOURLY.match(name)
        if hourly and hourly[1] != "00":
            continue
        if hourly:
            name, size = HOURLY_PRICES, str(sum(1 for c in channels.channels if _HOURLY.match(c.name)))
        rows.append((name, _origin(channel), size, unit_of(name), _range(channel), _number(channel), MEANINGS[name]))
    return rows


_MARKET: Final = frozenset(channel.name for channel in MARKET_CHANNELS)
_SINGLE: Final = _MARKET | {channel.name for channel in SITE_CHANNELS}


def _origin(channel: Channel) -> str:
    if channel.name in _MARKET:
        return "market"
    return "site" if channel.name in _SINGLE else "cohorts"


def _range(channel: Channel) -> str:
    return f"{channel.low:g} to {channel.high:g}"


def _number(channel: Channel) -> str:
    inner = "symlog(x)" if channel.log else "x"
    return inner if channel.scale == 1.0 else f"{inner} / {channel.scale:g}"


def action_rows(world: World | None = None) -> list[Row]:
    """Rows (index, range, meaning) of an action; in general, or for one world."""
    cohorts = "M" if world is None else str(world.cohorts)
    last = "M - 1" if world is None else str(world.cohorts - 1)
    rows: list[Row] = [
        (
            f"0 ... {last}",
            "-1 to 1",
            f"power of each cohort: below {OFF_BELOW:g} a running one stops, a stopped one starts above {ON_ABOVE:g}; "
            f"from {OFF_BELOW:g} to 1 linear from its lowest tuned preset to rated power",
        )
    ]
    if world is None or world.action_size > world.cohorts:
        only = "only where the tariff has reserves: " if world is None else ""
        rows.append((cohorts, "-1 to 1", f"{only}reserve offer for the coming hour, from 0 to the present load"))
    return rows


def reward_rows(task: HashrateTask | None = None) -> list[Row]:
    """Rows (reward, term, weight, meaning) of both rewards."""
    task = HashrateTask() if task is None else task
    scale = (
        f"USD of the step over what the fleet's rated energy of a step costs at {REWARD_PRICE_USD_PER_MWH:g} USD/MWh"
    )
    return [
        ("profit", "reward_profit", "1", scale),
        ("weighted", "reward_profit", f"{task.weight_profit:g}", scale),
        (
            "weighted",
            "reward_efficiency",
            f"{task.weight_efficiency:g}",
            "1 - (J/TH of the site) / (rated J/TH), held to -1 ... 1; 0 while nothing is hashed",
        ),
        (
            "weighted",
            "reward_stability",
            f"{task.weight_stability:g}",
            "minus the change of site power in the step over rated power, at most 1",
        ),
    ]


def cost_text(task: HashrateTask | None = None) -> str:
    """What the constraint cost counts."""
    task = HashrateTask() if task is None else task
    return (
        f"share of miners with a chip over {task.temp_chip_limit_c:g} degC, plus the part of the change of site power "
        f"in the step, without the drop from commanded stops, that exceeds {task.power_change_limit:g} of rated power"
    )


def option_rows() -> list[Row]:
    """Rows (option, default, meaning) of ``gym.make(id, ...)``."""
    texts = attribute_texts(EnvConfig)
    return [(field.name, _default(field), texts[field.name]) for field in dataclasses.fields(EnvConfig)]


def _default(field: dataclasses.Field[Any]) -> str:
    if field.name == "split":
        return "train; all rows where neither scenario nor split is given"
    if field.default is not dataclasses.MISSING:
        return str(field.default)
    return "HashrateTask()"


def difficulty_rows(names: Sequence[str] = ("easy", "medium", "hard")) -> list[Row]:
    """Rows (attribute, one value a level, meaning) of the difficulty levels."""
    texts = attribute_texts(Difficulty)
    levels = [difficulty(name) for name in names]
    return [
        (field.name, *(_plain(getattr(level, field.name)) for level in levels), texts[field.name])
        for field in dataclasses.fields(Difficulty)
        if field.name != "name"
    ]


def limits_rows(names: Sequence[str] = ("free", "seed", "bridge")) -> list[Row]:
    """Rows (attribute, one value a set of limits, meaning) of the envelope."""
    texts = attribute_texts(Limits)
    sets = [limits(name) for name in names]
    return [
        (field.name, *(_plain(getattr(one, field.name)) for one in sets), texts[field.name])
        for field in dataclasses.fields(Limits)
        if field.name != "name"
    ]


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return "-" if math.isinf(value) else f"{value:g}"
    return str(value)


def markdown_table(headings: Sequence[str], rows: Iterable[Row], *, code: Iterable[int] = (0,)) -> str:
    """A Markdown table; the columns numbered in ``code`` are set as code.

    >>> print(markdown_table(("a", "b"), [("x", "y | z")]))
    | a | b |
    |---|---|
    | `x` | y \\| z |
    """
    columns = set(code)
    lines = ["| " + " | ".join(headings) + " |", "|" + "---|" * len(headings)]
    for row in rows:
        cells = [cell.replace("|", "\\|") for cell in row]
        lines.append("| " + " | ".join(f"`{c}`" if i in columns else c for i, c in enumerate(cells)) + " |")
    return "\n".join(lines)


def markdown_tables() -> dict[str, str]:
    """The generated tables of the docs, by name."""
    return {
        "channels": markdown_table(
            ("channel", "from", "numbers", "unit", "range", "number seen", "meaning"), channel_rows(schema(1))
        ),
        "action": markdown_table(("number", "range", "meaning"), action_rows(), code=()),
        "reward": markdown_table(("reward", "term in `info`", "weight", "unweighted"), reward_rows(), code=(0, 1)),
        "options": markdown_table(("option", "default", "meaning"), option_rows()),
        "reset": markdown_table(("option", "meaning"), RESET_OPTIONS.items()),
        "difficulty": markdown_table(("", "easy", "medium", "hard", "meaning"), difficulty_rows()),
        "limits": markdown_table(("", "free", "seed", "bridge", "meaning"), limits_rows()),
        "info": markdown_table(
            ("key", "unit", "meaning"), [(name, unit_of(name), text) for name, text in INFO.items()]
        ),
    }


_BLOCK: Final = re.compile(r"(<!-- table: (\w+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def renew_tables(page: str) -> str:
    """A Markdown page with the tables between ``<!-- table: NAME -->`` and ``<!-- end -->`` written anew.

    Raises:
        DataFileError: the page asks for a table that there is none of.
    """
    tables = markdown_tables()
    for _, name, _, _ in _BLOCK.findall(page):
        if name not in tables:
            raise DataFileError(explain(f"no table {name!r}", allowed=", ".join(tables), origin="Markdown page"))
    return _BLOCK.sub(lambda found: f"{found[1]}{tables[found[2]]}\n{found[4]}", page)


def renew_page(path: Path) -> bool:
    """Write the tables of a Markdown file anew; True when that changed it.

    Raises:
        DataFileError: it cannot be read, or asks for an unknown table.
    """
    try:
        before = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataFileError(explain(f"cannot read {path}", origin=str(error))) from error
    after = renew_tables(before)
    if after == before:
        return False
    beside = path.with_name(path.name + ".new")
    beside.write_text(after, encoding="utf-8")
    os.replace(beside, path)
    return True


@dataclass(frozen=True)
class EnvSummary:
    """Sizes of one environment at given options.

    Attributes:
        env_id: its id.
        observations, actions: numbers in an observation and in an action.
        cohorts: M.
        steps: control steps of an episode.
        scenario, tariff, site: what it runs on.
    """

    env_id: str
    observations: int
    actions: int
    cohorts: int
    steps: int
    scenario: str
    tariff: str
    site: str


def summary(env_id: str, world: World) -> EnvSummary:
    """Summarise an environment."""
    site = world.config.site
    return EnvSummary(
        env_id=env_id,
        observations=schema(world.cohorts).size,
        actions=world.action_size,
        cohorts=world.cohorts,
        steps=world.horizon_steps,
        scenario=world.scenario.name,
        tariff=world.scenario.tariff.name,
        site=site if isinstance(site, str) else site.name,
    )
