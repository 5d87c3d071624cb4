"""Bayesian optimisation of a unit's setting: safe, in a trust region, one trial or several side by side."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
import torch
from botorch.acquisition.acquisition import AcquisitionFunction
from botorch.acquisition.logei import qLogNoisyExpectedImprovement
from botorch.acquisition.multi_objective.logei import qLogNoisyExpectedHypervolumeImprovement
from botorch.acquisition.multi_objective.objective import GenericMCMultiOutputObjective
from botorch.acquisition.objective import GenericMCObjective
from botorch.acquisition.utils import prune_inferior_points
from botorch.exceptions.warnings import BotorchWarning
from botorch.optim.optimize import optimize_acqf_discrete
from botorch.sampling.normal import SobolQMCNormalSampler
from linear_operator.utils.warnings import NumericalWarning
from torch import Tensor

from agents.bo.beliefs import Lesson, taught_belief
from agents.bo.candidates import hottest_c, least_margin, pool, reach, surely_safe
from agents.bo.study import Trial, best_measured
from agents.bo.surrogate import POWER, Forecast, Surrogate, columns, features
from minesim.tuning.device import Vector
from minesim.tuning.problem import TuningProblem

SAMPLES, SAMPLES_PARETO = 64, 16
PRUNE_SAMPLES: Final = 512
"""Draws of the acquisition function, and of what leaves settings out that cannot be the best measured."""
POOL, POOL_PARETO = 192, 128
"""Settings among which the acquisition function chooses."""
SIGMAS_KEPT: Final = 2.0
"""Standard deviations between a recommended, measured setting and every limit."""
BASELINE: Final = 24
"""At most so many measured settings are compared with in the multi-objective case, the newest."""


@dataclass(frozen=True)
class BayesTuner:
    """Constrained noisy expected improvement (qLogNEI) over a safe set that grows from a known-good setting.

    Attributes:
        lessons: of tuned units of the same model or chip.
        name: in tables.
    """

    lessons: tuple[Lesson, ...] = ()
    name: str = "bo"

    def surrogate(self, problem: TuningProblem, trials: Sequence[Trial]) -> Surrogate:
        """What is believed after a history with at least one measurement."""
        return Surrogate(problem, trials, taught_belief(problem, self.lessons))

    def propose(self, problem: TuningProblem, trials: Sequence[Trial], count: int, seed: int) -> Vector:
        """The known-good setting first, then the settings that promise most; see :class:`agents.bo.study.Method`."""
        return _propose(self, problem, trials, count, seed, self._choose)

    def _choose(self, surrogate: Surrogate, settings: Vector, pending: Tensor | None, count: int, seed: int) -> Vector:
        objective = GenericMCObjective(_at_features(surrogate.score))
        constraints = _constraints(surrogate.problem)
        baseline = prune_inferior_points(
            surrogate.model, _here(surrogate), objective, constraints=constraints, sampler=_sampler(PRUNE_SAMPLES, seed)
        )
        acquisition = qLogNoisyExpectedImprovement(
            model=surrogate.model,
            X_baseline=baseline,
            sampler=_sampler(SAMPLES, seed),
            objective=objective,
            constraints=constraints,
            X_pending=pending,
            prune_baseline=False,
            cache_root=False,
        )
        return _pick(acquisition, surrogate, settings, count)

    def recommend(self, problem: TuningProblem, trials: Sequence[Trial]) -> Vector:
        """The measured setting whose objective is best by the belief, noise removed, and that is surely safe."""
        return _recommend(self.surrogate(problem, trials), trials)


@dataclass(frozen=True)
class ParetoTuner:
    """Noisy expected hypervolume improvement (qLogNEHVI) of profit, efficiency and wear, in the same safe set."""

    lessons: tuple[Lesson, ...] = ()
    name: str = "bo_pareto"

    def surrogate(self, problem: TuningProblem, trials: Sequence[Trial]) -> Surrogate:
        """What is believed after a history with at least one measurement."""
        return Surrogate(problem, trials, taught_belief(problem, self.lessons))

    def propose(self, problem: TuningProblem, trials: Sequence[Trial], count: int, seed: int) -> Vector:
        """The known-good setting first, then the settings that widen the front most."""
        return _propose(self, problem, trials, count, seed, self._choose)

    def _choose(self, surrogate: Surrogate, settings: Vector, pending: Tensor | None, count: int, seed: int) -> Vector:
        baseline = _here(surrogate)[-BASELINE:]
        means = torch.as_tensor(surrogate.forecast(baseline).mean)
        values = merits(surrogate, means, baseline)
        reference = values.min(dim=0).values - 0.1 * (values.max(dim=0).values - values.min(dim=0).values) - 1e-3
        objective = GenericMCMultiOutputObjective(_at_features(partial(merits, surrogate)))
        constraints = _constraints(surrogate.problem)
        acquisition = qLogNoisyExpectedHypervolumeImprovement(
            model=surrogate.model,
            ref_point=reference,
            X_baseline=baseline,
            sampler=_sampler(SAMPLES_PARETO, seed),
            objective=objective,
            constraints=constraints,
            X_pending=pending,
            prune_baseline=False,
            cache_root=False,
        )
        return _pick(acquisition, surrogate, settings[:: max(len(settings) // POOL_PARETO, 1)], count)

    def recommend(self, problem: TuningProblem, trials: Sequence[Trial]) -> Vector:
        """As :meth:`BayesTuner.recommend`, by the problem's own objective."""
        return _recommend(self.surrogate(problem, trials), trials)


Tuner = BayesTuner | ParetoTuner
Choose = Callable[[Surrogate, Vector, Tensor | None, int, int], Vector]


