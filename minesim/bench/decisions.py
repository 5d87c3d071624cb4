"""How good decisions were: the twin is branched at moments of a run, and an hour is spent otherwise on the same draws.

Moments are those where the policy changes what it asks for, and some drawn beforehand where it does not. The branch
spends an hour otherwise: it holds what was asked before where the policy changed, and stops a running site, or starts a
standing one, where it held. From there on both do what the policy really did, for another hour, so that a start or stop
that was only put off is compared with the same one later. The policy's own course needs no second run: a branch that
acts alike equals it bit for bit.

The profit of the two hours is compared, with what either course commits the site to: the demand charge that is still
to be booked because a later interval of the month, within the run, exceeds the peak so far. Each moment weighs as much
as it matters in USD.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from minesim.arrays import NUMPY, Array
from minesim.bench.rollout import OnStep, rollout
from minesim.control.actuate import ON_ABOVE, target_level
from minesim.control.policy import Policy
from minesim.envs.core import SiteCore, StepResult, World
from minesim.envs.snapshot import CoreSnapshot
from minesim.errors import ParamsError, explain
from minesim.units import SECONDS_PER_HOUR

FloatArray = NDArray[np.float64]

BRANCH_H = 1.0
"""An hour otherwise."""
TAIL_H = 1.0
"""Time to come back: a site of the ``seed`` limits starts within 40 min (see ``response_minutes``)."""
CHANGE_MIN = 0.05
"""A policy changes its mind where the site's wished power moves by more than this share of rated power (assumed)."""
HELD_PER_DAY = 4
CHANGES_PER_RUN = 64
ROWS_AT_ONCE = 256
STOP, START = -1.0, 1.0
FIRM_START = ON_ABOVE + 1e-3
"""Least action that starts a standing cohort."""


class Moment(NamedTuple):
    """Where a run was when a decision was made.

    Attributes:
        run: number of the run.
        step: control step that the decision is for.
        changed: whether the policy changed what it asked for.
        other: action of the branch for its hour, (n_act,); a reserve offer in it is replaced by what was offered.
        snapshot: the site before the step.
    """

    run: int
    step: int
    changed: bool
    other: FloatArray
    snapshot: CoreSnapshot


def hour_steps(world: World, hours: float) -> int:
    """Control steps in ``hours``."""
    return round(hours * SECONDS_PER_HOUR / world.config.dt_ctrl_s)


