"""`make run`: what simple rules earn on real weeks, tuned on validation weeks, told in one report.

Finished parts are kept below ``outputs/cells`` under the hash of everything they depend on, so a stopped run resumes
and an unchanged run ends at once.
"""

from __future__ import annotations

import datetime
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import hydra
import numpy as np
import xarray as xr
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

import agents.baselines
import minesim
from agents.baselines import RULES, AlwaysStock, Knowledge, build
from agents.baselines.table import plain_params
from agents.baselines.tuning import Tuned, as_text, at_edge, needs_tuning, pick, try_candidates
from minesim.bench import about, scorecard
from minesim.bench.cells import CellStore
from minesim.bench.files import array_hash, source_hash, write_json
from minesim.bench.report import About, usd, write_report
from minesim.bench.rollout import OnStep, rollout, week_starts
from minesim.control.observe import schema
from minesim.envs.core import EnvConfig, World, build_world
from minesim.errors import MinesimError, ParamsError, explain

BASELINE = AlwaysStock.name
SOURCES = (
    "control",
    "economics",
    "physics",
    "catalog",
    "data",
    "scenario",
    "tasks",
    "envs/core.py",
    "bench/rollout.py",
)
Compute = Callable[[OnStep], xr.Dataset]


@dataclass
class Names:
    """Scenarios to run on."""

    names: list[str] = field(default_factory=list)


@dataclass
class Site:
    """The site and how unkind its world is."""

    name: str = "container"
    limits: str = "seed"
    difficulty: str = "medium"


@dataclass
class Weeks:
    """Weeks from ``first`` (UTC), every ``every``-th of them."""

    first: str = ""
    weeks: int = 1
    every: int = 1

    def starts(self) -> np.ndarray:
        """Starts of the weeks.

        Raises:
            ParamsError: not a date, or no weeks.
        """
        try:
            starts = week_starts(self.first, self.weeks, self.every)
        except ValueError as error:
            raise ParamsError(
                explain(f"weeks are {self.first!r}, {self.weeks}, {self.every}", allowed="like '2023-07-01', 26, 1")
            ) from error
        if not len(starts):
            raise ParamsError(explain(f"weeks is {self.weeks}", allowed="1 or more"))
        return starts


@dataclass
class Bench:
    """Which weeks and seeds."""

    validation: Weeks = field(default_factory=Weeks)
    test: Weeks = field(default_factory=Weeks)
    seeds: list[int] = field(default_factory=lambda: [0])
    showcase_week: int = 0


@dataclass
class RunConfig:
    """Everything that the configuration may say; a misspelt key is an error."""

    scenario: Names = field(default_factory=Names)
    site: Site = field(default_factory=Site)
    bench: Bench = field(default_factory=Bench)
    out: str = "outputs"


