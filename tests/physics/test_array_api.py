"""Every formula keeps to what the array API standard allows: no numpy habit, no in-place write, no ``if`` on values.

The formulas run on ``array-api-strict``, which refuses everything else, and must give numpy's numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import array_api_strict as strict
import numpy as np
import pytest

from minesim.arrays import NUMPY, Array, Namespace
from minesim.physics import asic, cooling, fan, heatsink, psu, psychrometrics, room, wear


def _binary(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def call(x: Any, y: Any) -> Any:
        x, y = (strict.asarray(v, dtype=strict.float64) if isinstance(v, (int, float)) else v for v in (x, y))
        return function(x, y)

    return call


STRICT: Namespace = replace(
    NUMPY,
    name="strict",
    exp=strict.exp,
    expm1=strict.expm1,
    log=strict.log,
    sqrt=strict.sqrt,
    abs=strict.abs,
    arctan=strict.atan,
    where=lambda c, x, y: strict.where(
        c, *(strict.asarray(v, dtype=strict.float64) if isinstance(v, (int, float)) else v for v in (x, y))
    ),
    minimum=_binary(strict.minimum),
    maximum=_binary(strict.maximum),
    clip=lambda x, low, high: _binary(strict.minimum)(_binary(strict.maximum)(x, low), high),
)

A, B, C = (
    np.array([[10.0, 45.0], [70.0, 88.0]]),
    np.array([[0.3, 0.9], [1.0, 0.5]]),
    np.array([[12.0, 13.0], [14.0, 15.0]]),
)

FORMULAS: dict[str, Callable[[Array, Array, Array, Namespace], Any]] = {
    "leakage": lambda a, b, c, xp: asic.leakage_power_w(c, a, 4.0, 0.03, 65.0, xp=xp),
    "rail": lambda a, b, c, xp: asic.rail_volt_v(a * 6.0, 11.9, 250.0, 0.006, 500.0, 0.008, xp=xp),
    "errors": lambda a, b, c, xp: asic.hw_error_ratio(c, c * 1.01, a, 0.01, 65.0, xp=xp),
    "supply": lambda a, b, c, xp: psu.input_power_w(a * 30.0, 3400.0, 0.93),
    "wet bulb": lambda a, b, c, xp: psychrometrics.temp_wetbulb_c(a - 20.0, b * 90.0, xp=xp),
    "wet bulb at altitude": lambda a, b, c, xp: psychrometrics.temp_wetbulb_at_c(
        a - 45.0, psychrometrics.humidity_ratio(a - 45.0, b * 90.0, c * 6e3, xp=xp), c * 6e3, xp=xp
    ),
    "dew point": lambda a, b, c, xp: psychrometrics.temp_dewpoint_c(b * 0.01, c * 6e3, xp=xp),
    "coil": lambda a, b, c, xp: cooling.dx_input_share(c, a, xp=xp) * cooling.dx_capacity_share(c, a, xp=xp),
    "room fan": lambda a, b, c, xp: cooling.fan_power_w(b, a * 10.0, c / 12.0, 2.8),
    "fan loop": lambda a, b, c, xp: fan.log_duty_step(-b, a, a - 1.0, 70.0, 0.02, 0.02, -c / 6.0, xp=xp),
    "stream": lambda a, b, c, xp: heatsink.ua_stream_w_per_k(-a, heatsink.ntu_at_flow(-b, b - 1.0, 0.7, xp=xp), xp=xp),
    "recirculation": lambda a, b, c, xp: room.recirculated_share(b, b * b + 0.1, 0.02, xp=xp),
    "room": lambda a, b, c, xp: room.solve_air(
        room.room_terms(a * 100.0, b * 0.5, c, c + 1.0, a * 5.0, a, a * 200.0), a * 1e3, a * 20.0, c
    )[0],
    "ageing": lambda a, b, c, xp: wear.arrhenius_factor(a, 65.0, 0.7, xp=xp),
    "cycling": lambda a, b, c, xp: wear.cycling_damage(a, xp=xp),
    "restarts": lambda a, b, c, xp: wear.restart_failure_probability(a - 60.0, 2e-4, 25.0, 40.0, xp=xp),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_formula_runs_on_the_strict_namespace_and_agrees_with_numpy(name: str) -> None:
    expected = FORMULAS[name](A, B, C, NUMPY)
    got = FORMULAS[name](strict.asarray(A), strict.asarray(B), strict.asarray(C), STRICT)
    np.testing.assert_allclose(np.asarray(got), expected, rtol=1e-13)
