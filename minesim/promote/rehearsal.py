"""A dress rehearsal: policies run validation weeks in the twin under the limits that hold on hardware.

What goes out is judged here from commands and readings alone, not by the envelope's own memory, so that a fault of the
envelope would show.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minesim.arrays import NUMPY, Array
from minesim.bench.rollout import Panel, rollout
from minesim.bench.statistics import FloatArray
from minesim.control.actuate import command_power_w
from minesim.control.envelope import Limits, Reason
from minesim.control.policy import Policy
from minesim.envs.core import SiteCore, StepResult, World

ROUNDING = 1e-6
WINDOW_S = 300.0
SECONDS_PER_MINUTE = 60.0

BROKEN: Mapping[str, str] = {
    "ramp": "set power rose by more than the ramp within five minutes or a minute (one cohort alone may)",
    "dwell": "a cohort moved up again before its dwell time was over",
    "write_gap": "a cohort was written to again before its last write could be read back",
    "stops": "a cohort was stopped more often than a day allows",
    "site_cap": "set power rose while above the site's cap",
    "soft_temp": "a cohort moved up though its reading was above the soft limit",
    "hard_temp": "a cohort ran on though its reading was above the hard limit",
    "stale": "a cohort was changed, other than stopped for heat, though its reading was older than allowed",
    "chip_hard": "a chip of the twin was above the hard limit",
    "trips": "a miner of the twin tripped",
}
"""What is counted, in steps (the last: miners)."""


@dataclass(frozen=True)
class Rehearsed:
    """How a policy did.

    Attributes:
        profit_usd: of each week, (weeks,).
        broken: what of :data:`BROKEN` happened how often.
        held_back: reason of the envelope -> share of steps in which it was the worst reason.
    """

    profit_usd: FloatArray
    broken: Mapping[str, int]
    held_back: Mapping[str, float]

    @property
    def total(self) -> int:
        """All that was broken together."""
        return sum(self.broken.values())


def rehearse(
    policies: Sequence[Policy],
    world: World,
    starts: NDArray[np.datetime64],
    on_step: Callable[[int], None] | None = None,
) -> list[Rehearsed]:
    """Run policies side by side through the same weeks and draws.

    Args:
        policies: each acts on its own sites.
        world: with the limits of the rehearsal.
        starts: of the weeks, UTC.
        on_step: told after every control step.

    Returns:
        One result a policy, in order.
    """
    number, weeks = len(policies), len(starts)
    watch = LimitsWatch(world, number * weeks)
    sums = rollout(Panel(policies, weeks), world, np.tile(starts, number), on_step=on_step, watch=watch)
    profit = np.asarray(sums["profit_usd"].to_numpy(), np.float64).reshape(number, weeks)
    broken = {name: counts.reshape(number, weeks).sum(axis=1) for name, counts in watch.broken.items()}
    held = {name: counts.reshape(number, weeks).sum(axis=1) for name, counts in watch.held_back.items()}
    steps = world.horizon_steps * weeks
    return [
        Rehearsed(
            profit_usd=profit[k],
            broken={name: int(counts[k]) for name, counts in broken.items()},
            held_back={name: float(counts[k]) / steps for name, counts in held.items()},
        )
        for k in range(number)
    ]


class LimitsWatch:
    """Counts what of the limits is broken; a :class:`minesim.bench.rollout.Watch`.

    Args:
        world: with the limits.
        runs: number of sites.

    Attributes:
        broken: name of :data:`BROKEN` -> count of each run, (runs,).
        held_back: reason of the envelope -> steps of each run in which it was the worst reason, (runs,).
    """

    def __init__(self, world: World, runs: int) -> None:
        self.limits: Limits = world.limits
        self.curves, self.dt_s = world.params.curves, world.config.dt_ctrl_s
        self.broken = {name: np.zeros(runs, np.int64) for name in BROKEN}
        self.held_back = {reason.name.lower(): np.zeros(runs, np.int64) for reason in Reason if reason}
        cohorts = world.cohorts
        self._since_up_s = np.full((runs, cohorts), np.inf)
        self._since_write_s = np.full((runs, cohorts), np.inf)
        self._stops = np.zeros((runs, cohorts))
        self._day = np.full(runs, np.nan)
        # Rises of each cohort, W, in the steps of the last five minutes.
        self._rises: deque[FloatArray] = deque(maxlen=max(1, round(WINDOW_S / self.dt_s)))

    def before(self, core: SiteCore, action: Array) -> None:
        """Remember what was in force and what could be read."""
        self._command, self._telemetry = core.history.command, core.telemetry
        self._set_w = command_power_w(self._command, self.curves, xp=NUMPY)

    def after(self, core: SiteCore, result: StepResult) -> None:
        """Judge what went out and what came of it."""
        limits, seen, command = self.limits, self._telemetry, core.history.command
        set_w = command_power_w(command, self.curves, xp=NUMPY)
        change_w = set_w - self._set_w
        least_w = ROUNDING * self.curves.power_rated_w
        up, changed = change_w > least_w, np.abs(change_w) > least_w
        stopped = (self._command.run > 0.5) & (command.run < 0.5)

        day = np.asarray(core.history.local_day)
        self._stops = np.where((day == self._day)[:, None], self._stops, 0.0) + stopped
        self._day = day
        rated_w = self.curves.power_rated_site_w * (1.0 + ROUNDING)
        self._rises.append(np.where(up, change_w, 0.0) * self.curves.count)
        recent = np.sum(self._rises, axis=0)
        several = (recent > 0.0).sum(axis=1) > 1
        too_steep = recent.sum(axis=1) > limits.ramp_up_per_5min * rated_w
        too_steep |= self._rises[-1].sum(axis=1) > limits.ramp_up_per_min * rated_w * self.dt_s / SECONDS_PER_MINUTE
        over_soft = _hotter(seen.temp_chip_c, limits.temp_chip_soft_c, seen.temp_board_c, limits.temp_board_soft_c)
        over_hard = _hotter(seen.temp_chip_c, limits.temp_chip_hard_c, seen.temp_board_c, limits.temp_board_hard_c)
        site_w = set_w @ self.curves.count

        found = {
            "ramp": several & too_steep,
            "dwell": (up & (self._since_up_s < limits.dwell_up_s - ROUNDING)).any(axis=1),
            "write_gap": (changed & ~over_hard & (self._since_write_s < limits.write_gap_s - ROUNDING)).any(axis=1),
            "stops": (stopped & ~over_hard & (self._stops > limits.stops_per_day)).any(axis=1),
            "site_cap": up.any(axis=1) & (site_w > limits.site_cap_w * (1.0 + ROUNDING)),
            "soft_temp": (up & over_soft).any(axis=1),
            "hard_temp": ((command.run > 0.5) & over_hard).any(axis=1),
            "stale": (changed & ~over_hard & (seen.age_s > limits.age_max_s + 1.0)).any(axis=1),
            "chip_hard": np.asarray(result.info["temp_chip_max_c"]) > limits.temp_chip_hard_c,
            "trips": np.asarray(result.info["trips"]),
        }
        for name, flags in found.items():
            self.broken[name] += np.asarray(flags).astype(np.int64)
        worst = np.asarray(result.info["envelope_reason"])
        for reason in Reason:
            if reason:
                self.held_back[reason.name.lower()] += worst == reason.value
        self._since_up_s = np.where(up, 0.0, self._since_up_s) + self.dt_s
        self._since_write_s = np.where(changed, 0.0, self._since_write_s) + self.dt_s


def _hotter(chip_c: Array, chip_limit_c: float, board_c: Array, board_limit_c: float) -> NDArray[np.bool_]:
    return np.asarray((chip_c > chip_limit_c) | (board_c > board_limit_c))
