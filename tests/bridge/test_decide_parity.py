"""The bridge decides as the twin does: same observations, same commands, step by step for two days."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from agents.baselines.base import Knowledge, Rule
from agents.baselines.threshold import HysteresisParams, HysteresisThrottle, Threshold, ThresholdParams
from minesim.arrays import NUMPY
from minesim.bridge.deciding.decide import Decider, Settings
from minesim.bridge.deciding.readings import MinerNow, SiteNow
from minesim.bridge.feeds import FeedBook
from minesim.bridge.miners.miner import Power, Reading, State
from minesim.control import observe
from minesim.control.envelope import limits
from minesim.control.fleet import CohortSpec
from minesim.envs.core import EnvConfig, SiteCore, build_world
from minesim.scenario import scenario
from minesim.site_spec import SiteSpec
from tests.bridge.replay import replay_feeds
from tests.bridge.stand_in import configured, facts_of, members_of

MODELS = (
    *["Antminer S19j Pro (104T)"] * 5,
    *["Antminer S19 XP"] * 4,
    *["Antminer S19 (95T)"] * 3,
    *["Antminer S17 Pro"] * 2,
)
ROWS = 2 * 96


def rule_of(name: str, knowledge: Knowledge, level: float) -> Rule:
    """A rule that starts, stops and throttles about ``level``, as price over break-even."""
    if name == "threshold":
        return Threshold(knowledge, ThresholdParams(level))
    return HysteresisThrottle(knowledge, HysteresisParams(0.8 * level, 1.3 * level, 0.5))


def usual_level(core: SiteCore, start_row: int) -> float:
    """Median of price over break-even of the first model in the two days."""
    rows, curves = slice(start_row, start_row + ROWS), core.world.params.curves
    per_mwh = curves.hashrate_rated_ths[0] * curves.net_revenue_factor[0] / 24.0 / (curves.power_rated_w[0] * 1e-6)
    revenue = core.world.table.column("hash_revenue_usd_per_ths_day")[rows] * per_mwh
    return float(np.median(core.world.table.column("energy_price_usd_per_mwh")[rows] / revenue))


def quantised(core: SiteCore) -> observe.Telemetry:
    """The twin's telemetry as firmware reports it: a miner hashes or it does not."""
    return replace(core.telemetry, hashing=(core.telemetry.hashing > 0.0) * 1.0)


@pytest.mark.parametrize(
    ("rule", "name", "has_throttle", "days"),
    [
        ("threshold", "generated/demand_charge", True, 2),
        ("hysteresis", "generated/late_price", True, 1),
        ("hysteresis", "generated/demand_charge", False, 1),
    ],
)
async def test_same_observations_and_commands_as_the_env(rule: str, name: str, has_throttle: bool, days: int) -> None:
    world_of = scenario(name, start="2022-06-20", days=12, level="hard")
    specs = tuple(CohortSpec(model, 1) for model in MODELS)
    site = SiteSpec("row", specs)
    site = replace(site, firmware=replace(site.firmware, has_throttle=has_throttle))
    world = build_world(
        EnvConfig(scenario=world_of, site=site, limits="bridge", difficulty="medium", split=None, episode_days=2.0)
    )
    core = SiteCore(world, 1)
    core.seed([3])
    observation = core.reset(options={"start": "2022-06-26T05:00", "month_peak_frac": 0.5})
    start_s = float(world.table.start_utc[core.start_row[0]].astype(np.int64))
    rated_kw = world.params.curves.power_rated_site_w * 1e-3

    members = members_of(MODELS)
    facts = {m.address: facts_of(model, has_throttle=has_throttle) for m, model in zip(members, MODELS, strict=True)}
    book = FeedBook(replay_feeds(world_of, world.table), world_of.tariff, world_of.site_timezone)
    knowledge = Knowledge(core.schema, world.params.curves)
    level = usual_level(core, int(core.start_row[0]))
    policy, same_policy = rule_of(rule, knowledge, level), rule_of(rule, knowledge, level)
    decider = Decider(
        members, specs, policy, book, Settings(limits=limits("bridge"), month_peak_kw=0.5 * rated_kw, cap_w=1e9)
    )
    decider.learn(facts)
    names = [[preset.name for preset in facts[m.address].presets] for m in members]
    command = core.history.command
    moves = 0
    now: dict[str, MinerNow] = {}
    for step in range(days * 288):
        now_s = start_s + 300.0 * step
        await book.refresh(now_s)
        told = quantised(core)
        for i, member in enumerate(members):
            if told.age_s[0, i] > 0.0:
                continue  # no answer came: the one before stands
            run = bool(command.run[0, i])
            hashing = bool(told.hashing[0, i])
            reading = Reading(
                at_s=now_s,
                state=State.MINING if hashing else State.STARTING if run else State.STOPPED,
                hashrate_ths=float(told.hashrate_ths[0, i]),
                power_w=float(told.power_w[0, i]),
                temp_chip_c=float(told.temp_chip_c[0, i]),
                temp_board_c=float(told.temp_board_c[0, i]),
                fan_duty=float(told.fan_duty[0, i]),
                throttle=round(float(command.throttle[0, i]), 2) if has_throttle else None,
            )
            halted_by = None if run else Power.STOP
            preset = configured(names[i][int(command.preset[0, i])])
            now[member.address] = MinerNow(reading, preset, halted_by=halted_by)
        meter = SiteNow(float(told.power_site_w[0]), now_s, float(told.temp_intake_c[0]))
        expected = observe.observe(
            told,
            core.history,
            core.meter,
            core._row.market[None],
            np.atleast_1d(core._edges().kw_per_kwh),
            observe.encoding(world.params.curves),
            xp=NUMPY,
        )[0]
        result = decider.step(now_s, now_s, now, meter)
        assert result.decision is not None
        assert result.trouble == ()
        seen = np.concatenate([np.atleast_1d(result.decision.observation[c.name]) for c in core.schema.channels])
        wanted = np.concatenate([core.schema.read(expected, c.name) for c in core.schema.channels])
        scale = np.maximum(np.abs(wanted), 1.0)
        worst = int(np.argmax(np.abs(seen - wanted) / scale))
        assert abs(seen - wanted)[worst] / scale[worst] < 1e-6, (step, worst, seen[worst], wanted[worst])

        before_w = core.history.command_w[0]
        core.step(same_policy.act(expected[None]))
        command = core.history.command
        moves += int(np.count_nonzero(core.history.command_w[0] != before_w))
        for i, one in enumerate(result.decision.miners):
            assert one.bounded.run == bool(command.run[0, i]), (step, i, one)
            assert one.bounded.preset == names[i][int(command.preset[0, i])], (step, i, one)
            assert one.bounded.throttle == pytest.approx(float(command.throttle[0, i]), abs=1e-9), (step, i, one)
        decider.note_sent(m.address for m in members)
        observation = core.observation()
    assert moves > 20 * days, observation
