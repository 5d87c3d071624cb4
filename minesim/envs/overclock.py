"""Tuning one unit trial by trial as a Gymnasium environment."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from minesim.errors import ActionError, ParamsError, explain, nearest
from minesim.tasks.overclock import (
    OverclockTask,
    channel_bounds,
    channel_names,
    observe,
    reward_terms,
    setting_of,
)
from minesim.tuning.device import Vector
from minesim.tuning.objective import TuningLimits
from minesim.tuning.problem import SEED_RANGE, Measurement, TuningProblem, tuning_problem

RESET_OPTIONS = ("unit", "temp_amb_c")


class OverclockEnv(gym.Env[np.ndarray, Any]):
    """``minesim/Overclock-v0``: see ``docs/envs/overclock.md``.

    Args:
        render_mode: None.
        model: hardware model, or ``gpu/ALGORITHM``.
        discrete: choose among the model's presets instead of setting every knob.
        temp_amb_c: range that the ambient of an episode is drawn from, degC.
        power_price_usd_per_mwh: price of energy.
        spread: factor on the assumed spread of units.
        fan_mode: ``target`` or ``duty``.
        trials, horizon_days: see :class:`minesim.tasks.overclock.OverclockTask`.
        limits: what no setting may do.
    """

    metadata = {"render_modes": []}  # noqa: RUF012  (Gymnasium declares it so)

    def __init__(
        self,
        render_mode: str | None = None,
        *,
        model: str = "Antminer S19j Pro",
        discrete: bool = False,
        temp_amb_c: tuple[float, float] = (5.0, 35.0),
        power_price_usd_per_mwh: float = 60.0,
        spread: float = 1.0,
        fan_mode: str = "target",
        trials: int = 30,
        horizon_days: float = 30.0,
        limits: TuningLimits | None = None,
    ) -> None:
        if render_mode is not None:
            raise ParamsError(explain(f"render_mode is {render_mode!r}", allowed="None"))
        low_c, high_c = temp_amb_c
        if not low_c <= high_c:
            raise ParamsError(explain(f"temp_amb_c runs from {low_c} to {high_c} C", allowed="the lower one first"))
        self.render_mode = render_mode
        self.task = OverclockTask(trials=trials, horizon_days=horizon_days)
        self._temp_amb_c = (float(low_c), float(high_c))
        self._options: dict[str, Any] = {
            "power_price_usd_per_mwh": power_price_usd_per_mwh,
            "spread": spread,
            "fan_mode": fan_mode,
            "limits": limits,
        }
        self._model = model
        self.problem = self._build(0, low_c)
        self._presets = self.problem.presets() if discrete else None
        low, high = channel_bounds(self.problem)
        self.names = channel_names(self.problem)
        self.observation_space = gym.spaces.Box(low, high, dtype=np.float32)
        self.action_space: gym.spaces.Space[Any] = (
            gym.spaces.Box(-1.0, 1.0, (len(self.problem.names),), np.float32)
            if self._presets is None
            else gym.spaces.Discrete(len(self._presets))
        )
        self._trial = 0
        self._best_true = self._best_seen = -np.inf

    def _build(self, unit: int, temp_amb_c: float) -> TuningProblem:
        return tuning_problem(self._model, unit, temp_amb_c, **self._options)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Put a new unit on the bench, at its known-good setting.

        Options: ``unit`` (which one) and ``temp_amb_c``; drawn where left out.

        Raises:
            ParamsError: an unknown option.
        """
        super().reset(seed=seed)
        given = options or {}
        for name in given:
            if name not in RESET_OPTIONS:
                raise ParamsError(explain(f"reset option {name!r} is unknown", fix=nearest(name, RESET_OPTIONS)))
        unit, amb_c = int(self.np_random.integers(SEED_RANGE)), float(self.np_random.uniform(*self._temp_amb_c))
        self.problem = self._build(int(given.get("unit", unit)), float(given.get("temp_amb_c", amb_c)))
        self._trial = 0
        self._best_true = self._best_seen = -np.inf
        observation, info, _ = self._try(self.problem.known_good())
        return observation, {**info, "cost": 0.0}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Carry one trial out.

        Raises:
            ActionError: misshaped, not a number, or no preset.
        """
        best_before = self._best_true
        self._trial += 1
        observation, info, measured = self._try(self._setting(action))
        gain = max(self._best_true - best_before, 0.0) if np.isfinite(best_before) else 0.0
        terms = reward_terms(self.task, measured, gain)
        reward = sum(terms.values()) / self.task.reward_usd
        info |= {f"reward_{name}": value for name, value in terms.items()}
        return observation, float(reward), False, self._trial >= self.task.trials, info

    def _setting(self, action: Any) -> Vector:
        if self._presets is not None:
            if not self.action_space.contains(action):
                raise ActionError(explain(f"action is {action!r}", allowed=f"0 to {len(self._presets) - 1}"))
            return np.asarray(self._presets[int(action)])
        array = np.asarray(action, dtype=np.float64)
        if array.shape != self.action_space.shape or not np.isfinite(array).all():
            raise ActionError(
                explain(f"action is {array.tolist()}", allowed=f"{self.action_space.shape} finite numbers in -1 ... 1")
            )
        return setting_of(self.problem, array)

    def _try(self, setting: Vector) -> tuple[np.ndarray, dict[str, Any], Measurement]:
        problem = self.problem
        measured = problem.evaluate(setting, self._trial)
        true = problem.truth(setting)
        safe, profit = bool(problem.safe(setting)[0]), float(problem.score(true)[0])
        seen = problem.measured_score(measured)
        if safe:
            self._best_true = max(self._best_true, profit)
        self._best_seen = max(self._best_seen, seen)
        left = 1.0 - self._trial / self.task.trials
        info = {
            "cost": 0.0 if safe else 1.0,
            "profit_usd_per_day": profit,
            "tripped": measured.tripped,
            "trial_usd": measured.cost_usd,
            "hours": measured.hours,
            **dict(zip(problem.names, map(float, setting), strict=True)),
        }
        return observe(problem, setting, measured, self._best_seen, left), info, measured
