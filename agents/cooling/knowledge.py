"""What an agent of a cooled hall may hold: names of what it sees and sets, and the way from settings to an action."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from minesim.arrays import NUMPY, Array
from minesim.control.channels import symexp
from minesim.envs.cooling_core import CoolingWorld
from minesim.errors import ParamsError, explain, nearest
from minesim.physics.cooling import Weather
from minesim.tasks.cooling import setting_of
from minesim.units import PRESSURE_SEA_LEVEL_PA

Floats = npt.NDArray[np.float64]
DEFAULTS = {"pad_duty": 0.0, "damper": 0.0}
"""Settings that are not full where a rule says nothing of them: a dry pad and closed dampers."""


@dataclass(frozen=True)
class CoolingKnowledge:
    """Names of an observation's and an action's numbers."""

    names: tuple[str, ...]
    action_names: tuple[str, ...]

    def read(self, observation: Array, name: str) -> Floats:
        """One value of each observation, (...,).

        Raises:
            ParamsError: nothing of this name is observed (nearest suggested).
        """
        if name not in self.names:
            raise ParamsError(explain(f"{name!r} is not observed", fix=nearest(name, self.names)))
        return np.asarray(observation, np.float64)[..., self.names.index(name)]

    def weather(self, observation: Array) -> Weather:
        """Outdoor air as observed now, (...,) each."""
        temp_c, humidity_pct, pressure_atm = (
            self.read(observation, name) for name in ("temp_amb_c", "rel_humidity_pct", "pressure_atm")
        )
        return Weather(temp_c, humidity_pct, PRESSURE_SEA_LEVEL_PA * pressure_atm)

    def price_usd_per_mwh(self, observation: Array) -> Floats:
        """Last hour's energy price, USD/MWh, (...,)."""
        price: Floats = symexp(self.read(observation, "price_before_usd_per_mwh_symlog"), xp=NUMPY)
        return price

    def chips_c(self, observation: Array) -> Floats:
        """Hottest chip as the firmware reports it, degC, (...,)."""
        hottest: Floats = self.each_chip_c(observation).max(axis=-1)
        return hottest

    def each_chip_c(self, observation: Array) -> Floats:
        """Hottest chip of each group as the firmware reports it, degC, (..., M)."""
        chips = [n for n, name in enumerate(self.names) if name.startswith("temp_chip_")]
        reported: Floats = np.asarray(observation, np.float64)[..., chips]
        return reported

    def shares(self, observation: Array) -> Floats:
        """The last action as shares of full, (..., A)."""
        return 0.5 + 0.5 * self.last_action(observation)

    def last_action(self, observation: Array) -> Floats:
        """What was set in the last step, (..., A)."""
        last: Floats = np.asarray(observation, np.float64)[..., len(self.names) - len(self.action_names) :]
        return last

    def action(self, like: Floats, **shares: Floats | float) -> npt.NDArray[np.float32]:
        """Action of settings by name, shares of full; fans by ``speed``, loads by ``load``.

        Args:
            like: any values of the rows, (...,).
            shares: settings; full where nothing is said, but :data:`DEFAULTS`.
        """
        columns = []
        for name in self.action_names:
            setting = setting_of(name)
            group = "speed" if setting.endswith("_speed") else "load" if name.startswith("load_") else setting
            columns.append(np.broadcast_to(np.asarray(shares.get(group, DEFAULTS.get(setting, 1.0))), np.shape(like)))
        return (2.0 * np.stack(columns, axis=-1) - 1.0).astype(np.float32)


def knowledge_of(world: CoolingWorld) -> CoolingKnowledge:
    """What agents may know of a world."""
    return CoolingKnowledge(world.names, world.action_names)


def least_moving(world: CoolingWorld) -> Floats:
    """Least numbers of an action at which no fan stands still, where it would answer to no small change, (A,)."""
    least = 2.0 * world.hall.plant.fans.speed_min - 1.0
    return np.array([least if setting_of(name).endswith("_speed") else -1.0 for name in world.action_names])
