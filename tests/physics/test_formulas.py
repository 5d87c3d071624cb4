"""Hand numbers, limits and monotonicity of fans, heatsinks, room, moist air and wear."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minesim.arrays import NUMPY
from minesim.physics import fan, heatsink, psychrometrics, room, wear

XP = NUMPY


def test_wet_bulb_of_known_air() -> None:
    """Stull's own example (20 C, 50 %: 13.7 C), and psychrometric chart values within its stated error."""
    temps, humidity = np.array([20.0, 30.0, 25.0, 35.0]), np.array([50.0, 50.0, 50.0, 70.0])
    expected = np.array([13.7, 22.0, 17.9, 30.0])
    np.testing.assert_allclose(psychrometrics.temp_wetbulb_c(temps, humidity, xp=XP), expected, atol=0.7)


@given(st.floats(-60.0, 60.0), st.floats(0.0, 100.0))
def test_wet_bulb_is_finite_and_never_above_the_dry_bulb(temp_c: float, humidity: float) -> None:
    wet = float(psychrometrics.temp_wetbulb_c(np.float64(temp_c), np.float64(humidity), xp=XP))
    assert math.isfinite(wet)
    assert wet <= temp_c


@pytest.mark.parametrize(
    ("depth_m", "velocity", "expected"), [(0.10, 1.0, 0.73), (0.15, 2.0, 0.71), (0.20, 3.0, 0.74), (0.30, 1.5, 0.91)]
)
def test_pad_effectiveness_matches_the_published_table(depth_m: float, velocity: float, expected: float) -> None:
    assert psychrometrics.pad_effectiveness(depth_m, velocity) == pytest.approx(expected, abs=0.006)


def test_air_gets_thin_with_height_and_heat() -> None:
    assert psychrometrics.density_air_kg_per_m3(20.0, 101325.0) == pytest.approx(1.204, abs=1e-3)
    assert psychrometrics.density_air_kg_per_m3(20.0, 82000.0) < 1.0


def test_fan_power_is_cubic_and_the_loop_is_bounded() -> None:
    assert fan.fan_power_w(1.0, 79.2) == 79.2
    assert fan.fan_power_w(0.5, 79.2) == pytest.approx(79.2 / 8)
    low = np.array([math.log(0.1)])
    up = fan.log_duty_step(np.array([-0.01]), np.array([120.0]), np.array([120.0]), 70.0, 1 / 60, 1 / 40, low, xp=XP)
    down = fan.log_duty_step(np.array([-2.3]), np.array([20.0]), np.array([60.0]), 70.0, 1 / 60, 1 / 40, low, xp=XP)
    assert up[0] == 0.0
    assert down[0] == low[0]
    still = fan.log_duty_step(np.array([-0.5]), np.array([70.0]), np.array([70.0]), 70.0, 1 / 60, 1 / 40, low, xp=XP)
    assert still[0] == -0.5


def test_heatsink_conductance_lies_between_nothing_and_the_streams_capacity() -> None:
    ntu = np.array([1e-9, 1.0, 50.0])
    ua = heatsink.ua_stream_w_per_k(np.full(3, -200.0), -ntu, xp=XP)
    np.testing.assert_allclose(ua, [2e-7, 200.0 * (1 - math.exp(-1)), 200.0], rtol=1e-6)


@given(st.floats(0.0, 2000.0), st.floats(-40.0, 60.0), st.floats(0.5, 150.0), st.floats(1.0, 3600.0))
def test_two_nodes_conserve_energy_for_any_step(power_w: float, intake_c: float, ua: float, dt_s: float) -> None:
    chip_j, sink_j, g = 100.0, 2400.0, 70.0
    network = heatsink.board_network(np.array(chip_j), np.array(sink_j), np.array(g), dt_s)
    chip_source, sink_source = heatsink.sink_source_w(np.array(60.0), np.array(45.0), np.array(power_w), network)
    chip, sink = heatsink.node_temps_c(
        chip_source, sink_source, np.array(ua * intake_c), network.sink_diagonal + ua, network
    )
    stored_w = (chip_j * (chip - 60.0) + sink_j * (sink - 45.0)) / dt_s
    assert stored_w + ua * (sink - intake_c) == pytest.approx(power_w, rel=1e-9, abs=1e-6)
    # Heat through the chip-sink joint, from the chip's own balance.
    assert g * (chip - sink) == pytest.approx(power_w - chip_j * (chip - 60.0) / dt_s, rel=1e-9, abs=1e-6)


