"""Where agents play: one scenario's world with its weeks, seeds and draws, and the store of what is finished."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import agents
import minesim
from agents.baselines import Knowledge
from agents.baselines.tuning import try_policies
from agents.benchmark.settings import BenchmarkSettings
from minesim.bench import decisions
from minesim.bench.cells import CellStore
from minesim.bench.files import array_hash, source_hash
from minesim.bench.rollout import OnStep, rollout
from minesim.control.observe import schema
from minesim.control.policy import Policy
from minesim.envs.core import EnvConfig, World, build_world
from minesim.errors import MinesimError, ParamsError, explain

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
    "bench/reaction.py",
)
"""Parts of the library that the outcome of a rollout depends on."""

Compute = Callable[[OnStep], xr.Dataset]
OnProgress = Callable[[str, int, int], None]
"""Told what is being done, how much of it, and how much there is."""


class Stopped(MinesimError):
    """Somebody asked for a stop; what is finished is kept."""


@functools.cache
def code_hash() -> str:
    """Hash of the source that the outcome of a rollout depends on."""
    package = Path(minesim.__file__).parent
    return source_hash(
        *(package / name for name in SOURCES),
        *sorted(path for path in package.glob("*.py") if path.name != "cli.py"),
        Path(agents.__file__).parent / "baselines",
        suffixes=(".py", ".csv"),
    )


def week_world(scenario: str, settings: BenchmarkSettings) -> World:
    """Traces and site of a scenario; episodes are weeks anywhere in it."""
    site = settings.site
    return build_world(
        EnvConfig(scenario=scenario, site=site.name, limits=site.limits, difficulty=site.difficulty, split=None)
    )


def knowledge_of(world: World) -> Knowledge:
    """What rules may know of a world."""
    return Knowledge(schema(world.cohorts), world.params.curves, world.scenario.tariff.reserve is not None)


@dataclass
class Stage:
    """One scenario.

    Attributes:
        scenario: its name.
        settings: of the benchmark.
        on_progress: told how far the present part is.
        stop: asked after every control step.
        computed, resumed: parts computed now and taken from the store.
    """

    scenario: str
    settings: BenchmarkSettings
    on_progress: OnProgress = lambda title, done, total: None
    stop: Callable[[], bool] = lambda: False
    computed: int = 0
    resumed: int = 0

    def __post_init__(self) -> None:
        self.world = week_world(self.scenario, self.settings)
        bench = self.settings.bench
        self.validation = bench.validation.starts(self.world, "validation")
        self.weeks = bench.test.starts(self.world, "test")
        self.starts = np.repeat(self.weeks, len(bench.seeds))
        self.seeds = np.tile(np.asarray(bench.seeds, np.int64), len(self.weeks))
        if not 0 <= bench.showcase_week < len(self.weeks):
            raise ParamsError(
                explain(f"bench.showcase_week is {bench.showcase_week}", allowed=f"0 to {len(self.weeks) - 1}")
            )
        self.shown = bench.showcase_week * len(bench.seeds)
        self.store = CellStore(Path(self.settings.out) / "cells")

    @property
    def knowledge(self) -> Knowledge:
        """What rules may know of this site."""
        return knowledge_of(self.world)

    def spec(self, kind: str, agent: str, **more: Any) -> dict[str, Any]:
        """Everything that a part's content depends on."""
        table, site = self.world.table, self.settings.site
        return {
            "kind": kind,
            "agent": agent,
            "scenario": self.scenario,
            "traces": array_hash(table.settle, table.market, table.start_utc.astype(np.int64)),
            "site": [site.name, site.limits, site.difficulty],
            "days": self.world.config.episode_days,
            "code": code_hash(),
            **more,
        }

    def step_counter(self, title: str, total: int) -> OnStep:
        """Progress of a part.

        Raises:
            Stopped: from the counter, when a stop is asked for.
        """

        def count(done: int) -> None:
            if self.stop():
                raise Stopped(f"stopped at {title}")
            self.on_progress(title, done, total)

        return count

    def cell(self, title: str, spec: dict[str, Any], total: int, compute: Compute) -> xr.Dataset:
        """A finished part from the store, or computed now and kept."""
        cell, was_there = self.store.get(spec, lambda: compute(self.step_counter(title, total)))
        self.resumed += was_there
        self.computed += not was_there
        return cell

    def try_on_validation(
        self, agent: str, policies: Callable[[], Sequence[Policy]], params: Sequence[Any]
    ) -> xr.Dataset:
        """Sums of every candidate on every validation week, over ``candidate`` and ``week``."""
        starts = self.validation

        def compute(on_step: OnStep) -> xr.Dataset:
            return try_policies(policies(), self.world, starts, on_step=on_step)

        spec = self.spec("tuning", agent, starts=starts, grid=list(params))
        return self.cell(f"tune {agent}", spec, self.world.horizon_steps, compute)

    def test(self, agent: str, policy: Callable[[], Policy], identity: Any) -> xr.Dataset:
        """Sums of a policy over all test weeks and seeds, with the shown run step by step.

        Args:
            agent: its name.
            policy: makes it, if it is not in the store yet.
            identity: all that tells it from others of its name: parameters, or a hash of weights.
        """
        spec = self.spec(
            "test",
            agent,
            starts=self.weeks,
            seeds=list(self.settings.bench.seeds),
            params=identity,
            showcase=self.shown,
        )
        if self.settings.bench.decisions:
            spec["decisions"] = source_hash(Path(decisions.__file__))

        def compute(on_step: OnStep) -> xr.Dataset:
            options: dict[str, Any] = {"seeds": self.seeds, "trace_runs": [self.shown], "on_step": on_step}
            if not self.settings.bench.decisions:
                return rollout(policy(), self.world, self.starts, **options)
            recorder = decisions.DecisionRecorder(self.world, len(self.starts))
            sums = rollout(policy(), self.world, self.starts, watch=recorder, **options)
            return sums.assign(recorder.judge()).drop_dims("moment")

        return self.cell(f"test {agent}", spec, self.world.horizon_steps, compute)
