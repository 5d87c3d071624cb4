"""From an action to presets and throttle."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minesim.arrays import NUMPY
from minesim.control.actuate import (
    OFF_BELOW,
    THROTTLE_MIN,
    THROTTLE_PREFERRED_MIN,
    FleetCurves,
    actuate,
    command_power_w,
    target_level,
)
from minesim.control.fleet import CohortSpec, fleet_curves
from minesim.errors import ParamsError
from minesim.physics.firmware import FirmwareCommand

FLEET = fleet_curves((CohortSpec("S19j Pro", 10), CohortSpec("Antminer S17 Pro", 5)))


def _command(run: float, preset: float, throttle: float = 1.0) -> FirmwareCommand:
    shape = (1, 2)
    return FirmwareCommand(np.full(shape, run), np.full(shape, preset), np.full(shape, throttle))


def _act(action: float, current: FirmwareCommand, fleet: FleetCurves = FLEET) -> tuple[FirmwareCommand, np.ndarray]:
    return actuate(np.full((1, 2), action), current, fleet, xp=NUMPY)


@given(st.floats(-1.0, 1.0), st.integers(0, 7))
def test_the_commanded_power_is_the_target_within_the_tables_reach(action: float, preset: int) -> None:
    current = _command(1.0, float(min(preset, int(FLEET.preset_last.min()))))
    command, power_w = _act(action, current)
    np.testing.assert_allclose(power_w, command_power_w(command, FLEET, xp=NUMPY))
    level = target_level(np.full((1, 2), action), current.run, FLEET.level_min, xp=NUMPY)
    target_w = level * FLEET.power_rated_w
    # A preset within a thousandth of rated power of the target reaches it.
    assert (np.abs(power_w - target_w) <= 1.001e-3 * FLEET.power_rated_w).all()
    assert ((command.throttle >= THROTTLE_MIN) & (command.throttle <= 1.0)).all()
    assert (command.preset <= FLEET.preset_last).all()
    assert ((command.run == 0.0) == (power_w == 0.0)).all()


def test_off_has_hysteresis() -> None:
    on, off = np.ones((1, 2)), np.zeros((1, 2))
    between = np.full((1, 2), -0.88)
    assert (target_level(between, on, FLEET.level_min, xp=NUMPY) > 0.0).all()
    assert (target_level(between, off, FLEET.level_min, xp=NUMPY) == 0.0).all()
    assert (target_level(np.full((1, 2), OFF_BELOW - 0.01), on, FLEET.level_min, xp=NUMPY) == 0.0).all()


def test_a_small_cut_throttles_and_keeps_the_preset_a_deep_one_changes_it() -> None:
    top = _command(1.0, 7.0)
    small, _ = _act(0.9, top)
    assert (small.preset == 7.0).all()
    assert (small.throttle < 1.0).all()
    assert (small.throttle >= THROTTLE_PREFERRED_MIN).all()
    deep, _ = _act(-0.5, top)
    assert (deep.preset < 7.0).all()
    back, _ = _act(1.0, deep)
    assert (back.preset == 7.0).all()
    assert (back.throttle == 1.0).all()


def test_without_throttle_the_highest_preset_below_the_target_is_taken() -> None:
    fleet = replace(FLEET, has_throttle=False)
    for action in np.linspace(-0.85, 1.0, 30):
        command, power_w = _act(float(action), _command(1.0, 3.0), fleet)
        level = target_level(np.full((1, 2), action), np.ones((1, 2)), fleet.level_min, xp=NUMPY)
        assert (command.throttle == 1.0).all()
        assert (power_w <= level * fleet.power_rated_w * 1.002).all()
        above = command.preset < fleet.preset_last
        next_w = fleet.at_preset(fleet.preset_power_w, np.minimum(command.preset + 1, fleet.preset_last), xp=NUMPY)
        assert (next_w[above] > (level * fleet.power_rated_w * 1.0005)[above]).all()


def test_a_stopped_cohort_keeps_its_preset() -> None:
    command, power_w = _act(-1.0, _command(1.0, 4.0))
    assert (command.run == 0.0).all()
    assert (command.preset == 4.0).all()
    assert (power_w == 0.0).all()


def test_a_fleet_needs_miners() -> None:
    with pytest.raises(ParamsError, match="no cohort"):
        fleet_curves(())
    with pytest.raises(ParamsError, match="0 miners"):
        CohortSpec("S19j Pro", 0)


def test_curves_are_those_of_the_catalog_and_j_per_th_is_best_below_stock() -> None:
    j_per_th = FLEET.preset_power_w / FLEET.preset_hashrate_ths
    assert FLEET.power_rated_w[0] == pytest.approx(3068.0, rel=0.03)
    assert (np.diff(FLEET.preset_power_w, axis=1) > 0.0).all()
    assert j_per_th[0].argmin() not in (0, 7), "an S19j Pro is most efficient between its lowest and stock setting"
    assert (FLEET.preset_fixed_w < FLEET.preset_power_w).all()
