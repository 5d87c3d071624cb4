"""The thermal network against the few measurements of real miners that are public."""

from __future__ import annotations

import numpy as np
import pytest

from minesim.physics.heatsink import board_sensor_temps_c
from minesim.units import M3_PER_S_PER_CFM
from tests.twin import one_miner, steady

FULL_CFM = 394.0


def test_farm_heat_balance_of_an_s19_pro() -> None:
    """370 cfm, 3320 W, inlet 23.1 C, outlet 38.8 C (field report): outlet within 1 K."""
    duty = 370.0 / FULL_CFM
    site = one_miner("Antminer S19 Pro", fan_duty_min=duty, fan_target_c=120.0, temp_trip_c=150.0, switcher_on=False)
    state, outcome = steady(site, 23.1, float(site.params.curves.preset_last[0]))
    assert np.exp(state.log_duty[0, 0]) == pytest.approx(duty)
    flow_w_per_k = site.miners.flow_max_w_per_k[0, 0] * duty * (273.15 + 20.0) / (273.15 + 23.1)
    outlet_c = outcome.temp_intake_c[0] + 3320.0 / flow_w_per_k
    assert outlet_c == pytest.approx(38.8, abs=1.0)
    assert flow_w_per_k == pytest.approx(370.0 * M3_PER_S_PER_CFM * 1.204 * 1006.0 * 293.15 / 296.25, rel=1e-3)
    # The twin's own outlet: everything the miner draws leaves with its air.
    assert outcome.temp_hot_c[0] - 23.1 == pytest.approx(outcome.power_miners_w[0] / (1.15 * flow_w_per_k), rel=0.02)


@pytest.mark.parametrize(
    ("model", "power_w", "duty", "board_in_c", "board_out_c", "chip_c"),
    [
        ("Antminer S19 XP", 3137.0, 1.0, 41.0, 55.0, 70.5),
        ("Antminer S19 XP", 2472.0, 1.0, 42.0, 56.0, 71.5),
        ("Antminer S21 Pro", 3480.0, 0.92, 36.0, 50.0, 65.0),
        ("Antminer S19j Pro (104T)", 2631.0, 1.0, 36.0, 50.0, 65.0),
    ],
)
def test_live_board_and_chip_temperatures(
    model: str, power_w: float, duty: float, board_in_c: float, board_out_c: float, chip_c: float
) -> None:
    """The intake was not recorded: it follows from the board's inlet side; outlet side and chip are predictions."""
    site = one_miner(model, fan_duty_min=duty, fan_target_c=120.0, temp_trip_c=150.0, switcher_on=False)
    powers = site.params.curves.preset_power_w[0]
    preset = int(np.argmin(np.abs(powers - power_w)))
    if powers[preset] < power_w and preset < len(powers) - 1:
        preset += 1
    throttle = min(1.0, power_w / powers[preset])

    def boards(amb_c: float) -> tuple[float, float, float]:
        state, _ = steady(site, amb_c, float(preset), throttle)
        air_rise_k = 2.0 * (state.temp_board_c - state.temp_sink_c.max(axis=0))
        low, high = board_sensor_temps_c(state.temp_sink_c.mean(axis=0), air_rise_k)
        hottest_c = state.temp_board_c[0, 0] + site.params.firmware.chip_offset_k
        return float(low[0, 0]), float(high[0, 0]), float(hottest_c)

    amb_c = board_in_c - (boards(25.0)[0] - 25.0)
    for _ in range(3):
        amb_c += board_in_c - boards(amb_c)[0]
    low_c, high_c, hot_c = boards(amb_c)
    assert low_c == pytest.approx(board_in_c, abs=0.1)
    assert high_c == pytest.approx(board_out_c, abs=5.0)
    assert hot_c == pytest.approx(chip_c, abs=5.0)


def test_heat_limits_of_an_s21_in_the_field() -> None:
    """Boards throttle above 40 C intake (490 to 440 MHz) and the unit stops above 47 C (field test)."""
    site = one_miner("Antminer S21", switcher_on=False)
    top = float(site.params.curves.preset_last[0])
    at_40 = steady(site, 40.0, top)[1].temp_chip_max_c[0, 0]
    assert at_40 == pytest.approx(85.0, abs=4.0), "85 C is the firmware's 'hot' threshold"
    hot_site = one_miner("Antminer S21", switcher_on=False, temp_trip_c=150.0)
    at_47 = steady(hot_site, 47.0, top, throttle=440.0 / 490.0)[1].temp_chip_max_c[0, 0]
    assert at_47 == pytest.approx(90.0, abs=5.0), "90 C stops mining, at the throttled 440 of 490 MHz"