class DecisionRecorder:
    """Looks on while a rollout runs (its ``watch``) and judges the decisions afterwards.

    Args:
        world: of the rollout.
        runs: number of runs.
        held_per_day: moments drawn each day, one in each equal part of it, the same for all runs and policies.
        changes_per_run: most changes that are judged in a run; of more a random sample is.
        seed: of the draws.

    Raises:
        ParamsError: fewer than one moment.
    """

    def __init__(
        self,
        world: World,
        runs: int,
        *,
        held_per_day: int = HELD_PER_DAY,
        changes_per_run: int = CHANGES_PER_RUN,
        seed: int = 0,
    ) -> None:
        if held_per_day < 0 or changes_per_run < 0 or held_per_day + changes_per_run == 0:
            raise ParamsError(
                explain(
                    f"{held_per_day} moments a day and {changes_per_run} changes a run are to be judged",
                    allowed="0 or more each, not 0 both",
                )
            )
        self.world = world
        self.changes_per_run = changes_per_run
        curves, steps = world.params.curves, world.horizon_steps
        self._share = curves.count * curves.power_rated_w / curves.power_rated_site_w
        self._last_step = steps - hour_steps(world, BRANCH_H + TAIL_H)
        self._rng = np.random.default_rng([seed, 1])
        self._held_steps = self._draw_held(np.random.default_rng([seed, 0]), held_per_day)
        self._step = 0
        self._done = np.zeros((steps, runs, world.action_size))
        self._firm = np.zeros((steps, runs, world.action_size))
        self._profit_usd, self._peak_kw, self._closed_kw, self._month = (np.zeros((steps, runs)) for _ in range(4))
        self._wished: FloatArray | None = None
        self._changes_seen = np.zeros(runs, np.int64)
        self._changes: list[list[Moment]] = [[] for _ in range(runs)]
        self._held: list[Moment] = []

    def _draw_held(self, rng: np.random.Generator, per_day: int) -> set[int]:
        if per_day == 0 or self._last_step < 0:
            return set()
        length = max(1, round(hour_steps(self.world, 24.0) / per_day))
        begins = np.arange(0, self._last_step + 1, length)
        ends = np.minimum(begins + length, self._last_step + 1)
        return {int(step) for step in rng.integers(begins, ends)}

    # ------------------------------------------------------------------ looking on

    def before(self, core: SiteCore, action: Array) -> None:
        """Note what the policy asks for, and where the site is if this moment is to be judged."""
        step, cohorts, world = self._step, self.world.cohorts, self.world
        self._done[step] = action
        command = core.history.command
        wished = target_level(self._done[step, :, :cohorts], command.run, world.params.curves.level_min, xp=NUMPY)
        firm = self._done[step].copy()
        firm[:, :cohorts] = np.where(wished > 0.0, np.maximum(firm[:, :cohorts], FIRM_START), STOP)
        self._firm[step] = firm
        before, self._wished = self._wished, wished
        if step > self._last_step:
            return
        changed = np.zeros(len(wished), bool)
        if before is not None:
            changed = np.abs(wished - before) @ self._share > CHANGE_MIN
        places = {int(run): place for run in np.flatnonzero(changed) if (place := self._place(int(run))) is not None}
        held = np.flatnonzero(~changed) if step in self._held_steps else np.zeros(0, np.int64)
        if not places and not held.size:
            return
        snapshot = core.snapshot()
        for run, place in places.items():
            moment = Moment(run, step, True, self._firm[step - 1, run], snapshot.rows([run]))
            if place == len(self._changes[run]):
                self._changes[run].append(moment)
            else:
                self._changes[run][place] = moment
        running = command.run @ self._share >= 0.5
        for run in (int(row) for row in held):
            other = np.full(world.action_size, STOP if running[run] else START)
            self._held.append(Moment(run, step, False, other, snapshot.rows([run])))

    def _place(self, run: int) -> int | None:
        """Where a change is kept (reservoir sampling: every change is as likely to be kept), None to let it go."""
        seen = int(self._changes_seen[run])
        self._changes_seen[run] += 1
        if seen < self.changes_per_run:
            return seen
        place = int(self._rng.integers(seen + 1))
        return place if place < self.changes_per_run else None

    def after(self, core: SiteCore, result: StepResult) -> None:
        """Note what came of the step."""
        step = self._step
        self._profit_usd[step] = result.info["profit_usd"]
        self._peak_kw[step] = core.meter.month_peak_kw
        self._month[step] = core.meter.billing_month
        if (step + 1) % self.world.steps_per_row == 0:
            self._closed_kw[step] = core.meter.interval_kwh * (SECONDS_PER_HOUR / self.world.table.dt_s)
        self._step += 1

    # ------------------------------------------------------------------ judging

    def moments(self) -> list[Moment]:
        """All moments that are judged, by run and step."""
        every = [moment for run in self._changes for moment in run] + self._held
        return sorted(every, key=lambda moment: (moment.run, moment.step))

    def gains_usd(self, moments: Sequence[Moment]) -> FloatArray:
        """What each decision earned over its branch, USD; negative where the branch was the better choice."""
        parts = [moments[at : at + ROWS_AT_ONCE] for at in range(0, len(moments), ROWS_AT_ONCE)]
        return np.concatenate([self._gain_usd(part) for part in parts]) if parts else np.zeros(0)

    def replay(self, moments: Sequence[Moment], branch: bool = True) -> tuple[SiteCore, FloatArray]:
        """Run branches from ``moments``; what was really done when ``branch`` is false.

        Returns:
            The core at the end, and profit by step and moment, USD.
        """
        hour, steps = hour_steps(self.world, BRANCH_H), hour_steps(self.world, BRANCH_H + TAIL_H)
        at, run = np.array([m.step for m in moments]), np.array([m.run for m in moments])
        cohorts = self.world.cohorts
        core = SiteCore(self.world, len(moments))
        core.restore(CoreSnapshot.join([m.snapshot for m in moments]))
        other = np.stack([m.other for m in moments])
        profit = np.empty((steps, len(moments)))
        for step in range(steps):
            if not branch:
                action = self._done[at + step, run]
            else:
                action = self._firm[at + step, run].copy()
                if step < hour:
                    action[:, :cohorts] = other[:, :cohorts]
            profit[step] = core.step(action).info["profit_usd"]
        return core, profit

    def _gain_usd(self, moments: Sequence[Moment]) -> FloatArray:
        steps = hour_steps(self.world, BRANCH_H + TAIL_H)
        at, run = np.array([m.step for m in moments]), np.array([m.run for m in moments])
        core, profit = self.replay(moments)
        end = at + steps - 1
        own = self._profit_usd[at + np.arange(steps)[:, None], run].sum(axis=0)
        row = core.start_row + end // self.world.steps_per_row
        rate = self.world.table.column("demand_rate_usd_per_kw")[row]
        later_kw = self._later_peak_kw(end, run)
        own_due = rate * np.maximum(later_kw - self._peak_kw[end, run], 0.0)
        other_due = rate * np.maximum(later_kw - core.meter.month_peak_kw, 0.0)
        return np.asarray((own - own_due) - (profit.sum(axis=0) - other_due))

    def _later_peak_kw(self, step: NDArray[np.int64], run: NDArray[np.int64]) -> FloatArray:
        """Highest demand interval that closed after ``step`` in its billing month, to the run's end, kW; 0 for none."""
        peaks = np.zeros(len(step))
        for index, (last, column) in enumerate(zip(step, run, strict=True)):
            same = self._month[last + 1 :, column] == self._month[last, column]
            peaks[index] = (self._closed_kw[last + 1 :, column] * same).max(initial=0.0)
        return peaks

    def judge(self) -> dict[str, Any]:
        """Judge all moments.

        Returns:
            Variables of a Dataset: ``decision_right_usd`` and ``decision_usd`` over ``run`` (NaN where nothing was
            judged), and ``moment_run``, ``moment_step``, ``moment_changed`` and ``moment_gain_usd`` over ``moment``.
        """
        moments = self.moments()
        gain = self.gains_usd(moments)
        run = np.array([m.run for m in moments], np.int64)
        runs = len(self._changes)
        judged = np.where(np.bincount(run, minlength=runs) > 0, 1.0, np.nan)
        right = np.bincount(run, weights=np.maximum(gain, 0.0), minlength=runs) * judged
        total = np.bincount(run, weights=np.abs(gain), minlength=runs) * judged
        return {
            "decision_right_usd": ("run", right, {"units": "USD"}),
            "decision_usd": ("run", total, {"units": "USD"}),
            "moment_run": ("moment", run),
            "moment_step": ("moment", np.array([m.step for m in moments], np.int64)),
            "moment_changed": ("moment", np.array([m.changed for m in moments], bool)),
            "moment_gain_usd": ("moment", gain, {"units": "USD"}),
        }


def decision_quality(
    policy: Policy,
    world: World,
    starts: NDArray[np.datetime64],
    *,
    seeds: Sequence[int] | NDArray[np.int64] | None = None,
    options: dict[str, Any] | None = None,
    held_per_day: int = HELD_PER_DAY,
    changes_per_run: int = CHANGES_PER_RUN,
    moment_seed: int = 0,
    on_step: OnStep | None = None,
) -> xr.Dataset:
    """Run a policy from every start and judge its decisions by branching the twin.

    Args:
        policy, world, starts, seeds, options, on_step: as for :func:`minesim.bench.rollout.rollout`.
        held_per_day, changes_per_run, moment_seed: as for :class:`DecisionRecorder`.

    Returns:
        The rollout with what :meth:`DecisionRecorder.judge` adds; its metrics have a ``decision_quality``.

    Raises:
        ParamsError, ScenarioError: as for a rollout, or fewer than one moment is to be judged.
    """
    recorder = DecisionRecorder(
        world, len(starts), held_per_day=held_per_day, changes_per_run=changes_per_run, seed=moment_seed
    )
    sums = rollout(policy, world, starts, seeds=seeds, options=options, on_step=on_step, watch=recorder)
    return sums.assign(recorder.judge())
