"""The firmware's clock: start-up, preset changes, throttle lag, switcher, trip."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from minesim.arrays import NUMPY
from minesim.physics.firmware import (
    FirmwareCommand,
    FirmwareParams,
    FirmwareState,
    accept,
    advance,
    effective_preset,
    hashing_profile,
)

PARAMS = FirmwareParams()
SUB = np.arange(5.0).reshape(-1, 1, 1)


class Miner:
    """One miner's firmware with a clock; temperatures are given from outside."""

    def __init__(self, running: float = 1.0, params: FirmwareParams = PARAMS) -> None:
        self.params = params
        one = np.ones((1, 1))
        self.state = FirmwareState(one * running, 7.0 * one, 0.0 * one, one, one * -params.ramp_s, 0.0 * one)

    def step(
        self, run: float = 1.0, preset: float = 7.0, throttle: float = 1.0, board_c: float = 50.0, trips: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """Five minutes; hashing share and throttle in each minute, (5,)."""
        one = np.ones((1, 1))
        command = FirmwareCommand(one * run, one * preset, one * throttle)
        board = one * board_c
        self.state, self.started, self.stopped = accept(self.state, command, board + 15.0, board, self.params, xp=NUMPY)
        hashing, level = hashing_profile(self.state, command.throttle, SUB, 60.0, self.params, xp=NUMPY)
        self.state = advance(self.state, command.throttle, one * (0.0 if trips else 1.0), 300.0, self.params, xp=NUMPY)
        return hashing[:, 0, 0], level[:, 0, 0]


def test_a_start_waits_five_minutes_and_ramps_for_two() -> None:
    miner = Miner(running=0.0)
    first, _ = miner.step()
    second, _ = miner.step()
    third, _ = miner.step()
    assert miner.started[0, 0] == 0.0
    np.testing.assert_allclose(first, 0.0)
    np.testing.assert_allclose(second, [0.25, 0.75, 1.0, 1.0, 1.0])
    np.testing.assert_allclose(third, 1.0)


def test_a_preset_change_costs_three_minutes_and_the_ramp() -> None:
    miner = Miner()
    changed, _ = miner.step(preset=5.0)
    after, _ = miner.step(preset=5.0)
    np.testing.assert_allclose(changed, [0.0, 0.0, 0.0, 0.25, 0.75])
    np.testing.assert_allclose(after, 1.0)


def test_a_throttle_is_there_after_eighty_seconds_and_hashing_goes_on() -> None:
    miner = Miner()
    hashing, level = miner.step(throttle=0.5)
    np.testing.assert_allclose(hashing, 1.0)
    assert level[0] > 0.65
    assert level[2] == pytest.approx(0.5, abs=0.01)
    assert miner.state.throttle[0, 0] == pytest.approx(0.5, abs=1e-4)
    # The mean over the step is the integral of the exponential, whatever the number of sub-steps.
    tau_s = PARAMS.throttle_tau_s
    assert level.mean() == pytest.approx(0.5 + 0.5 * tau_s / 300.0 * (1 - np.exp(-300.0 / tau_s)))


def test_the_switcher_steps_down_when_hot_and_up_again_when_cool() -> None:
    miner = Miner()
    miner.step(board_c=70.0)
    assert effective_preset(miner.state)[0, 0] == 6.0
    miner.step(board_c=70.0)
    assert effective_preset(miner.state)[0, 0] == 5.0
    miner.step(board_c=66.0)
    assert effective_preset(miner.state)[0, 0] == 5.0, "81 C lies between rise and decrease: nothing moves"
    for _ in range(4):
        miner.step(board_c=50.0)
    assert effective_preset(miner.state)[0, 0] == 7.0
    off = Miner(params=replace(PARAMS, switcher_on=False))
    off.step(board_c=74.0)
    assert effective_preset(off.state)[0, 0] == 7.0


def test_the_switcher_never_goes_below_the_lowest_preset() -> None:
    miner = Miner()
    for _ in range(20):
        miner.step(board_c=74.0)
    assert effective_preset(miner.state)[0, 0] == 0.0


def test_a_trip_stops_until_the_board_has_cooled_then_starts_like_any_other() -> None:
    miner = Miner()
    miner.step(trips=True)
    hot, _ = miner.step(board_c=60.0)
    np.testing.assert_allclose(hot, 0.0)
    cooled, _ = miner.step(board_c=39.0)
    np.testing.assert_allclose(cooled, 0.0)
    back, _ = miner.step(board_c=39.0)
    np.testing.assert_allclose(back, [0.25, 0.75, 1.0, 1.0, 1.0])


def test_no_start_in_deep_cold_until_it_is_warm_enough() -> None:
    miner = Miner(running=0.0)
    for _ in range(6):
        hashing, _ = miner.step(board_c=-40.0)
        np.testing.assert_allclose(hashing, 0.0)
    miner.step(board_c=-20.0)
    hashing, _ = miner.step(board_c=-20.0)
    assert hashing[-1] == 1.0


def test_a_stop_is_immediate_and_counted_once() -> None:
    miner = Miner()
    hashing, _ = miner.step(run=0.0)
    np.testing.assert_allclose(hashing, 0.0)
    assert miner.stopped[0, 0] == 1.0
    miner.step(run=0.0)
    assert miner.stopped[0, 0] == 0.0
