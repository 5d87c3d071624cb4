"""Methods to compare with: what needs no model, at the same budgets and on the same noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from agents.bo.study import Trial, best_measured
from minesim.errors import MissingExtraError, explain
from minesim.tuning.device import Vector
from minesim.tuning.problem import Measurement, TuningProblem

GRID_LEVELS: Final = 3
COARSE_STEPS, FINEST_STEP = 4, 1
"""Coordinate search moves this many grid steps of a knob at first, and halves down to one."""


class _Measured:
    """Keeps the best setting as measured."""

    def recommend(self, problem: TuningProblem, trials: Sequence[Trial]) -> Vector:
        """The best measured setting within the limits, (D,)."""
        return best_measured(problem, trials)


@dataclass(frozen=True)
class Stock(_Measured):
    """Leaves the unit as the maker set it."""

    name: str = "stock"

    def propose(self, problem: TuningProblem, trials: Sequence[Trial], count: int, seed: int) -> Vector:
        """Stock, whatever happens, (count, D)."""
        return np.repeat(problem.stock()[None], count, axis=0)

    def recommend(self, problem: TuningProblem, trials: Sequence[Trial]) -> Vector:
        """Stock."""
        return problem.stock()


@dataclass(frozen=True)
class BestPreset(_Measured):
    """Tries the ready presets in rising power and goes round again, keeping the best."""

    name: str = "best_preset"

    def propose(self, problem: TuningProblem, trials: Sequence[Trial], count: int, seed: int) -> Vector:
        """The next presets, (count, D)."""
        presets = problem.presets()
        return presets[(len(trials) + np.arange(count)) % len(presets)]


@dataclass(frozen=True)
class Grid(_Measured):
    """A full grid of three levels a knob, all boards alike, in a shuffled order."""

    name: str = "grid"

    def propose(self, problem: TuningProblem, trials: Sequence[Trial], count: int, seed: int) -> Vector:
        """The next points of the grid that keep the slope limit, (count, D)."""
        levels = np.linspace(0.0, 1.0, GRID_LEVELS + 2)[1:-1]
        names = problem.names
        kinds = ["board" if "board" in name else name for name in names]
        free = list(dict.fromkeys(kinds))
        mesh = np.stack(np.meshgrid(*[levels] * len(free), indexing="ij"), axis=-1).reshape(-1, len(free))
        scaled = mesh[:, [free.index(kind) for kind in kinds]]
        points = problem.snap(problem.lower + scaled * (problem.upper - problem.lower))
        points = np.random.default_rng(seed).permutation(points[problem.allowed(points)])
        return points[(len(trials) + np.arange(count)) % len(points)]


@dataclass(frozen=True)
class Random(_Measured):
    """Draws settings evenly over the bounds."""

    name: str = "random"

    def propose(self, problem: TuningProblem, trials: Sequence[Trial], count: int, seed: int) -> Vector:
        """Fresh draws that keep the slope limit, (count, D)."""
        rng = np.random.default_rng([seed, len(trials)])
        return _first_allowed(problem, rng.uniform(size=(64 * count, len(problem.names))), count)


@dataclass(frozen=True)
class Sobol(_Measured):
    """Spreads settings over the bounds by a scrambled Sobol sequence."""

    name: str = "sobol"

    def propose(self, problem: TuningProblem, trials: Sequence[Trial], count: int, seed: int) -> Vector:
        """The next points of the sequence that keep the slope limit, (count, D)."""
        from scipy.stats import qmc

        points = qmc.Sobol(len(problem.names), rng=np.random.default_rng(seed)).random_base2(10)
        scaled = problem.snap(problem.lower + points * (problem.upper - problem.lower))
        kept = points[problem.allowed(scaled)]
        start = len(trials)
        return _first_allowed(problem, np.roll(kept, -start, axis=0), count)


def _first_allowed(problem: TuningProblem, scaled: Vector, count: int) -> Vector:
    settings = problem.snap(problem.lower + scaled * (problem.upper - problem.lower))
    kept: Vector = settings[problem.allowed(settings)][:count]
    return kept


@dataclass(frozen=True)
class TreeParzen(_Measured):
    """Optuna's TPE, begun at the known-good setting; a broken limit ranks below every kept one, the worse the lower."""

    name: str = "tpe"

    def propose(self, problem: TuningProblem, trials: Sequence[Trial], count: int, seed: int) -> Vector:
        """Settings that TPE suggests after the history, (count, D).

        Raises:
            MissingExtraError: optuna is not installed.
        """
        if not trials:
            return np.repeat(problem.known_good()[None], count, axis=0)
        try:
            import optuna
        except ImportError as error:
            raise MissingExtraError(
                explain("optuna is not installed", fix="Install it with: pip install 'minesim[bo]'")
            ) from error
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        knobs = problem.device.knobs
        spaces: dict[str, optuna.distributions.BaseDistribution] = {
            knob.name: optuna.distributions.IntDistribution(0, knob.count - 1) for knob in knobs
        }
        study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed + len(trials)))
        for trial in trials:
            if trial.measured is not None:
                index = np.rint((np.array(trial.setting) - problem.lower) / [knob.step for knob in knobs])
                study.add_trial(
                    optuna.trial.create_trial(
                        params={knob.name: int(i) for knob, i in zip(knobs, index, strict=True)},
                        distributions=spaces,
                        value=_ranked(problem, trial.measured),
                    )
                )
        asked = [study.ask(spaces).params for _ in range(16 * count)]
        settings = np.array([[knob.low + knob.step * params[knob.name] for knob in knobs] for params in asked])
        kept = settings[problem.allowed(settings)][:count]
        return kept if len(kept) == count else np.repeat(problem.known_good()[None], count, axis=0)


def _ranked(problem: TuningProblem, measured: Measurement) -> float:
    """The measured score, or how far limits were broken as a large negative number."""
    score = problem.measured_score(measured)
    if score > -math.inf:
        return score
    limits = problem.limits
    excess = max(max(measured.error_ratio) - limits.error_max, 0.0)
    excess += max(max(measured.temp_c) - limits.temp_max_c, 0.0) / 100.0
    return -1e6 * (1.0 + excess + measured.tripped)


@dataclass(frozen=True)
class CoordinateSearch(_Measured):
    """Moves one knob at a time from stock, as autotuners in firmware do: on while it helps, else back and halve."""

    name: str = "coordinate"

    def propose(self, problem: TuningProblem, trials: Sequence[Trial], count: int, seed: int) -> Vector:
        """The next move after the history, (count, D); side by side it tries the same move of several knobs."""
        steps = np.array([knob.step for knob in problem.device.knobs])
        best, best_score = problem.stock(), -math.inf
        knob, sign, size, failed = 1, 1.0, COARSE_STEPS, 0
        for trial in trials:
            if trial.measured is None:
                continue
            score = problem.measured_score(trial.measured)
            if score > best_score:
                best, best_score, failed = np.array(trial.setting), score, 0
            else:
                failed += 1
                if sign > 0:
                    sign = -1.0
                else:
                    sign, knob = 1.0, (knob + 1) % len(steps)
                if failed >= 2 * len(steps):
                    size, failed = max(size // 2, FINEST_STEP), 0
        if not trials:
            return np.repeat(best[None], count, axis=0)
        moves = []
        for i in range(count):
            move, which, way = best.copy(), (knob + i) % len(steps), sign
            move[which] += way * size * steps[which]
            move = problem.snap(np.clip(move, problem.lower, problem.upper))[0]
            moves.append(move if problem.allowed(move)[0] else best)
        return np.array(moves)
