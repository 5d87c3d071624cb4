"""A rule through the bridge earns on emulated miners what it earns in the environment."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agents.baselines.base import Knowledge, Rule
from agents.baselines.threshold import HysteresisParams, HysteresisThrottle
from minesim.bridge.deciding.decide import Settings
from minesim.control.envelope import limits
from minesim.control.fleet import CohortSpec
from minesim.emulator.twin import FleetDraw
from minesim.envs.core import EnvConfig, SiteCore, build_world
from minesim.scenario import scenario
from minesim.site_spec import SiteSpec
from tests.bridge.rehearsal import Rehearsal

MODELS = (
    *["Antminer S19j Pro (104T)"] * 7,
    *["Antminer S19 XP"] * 5,
    *["Antminer S19 (95T)"] * 4,
    *["Antminer S17 Pro"] * 4,
)
START = "2022-06-26T05:00"


def rule(knowledge: Knowledge) -> Rule:
    return HysteresisThrottle(knowledge, HysteresisParams(0.35, 0.65, 0.5))


@pytest.mark.parametrize("hours", [6, pytest.param(48, marks=pytest.mark.long)])
async def test_a_rule_earns_through_the_bridge_what_it_earns_in_the_environment(tmp_path: Path, hours: int) -> None:
    world_of = scenario("generated/energy_only", start="2022-06-20", days=12, level="hard")
    site = SiteSpec("twenty", tuple(CohortSpec(model, 1) for model in MODELS))
    world = build_world(
        EnvConfig(scenario=world_of, site=site, limits="bridge", difficulty="easy", split=None, episode_days=2.0)
    )
    core = SiteCore(world, 1)
    core.seed([3])
    observation = core.reset(options={"start": START, "month_peak_frac": 0.0})
    policy = rule(Knowledge(core.schema, world.params.curves))
    in_env_usd, gross_usd = 0.0, 0.0
    for _ in range(hours * 12):
        info = core.step(policy.act(observation)).info
        observation = core.observation()
        in_env_usd += float(info["profit_usd"][0])
        gross_usd += float(info["revenue_usd"][0])

    state = core.state
    draw = FleetDraw(np.asarray(state.silicon_leak)[:, 0], np.asarray(state.power_bias)[0], 1)
    rehearsal = Rehearsal(
        world_of,
        MODELS,
        rule,
        tmp_path / "journal.db",
        START,
        site=replace(site, sub_steps=1),
        draw=draw,
        settings=Settings(limits=limits("bridge"), cap_w=1e9),
    )
    await rehearsal.bridge.start()
    through_usd = 0.0
    price = world.table.column("energy_price_usd_per_mwh")
    revenue = world.table.column("hash_revenue_usd_per_ths_day")

    def book() -> None:
        nonlocal through_usd
        outcome = rehearsal.emulator.twin.outcome
        assert outcome is not None
        row = rehearsal.row + int((rehearsal.emulator.elapsed_s - 1.0) // world.table.dt_s)
        hours_of_step = rehearsal.poll_s / 3600.0
        paid_ths = float(outcome.hashrate_ths @ world.params.curves.net_revenue_factor)
        through_usd += paid_ths * revenue[row] * hours_of_step / 24.0
        through_usd -= float(outcome.power_site_w) * 1e-6 * price[row] * hours_of_step
        through_usd -= float(outcome.wear_usd) + float(outcome.restart_usd)

    await rehearsal.run(hours, book)
    assert rehearsal.writes >= 20
    rehearsal.end()
    assert through_usd == pytest.approx(in_env_usd, abs=0.01 * gross_usd)