def merits(surrogate: Surrogate, samples: Tensor, x: Tensor) -> Tensor:
    """Profit over stock revenue, minus efficiency over stock efficiency, minus wear over stock wear, (..., N, 3)."""
    problem = surrogate.problem
    hashrate, power, wear = surrogate.outcome(samples, x)
    stock = problem.nominal(problem.stock())
    efficiency = float(stock.power_w[0] / stock.hashrate_ths[0])
    profit = problem.objective.profit_usd_per_day(hashrate, power, wear) / problem.stock_revenue_usd_per_day
    wear_stock = float(problem.wear_usd_per_day(stock)[0])
    parts = [profit, -power / (hashrate + 1e-12) / efficiency, -wear.expand_as(profit) / wear_stock]
    return torch.stack(parts, dim=-1)


def _propose(
    tuner: Tuner, problem: TuningProblem, trials: Sequence[Trial], count: int, seed: int, choose: Choose
) -> Vector:
    told = [t for t in trials if t.measured is not None]
    if not told:
        return np.repeat(problem.known_good()[None], count, axis=0)
    torch.manual_seed(seed + len(trials))
    rng = np.random.default_rng([seed, len(trials)])
    surrogate = tuner.surrogate(problem, told)
    centre = _recommend(surrogate, told)
    width = reach(problem, told)
    out = [t for t in trials if t.measured is None]
    taken = np.array([t.setting for t in out]).reshape(-1, len(centre))
    if isinstance(tuner, ParetoTuner):
        settings = _pareto_pool(surrogate, centre, width, rng, taken)
    else:
        settings = pool(surrogate, centre, width, rng, POOL, taken)
    if not len(settings):
        return np.repeat(problem.known_good()[None], count, axis=0)
    waiting = [features(problem.at(t.temp_amb_c), np.array([t.setting])) for t in out]
    with warnings.catch_warnings():
        # Close settings make covariances singular; the jitter of 1e-8 that is added is 0.01 % of power or margin.
        warnings.simplefilter("ignore", NumericalWarning)
        warnings.simplefilter("ignore", BotorchWarning)
        chosen = choose(surrogate, settings, torch.cat(waiting) if waiting else None, count, seed + len(trials))
    missing = count - len(chosen)
    return chosen if missing <= 0 else np.vstack([chosen, np.repeat(chosen[:1], missing, axis=0)])


def _pareto_pool(surrogate: Surrogate, centre: Vector, width: float, rng: np.random.Generator, taken: Vector) -> Vector:
    """Candidates that are good for some weighting of the merits."""
    parts = []
    for _ in range(4):
        weights = torch.as_tensor(rng.dirichlet(np.ones(3)))

        def weigh(forecast: Forecast, weights: Tensor = weights) -> Vector:
            return (merits(surrogate, torch.as_tensor(forecast.mean), forecast.x) @ weights).numpy()

        parts.append(pool(surrogate, centre, max(width, 0.3), rng, POOL_PARETO // 4, taken, weigh))
    return np.unique(np.vstack(parts), axis=0)


def _sampler(draws: int, seed: int) -> SobolQMCNormalSampler:
    return SobolQMCNormalSampler(torch.Size([draws]), seed=seed)


def _here(surrogate: Surrogate) -> Tensor:
    """Feature rows of the measured settings, taken to the present ambient."""
    span = surrogate.problem.upper - surrogate.problem.lower
    settings = surrogate.problem.lower + surrogate.x[:, : surrogate.columns.knobs].numpy() * span
    return features(surrogate.problem, np.unique(settings, axis=0))


def _at_features(score: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor | None], Tensor]:
    """An objective of samples and feature rows as BoTorch calls it: it may leave ``X`` out, but not in this module."""

    def scored(samples: Tensor, X: Tensor | None) -> Tensor:
        assert X is not None, "acquisition functions tell at which rows they sampled"
        return score(samples, X)

    return scored


def _constraints(problem: TuningProblem) -> list[Callable[[Tensor], Tensor]]:
    """Limits on samples, each negative where it is kept."""
    at, least, hottest = columns(problem), least_margin(problem), hottest_c(problem)

    def margin(samples: Tensor, outcome: int) -> Tensor:
        return least - samples[..., outcome]

    def temps(samples: Tensor) -> Tensor:
        return (samples[..., at.temps].amax(dim=-1) - hottest) * 0.01

    def power(samples: Tensor) -> Tensor:
        return samples[..., POWER] - math.log(problem.power_max_w)

    margins = [partial(margin, outcome=m) for m in range(at.margins.start, at.margins.stop)]
    return [*margins, temps, power] if math.isfinite(problem.power_max_w) else [*margins, temps]


def _pick(acquisition: AcquisitionFunction, surrogate: Surrogate, settings: Vector, count: int) -> Vector:
    choices = features(surrogate.problem, settings)
    with torch.no_grad():
        chosen, _ = optimize_acqf_discrete(
            acquisition, q=min(count, len(settings)), choices=choices, max_batch_size=64, unique=True
        )
    rows = [int((choices - row).abs().sum(dim=-1).argmin()) for row in chosen.reshape(-1, choices.shape[-1])]
    picked: Vector = settings[rows]
    return picked


def _recommend(surrogate: Surrogate, trials: Sequence[Trial]) -> Vector:
    problem = surrogate.problem
    kept = [t.setting for t in trials if t.measured is not None and not t.measured.tripped]
    settings = np.unique(np.array(kept), axis=0)
    if not len(settings):
        return problem.known_good()
    forecast = surrogate.forecast(features(problem, settings))
    safe = surely_safe(surrogate, forecast, SIGMAS_KEPT)
    if not safe.any():
        return best_measured(problem, trials)
    scores = np.where(safe, surrogate.mean_score(forecast), -np.inf)
    return np.asarray(settings[int(np.argmax(scores))])
