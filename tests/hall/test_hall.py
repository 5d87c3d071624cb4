"""The cooled hall: every joule accounted for, one text for numpy and torch, and the trade-off of three powers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minesim.arrays import NUMPY
from minesim.errors import ParamsError
from minesim.hall import (
    Hall,
    HallCommand,
    HallOutcome,
    HallState,
    build_hall,
    energy_balance_j,
    start_state,
    transition,
)
from minesim.physics.cooling import OFF, PadParams, PlantCommand, Weather

DT_S = 300.0
HALL = build_hall()


def weather(temp_c: float, humidity: float = 30.0) -> Weather:
    return Weather(np.asarray(temp_c), np.asarray(humidity), np.asarray(101325.0))


def command(speed: float, load: Any = 1.0, damper: float = 0.0, pad: float = 0.0) -> HallCommand:
    plant = PlantCommand(np.full(4, speed), np.full(2, damper), np.asarray(pad), np.asarray(OFF))
    return HallCommand(plant, np.broadcast_to(load, 16).astype(float))


def settle(
    speed: float, temp_c: float, steps: int = 24, hall: Hall = HALL, **more: Any
) -> tuple[HallState, HallOutcome]:
    air = weather(temp_c)
    state = start_state(hall, air.temp_c, xp=NUMPY)
    for _ in range(steps):
        state, outcome = transition(state, command(speed, **more), air, hall, DT_S, xp=NUMPY)
    return state, outcome


@given(
    speeds=st.lists(st.floats(0.0, 1.0), min_size=3, max_size=3),
    temp_c=st.floats(-25.0, 45.0),
    load=st.lists(st.one_of(st.just(0.0), st.floats(0.2, 1.0)), min_size=16, max_size=16),
    damper=st.floats(0.0, 1.0),
)
@settings(max_examples=40, deadline=None)
def test_heat_in_is_heat_out(speeds: list[float], temp_c: float, load: list[float], damper: float) -> None:
    air = weather(temp_c)
    before = start_state(HALL, air.temp_c, xp=NUMPY)
    for speed in speeds:
        after, outcome = transition(before, command(speed, load, damper), air, HALL, DT_S, xp=NUMPY)
        balance = energy_balance_j(before, after, outcome, air, HALL, DT_S, xp=NUMPY)
        out_j = balance.air_out_j + balance.envelope_j + balance.stored_j
        scale = abs(balance.electrical_j) + abs(balance.air_out_j)
        assert abs(balance.electrical_j - out_j) < 1e-6 * scale
        before = after


def test_room_fans_miner_fans_and_leakage_trade_off_inside_the_range() -> None:
    speeds = (0.4, 0.5, 0.6, 0.7, 0.8, 1.0)
    parts = []
    for speed in speeds:
        _, out = settle(speed, 15.0)
        count = HALL.miners.count
        parts.append((float(out.power_cooling_w), float(count @ out.power_fan_w), float(count @ out.power_leak_w)))
    room, fans, _ = (list(part) for part in zip(*parts, strict=True))
    assert room == sorted(room)
    assert fans[0] > fans[-1]
    total = [sum(part) for part in parts]
    assert 0 < total.index(min(total)) < len(speeds) - 1


def test_fans_hold_the_chips_where_the_air_allows() -> None:
    _, mild = settle(0.9, 15.0)
    assert np.abs(mild.temp_hot_max_c - HALL.firmware.fan_target_c).max() < 1.0
    assert 0.1 < mild.duty.min() < mild.duty.max() < 1.0


def test_miners_trip_in_a_hall_without_fans_and_lose_their_hashes() -> None:
    state, outcome = settle(0.0, 35.0, steps=6)
    assert state.tripped.max() == 1.0
    assert outcome.hashrate_ths.sum() < 0.9 * HALL.miners.hashrate_ths.sum()


def test_a_trip_and_its_end_are_not_missed_where_steps_without_one_are_cut_short() -> None:
    always = replace(NUMPY, may_reach=lambda x, limit: True)
    air, groups = weather(20.0), []
    state = looked = start_state(HALL, air.temp_c, xp=NUMPY)
    for speed in (1.0, *[0.0] * 4, *[1.0] * 7):
        state, _ = transition(state, command(speed), air, HALL, DT_S, xp=NUMPY)
        looked, _ = transition(looked, command(speed), air, HALL, DT_S, xp=always)
        np.testing.assert_array_equal(state.tripped, looked.tripped)
        np.testing.assert_array_equal(state.temp_hot_c, looked.temp_hot_c)
        groups.append(state.tripped.sum())
    assert groups[0] == 0.0
    assert max(groups) == 16.0 > groups[-1]


def test_a_pad_lowers_the_intakes_and_takes_water() -> None:
    wet = build_hall(pad=PadParams(face_m2=28.0))
    _, dry_out = settle(1.0, 38.0, hall=wet)
    _, wet_out = settle(1.0, 38.0, hall=wet, pad=1.0)
    assert wet_out.temp_inlet_c.max() < dry_out.temp_inlet_c.max() - 8.0
    assert wet_out.plant.water_kg_per_s > 0.0 == dry_out.plant.water_kg_per_s


def test_a_row_of_a_batch_is_the_hall_alone() -> None:
    batch = HALL.to(np.asarray, batch=True)
    temps, speeds = np.array([-5.0, 20.0, 38.0]), np.array([0.4, 0.7, 1.0])
    air = Weather(temps, np.full(3, 30.0), np.full(3, 101325.0))
    plant = PlantCommand(np.tile(speeds, (4, 1)), np.zeros((2, 3)), np.zeros(3), np.full(3, OFF))
    state = start_state(batch, temps, xp=NUMPY)
    for _ in range(3):
        state, outcome = transition(state, HallCommand(plant, np.ones((16, 3))), air, batch, DT_S, xp=NUMPY)
    for row in range(3):
        alone, alone_out = settle(speeds[row], temps[row], steps=3)
        np.testing.assert_allclose(state.structure_c[..., row], alone.structure_c, rtol=1e-9)
        np.testing.assert_allclose(outcome.temp_hot_max_c[:, row], alone_out.temp_hot_max_c, rtol=1e-9)
        np.testing.assert_allclose(outcome.power_miners_w[row], alone_out.power_miners_w, rtol=1e-9)


def test_no_halls_are_stepped_as_well() -> None:
    batch, none = HALL.to(np.asarray, batch=True), np.zeros(0)
    plant = PlantCommand(np.zeros((4, 0)), np.zeros((2, 0)), none, none)
    state = start_state(batch, none, xp=NUMPY)
    state, _ = transition(state, HallCommand(plant, np.ones((16, 0))), Weather(none, none, none), batch, DT_S, xp=NUMPY)
    assert state.temp_hot_c.shape == (16, 0)


@pytest.mark.parametrize(("kind", "tolerance"), [("float64", 1e-9), ("float32", 2e-3)])
def test_torch_is_numpy(kind: str, tolerance: float) -> None:
    torch = pytest.importorskip("torch")
    from minesim.arrays import torch_namespace

    dtype, xp = getattr(torch, kind), torch_namespace()

    def tensor(value: Any) -> Any:
        return torch.as_tensor(np.asarray(value), dtype=dtype)

    hall = HALL.to(tensor, batch=True)
    air = Weather(tensor([20.0, 35.0]), tensor([30.0, 30.0]), tensor([101325.0, 101325.0]))
    plant = PlantCommand(tensor(np.full((4, 2), 0.7)), tensor(np.zeros((2, 2))), tensor([0.0, 0.0]), tensor([OFF, OFF]))
    state = start_state(hall, air.temp_c, xp=xp)
    for _ in range(3):
        state, outcome = transition(state, HallCommand(plant, tensor(np.ones((16, 2)))), air, hall, DT_S, xp=xp)
    assert outcome.air_c.dtype == dtype
    for row, temp_c in enumerate((20.0, 35.0)):
        _, alone = settle(0.7, temp_c, steps=3)
        np.testing.assert_allclose(outcome.temp_hot_max_c[:, row].numpy(), alone.temp_hot_max_c, rtol=tolerance)
        np.testing.assert_allclose(float(outcome.power_miners_w[row]), alone.power_miners_w, rtol=tolerance)


def test_liquid_cooled_miners_do_not_stand_in_a_hall_of_air() -> None:
    with pytest.raises(ParamsError, match="liquid-cooled"):
        build_hall(model="Antminer S21 Hydro")
    with pytest.raises(ParamsError, match="sub_steps is 0"):
        build_hall(sub_steps=0)
