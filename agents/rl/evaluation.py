"""Judge a policy on validation weeks: the same weeks, seeds and draws for it and for the rules."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agents.baselines.table import entry
from agents.rl.actions import build_rule
from agents.rl.settings import Validation
from minesim.bench.rollout import rollout, week_starts
from minesim.bench.statistics import Comparison, holm, paired_interval
from minesim.control.policy import Policy
from minesim.envs.core import World
from minesim.errors import ParamsError, explain

Profit = NDArray[np.float64]


class Judge:
    """Profit of policies on fixed weeks of the split ``validation``.

    Args:
        world: with the horizon of a week; difficulty as in the report.
        weeks: first day, number, step and seeds.

    Raises:
        ParamsError: not a date, no weeks, or a week outside the split ``validation``.
    """

    def __init__(self, world: World, weeks: Validation) -> None:
        self.world, self.weeks = world, weeks
        try:
            starts = week_starts(weeks.first, weeks.weeks, weeks.every)
        except ValueError as error:
            raise ParamsError(
                explain(
                    f"validation is {weeks.first!r}, {weeks.weeks}, {weeks.every}", allowed="like 2023-01-07, 25, 2"
                )
            ) from error
        if not len(starts) or not weeks.seeds:
            raise ParamsError(explain("validation has no weeks or no seeds", allowed="at least one of each"))
        split = world.table.rows_of_split("validation")
        for start in starts[[0, -1]]:
            row = world.table.row_of(start)
            if row < split.start or row + world.horizon_rows > split.stop + 1:
                raise ParamsError(
                    explain(
                        f"the validation week from {start} leaves the split 'validation'",
                        origin=f"scenario {world.scenario.name!r}",
                        fix="Policies are chosen on validation weeks only; test weeks belong to the benchmark.",
                    )
                )
        self.starts, self.seeds = np.repeat(starts, len(weeks.seeds)), np.tile(weeks.seeds, len(starts))

    def profit(self, policy: Policy) -> Profit:
        """Net profit of each week and seed, USD, (weeks, seeds)."""
        sums = rollout(policy, self.world, self.starts, seeds=self.seeds)
        return np.asarray(sums["profit_usd"].to_numpy(), np.float64).reshape(-1, len(self.weeks.seeds))

    def rules(self) -> dict[str, Profit]:
        """The same for the rules named in the settings that apply, with tuned parameters."""
        offers = self.world.scenario.tariff.reserve is not None
        names = [name for name in self.weeks.rules if entry(name).applies(offers)]
        return {name: self.profit(build_rule(name, self.world)) for name in names}


def against(profit: Profit, rules: dict[str, Profit], name: str) -> list[Comparison]:
    """``name`` against every rule: paired differences with intervals, Holm-corrected."""
    gaps = [paired_interval(profit, values) for values in rules.values()]
    adjusted = holm([gap.p_value for gap in gaps]) if gaps else []
    return [Comparison(name, rule, gap, p) for rule, gap, p in zip(rules, gaps, adjusted, strict=True)]
