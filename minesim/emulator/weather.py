"""Weather over an emulated fleet: data that comes in, constant or as a series."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from minesim.errors import ParamsError, explain
from minesim.units import PRESSURE_SEA_LEVEL_PA


@dataclass(frozen=True)
class Weather:
    """Outdoor air from the start of the emulation on; the last row holds for ever.

    Attributes:
        temp_amb_c: degC, (T,).
        rel_humidity_pct: %, (T,).
        pressure_pa: Pa, (T,).
        dt_s: length of a row, s.
    """

    temp_amb_c: np.ndarray
    rel_humidity_pct: np.ndarray
    pressure_pa: np.ndarray
    dt_s: float = 900.0

    def __post_init__(self) -> None:
        sizes = {np.shape(x) for x in (self.temp_amb_c, self.rel_humidity_pct, self.pressure_pa)}
        if len(sizes) != 1 or len(next(iter(sizes))) != 1 or not next(iter(sizes))[0]:
            raise ParamsError(explain(f"weather of shapes {sorted(sizes)}", allowed="three series of one length (T,)"))
        if not self.dt_s > 0.0:
            raise ParamsError(explain(f"dt_s of the weather is {self.dt_s} s", allowed="above 0 s"))

    @classmethod
    def constant(
        cls, temp_amb_c: float = 20.0, rel_humidity_pct: float = 50.0, pressure_pa: float = PRESSURE_SEA_LEVEL_PA
    ) -> Weather:
        """The same air all the time."""
        return cls(np.array([temp_amb_c]), np.array([rel_humidity_pct]), np.array([pressure_pa]))

    def row_at(self, elapsed_s: float) -> int:
        """Row that holds at ``elapsed_s`` seconds after the start."""
        # Sums of steps end a hair below their row's edge.
        return min(int((elapsed_s + 1e-6) // self.dt_s), len(self.temp_amb_c) - 1)