class Run:
    """One run of all rules: worlds, cells and progress."""

    def __init__(self, config: RunConfig, progress: Progress) -> None:
        self.config = config
        self.progress = progress
        self.out = Path(config.out)
        self.store = CellStore(self.out / "cells")
        self.latest = self.out / "latest"
        package = Path(minesim.__file__).parent
        self.code = source_hash(
            *(package / name for name in SOURCES),
            *sorted(path for path in package.glob("*.py") if path.name != "cli.py"),
            Path(agents.baselines.__file__).parent,
            suffixes=(".py", ".csv"),
        )
        self.resumed = self.computed = 0
        self.cells_bar = progress.add_task("cells", total=None)
        self.steps_bar = progress.add_task("steps", total=1, visible=False)

    def world(self, scenario: str) -> World:
        """Traces and site of a scenario, and whether its weeks are there at all."""
        site, bench = self.config.site, self.config.bench
        world = build_world(
            EnvConfig(scenario=scenario, site=site.name, limits=site.limits, difficulty=site.difficulty, split=None)
        )
        for weeks in (bench.validation, bench.test):
            for start in weeks.starts()[[0, -1]]:
                world.table.horizon(world.table.row_of(start), world.horizon_rows)
        return world

    def spec(self, world: World, kind: str, agent: str, **more: Any) -> dict[str, Any]:
        """Everything that a cell's content depends on."""
        table, site = world.table, self.config.site
        return {
            "kind": kind,
            "agent": agent,
            "scenario": world.scenario.name,
            "traces": array_hash(table.settle, table.market, table.start_utc.astype(np.int64)),
            "site": [site.name, site.limits, site.difficulty],
            "days": world.config.episode_days,
            "code": self.code,
            **more,
        }

    def cell(self, title: str, spec: dict[str, Any], steps: int, compute: Compute) -> xr.Dataset:
        """A finished cell from disk, or computed now with a progress bar."""
        self.progress.update(self.steps_bar, description=title, completed=0, total=steps, visible=True)
        cell, was_there = self.store.get(
            spec, lambda: compute(lambda done: self.progress.update(self.steps_bar, completed=done))
        )
        self.resumed += was_there
        self.computed += not was_there
        self.progress.update(self.steps_bar, visible=False)
        self.progress.advance(self.cells_bar)
        return cell

    def tune(self, name: str, world: World, knowledge: Knowledge) -> Any:
        """Parameters of a rule, tuned on the validation weeks."""
        if not needs_tuning(name):
            return None
        starts = self.config.bench.validation.starts()
        grid = [plain_params(params) for params in RULES[name].candidates()]
        spec = self.spec(world, "tuning", name, starts=starts, grid=grid)
        tried = self.cell(
            f"tune {name} on {world.scenario.name}",
            spec,
            world.horizon_steps,
            lambda on_step: try_candidates(name, knowledge, world, starts, on_step=on_step),
        )
        return pick(name, tried)

    def test(self, name: str, world: World, knowledge: Knowledge, params: Any) -> xr.Dataset:
        """A rule on the test weeks."""
        bench = self.config.bench
        weeks = bench.test.starts()
        starts, seeds = np.repeat(weeks, len(bench.seeds)), np.tile(bench.seeds, len(weeks))
        shown = self.showcase() * len(bench.seeds)
        spec = self.spec(
            world, "test", name, starts=weeks, seeds=bench.seeds, params=plain_params(params), showcase=shown
        )
        return self.cell(
            f"test {name} on {world.scenario.name}",
            spec,
            world.horizon_steps,
            lambda on_step: rollout(
                build(name, knowledge, params), world, starts, seeds=seeds, trace_runs=[shown], on_step=on_step
            ),
        )

    def showcase(self) -> int:
        """Number of the week shown from the inside."""
        bench = self.config.bench
        weeks = len(bench.test.starts())
        if not 0 <= bench.showcase_week < weeks:
            raise ParamsError(explain(f"bench.showcase_week is {bench.showcase_week}", allowed=f"0 to {weeks - 1}"))
        return bench.showcase_week


