"""Recorded steps of workload: what telemetry says of a miner before and after a change of preset, a start or a stop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from agents.pinn.steady import Floats

INPUTS: Final = ("preset_w", "share", "rail", "run", "duty", "intake_c", "part")
"""Of an interval: power of its preset by the catalog (W), hashrate over the preset's, 1 while hashing, 1 while started,
fan speed (share of full speed), air at the intake (degC), share of the interval that passed like the one before, before
the others held (not 0 in the interval of the step only)."""
PART: Final = INPUTS.index("part")
JUMP: Final = 0.1
"""Of stock hashrate: a smaller change between intervals does not tell when it happened (assumed)."""
PART_UNTOLD: Final = 0.5
"""What is expected then."""
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
        inputs: of the T intervals, see ``INPUTS``, (N, T, 7).
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
        """Inputs of the intervals to predict, (N, F, 7)."""
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


def part_before(hashrate: Floats) -> Floats:
    """When the step came, as a share of its interval, (N,): mean hashrates tell.

    Args:
        hashrate: over stock hashrate, means of the intervals before, of and after the step, (N, 3).
    """
    was, mixed, became = hashrate.T
    told = np.abs(was - became) > JUMP
    part = np.divide(mixed - became, was - became, out=np.full_like(mixed, PART_UNTOLD), where=told)
    clipped: Floats = np.clip(part, 0.0, 1.0)
    return clipped
