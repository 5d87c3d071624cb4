"""What the configuration of a benchmark may say; a misspelt key is an error."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from agents.offline.settings import LearnerSettings, OfflineTrainer
from agents.rl.settings import AgentSettings, TrainerSettings
from minesim.bench.rollout import week_starts
from minesim.envs.core import World
from minesim.errors import ParamsError, explain

DAYS_PER_WEEK = 7


@dataclass
class Site:
    """The site and how unkind its world is."""

    name: str = "container"
    limits: str = "seed"
    difficulty: str = "medium"


@dataclass
class Weeks:
    """Weeks of a period.

    Attributes:
        first: first day, UTC; empty for the whole weeks of the split from its beginning.
        weeks: number of weeks from ``first``; 0 for as many as fit into the split.
        every: step; 2 takes every second of them.
    """

    first: str = ""
    weeks: int = 0
    every: int = 1

    def starts(self, world: World, split: str) -> NDArray[np.datetime64]:
        """Starts of the weeks, all inside ``split``.

        Raises:
            ParamsError: not a date, no weeks, or a week outside the split.
            ScenarioError: no such split.
        """
        rows = world.table.rows_of_split(split)
        begin = world.table.start_utc[rows.start]
        first = self.first or str(begin)
        try:
            row = int(
                (np.datetime64(first, "s") - world.table.start_utc[0]).astype(np.int64) // round(world.table.dt_s)
            )
            fitting = (rows.stop - row) // round(DAYS_PER_WEEK * 86400 / world.table.dt_s)
            starts = week_starts(first, self.weeks or fitting, self.every)
        except ValueError as error:
            raise ParamsError(
                explain(f"weeks are {self.first!r}, {self.weeks}, {self.every}", allowed="like '2023-07-01', 26, 1")
            ) from error
        if not len(starts):
            raise ParamsError(explain(f"weeks is {self.weeks} from {first}", allowed="1 or more", origin=split))
        last = (len(starts) - 1) * self.every + 1
        if row < rows.start or last > fitting:
            raise ParamsError(
                explain(
                    f"week {starts[-1]} leaves the split {split!r}",
                    allowed=f"{begin} and {(rows.stop - rows.start) * world.table.dt_s / 86400:g} days",
                    origin=f"scenario {world.scenario.name!r}",
                    fix="What was tuned or trained must never meet the weeks that judge it.",
                )
            )
        return starts


@dataclass
class Learned:
    """A policy that is trained in the environment.

    Attributes:
        agent: its recipe; on the command line ``learned.ppo.agent.learning_rate=1e-4``.
        trainer: how and how long it is trained.
        seeds: of training; run ``k`` of a week meets the policy of seed ``k`` modulo their number.
    """

    agent: AgentSettings = field(default_factory=AgentSettings)
    trainer: TrainerSettings = field(default_factory=TrainerSettings)
    seeds: list[int] = field(default_factory=lambda: [0])


@dataclass
class Offline:
    """A policy that is learned from recorded rollouts of rules.

    Attributes:
        agent, trainer, seeds: as in :class:`Learned`.
        policies: rules that are recorded.
        noise: share of hours at a random price in their second recording; 0 for none.
        episodes: weeks recorded of each.
    """

    agent: LearnerSettings = field(default_factory=LearnerSettings)
    trainer: OfflineTrainer = field(default_factory=OfflineTrainer)
    seeds: list[int] = field(default_factory=lambda: [0])
    policies: list[str] = field(default_factory=lambda: ["myopic_best_preset", "peak_avoiding"])
    noise: float = 0.3
    episodes: int = 64


@dataclass
class Suite:
    """A frozen set of scenarios and weeks; its name and version are those of the claims.

    Attributes:
        name: with a version, like ``hashrate_v1``.
        scenarios: names, see ``minesim data list``.
        declared: scenarios on which the learned policy is claimed to beat the best validated rule, fixed beforehand.
        champion: the learned policy of that claim.
        validation, test: weeks.
        seeds: of silicon, noise and faults.
        scales: factors on the assumed cost of wear and stops; the headline is at 1.
        decisions: whether decision quality is measured, which branches the twin.
        showcase_week: test week shown from the inside.
    """

    name: str = ""
    scenarios: list[str] = field(default_factory=list)
    declared: list[str] = field(default_factory=list)
    champion: str = "ppo_price"
    validation: Weeks = field(default_factory=Weeks)
    test: Weeks = field(default_factory=Weeks)
    seeds: list[int] = field(default_factory=lambda: [0])
    scales: list[float] = field(default_factory=lambda: [1.0])
    decisions: bool = False
    showcase_week: int = 0

    def check(self) -> None:
        """Check what types cannot.

        Raises:
            ParamsError: a value is not possible; the message names it.
        """
        if not self.scenarios or not self.seeds:
            raise ParamsError(explain("bench.scenarios or bench.seeds is empty", allowed="at least one of each"))
        if 1.0 not in self.scales or min(self.scales) < 0.0:
            raise ParamsError(explain(f"bench.scales is {list(self.scales)}", allowed="0 or above, 1 among them"))
        for name in self.declared:
            if name not in self.scenarios:
                raise ParamsError(explain(f"bench.declared names {name!r}", allowed=", ".join(self.scenarios)))


@dataclass
class BenchmarkSettings:
    """Everything that the configuration of a benchmark may say.

    Attributes:
        bench: scenarios and weeks.
        site: of all scenarios.
        rules: names of rules; empty for all that apply.
        mpc: whether model predictive control takes part.
        learned, offline: trained policies by name.
        policies: name -> folder of a trained policy, or ``module:factory`` of a Python class (see docs/submit.md).
        bounds: whether the clairvoyant and the informed bound are computed.
        jobs: processes.
        out: folder of results; finished parts are kept below it.
        latest: folder below ``out`` for the scorecard and the report.
        against: ``baseline.json`` of an earlier run to compare with; empty for none.
    """

    bench: Suite = field(default_factory=Suite)
    site: Site = field(default_factory=Site)
    rules: list[str] = field(default_factory=list)
    mpc: bool = True
    learned: dict[str, Learned] = field(default_factory=dict)
    offline: dict[str, Offline] = field(default_factory=dict)
    policies: dict[str, str] = field(default_factory=dict)
    bounds: bool = True
    jobs: int = 2
    out: str = "outputs"
    latest: str = "latest"
    against: str = ""

    def check(self) -> None:
        """Check what types cannot.

        Raises:
            ParamsError: a value is not possible; the message names it.
        """
        self.bench.check()
        if self.jobs < 1:
            raise ParamsError(explain(f"jobs is {self.jobs}", allowed="1 or more"))
        for name, learned in self.learned.items():
            if not learned.seeds:
                raise ParamsError(explain(f"learned.{name}.seeds is empty", allowed="at least one"))
        for name, offline in self.offline.items():
            if not offline.seeds:
                raise ParamsError(explain(f"offline.{name}.seeds is empty", allowed="at least one"))
