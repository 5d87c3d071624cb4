"""Settled operating points against the twin: no movement of a miner may need less power for its hashes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from minesim.bench.bound_points import (
    HEAT_UP_S,
    Weather,
    cold_restart_temps_c,
    operating_points,
    point_menu,
)
from minesim.bench.bound_site import Cooling
from minesim.envs.core import EnvConfig, build_world
from minesim.physics.firmware import FirmwareCommand
from minesim.site import (
    Exogenous,
    SiteParams,
    initial_state,
    prepare,
    transition,
    weather_of_site,
)

STEP_S = 300.0
AMBIENT_C = np.array([-10.0, 5.0, 20.0, 33.0, 42.0])
Command = tuple[float, float, float]
FULL, TOP_LOW, TOP_MID = (1.0, 7.0, 1.0), (1.0, 7.0, 0.2), (1.0, 7.0, 0.7)
LOW, LOWEST, OFF = (1.0, 0.0, 1.0), (1.0, 0.0, 0.2), (0.0, 7.0, 1.0)
MOVEMENTS: tuple[tuple[Command, Command], ...] = (
    (FULL, TOP_LOW),
    (FULL, TOP_MID),
    (FULL, LOW),
    (FULL, LOWEST),
    (FULL, OFF),
    (FULL, (1.0, 6.0, 1.0)),
    (LOW, LOWEST),
    (LOW, OFF),
    ((1.0, 1.0, 1.0), LOW),
    ((1.0, 2.0, 1.0), (1.0, 1.0, 1.0)),
    ((1.0, 4.0, 1.0), (1.0, 3.0, 1.0)),
    ((1.0, 1.0, 0.2), LOWEST),
    (FULL, FULL),
    (LOW, LOW),
)
LENGTHS = ((1, 1), (2, 2), (3, 3), (6, 6), (6, 1), (1, 6))
STEPS = 144


@pytest.fixture(scope="module")
def params() -> SiteParams:
    """The container without silicon spread."""
    return build_world(EnvConfig(difficulty="easy")).params


def weather_grid(params: SiteParams, repeat: int) -> tuple[Exogenous, Weather, object]:
    """The same five climates for the twin (each repeated) and for the points."""
    amb = np.repeat(AMBIENT_C, repeat)
    density = 293.0 / (amb + 273.0)
    site = prepare(params, len(amb), STEP_S, np.zeros(1))
    exog = Exogenous(amb, np.minimum(amb, 0.6 * amb + 4.0), density, np.zeros((len(amb), len(params.curves.models))))
    terms = weather_of_site(exog, site)
    first = slice(None, None, repeat)
    return (
        replace(exog, terms=terms),
        Weather(amb[first], terms.temp_supply_c[first], density[first], np.zeros(len(AMBIENT_C))),
        site,
    )


def test_no_movement_hashes_with_less_power(params: SiteParams) -> None:
    patterns = [np.array([a] * n + [b] * m) for a, b in MOVEMENTS for n, m in LENGTHS]
    courses = np.stack([np.tile(p, (STEPS // len(p) + 1, 1))[:STEPS] for p in patterns])
    exog, weather, site = weather_grid(params, len(courses))
    cohorts, rows = len(params.curves.models), len(exog.temp_amb_c)
    ones = np.ones((rows, cohorts))
    state = initial_state(
        site, exog.temp_amb_c, np.ones((3, rows, cohorts)), 0.0 * ones, preset=params.curves.preset_last * ones
    )
    power, hashes, starts, before = 0.0 * ones, 0.0 * ones, 0.0 * ones, ones
    highest = 0.0 * ones
    for step in range(STEPS):
        run, preset, throttle = np.tile(courses[:, step], (len(AMBIENT_C), 1)).T[..., None]
        state, outcome = transition(state, FirmwareCommand(run * ones, preset * ones, throttle * ones), exog, site)
        power, hashes = power + outcome.power_w * 1e-3 / STEPS, hashes + outcome.hashrate_ths / STEPS
        highest = np.maximum(highest, outcome.power_w * 1e-3)
        starts, before = starts + (run > before), run * ones
    points = operating_points(params, point_menu(params, STEP_S), weather, np.ones((3, cohorts)))
    shape = (len(AMBIENT_C), len(courses), cohorts)
    power, hashes, starts = power.reshape(shape), hashes.reshape(shape), (starts + 1.0).reshape(shape)
    gain_kwh = np.maximum(points.leak_kw * HEAT_UP_S - 0.12 * 300.0, 0.0)[:, None] / 3600.0
    # A TH/s may be worth any power: the settled points with what starts save must be the better choice at each worth.
    for worth in np.linspace(0.0, 0.2, 81):
        settled = np.maximum((worth * points.hashrate_ths - points.power_low_kw).max(axis=-1), -params.off_w * 1e-3)
        best = settled[:, None] + starts * gain_kwh / (STEPS * STEP_S / 3600.0)
        assert (best >= worth * hashes - power).all(), worth
    assert (highest.reshape(shape).max(axis=1) <= points.power_peak_kw.max(axis=-1)).all()
    # And they are no less than 1 % below what a settled miner draws.
    full = power[:, [i for i, (a, b) in enumerate(m for m in MOVEMENTS for _ in LENGTHS) if a == b == FULL]]
    top = points.hashrate_ths.argmax(axis=-1)
    assert (points.power_low_kw[:, np.arange(cohorts), top][:, None] > 0.99 * full).all()


def test_a_standing_miner_is_never_warmer_than_said(params: SiteParams) -> None:
    exog, weather, site = weather_grid(params, 1)
    cohorts, rows = len(params.curves.models), len(AMBIENT_C)
    ones = np.ones((rows, cohorts))
    preset = params.curves.preset_last * ones
    state = initial_state(site, exog.temp_amb_c, np.ones((3, rows, cohorts)), 0.0 * ones, preset=preset)
    for _ in range(24):
        state, outcome = transition(state, FirmwareCommand(ones, preset, ones), exog, site)
    stopped_c = outcome.temp_board_c
    measured = []
    for _ in range(24):
        state, outcome = transition(state, FirmwareCommand(0.0 * ones, preset, ones), exog, site)
        measured.append(outcome.temp_board_c)
    off_s = np.arange(1, 25) * STEP_S
    said = cold_restart_temps_c(params, AMBIENT_C[:, None] + 2.0, stopped_c, off_s, float(weather.density_ratio.min()))
    assert (said >= np.stack(measured)).all()
    assert (said[-1] < np.stack(measured)[-1] + 12.0).all()


def test_cooling_lines_stay_on_their_side() -> None:
    cooling = Cooling(fan_kw=np.array([9.0]), pump_kw=np.array([0.5]), floor=0.04)
    x = np.linspace(0.0, 0.9, 50)
    true = cooling.power_kw(x)
    for at in (0.0, 0.3, 0.8):
        slope, intercept = cooling.line(np.array([at]), np.array([0.9]), np.array([True]))
        assert (slope * x + intercept <= true + 1e-12).all()
        slope, intercept = cooling.line(np.array([at]), np.array([0.9]), np.array([False]))
        assert (slope * x + intercept >= true - 1e-12).all()


def test_points_without_throttle_and_with_one_preset(params: SiteParams) -> None:
    curves = params.curves
    bare = replace(params, curves=replace(curves, has_throttle=False))
    menu = point_menu(bare, STEP_S)
    assert (menu.throttle == 1.0).all()
