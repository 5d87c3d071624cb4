"""What a benchmark run says: its scorecard, and what every agent was on every scenario."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from minesim.bench import scorecard
from minesim.bench.rollout import week_starts
from minesim.envs.core import EnvConfig, World, build_world
from minesim.errors import DataFileError, MinesimError, ParamsError, explain, nearest
from minesim.scenario import scenario as find_scenario

RULE, LEARNED, OFFLINE = "rule", "learned", "offline"
WEEK_S = 7 * 86400
REHEARSAL_WEEKS = 13
"""At most so many validation weeks are rehearsed."""


@dataclass(frozen=True)
class Run:
    """A finished benchmark.

    Attributes:
        folder: where it lies.
        card: its scorecard.
        record: content of ``agents.json``.
    """

    folder: Path
    card: xr.Dataset
    record: Mapping[str, Any]

    @property
    def created_s(self) -> float:
        """When it was finished, s since 1970 UTC."""
        return datetime.datetime.fromisoformat(str(self.card.attrs["created"])).timestamp()


@dataclass(frozen=True)
class Candidate:
    """What an agent was on a scenario.

    Attributes:
        agent, scenario: who and where.
        kind: ``rule``, ``learned`` or ``offline``.
        params: of a rule.
        folder: of a trained policy.
        seeds: positions of the benchmark's seeds that this policy drove.
    """

    agent: str
    scenario: str
    kind: str
    params: Mapping[str, float]
    folder: Path | None
    seeds: tuple[int, ...]


def read_run(folder: Path, suite: str) -> Run:
    """Read the results of a benchmark.

    Args:
        folder: with ``scorecard.nc`` and ``agents.json``.
        suite: that it must be of.

    Raises:
        DataFileError: a file is missing or damaged.
        ParamsError: it is of another suite.
    """
    fix = "Run: python -m experiments.benchmark bench=SUITE bounds=true"
    if not (folder / "scorecard.nc").exists() or not (folder / "agents.json").exists():
        raise DataFileError(explain(f"there is no benchmark result in {str(folder)!r}", fix=fix))
    card = scorecard.load(folder / "scorecard.nc")
    for name in ("suite", "created", "site", "difficulty"):
        if name not in card.attrs:
            raise DataFileError(explain(f"scorecard.nc does not tell its {name}", fix=fix))
    for name in ("bound_usd", "profit_scaled_usd", "validation_scaled_usd"):
        if name not in card:
            raise DataFileError(explain(f"scorecard.nc has no {name}", fix=fix))
    try:
        record = dict(json.loads((folder / "agents.json").read_text(encoding="utf-8")))
        if not all(isinstance(record[name], dict) for name in ("agents", "scenarios", "validation")):
            raise DataFileError(explain("agents.json is not that of a benchmark", fix=fix))
    except (ValueError, KeyError, TypeError) as error:
        raise DataFileError(explain(f"agents.json is damaged ({type(error).__name__}: {error})", fix=fix)) from error
    if str(card.attrs["suite"]) != suite:
        raise ParamsError(
            explain(
                f"{str(folder)!r} is a run of suite {str(card.attrs['suite'])!r}",
                allowed=repr(suite),
                origin="--suite",
                fix=f"Name that suite if you mean it, or run: python -m experiments.benchmark bench={suite}",
            )
        )
    return Run(folder, card, record)


def scenario_of(run: Run, name: str) -> str:
    """The scenario that a bundle is for.

    Args:
        run: a benchmark.
        name: of a scenario; empty where there is only one.

    Raises:
        ParamsError: none is named and there are several, or it is not part of the run.
    """
    there = [str(scenario) for scenario in run.card["scenario"].to_numpy()]
    if not name and len(there) == 1:
        return there[0]
    if name not in there:
        what = f"scenario {name!r} is not part of the run" if name else "the run has several scenarios"
        raise ParamsError(
            explain(
                what,
                origin="--scenario",
                fix=nearest(name, there) if name else f"Name the one that is like the site: {', '.join(there)}.",
            )
        )
    return name


def alike(run: Run, scenario: str) -> list[str]:
    """Scenarios of a run that a bundle for ``scenario`` could act in: with as many numbers in an action.

    Raises:
        ScenarioError: a scenario of the run cannot be found any more.
    """
    there = [str(name) for name in run.card["scenario"].to_numpy()]
    if len(there) == 1:
        return there
    offers = {name: find_scenario(name).tariff.reserve is not None for name in there}
    return [name for name in there if offers[name] == offers[scenario]]


def candidate(run: Run, agent: str, scenario: str, *, training_seed: int = 0, weights: Path | None = None) -> Candidate:
    """An agent as it was on a scenario.

    Args:
        run: a benchmark.
        agent: its name.
        scenario: from :func:`scenario_of`.
        training_seed: which of several trained policies, counted from 0.
        weights: folder of the trained policy, where it is not beside the run.

    Raises:
        ParamsError: no such agent, none that can be bundled, or without a result there.
        DataFileError: the trained policy is not there, or was trained on after the benchmark.
    """
    agents = {str(name): table for name, table in run.record["agents"].items()}
    if agent not in agents:
        raise ParamsError(explain(f"there is no agent {agent!r}", fix=nearest(agent, agents), origin="run"))
    if agent not in scorecard.players(run.card, scenario) or agent not in run.record["scenarios"].get(scenario, {}):
        raise ParamsError(explain(f"agent {agent!r} has no result on {scenario!r}", origin="run"))
    try:
        kind, told = str(agents[agent]["kind"]), run.record["scenarios"][scenario][agent]
        params = {str(name): float(value) for name, value in told.get("params", {}).items()}
        names = [str(name) for name in told.get("folders", [])]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataFileError(explain(f"agents.json does not tell what {agent!r} is ({error})")) from error
    every = tuple(range(run.card.sizes["seed"]))
    if kind == RULE:
        return Candidate(agent, scenario, kind, params, None, every)
    if kind not in (LEARNED, OFFLINE):
        raise ParamsError(
            explain(
                f"agent {agent!r} is of kind {kind!r}",
                allowed="rules and trained policies",
                fix="A bundle holds a named rule or a network: nothing else runs on a site.",
            )
        )
    if not 0 <= training_seed < len(names):
        raise ParamsError(
            explain(f"--training-seed is {training_seed}", allowed=f"0 to {len(names) - 1}, of {', '.join(names)}")
        )
    seeds = tuple(position for position in every if position % len(names) == training_seed)
    if not seeds:
        raise ParamsError(
            explain(
                f"training seed {training_seed} of {agent!r} met no test week",
                allowed=f"0 to {len(every) - 1}, one for each seed of the benchmark",
            )
        )
    folder = weights or run.folder.parent / "train" / names[training_seed]
    _require_as_judged(folder, run)
    return Candidate(agent, scenario, kind, {}, folder, seeds)


def _require_as_judged(folder: Path, run: Run) -> None:
    files = [*folder.glob("policy*")] if folder.is_dir() else []
    if not files:
        raise DataFileError(
            explain(f"there is no trained policy in {str(folder)!r}", fix="Name its folder with --weights.")
        )
    if max(path.stat().st_mtime for path in files) > run.created_s + 1.0:
        raise DataFileError(
            explain(
                f"{str(folder)!r} was written after the benchmark of {run.card.attrs['created']}",
                fix="Run the benchmark again; if the folder was only copied, copy it with its times (cp -p).",
            )
        )


def rehearsal_world(run: Run, scenario: str, limits: str) -> World:
    """The world of a scenario as in the benchmark, under other limits.

    Raises:
        MinesimError: the scenario or the site cannot be built.
    """
    attrs = run.card.attrs
    return build_world(
        EnvConfig(
            scenario=scenario, site=str(attrs["site"]), limits=limits, difficulty=str(attrs["difficulty"]), split=None
        )
    )


def rehearsal_weeks(run: Run, world: World) -> NDArray[np.datetime64]:
    """Starts of the validation weeks of a run, at most 13 of them.

    Raises:
        DataFileError: the run does not tell them.
    """
    told, rows = run.record["validation"], world.table.rows_of_split("validation")
    try:
        first = str(told["first"] or world.table.start_utc[rows.start])
        fitting = int((rows.stop - world.table.row_of(np.datetime64(first, "s"))) * world.table.dt_s // WEEK_S)
        starts = week_starts(first, int(told["weeks"]) or fitting, int(told["every"]))
    except (KeyError, ValueError, MinesimError) as error:
        raise DataFileError(explain(f"agents.json does not tell the validation weeks ({error})")) from error
    every = -(-len(starts) // REHEARSAL_WEEKS)
    return starts[::every]
