"""What an emulated fleet remembers of its past: averages, work done, and the series behind ``/metrics``."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np

from minesim.emulator.twin import FleetTwin

RECORD_S = 300.0
"""A row of the series, s."""
KEPT_S = 259200.0
"""Three days, the longest slice that the interface serves."""
AVERAGE_S = 900.0
"""Time constant of the average hashrate (assumed)."""


@dataclass(frozen=True)
class Row:
    """Readings of all miners at a time, (M,) each."""

    at_s: float
    hashrate_ths: np.ndarray
    temp_board_c: np.ndarray
    temp_chip_c: np.ndarray
    fan_duty: np.ndarray
    power_w: np.ndarray


class History:
    """Memory of a fleet.

    Attributes:
        average_ths: moving average of the hashrate, (M,).
        work_th: hashes computed since the start, TH, (M,).
    """

    def __init__(self, twin: FleetTwin) -> None:
        self._twin = twin
        self._rows: deque[Row] = deque(maxlen=round(KEPT_S / RECORD_S))
        self.average_ths = twin.telemetry.hashrate_ths.copy()
        self.work_th = np.zeros_like(self.average_ths)
        self._decay = 1.0 - math.exp(-twin.step_s / AVERAGE_S)

    def after_step(self) -> None:
        """Take the readings of a step in."""
        twin, told = self._twin, self._twin.telemetry
        self.average_ths = self.average_ths + self._decay * (told.hashrate_ths - self.average_ths)
        if twin.outcome is not None:
            self.work_th = self.work_th + twin.outcome.hashrate_ths * twin.step_s
        if not self._rows or twin.elapsed_s - self._rows[-1].at_s >= RECORD_S - 1e-6:
            values = (told.hashrate_ths, told.temp_board_c, told.temp_chip_c, told.fan_duty, told.power_w)
            self._rows.append(Row(twin.elapsed_s, *(value.astype(np.float32) for value in values)))

    def series(self, miner: int, slice_s: float, step_s: float) -> list[tuple[float, list[float]]]:
        """Means over steps of a slice that ends now, latest first.

        Args:
            miner: its number.
            slice_s: how far back, s.
            step_s: length of a mean, s.

        Returns:
            Beginning of each step (s after the start) and hashrate (TH/s), board and chip temperature (degC), duty
            (share), power (W).
        """
        begin_s = self._twin.elapsed_s - slice_s
        groups: dict[int, list[list[float]]] = {}
        for row in self._rows:
            if row.at_s > begin_s:
                values = (row.hashrate_ths, row.temp_board_c, row.temp_chip_c, row.fan_duty, row.power_w)
                groups.setdefault(int(row.at_s // step_s), []).append([float(value[miner]) for value in values])
        return [
            (group * step_s, np.mean(np.array(rows), axis=0).tolist())
            for group, rows in sorted(groups.items(), reverse=True)
        ]