def test_a_steady_board_has_the_textbook_temperatures() -> None:
    network = heatsink.board_network(np.array(100.0), np.array(2400.0), np.array(70.0), 60.0)
    chip = sink = np.array(20.0)
    for _ in range(200):
        sources = heatsink.sink_source_w(chip, sink, np.array(1050.0), network)
        chip, sink = heatsink.node_temps_c(*sources, np.array(50.0 * 20.0), network.sink_diagonal + 50.0, network)
    assert sink == pytest.approx(20.0 + 1050.0 / 50.0)
    assert chip == pytest.approx(sink + 1050.0 / 70.0)


def test_recirculation_is_what_the_room_fans_do_not_move() -> None:
    share = room.recirculated_share(np.array([0.6, 1.0, 1.5]), np.ones(3), 0.02, xp=XP)
    np.testing.assert_allclose(share, [0.4, 0.02, 0.02])


@given(
    st.floats(100.0, 50_000.0),
    st.floats(0.0, 1e6),
    st.floats(0.0, 30_000.0),
    st.floats(0.0, 1.0),
    st.floats(-40.0, 45.0),
)
def test_room_balance_closes(vent: float, heat_w: float, slope: float, recirculation: float, amb_c: float) -> None:
    wall, envelope, capacity, dt_s, wall_before = 500.0, 100.0, 2.7e6, 60.0, 25.0
    terms = room.room_terms(
        *(np.array([x]) for x in (vent, recirculation, amb_c - 1.0, amb_c, wall, envelope, capacity / dt_s))
    )
    hot, intake, wall_after = room.solve_air(terms, np.array([heat_w]), np.array([slope]), np.array([wall_before]))
    given_w = heat_w - slope * intake
    out_w = vent * (hot - (amb_c - 1.0)) + envelope * (wall_after - amb_c)
    stored_w = capacity * (wall_after - wall_before) / dt_s
    scale = heat_w + slope * 50.0 + vent * 50.0
    np.testing.assert_allclose(out_w + stored_w, given_w, atol=1e-9 * scale)
    np.testing.assert_allclose(intake, (1 - recirculation) * (amb_c - 1.0) + recirculation * hot, rtol=1e-9, atol=1e-9)


def test_structure_follows_the_air_with_its_time_constant() -> None:
    """With hot air held by a huge air exchange the structure relaxes exponentially, 1 % after 4.6 time constants."""
    capacity, wall = 2700.0 * 500.0, 500.0
    terms = room.room_terms(*(np.array([x]) for x in (1e9, 0.0, 40.0, 40.0, wall, 0.0, capacity / 10.0)))
    temp = np.array([20.0])
    for _ in range(270):
        _, _, temp = room.solve_air(terms, np.zeros(1), np.zeros(1), temp)
    assert temp[0] == pytest.approx(40.0 - 20.0 * math.exp(-1.0), abs=0.1)


def test_wear_figures_of_the_handbooks() -> None:
    assert wear.arrhenius_factor(np.float64(70.0), 60.0, 0.4, xp=XP) == pytest.approx(1.5, abs=0.05)
    assert wear.arrhenius_factor(np.float64(70.0), 60.0, 0.9, xp=XP) == pytest.approx(2.5, abs=0.05)
    assert wear.cycling_damage(np.float64(45.0), xp=XP) == pytest.approx(1.0)
    assert wear.cycling_damage(np.float64(20.0), xp=XP) == pytest.approx((20 / 45) ** 1.9)
    assert wear.cycling_damage(np.float64(0.0), xp=XP) < 1e-6


def test_cold_restarts_fail_more_often_but_never_certainly() -> None:
    chance = wear.restart_failure_probability(np.array([40.0, 0.0, -50.0, -1e4]), 2e-4, 25.0, 40.0, xp=XP)
    assert (np.diff(chance) >= 0.0).all()
    assert chance[0] == pytest.approx(2e-4)
    assert chance[-1] == 0.05
