"""A whole benchmark: check, play every part, put the scorecard together, tell what is claimed and what came of it."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from agents.baselines import AlwaysStock
from agents.benchmark.contenders import Contender, Played, contenders
from agents.benchmark.pool import BOUND, INFORMED, Done, Report, Task, run_tasks
from agents.benchmark.settings import BenchmarkSettings
from agents.benchmark.stage import Stage, code_hash
from minesim.bench import about, scorecard
from minesim.bench.files import write_json
from minesim.bench.regret import profit_at_scale
from minesim.bench.report import About
from minesim.envs.core import World

BASELINE = AlwaysStock.name
LONG_FIRST = ("learned", "offline", "mpc", "rule", "foreign")
"""Kinds in the order in which they begin, so that no long part is left for the end."""


@dataclass(frozen=True)
class Place:
    """What is told of a scenario before anybody plays.

    Attributes:
        world: compiled traces and site.
        playing: agents that apply there.
    """

    world: World
    playing: tuple[str, ...]


@dataclass(frozen=True)
class Result:
    """What a benchmark came to.

    Attributes:
        card: the scorecard with bounds and all cost scales, see :func:`with_scales`.
        done: every part.
        table: who took part.
        where: the scenarios.
        folder: where the files are.
    """

    card: xr.Dataset
    done: Mapping[Task, Done]
    table: Mapping[str, Contender]
    where: Mapping[str, Place]
    folder: Path


def places(settings: BenchmarkSettings, table: Mapping[str, Contender]) -> dict[str, Place]:
    """Compile every scenario and check its weeks, before anything is simulated.

    Raises:
        MinesimError: an unknown scenario, or weeks outside their split.
    """
    found = {}
    for scenario in settings.bench.scenarios:
        world = Stage(scenario, settings).world
        offers = world.scenario.tariff.reserve is not None
        found[scenario] = Place(world, tuple(name for name, item in table.items() if item.applies(offers)))
    return found


def plan(settings: BenchmarkSettings, table: Mapping[str, Contender], where: Mapping[str, Place]) -> list[Task]:
    """All parts, scenario by scenario, long ones first."""
    tasks: list[Task] = []
    for scenario, place in where.items():
        ordered = sorted(place.playing, key=lambda name: LONG_FIRST.index(table[name].kind))
        tasks.extend(Task(scenario, name) for name in ordered)
        if settings.bounds:
            tasks.extend(Task(scenario, name) for name in (BOUND, INFORMED))
    return tasks


def benchmark(settings: BenchmarkSettings, console: Console) -> Result:
    """Run a benchmark, or go on with one; write ``scorecard.nc``, ``scorecard.json`` and ``agents.json``.

    Raises:
        MinesimError: settings that cannot be met, or a part that failed.
    """
    settings.check()
    table = contenders(settings)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        checking = progress.add_task("compile scenarios", total=None)
        where = places(settings, table)
        progress.remove_task(checking)
        tasks = plan(settings, table, where)
        bar = progress.add_task("parts", total=len(tasks))
        lines: dict[Task, Any] = {}

        def look(running: Mapping[Task, Report]) -> None:
            for task in [task for task in lines if task not in running]:
                progress.remove_task(lines.pop(task))
            for task, report in running.items():
                if task not in lines:
                    lines[task] = progress.add_task(task.scenario)
                told = f"  {task.scenario}: {report.title}"
                progress.update(lines[task], description=told, completed=report.done, total=report.total)

        done = run_tasks(settings, tasks, on_done=lambda item: progress.advance(bar), on_look=look)
    card = assemble(settings, table, where, done)
    folder = Path(settings.out) / settings.latest
    scorecard.save(card, folder, BASELINE)
    write_json(folder / "agents.json", agents_record(settings, table, done))
    return Result(card, done, table, where, folder)


def assemble(
    settings: BenchmarkSettings,
    table: Mapping[str, Contender],
    where: Mapping[str, Place],
    done: Mapping[Task, Done],
) -> xr.Dataset:
    """The scorecard of finished parts."""
    cells, absent, validation = {}, [], np.full((len(table), len(where)), np.nan)
    for j, scenario in enumerate(where):
        for i, name in enumerate(table):
            item = done.get(Task(scenario, name))
            if item is None or item.played is None:
                absent.append((name, scenario))
                continue
            cells[name, scenario] = item.played.by_scale[1.0]
            validation[i, j] = item.played.validation_usd.get(1.0, np.nan)
    attrs = {
        "suite": settings.bench.name,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "site": settings.site.name,
        "limits": settings.site.limits,
        "difficulty": settings.site.difficulty,
        "champion": settings.bench.champion,
        "declared": json.dumps(list(settings.bench.declared)),
        "code": code_hash(),
        **{f"version_{name}": version for name, version in about.versions().items()},
    }
    card = scorecard.scorecard(cells, absent=absent, attrs=attrs)
    order = [list(table).index(str(name)) for name in card["agent"].to_numpy()]
    kinds = [table[str(name)].kind for name in card["agent"].to_numpy()]
    card = card.assign_coords(kind=("agent", kinds))
    card["validation_usd"] = (("agent", "scenario"), validation[order], {"units": "USD"})
    return with_scales(card, settings, done)


def with_scales(card: xr.Dataset, settings: BenchmarkSettings, done: Mapping[Task, Done]) -> xr.Dataset:
    """Add profit, bounds and validation profit at every assumed cost of stops and wear.

    Adds ``profit_scaled_usd`` (agent, scenario, week, seed, scale), ``bound_usd`` and ``informed_usd`` (scenario, week,
    seed, scale), ``validation_scaled_usd`` (agent, scenario, scale).
    """
    scales = [float(scale) for scale in settings.bench.scales]
    agents, scenarios = ([str(name) for name in card[key].to_numpy()] for key in ("agent", "scenario"))
    weeks, seeds = card.sizes["week"], card.sizes["seed"]
    profit = np.full((len(agents), len(scenarios), weeks, seeds, len(scales)), np.nan)
    judged = np.full((len(agents), len(scenarios), len(scales)), np.nan)
    limits = {name: np.full((len(scenarios), weeks, seeds, len(scales)), np.nan) for name in (BOUND, INFORMED)}
    for j, scenario in enumerate(scenarios):
        for i, agent in enumerate(agents):
            played = _played(done, scenario, agent)
            if played is None:
                continue
            for k, scale in enumerate(scales):
                values = np.asarray(profit_at_scale(played.by_scale[scale], scale))
                profit[i, j, ..., k] = values.reshape(weeks, seeds)
                judged[i, j, k] = played.validation_usd.get(scale, np.nan)
        for name, values in limits.items():
            item = done.get(Task(scenario, name))
            if item is not None and item.bound is not None:
                values[j] = item.bound["profit_usd"].to_numpy().reshape(weeks, seeds, len(scales))
    usd = {"units": "USD"}
    card = card.assign_coords(scale=scales)
    card["profit_scaled_usd"] = (("agent", "scenario", "week", "seed", "scale"), profit, usd)
    card["validation_scaled_usd"] = (("agent", "scenario", "scale"), judged, usd)
    for name, values in limits.items():
        card[f"{name}_usd"] = (("scenario", "week", "seed", "scale"), values, usd)
    return card


def _played(done: Mapping[Task, Done], scenario: str, agent: str) -> Played | None:
    item = done.get(Task(scenario, agent))
    return item.played if item is not None else None


def agents_record(
    settings: BenchmarkSettings, table: Mapping[str, Contender], done: Mapping[Task, Done]
) -> dict[str, Any]:
    """What every agent was on every scenario: tuned parameters or folder of weights, validation profit, time taken."""
    weeks = settings.bench.validation
    scenarios: dict[str, Any] = {}
    for task, item in done.items():
        if item.played is not None:
            scenarios.setdefault(task.scenario, {})[task.agent] = {
                **item.played.record,
                "validation_usd_per_week": {f"{scale:g}": usd for scale, usd in item.played.validation_usd.items()},
                "took_s": item.took_s,
            }
    return {
        "suite": settings.bench.name,
        "validation": vars(weeks),
        "agents": {name: {"kind": item.kind, "summary": item.summary} for name, item in table.items()},
        "scenarios": scenarios,
    }


def shown_runs(done: Mapping[Task, Done], scenario: str) -> dict[str, xr.Dataset]:
    """The week that is shown from the inside, by agent."""
    found = {}
    for task, item in done.items():
        if task.scenario == scenario and item.played is not None:
            cell = item.played.by_scale[1.0].isel(traced_run=0)
            found[task.agent] = cell.isel(run=int(cell["traced_run"]))
    return found


def describe(settings: BenchmarkSettings, result: Result, command: str) -> About:
    """What the report tells beside the numbers."""
    where, done, created = result.where, result.done, str(result.card.attrs["created"])
    first = next(iter(where.values())).world
    licences = dict.fromkeys(text for place in where.values() for text in about.licences(place.world))
    weeks = settings.bench.validation
    facts: dict[str, Sequence[tuple[str, str]]] = {}
    for scenario, place in where.items():
        starts = weeks.starts(place.world, "validation").astype("datetime64[D]")
        until = starts[-1] + np.timedelta64(7, "D")
        tuned = ("tuned on", f"{len(starts)} weeks from {starts[0]} to {until}, none of them a test week")
        facts[scenario] = [*about.scenario_facts(place.world), tuned]
    return About(
        title=f"What control earns on real weeks: suite {settings.bench.name}",
        baseline=BASELINE,
        created=created.replace("T", " ").replace("+00:00", " UTC"),
        command=command,
        agents={name: item.summary for name, item in result.table.items()},
        parameters={
            scenario: {
                task.agent: item.played.parameters
                for task, item in done.items()
                if task.scenario == scenario and item.played is not None
            }
            for scenario in where
        },
        scenarios=facts,
        site=about.site_facts(first),
        fleet=about.fleet_rows(first),
        assumptions=about.assumptions(first),
        versions=about.versions(),
        licences=list(licences),
        showcase="The week shown is set in the configuration (bench.showcase_week), not picked by its result.",
    )
