"""What a miner's firmware believes about it now: instruments, state, and the faults of its sensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from minesim.emulator.faults import Fault, FaultKind
from minesim.emulator.history import History
from minesim.emulator.miner import EmulatedMiner
from minesim.emulator.twin import BOOTING, FAILED, MINING, STOPPED, FleetTwin

BRIEF_S = 20.0
"""How long a booting miner says that it starts or restarts before it initialises: ``initializing`` is seen live 21 s
after a start."""


@dataclass(frozen=True)
class View:
    """One miner as its firmware sees it; temperatures are None where the sensors fail.

    Attributes:
        phase: see :mod:`minesim.emulator.twin`.
        state: as the interface spells it.
        state_s: time in this state, s.
        failure: what failed, for people.
        hashrate_ths, power_w: as measured and as estimated.
        average_ths: moving average of the hashrate.
        work_th: hashes since the start of the emulation, TH.
        temp_chip_c, temp_chip_min_c, temp_board_c, temp_board_min_c: hottest and coolest side, whole degC.
        boards_c, chips_c: hot and cool side of each board.
        board_works: for each board.
        fan_duty: share of full speed.
        fans_lost: number of fans that stand.
        preset: number of the preset that runs.
        steps_below: how many presets the switcher is below the configured one.
        throttle: present throttle, share.
        share: of the preset's hashrate that is to be expected: throttle and working boards.
    """

    phase: int
    state: str
    state_s: float
    failure: str
    hashrate_ths: float
    power_w: int
    average_ths: float
    work_th: float
    temp_chip_c: int | None
    temp_chip_min_c: int | None
    temp_board_c: int | None
    temp_board_min_c: int | None
    boards_c: tuple[tuple[int | None, int | None], ...]
    chips_c: tuple[tuple[int | None, int | None], ...]
    board_works: tuple[bool, ...]
    fan_duty: float
    fans_lost: int
    preset: int
    steps_below: int
    throttle: float
    share: float


def view_of(miner: EmulatedMiner, twin: FleetTwin, history: History, faults: Sequence[Fault] = ()) -> View:
    """Look at a miner.

    Args:
        miner: the miner.
        twin: the fleet.
        history: its past.
        faults: of this miner, that are on.
    """
    i, told = miner.index, twin.readings()
    phase = told.phase[i]
    offset = round(twin.params.firmware.chip_offset_k)
    works = tuple(bool(twin.setup.board_works[k, i] > 0.0) for k in range(miner.model.boards))
    sides = told.boards_c[: miner.model.boards]
    boards = tuple((int(hot[i]), int(cool[i])) for hot, cool in sides)
    throttle = float(twin.state.firmware.throttle[i])
    view = View(
        phase=phase,
        state=miner.announced or _state(miner, phase, told.phase_since_s[i], twin.elapsed_s),
        state_s=0.0 if miner.announced else twin.elapsed_s - told.phase_since_s[i],
        failure="Overheating" if any(works) else "No boards detected",
        hashrate_ths=told.hashrate_ths[i] if phase == MINING else 0.0,
        power_w=round(told.power_w[i]),
        average_ths=float(history.average_ths[i]) if phase == MINING else 0.0,
        work_th=float(history.work_th[i]),
        temp_chip_c=int(told.temp_chip_c[i]),
        temp_chip_min_c=min(cool for _, cool in boards) + offset,
        temp_board_c=int(told.temp_board_c[i]),
        temp_board_min_c=min(cool for _, cool in boards),
        boards_c=boards,
        chips_c=tuple((hot + offset, cool + offset) for hot, cool in boards),
        board_works=works,
        fan_duty=told.fan_duty[i],
        fans_lost=sum(fault.kind is FaultKind.FAN_LOST for fault in faults),
        preset=told.preset[i],
        steps_below=int(twin.state.firmware.switcher_steps[i]),
        throttle=throttle,
        share=throttle * sum(works) / len(works),
    )
    if phase == FAILED:
        view = _dark(view)
    for fault in faults:
        if fault.kind is FaultKind.SENSOR_NULL:
            view = _temperatures(view, None)
        elif fault.kind is FaultKind.SENSOR_ZERO:
            view = _temperatures(view, 0)
    return view


def _state(miner: EmulatedMiner, phase: int, since_s: float, now_s: float) -> str:
    if phase == BOOTING:
        if now_s - since_s > BRIEF_S:
            return "initializing"
        return "starting" if since_s == miner.started_s else "restarting"
    return {STOPPED: "stopped", FAILED: "failure", MINING: "mining"}[phase]


def _temperatures(view: View, value: int | None) -> View:
    sides = tuple((value, value) for _ in view.boards_c)
    return replace(
        view,
        temp_chip_c=value,
        temp_chip_min_c=value,
        temp_board_c=value,
        temp_board_min_c=value,
        boards_c=sides,
        chips_c=sides,
    )


def _dark(view: View) -> View:
    """A failed miner tells zeros, not nulls (as seen live)."""
    return replace(_temperatures(view, 0), power_w=0, fan_duty=0.0)
