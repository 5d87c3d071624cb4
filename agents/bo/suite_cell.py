"""One part of the tuning benchmark: a method on a unit, judged without noise, as plain values."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, Final

import numpy as np

from agents.bo.beliefs import Lesson
from agents.bo.methods import method
from agents.bo.pareto import pareto_front
from agents.bo.run import carry_out, judge
from agents.bo.study import Study, Trial
from agents.bo.suite_settings import PARETO, TAUGHT
from minesim.bench.files import plain
from minesim.tuning.device import Vector
from minesim.tuning.optimum import SafeOptimum, safe_optimum
from minesim.tuning.problem import TuningProblem

Cell = dict[str, Any]
Truth = dict[str, float | bool]
CAPS_REL: Final = (0.7, 0.8, 0.9, 1.0)
"""Wall power over stock's at which the greatest safe hashrate is searched."""


def tune(problem: TuningProblem, name: str, trials: int, optimum: SafeOptimum, lessons: Sequence[Lesson] = ()) -> Cell:
    """Carry a method out on a unit and judge it without noise.

    Returns:
        Plain values: the fields of :class:`agents.bo.run.Result`, an infinite regret as None; ``seconds`` of processor
        time; ``true`` values of what it recommends, of stock and of the optimum; what is ``possible`` on the unit, with
        stock; the ``lesson``, with ``bo``; the measured settings that no other beats in all merits, with ``bo_pareto``
        (``front``, a list of true values).
    """
    chosen = method("bo" if name == TAUGHT else name)
    if lessons:
        chosen = replace(chosen, lessons=tuple(lessons))  # type: ignore[type-var]
    began = time.process_time()
    study = Study(problem, chosen, seed=problem.seed)
    carry_out(study, trials)
    seconds = time.process_time() - began
    result = judge(study, optimum)
    cell: Cell = {
        **asdict(result),
        "trials": trials,
        "seconds": seconds,
        "true": {
            "recommended": truth(problem, result.setting),
            "stock": truth(problem, problem.stock()),
            "optimum": truth(problem, optimum.setting),
        },
    }
    if name == "stock":
        cell["possible"] = possible(problem)
    if name == "bo":
        cell["lesson"] = asdict(chosen.surrogate(problem, study.told).lesson())  # type: ignore[attr-defined]
    if name == PARETO:
        cell["front"] = front(problem, study.told)
    return dict(plain(cell))


def front(problem: TuningProblem, told: Sequence[Trial]) -> list[Truth]:
    """True values of the tried settings within all limits that no other beats in profit, energy per hash and wear."""
    tried = [truth(problem, np.array(trial.setting)) for trial in told]
    kept = [at for at in tried if at["safe"]]
    merits = np.array([[at["score"], -at["power_w"] / at["hashrate_ths"], -at["ageing_rel"]] for at in kept])
    return [at for at, best in zip(kept, pareto_front(merits.reshape(-1, 3)), strict=True) if best]


def truth(problem: TuningProblem, setting: Vector) -> Truth:
    """What a setting does on the unit, without noise."""
    at = problem.truth(setting)
    return {
        "hashrate_ths": float(at.hashrate_ths[0]),
        "power_w": float(at.power_w[0]),
        "error_max": float(at.error_ratio.max()),
        "temp_max_c": float(at.temp_c.max()),
        "ageing_rel": float(at.ageing_rel[0]),
        "score": float(problem.score(at)[0]),
        "safe": bool(problem.safe(setting)[0]),
    }


def possible(problem: TuningProblem) -> dict[str, float]:
    """What the unit's own curve allows against its stock setting, by dense search without noise.

    Returns:
        ``hashrate_gain`` at stock's wall power and ``efficiency_gain`` (less J/TH) at stock's hashrate, relative; the
        second is read off the greatest safe hashrates at four powers, and NaN where none reaches stock's.
    """
    stock = truth(problem, problem.stock())
    powers = [share * stock["power_w"] for share in CAPS_REL]
    greatest = []
    for cap_w in powers:
        capped = replace(problem, objective=replace(problem.objective, kind="hashrate", power_cap_w=cap_w))
        greatest.append(safe_optimum(capped).score)
    needed_w = float(np.interp(stock["hashrate_ths"], greatest, powers, left=math.nan, right=math.nan))
    return {
        "hashrate_gain": greatest[-1] / stock["hashrate_ths"] - 1.0,
        "efficiency_gain": 1.0 - needed_w / stock["power_w"],
    }


def regret_course(cell: Cell) -> Vector:
    """Regret by trial, infinite where the recommended setting is unsafe, (T,)."""
    return np.array([math.inf if value is None else value for value in cell["regret"]], dtype=np.float64)
