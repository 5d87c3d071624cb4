"""Carry a study out on the twin, and say what it found, cost and broke."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from agents.bo.study import Study
from minesim.tuning.device import Vector
from minesim.tuning.optimum import SafeOptimum, regret, safe_optimum

Tell = Callable[[Study], None]


@dataclass(frozen=True)
class Result:
    """A finished study, judged without noise.

    Attributes:
        regret: of the recommended setting after each batch, as a share of stock revenue; infinite where unsafe.
        setting: the one recommended at the end.
        optimum: the safe optimum.
        trips: trials that ended in a trip.
        violations: trials beyond a limit on the noise-free unit, trips included.
        temp_violations: those beyond the temperature limit.
        hours, cost_usd: time and money of all trials.
    """

    regret: tuple[float, ...]
    setting: Vector
    optimum: SafeOptimum
    trips: int
    violations: int
    temp_violations: int
    hours: float
    cost_usd: float

    def trials_to(self, share: float) -> int | None:
        """Batches until the recommended setting stays within ``share`` of the optimum; None if it never does."""
        good = np.array(self.regret) <= share
        if not good[-1]:
            return None
        bad = np.flatnonzero(~good)
        return int(bad[-1]) + 2 if len(bad) else 1


def carry_out(study: Study, trials: int, batch: int = 1, tell: Tell | None = None) -> None:
    """Ask, measure on the twin and tell until the study has so many trials; trials that were out are measured first."""
    for trial in study.out:
        study.tell(trial.number, study.problem.at(trial.temp_amb_c).evaluate(trial.setting, trial.number))
    while len(study.trials) < trials:
        for trial in study.ask(min(batch, trials - len(study.trials))):
            study.tell(trial.number, study.problem.evaluate(trial.setting, trial.number))
        if tell is not None:
            tell(study)


def judge(study: Study, optimum: SafeOptimum | None = None) -> Result:
    """Judge a study on the noise-free unit in its present ambient."""
    problem = study.problem
    best = optimum or safe_optimum(problem)
    told = study.told
    course = []
    for n in range(1, len(told) + 1):
        setting = study.method.recommend(problem, told[:n])
        course.append(regret(problem, setting, best))
    safe = np.array([bool(problem.at(t.temp_amb_c).safe(np.array(t.setting))[0]) for t in told])
    temps = np.array([problem.at(t.temp_amb_c).truth(np.array(t.setting)).temp_c.max() for t in told])
    measured = [t.measured for t in told if t.measured is not None]
    return Result(
        regret=tuple(course),
        setting=study.recommend(),
        optimum=best,
        trips=sum(m.tripped for m in measured),
        violations=int((~safe).sum()),
        temp_violations=int((np.rint(temps) > problem.limits.temp_max_c).sum()),
        hours=sum(m.hours for m in measured),
        cost_usd=sum(m.cost_usd for m in measured),
    )
