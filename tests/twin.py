"""Small builders that several tests share."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from minesim.arrays import NUMPY
from minesim.control.fleet import CohortSpec
from minesim.envs.core import SiteCore, World, build_world
from minesim.envs.single import make_config
from minesim.physics.firmware import FirmwareCommand
from minesim.scenario import Scenario, scenario
from minesim.site import Exogenous, Outcome, PreparedSite, SiteState, initial_state, prepare, transition, weather_terms
from minesim.site_spec import SiteSpec, build_site


@cache
def generated_world(**options: Any) -> World:
    """A world over the generated scenario."""
    return build_world(make_config(**options))


def core_of(world: World, num_envs: int = 1, seed: int = 0, like: Any = None, **reset: Any) -> SiteCore:
    """A core that has been reset."""
    core = SiteCore(world, num_envs, like)
    core.seed(range(seed, seed + num_envs))
    core.reset(options=reset)
    return core


def real_scenario(name: str, known: str = "at_start") -> Scenario:
    """A packaged scenario whose energy price is known at another time than usual."""
    found = scenario(name)
    traces = found.traces.copy(deep=True)
    traces["power_price_usd_per_mwh"].attrs["known"] = known
    return dataclasses.replace(found, traces=traces)


def one_miner(model: str, **firmware: Any) -> PreparedSite:
    """One miner of a model with other firmware constants, in an open room without a pad."""
    spec = SiteSpec("one", (CohortSpec(model, 1),))
    spec = replace(
        spec,
        firmware=replace(spec.firmware, **firmware),
        room=replace(spec.room, pad_effectiveness=0.0, share_leak=0.0),
    )
    return prepare(build_site(spec), 1, 300.0, np.zeros(1))


def steady(site: PreparedSite, temp_amb_c: float, preset: float, throttle: float = 1.0) -> tuple[SiteState, Outcome]:
    """Run a site at one command for four hours of constant weather."""
    amb, humidity, pressure = np.array([temp_amb_c]), np.array([40.0]), np.array([101325.0])
    cohorts = site.count.shape[1]
    leak = np.ones((site.miners.board_present.shape[0], 1, cohorts))
    presets = np.full((1, cohorts), preset)
    state = initial_state(site, amb, leak, np.zeros((1, cohorts)), preset=presets)
    state = replace(state, log_duty=np.zeros((1, cohorts)))
    command = FirmwareCommand(np.ones((1, cohorts)), presets, np.full((1, cohorts), throttle))
    wetbulb, ratio = weather_terms(amb, humidity, pressure, xp=NUMPY)
    exog = Exogenous(amb, wetbulb, ratio, np.full((1, cohorts), 0.5))
    for _ in range(48):
        state, outcome = transition(state, command, exog, site)
    return state, outcome
