"""Rules for ``minesim/Cooling-v0``, on observations alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from agents.cooling.knowledge import CoolingKnowledge, Floats
from minesim.arrays import NUMPY, Array
from minesim.errors import ParamsError, explain
from minesim.physics.psychrometrics import temp_wetbulb_c
from minesim.tasks.cooling import setting_of


class FixedCooling:
    """Hold one speed and one pad duty, dampers closed, full load.

    Args:
        knowledge: of the world.
        speed: of all room fans, 0 to 1.
        pad_duty: of the pad, 0 to 1.
    """

    name = "fixed"

    def __init__(self, knowledge: CoolingKnowledge, speed: float, pad_duty: float = 0.0) -> None:
        for what, value in (("speed", speed), ("pad_duty", pad_duty)):
            if not 0.0 <= value <= 1.0:
                raise ParamsError(explain(f"{what} is {value:g}", allowed="0 to 1"))
        self.knowledge, self.speed, self.pad_duty = knowledge, speed, pad_duty

    def act(self, observation: Array) -> Array:
        """The same action for every observation."""
        rows = np.asarray(observation)[..., 0]
        return self.knowledge.action(rows, speed=self.speed, pad_duty=self.pad_duty)

    def reset(self, done: Array | None = None) -> None:
        """Nothing to forget."""


@dataclass(frozen=True)
class ChipPiParams:
    """Parameters of :class:`HottestChipPi`.

    Attributes:
        target_c: of the hottest chip, degC. The miners' own fans hold 70 C as long as they can, so it lies above.
        proportional_per_k, integral_per_k: speed per kelvin, and per kelvin and step (assumed).
        speed_min: lowest speed.
        pad_above_c: outdoor temperature above which the pad runs, degC.
    """

    target_c: float = 72.0
    proportional_per_k: float = 0.03
    integral_per_k: float = 0.01
    speed_min: float = 0.5
    pad_above_c: float = 24.0


class HottestChipPi:
    """Proportional-integral control of the room fans on the hottest chip; the pad by outdoor temperature.

    The controller is in velocity form, so its only memory is the last error and the action, which is observed.
    """

    name = "chip_pi"

    def __init__(self, knowledge: CoolingKnowledge, params: ChipPiParams | None = None) -> None:
        self.knowledge, self.params = knowledge, params or ChipPiParams()
        self._before: Floats | None = None

    def act(self, observation: Array) -> Array:
        """Move the fans by the error and its change."""
        know, p = self.knowledge, self.params
        error = know.chips_c(observation) - p.target_c
        before = error if self._before is None else np.where(np.isnan(self._before), error, self._before)
        self._before = error
        moved = p.proportional_per_k * (error - before) + p.integral_per_k * error
        fans = [n for n, name in enumerate(know.action_names) if setting_of(name) == "exhaust_speed"]
        last = know.shares(observation)[..., fans[0]]
        speed = np.clip(last + moved, p.speed_min, 1.0)
        outdoors_c = know.read(observation, "temp_amb_c")
        return know.action(speed, speed=speed, pad_duty=np.where(outdoors_c > p.pad_above_c, 1.0, 0.0))

    def reset(self, done: Array | None = None) -> None:
        """Forget the last error of finished rows."""
        if done is None or self._before is None:
            self._before = None
        else:
            self._before = np.where(np.asarray(done, bool), np.nan, self._before)


@dataclass(frozen=True)
class StagedParams:
    """Parameters of :class:`StagedCooling`.

    Attributes:
        speed_cold, temp_cold_c: speed at this outdoor temperature, degC, and below.
        temp_full_c: outdoor temperature from which the fans run at full speed.
        pad_above_c: outdoor temperature above which the pad runs, degC.
        depression_k: dry bulb over wet bulb above which it is worth its water.
    """

    speed_cold: float = 0.3
    temp_cold_c: float = 0.0
    temp_full_c: float = 40.0
    pad_above_c: float = 26.0
    depression_k: float = 3.0


class StagedCooling:
    """An economiser by outdoor air: fans follow the dry bulb, and the pad runs in warm air that is dry enough.

    In the manner of ASHRAE's staged resets (fans first, evaporation second).
    """

    name = "staged"

    def __init__(self, knowledge: CoolingKnowledge, params: StagedParams | None = None) -> None:
        self.knowledge, self.params = knowledge, params or StagedParams()

    def act(self, observation: Array) -> Array:
        """Speed on a line of the outdoor temperature; the pad by temperature and depression."""
        know, p = self.knowledge, self.params
        outdoors_c = know.read(observation, "temp_amb_c")
        depression_k = outdoors_c - temp_wetbulb_c(outdoors_c, know.read(observation, "rel_humidity_pct"), xp=NUMPY)
        share = np.clip((outdoors_c - p.temp_cold_c) / max(p.temp_full_c - p.temp_cold_c, 1e-6), 0.0, 1.0)
        pad = 1.0 * ((outdoors_c > p.pad_above_c) & (depression_k > p.depression_k))
        return know.action(share, speed=p.speed_cold + (1.0 - p.speed_cold) * share, pad_duty=pad)

    def reset(self, done: Array | None = None) -> None:
        """Nothing to forget."""
