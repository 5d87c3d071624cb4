"""How exact and how fast a surrogate is, against its own solver and against the fine reference."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from agents.pinn.onnx_file import OnnxSurrogate
from agents.pinn.steady import Floats, RoomSettings, solve_rise_k
from agents.pinn.surrogate import Surrogate
from minesim.arrays import NUMPY
from minesim.physics.room_fine import advance_fine, fine_room
from minesim.physics.room_grid import RoomModel, room_model
from minesim.physics.room_plan import RoomPlan

FINE = (96, 48)
BATCH = 1024
REPEATS = 5
FINE_TIMED = 10


@dataclass(frozen=True)
class Exactness:
    """Differences over unseen settings, K.

    Attributes:
        rms_k: over all cells and settings.
        worst_setting_k: RMS of the worst setting.
        worst_cell_k: largest of any cell.
        spread_k: standard deviation of the fields themselves.
        fine_rms_k: against cell means of the fine reference, on fewer settings.
    """

    rms_k: float
    worst_setting_k: float
    worst_cell_k: float
    spread_k: float
    fine_rms_k: float


@dataclass(frozen=True)
class Speed:
    """Processor seconds for one field, one thread, best of several.

    Attributes:
        network_s: the network in a batch, by torch.
        onnx_s: the same by onnxruntime.
        single_s: one field at a time, by torch.
        coarse_s: its own solver in a batch.
        fine_s: the fine solve, plain upwind: air flows, sparse factor, one solution.
        reference_s: the same with limited second order.
    """

    network_s: float
    onnx_s: float
    single_s: float
    coarse_s: float
    fine_s: float
    reference_s: float

    @property
    def factor(self) -> float:
        """How many times faster than the cheaper fine solve."""
        return self.fine_s / self.network_s


@dataclass(frozen=True)
class Truths:
    """Solved fields of unseen settings.

    Attributes:
        settings: unseen, B.
        own_k: by the solver that is imitated, (nx, ny, B).
        fine_k: means of the fine reference over the same cells, of the first settings, (nx, ny, F).
    """

    settings: RoomSettings
    own_k: Floats
    fine_k: Floats


def truths_of(plan: RoomPlan, model: RoomModel, settings: RoomSettings, fine: int) -> Truths:
    """Solve unseen settings, the first ``fine`` of them also on the fine grid."""
    own = solve_rise_k(model, settings, xp=NUMPY)
    reference = room_model(plan, *FINE)
    nx, ny = model.grid.nx, model.grid.ny
    shape = (nx, FINE[0] // nx, ny, FINE[1] // ny)
    fields = [_fine_rise(reference, settings, k, 40).reshape(shape).mean(axis=(1, 3)) for k in range(fine)]
    return Truths(settings, own, np.stack(fields, axis=-1))


def exactness(rise_k: Floats, truths: Truths) -> Exactness:
    """Compare fields, (nx, ny, B), with the truths."""
    squares = (rise_k - truths.own_k) ** 2
    fine = rise_k[..., : truths.fine_k.shape[-1]] - truths.fine_k
    return Exactness(
        rms_k=math.sqrt(squares.mean()),
        worst_setting_k=math.sqrt(squares.mean(axis=(0, 1)).max()),
        worst_cell_k=math.sqrt(squares.max()),
        spread_k=float(truths.own_k.std()),
        fine_rms_k=math.sqrt((fine**2).mean()),
    )


def speed(
    plan: RoomPlan, model: RoomModel, surrogate: Surrogate, exported: OnnxSurrogate, settings: RoomSettings
) -> Speed:
    """Time network and solvers on this machine; torch's threads are the caller's affair.

    Args:
        plan, model: the room, numpy.
        surrogate: the network.
        exported: the same from its file.
        settings: at least one; repeated to a batch.
    """
    batch = settings.take(np.arange(BATCH) % settings.count)
    one = settings.take(slice(0, 1))
    fine = room_model(plan, *FINE)
    numbers = range(min(FINE_TIMED, settings.count))

    def fine_s(corrections: int) -> float:
        return _best_s(lambda: [_fine_rise(fine, settings, k, corrections) for k in numbers]) / len(numbers)

    return Speed(
        network_s=_best_s(lambda: surrogate.rise_k(batch)) / BATCH,
        onnx_s=_best_s(lambda: exported.rise_k(batch)) / BATCH,
        single_s=_best_s(lambda: surrogate.rise_k(one)),
        coarse_s=_best_s(lambda: solve_rise_k(model, batch, xp=NUMPY)) / BATCH,
        fine_s=fine_s(0),
        reference_s=fine_s(40),
    )


def _fine_rise(model: RoomModel, settings: RoomSettings, number: int, corrections: int) -> Floats:
    flows, heat = settings.flows_m3_per_s[:, number], settings.heat_w[:, number]
    room = fine_room(model, flows, float(settings.rho_cp_j_per_m3_k[number]), math.inf)
    supply = float(settings.supply_rise_k[number])
    rise: Floats = advance_fine(room, np.zeros(FINE), heat, supply, 0.0, corrections).air_c
    return rise


def _best_s(work: Callable[[], object]) -> float:
    times = []
    for _ in range(REPEATS):
        begin = time.process_time()
        work()
        times.append(time.process_time() - begin)
    return min(times)