def run(config: RunConfig, console: Console) -> Path:
    """Tune, test, write. Returns the path of the report."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        if not config.scenario.names or not config.bench.seeds:
            raise ParamsError(explain("scenario.names or bench.seeds is empty", allowed="at least one of each"))
        job = Run(config, progress)
        job.showcase()
        worlds = {name: job.world(name) for name in config.scenario.names}
        cells: dict[tuple[str, str], xr.Dataset] = {}
        tuned: dict[str, dict[str, Any]] = {}
        # A rule that only sells reserve is left out unless every scenario has reserves: all agents meet all scenarios.
        names = [
            name
            for name, row in RULES.items()
            if all(row.applies(world.scenario.tariff.reserve is not None) for world in worlds.values())
        ]
        job.progress.update(job.cells_bar, total=len(worlds) * (len(names) + sum(map(needs_tuning, names))))
        for scenario, world in worlds.items():
            knowledge = Knowledge(schema(world.cohorts), world.params.curves, world.scenario.tariff.reserve is not None)
            tuned[scenario] = {name: job.tune(name, world, knowledge) for name in names}
            for name in names:
                result = tuned[scenario][name]
                cells[name, scenario] = job.test(name, world, knowledge, result and result.params)
    record = {scenario: tuning_record(config, worlds[scenario], results) for scenario, results in tuned.items()}
    attrs = {
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "site": config.site.name,
        "limits": config.site.limits,
        "difficulty": config.site.difficulty,
        "code": job.code,
        **{f"version_{name}": version for name, version in about.versions().items()},
    }
    card = scorecard.scorecard(cells, attrs=attrs)
    scorecard.save(card, job.latest, BASELINE)
    write_json(job.latest / "tuned.json", record)
    traces = {scenario: {name: cells[name, scenario].isel(traced_run=0) for name in names} for scenario in worlds}
    traces = {
        scenario: {name: shown_run(cell) for name, cell in by_agent.items()} for scenario, by_agent in traces.items()
    }
    path = write_report(job.latest / "report.html", card, traces, describe(config, worlds, tuned, attrs["created"]))
    summarise(card, console)
    console.print(f"{job.computed} cells computed, {job.resumed} taken from {job.store.folder}")
    return path


def shown_run(cell: xr.Dataset) -> xr.Dataset:
    """The traced run with its own start."""
    number = int(cell["traced_run"])
    return cell.isel(run=number)


def tuning_record(config: RunConfig, world: World, results: dict[str, Any]) -> dict[str, Any]:
    """Tuned parameters with the weeks they come from, in the form of ``agents/baselines/tuned.json``."""
    weeks = config.bench.validation
    last = weeks.starts()[-1] + np.timedelta64(7, "D")
    return {
        "validation": {"first": weeks.first, "last": str(last.astype("datetime64[D]")), "weeks": len(weeks.starts())},
        "site": config.site.name,
        "limits": config.site.limits,
        "difficulty": config.site.difficulty,
        "params": {name: plain_params(result.params) for name, result in results.items() if result},
        "profit_usd_per_week": {name: result.profit_usd_per_week for name, result in results.items() if result},
    }


def describe(config: RunConfig, worlds: dict[str, World], tuned: dict[str, dict[str, Any]], created: str) -> About:
    """What the report tells beside the numbers."""
    first = next(iter(worlds.values()))
    weeks = config.bench.validation
    starts = weeks.starts()
    shown = config.bench.test.starts()[config.bench.showcase_week].astype("datetime64[D]")
    end = (starts[-1] + np.timedelta64(7, "D")).astype("datetime64[D]")
    tuning = ("tuned on", f"{len(starts)} weeks from {weeks.first} to {end}, none of them a test week")
    licences = dict.fromkeys(text for world in worlds.values() for text in about.licences(world))
    return About(
        title="What simple control rules earned on real weeks",
        baseline=BASELINE,
        created=created.replace("T", " ").replace("+00:00", " UTC"),
        command="make run",
        agents={name: RULES[name].summary for name in tuned[next(iter(worlds))]},
        parameters={
            scenario: {name: parameter_text(name, result) for name, result in results.items()}
            for scenario, results in tuned.items()
        },
        scenarios={scenario: [*about.scenario_facts(world), tuning] for scenario, world in worlds.items()},
        site=about.site_facts(first),
        fleet=about.fleet_rows(first),
        assumptions=about.assumptions(first),
        versions=about.versions(),
        licences=list(licences),
        showcase=f"The week from {shown} is set in the configuration (bench.showcase_week), not picked by its result.",
    )


def parameter_text(name: str, result: Tuned | None) -> str:
    """Tuned parameters for people, and whether the search should have gone further."""
    if result is None:
        return "no parameters"
    edge = ", ".join(key.replace("_", " ") for key in at_edge(name, result.params))
    return (
        f"{as_text(result.params)} (best of {result.candidates}{f'; {edge} at the edge of the search' if edge else ''})"
    )


def summarise(card: xr.Dataset, console: Console) -> None:
    """The headline as a table on the terminal."""
    for scenario in card["scenario"].to_numpy():
        table = Table(title=f"{scenario}: USD a week, 95 % intervals", title_justify="left")
        for column in ("rule", "net profit", f"against {BASELINE}", "95 % interval"):
            table.add_column(column, justify="left" if column == "rule" else "right")
        profit = scorecard.intervals(card, scenario)
        gains = {item.agent: item.difference for item in scorecard.comparisons(card, scenario, BASELINE)}
        for agent, item in profit.items():
            gain = gains.get(agent)
            told = (usd(gain.estimate, signed=True), f"{usd(gain.low)} to {usd(gain.high)}") if gain else ("", "")
            table.add_row(agent, usd(item.estimate), *told)
        console.print(table)


def read_config(raw: DictConfig) -> RunConfig:
    """The configuration as typed values.

    Raises:
        ParamsError: a key that does not exist, or a value of the wrong type.
    """
    plain = {key: value for key, value in raw.items() if key != "hydra"}
    try:
        return cast(RunConfig, OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(RunConfig), plain)))
    except OmegaConfBaseException as error:
        raise ParamsError(explain(str(error).splitlines()[0], origin="configuration")) from error


@hydra.main(version_base="1.3", config_path="../conf", config_name="run_rules")
def main(raw: DictConfig) -> None:
    """Entry point."""
    console = Console()
    try:
        path = run(read_config(raw), console)
    except MinesimError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("\nStopped. What is finished is kept: run the same command again to go on from there.", file=sys.stderr)
        sys.exit(130)
    console.print(f"Report: [bold]{path.resolve()}[/bold]")


if __name__ == "__main__":
    main()
