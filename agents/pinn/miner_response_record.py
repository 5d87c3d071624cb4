"""Recorded steps of workload: what telemetry says of a miner before and after a change of preset, a start or a stop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from agents.pinn.steady import Floats

INPUTS: Final = ("preset_w", "share", "rail", "run", "duty", "intake_c")
"""Of an interval: power of its preset by the catalog (W), hashrate over the preset's, 1 while hashing, 1 while started,
fan speed (share of full speed), air at the intake (degC)."""
TEMPS: Final = ("chip", "board", "outlet", "psu")
"""Hottest chip, hottest board on its outlet side, outlet air, power supply, degC."""
READINGS: Final = (*TEMPS, "power")
"""And wall power, W, the mean of the interval before."""
START_MEAN: Final = 3
"""Readings before a step whose mean is a start for methods without a filter."""


@dataclass(frozen=True)
class StepRecords:
    """N steps of workload, each at T + 1 readings; the step comes in the interval after reading ``before``.

    Attributes:
        kinds: ``change``, ``start`` or ``stop``, (N,).
        inputs: of the T intervals, see ``INPUTS``, (N, T, 6).
        readings: as reported, see ``READINGS``, (N, T + 1, 5).
        truth: the same without noise and rounding, (N, T + 1, 5).
        before: readings before the step, after the first.
        sample_s: between readings, s.
        rated_w: stock power of the model by the catalog, W.
    """

    kinds: np.ndarray
    inputs: Floats
    readings: Floats
    truth: Floats
    before: int
    sample_s: float
    rated_w: float

    def __len__(self) -> int:
        return len(self.kinds)

    @property
    def after(self) -> int:
        """Readings after the step."""
        return int(self.inputs.shape[1]) - self.before

    @property
    def inputs_after(self) -> Floats:
        """Inputs of the intervals to predict, (N, F, 6)."""
        return self.inputs[:, self.before :]

    @property
    def readings_after(self) -> Floats:
        """Readings to predict, (N, F, 5)."""
        return self.readings[:, self.before + 1 :]

    @property
    def truth_after(self) -> Floats:
        """What they are in truth, (N, F, 5)."""
        return self.truth[:, self.before + 1 :]

    @property
    def start_c(self) -> Floats:
        """Temperatures at the step: mean of the last readings before it, (N, 4), degC."""
        last = self.readings[:, self.before + 1 - START_MEAN : self.before + 1, : len(TEMPS)]
        mean: Floats = last.mean(axis=1)
        return mean
