"""Rules for ``minesim/Cooling-v0``, on observations alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minesim.arrays import Array
from minesim.errors import ParamsError, explain


class FixedCooling:
    """Hold one fan speed, pad dry, dampers closed, full load.

    Args:
        action_names: of the environment.
        speed: of all room fans, 0 to 1.
        pad_duty: of the pad, 0 to 1.
    """

    name = "fixed_cooling"

    def __init__(self, action_names: Sequence[str], speed: float, pad_duty: float = 0.0) -> None:
        for what, value in (("speed", speed), ("pad_duty", pad_duty)):
            if not 0.0 <= value <= 1.0:
                raise ParamsError(explain(f"{what} is {value:g}", allowed="0 to 1"))
        values = {"exhaust_speed": speed, "intake_speed": speed, "pad_duty": pad_duty, "damper": 0.0}
        self._action = np.array([2.0 * values.get(name, 1.0) - 1.0 for name in action_names], dtype=np.float32)

    def act(self, observation: Array) -> Array:
        """The same action for every observation."""
        return np.broadcast_to(self._action, (*np.shape(observation)[:-1], len(self._action))).copy()

    def reset(self, done: Array | None = None) -> None:
        """Nothing to forget."""


class HottestChipPi:
    """Proportional-integral control of the room fans on the hottest chip; the pad runs while the fans are near full.

    The miners' own fans hold 70 C as long as they can, so the target lies above it: the room gives what they lack.
    The controller is in velocity form, so its only memory is the last error and the action, which is observed.

    Args:
        observation_names, action_names: of the environment.
        target_c: of the hottest chip, degC.
        proportional_per_k, integral_per_k: speed per kelvin, and per kelvin and step (assumed).
        speed_min: lowest speed.
        pad_above: speed above which the pad runs.
    """

    name = "hottest_chip_pi"

    def __init__(
        self,
        observation_names: Sequence[str],
        action_names: Sequence[str],
        target_c: float = 72.0,
        proportional_per_k: float = 0.03,
        integral_per_k: float = 0.01,
        speed_min: float = 0.45,
        pad_above: float = 0.9,
    ) -> None:
        self._chips = [n for n, name in enumerate(observation_names) if name.startswith("temp_chip_")]
        self._speed = list(observation_names).index("exhaust_speed")
        self._action_names = tuple(action_names)
        self._gains = (proportional_per_k, integral_per_k)
        self._target_c, self._speed_min, self._pad_above = target_c, speed_min, pad_above
        self._before: Array | None = None

    def act(self, observation: Array) -> Array:
        """Move the fans by the error and its change."""
        seen = np.asarray(observation, dtype=np.float64)
        error = seen[..., self._chips].max(axis=-1) - self._target_c
        before = error if self._before is None else np.where(np.isnan(self._before), error, self._before)
        self._before = error
        moved = self._gains[0] * (error - before) + self._gains[1] * error
        speed = np.clip(0.5 + 0.5 * seen[..., self._speed] + moved, self._speed_min, 1.0)
        full = np.ones_like(speed)
        values = {
            "exhaust_speed": speed,
            "intake_speed": speed,
            "pad_duty": np.where(speed > self._pad_above, 1.0, 0.0),
            "damper": 0.0 * speed,
        }
        return np.stack([2.0 * values.get(n, full) - 1.0 for n in self._action_names], axis=-1).astype(np.float32)

    def reset(self, done: Array | None = None) -> None:
        """Forget the last error of finished rows."""
        if done is None or self._before is None:
            self._before = None
        else:
            self._before = np.where(done, np.nan, self._before)
