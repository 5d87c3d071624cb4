"""Stories of a site under the decider: lost feeds, hot miners, jumping clocks, restarts."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from minesim.bridge.deciding.decide import Decider, Pass, Settings
from minesim.bridge.deciding.guard import Why
from minesim.bridge.deciding.memory import Memory
from minesim.bridge.deciding.readings import MinerNow, SiteNow
from minesim.bridge.feeds import FeedBook, Interval
from minesim.bridge.miners.fleet import MinerFacts
from minesim.bridge.miners.miner import Configuration, Power, Reading, State, Switcher
from minesim.bridge.writing.plan import Desired
from minesim.control.envelope import limits
from minesim.control.fleet import CohortSpec
from minesim.economics.tariff import tariff
from minesim.errors import DataFileError
from tests.bridge.stand_in import OFF, configured, facts_of, members_of, obeys

MODEL = "Antminer S19j Pro (104T)"
START_S = 1_800_000_000.0  # a whole control step
COUNT = 20


class Wish:
    """A policy that wants the same action until it is told otherwise."""

    name = "wish"

    def __init__(self, action: float = 1.0) -> None:
        self.action = action
        self.fails = False
        self.seen: list[np.ndarray] = []

    def act(self, observation: np.ndarray) -> np.ndarray:
        self.seen.append(observation[0].copy())
        if self.fails:
            raise ValueError("no idea")
        return np.full((1, 1), self.action, np.float32)

    def reset(self, done: object = None) -> None:
        return None


def a_book() -> FeedBook:
    """A book without live feeds: the tests say what comes in."""

    @dataclass
    class Silent:
        series: str

        async def fetch(self, now_s: float) -> Sequence[Interval]:
            return []

    names = ("power_price_usd_per_mwh", "coin_price_usd", "difficulty", "subsidy_coin", "temp_amb_c")
    return FeedBook([Silent(name) for name in names], tariff("demand_charge"), "America/Chicago")


@dataclass
class Site:
    """Twenty like miners in one cohort that do what they are told, and a clock."""

    policy: Wish = field(default_factory=Wish)
    settings: Settings = field(default_factory=Settings)
    count: int = COUNT
    switcher: Switcher = OFF
    now_s: float = START_S
    steady_s: float = 0.0
    feeds_on: bool = True
    obey: bool = True
    decider: Decider = field(init=False)
    configuration: dict[str, Configuration] = field(init=False)
    throttle: dict[str, float] = field(init=False)
    run: dict[str, bool] = field(init=False)
    told: dict[str, dict[str, object]] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)
    extra: dict[str, dict[str, object]] = field(default_factory=dict)
    last: dict[str, Reading] = field(default_factory=dict)
    meter_w: float | None = None

    def __post_init__(self) -> None:
        self.members = members_of([MODEL] * self.count, [0] * self.count)
        self.addresses = [m.address for m in self.members]
        facts = facts_of(MODEL, switcher=self.switcher)
        self.facts: Mapping[str, MinerFacts] = dict.fromkeys(self.addresses, facts)
        self.configuration = dict.fromkeys(self.addresses, facts.configuration)
        self.throttle = dict.fromkeys(self.addresses, 1.0)
        self.run = dict.fromkeys(self.addresses, True)
        self.decider = self.fresh()

    def fresh(self, memory: Memory | None = None) -> Decider:
        decider = Decider(
            self.members, [CohortSpec(MODEL, self.count)], self.policy, a_book(), self.settings, memory=memory
        )
        decider.learn(self.facts)
        self.feed(decider)
        return decider

    def feed(self, decider: Decider) -> None:
        if not self.feeds_on:
            return
        hour_s = math.floor(self.now_s / 3600.0) * 3600.0
        take = decider.book.take
        take("power_price_usd_per_mwh", [Interval(hour_s - 86400.0, 2 * 86400.0, 40.0)], self.now_s)
        for name, value in (
            ("coin_price_usd", 6e4),
            ("difficulty", 9e13),
            ("subsidy_coin", 3.125),
            ("temp_amb_c", 20.0),
        ):
            take(name, [Interval(hour_s, 3600.0, value)], self.now_s)

    def power_w(self, address: str) -> float:
        preset = self.configuration[address].preset
        full_w = next((p.power_w for p in self.facts[address].presets if p.name == preset), 3068.0)
        return full_w * self.throttle[address] if self.run[address] else 15.0

    def answers(self) -> dict[str, MinerNow]:
        for address in self.addresses:
            if address in self.silent:
                continue
            reading = Reading(
                at_s=self.now_s,
                state=State.MINING if self.run[address] else State.STOPPED,
                hashrate_ths=100.0 * self.run[address],
                power_w=self.power_w(address),
                temp_chip_c=70.0,
                temp_board_c=55.0,
                fan_duty=0.5,
                throttle=self.throttle[address],
            )
            self.last[address] = replace(reading, **self.told.get(address, {}))
        return {
            address: MinerNow(
                self.last.get(address),
                self.configuration[address],
                **({"halted_by": None if self.run[address] else Power.STOP} | self.extra.get(address, {})),
            )
            for address in self.addresses
            if address in self.last
        }

    def go(self, seconds: float, *, wall_s: float | None = None) -> Pass:
        """Let time pass, poll and make a pass; miners obey at once."""
        self.steady_s += seconds
        self.now_s += seconds if wall_s is None else wall_s
        self.feed(self.decider)
        meter = SiteNow() if self.meter_w is None else SiteNow(self.meter_w, self.now_s)
        result = self.decider.step(self.now_s, self.steady_s, self.answers(), meter)
        if self.obey:
            self.do(result.desired)
            self.decider.note_sent(result.changed)
        return result

    def do(self, desired: Mapping[str, Desired]) -> None:
        for address, one in desired.items():
            if address in self.silent:
                continue
            self.configuration[address], self.throttle[address] = obeys(
                one, self.configuration[address], self.throttle[address]
            )
            self.run[address] = one.run

    def total_w(self) -> float:
        return sum(self.power_w(address) for address in self.addresses)


RATED_W = facts_of(MODEL).presets[-1].power_w


def test_a_site_comes_down_at_once_and_up_in_turn() -> None:
    site = Site(policy=Wish(-1.0))
    down = site.go(0.0)
    assert down.decision is not None
    assert down.changed == set(site.addresses)
    assert not any(site.run.values())
    site.policy.action = 1.0
    power_w = []
    for _ in range(12 * 6):
        site.go(60.0)
        power_w.append(site.total_w())
    rises = np.diff(power_w)
    rated_w = COUNT * RATED_W
    assert power_w[-1] == pytest.approx(rated_w)
    assert rises.max() <= 0.05 * rated_w * 1.01  # a minute; one miner is exactly a twentieth
    windows = [power_w[i + 5] - power_w[i] for i in range(len(power_w) - 5)]
    assert max(windows) <= 0.10 * rated_w * 1.01


def test_between_decisions_heat_is_acted_on_and_nothing_rises() -> None:
    site = Site(policy=Wish(0.0))
    site.go(0.0)
    site.policy.action = 1.0
    hot, warm = site.addresses[3], site.addresses[4]
    site.told = {hot: {"temp_chip_c": 86.0}, warm: {"temp_chip_c": 81.0}}
    before_w = site.total_w()
    preset = site.configuration[warm].preset
    result = site.go(10.0)
    assert result.decision is None
    assert result.desired[hot] == Desired(run=False)
    assert result.why[hot] is Why.HARD_TEMP
    # The warm one was written to ten seconds ago: it is given time to cool.
    assert site.configuration[warm].preset == preset
    assert site.total_w() < before_w
    site.told = {}
    assert site.go(10.0).changed == frozenset()
    assert not site.run[hot]


def test_a_hot_miner_that_was_left_alone_for_long_steps_down_in_a_poll() -> None:
    site = Site(policy=Wish(1.0))
    site.go(0.0)
    warm = site.addresses[4]
    site.told = {warm: {"temp_chip_c": 81.0}}
    result = site.go(10.0)
    names = [p.name for p in site.facts[warm].presets]
    assert result.decision is None
    assert result.changed == {warm}
    assert result.desired[warm].preset == names[-2]
    assert result.why[warm] is Why.SOFT_TEMP
    assert [site.go(10.0).changed for _ in range(5)] == [frozenset()] * 5


def test_a_miner_that_got_too_hot_stays_below_that_preset_for_an_hour() -> None:
    site = Site(policy=Wish(1.0))
    site.go(0.0)
    warm = site.addresses[4]
    names = [p.name for p in site.facts[warm].presets]
    site.told = {warm: {"temp_chip_c": 82.0}}
    site.go(10.0)
    site.told = {}
    reached = []
    for _ in range(14):
        result = site.go(300.0)
        reached.append(site.configuration[warm].preset)
        if site.now_s - START_S < 3600.0:
            assert result.why[warm] is Why.HOT_BEFORE
    assert set(reached[:11]) == {names[-2]}
    assert reached[-1] == names[-1]
    assert {site.configuration[a].preset for a in site.addresses if a != warm} == {names[-1]}


def test_a_miner_stopped_for_heat_starts_again_only_when_it_has_cooled() -> None:
    site = Site(policy=Wish(1.0))
    site.go(0.0)
    hot = site.addresses[3]
    for chip_c, runs in ((86.0, False), (79.0, False), (66.0, False), (65.0, True)):
        site.told = {hot: {"temp_chip_c": chip_c, "temp_board_c": chip_c - 15.0}}
        passes = [site.go(300.0) for _ in range(3)]
        assert site.run[hot] is runs, chip_c
        if chip_c < 80.0 and not runs:
            assert passes[-1].why[hot] is Why.COOLING


def test_a_hot_miner_that_could_not_be_stopped_and_cooled_while_it_ran_is_commanded_again() -> None:
    site = Site(policy=Wish(1.0))
    site.go(0.0)
    hot = site.addresses[3]
    site.told = {hot: {"temp_chip_c": 86.0, "temp_board_c": 71.0}}
    site.obey = False
    assert site.go(300.0).why[hot] is Why.HARD_TEMP
    site.obey = True
    site.told = {hot: {"temp_chip_c": 75.0, "temp_board_c": 60.0}}
    site.policy.action = 0.0
    passes = [site.go(300.0) for _ in range(3)]
    assert site.run[hot]
    assert passes[-1].why[hot] is not Why.COOLING
    assert site.power_w(hot) < 0.9 * RATED_W


def test_a_lost_feed_holds_and_then_goes_down_to_the_fallback_never_up() -> None:
    site = Site(policy=Wish(1.0), settings=Settings(fallback_after_s=900.0))
    site.go(0.0)
    stopped = site.addresses[0]
    site.feeds_on = False
    for _ in range(24 * 12):
        assert site.go(300.0).decision is not None
    lost_s = None
    for _ in range(24):
        result = site.go(300.0)
        if result.trouble and lost_s is None:
            lost_s = site.now_s
            assert "coin_price_usd" in " ".join(result.trouble) or "power_price" in " ".join(result.trouble)
            assert result.changed == frozenset()
            assert set(result.why.values()) == {Why.HOLD}
            site.run[stopped] = False
    assert lost_s is not None
    names = [p.name for p in site.facts[stopped].presets]
    assert result.fallback
    assert {site.configuration[a].preset for a in site.addresses[1:]} == {names[0]}
    assert not site.run[stopped]
    site.feeds_on = True
    assert site.go(300.0).trouble == ()


def test_a_policy_that_fails_holds_and_recovers() -> None:
    site = Site(policy=Wish(0.5))
    site.go(0.0)
    site.policy.fails = True
    held = site.go(300.0)
    assert held.decision is None
    assert held.trouble == ("Policy 'wish' failed: no idea",)
    assert held.changed == frozenset()
    assert not held.fallback
    site.policy.fails = False
    assert site.go(300.0).trouble == ()


def test_an_action_that_is_no_number_is_a_failure_of_the_policy() -> None:
    site = Site(policy=Wish(math.nan))
    result = site.go(0.0)
    assert "1 of them not finite" in result.trouble[0]
    assert result.changed == frozenset()


@pytest.mark.parametrize("jump_s", [3600.0, -3600.0, 86400.0])
def test_a_clock_that_jumps_holds_and_dwell_times_stay_true(jump_s: float) -> None:
    site = Site(policy=Wish(1.0))
    site.go(0.0)
    site.policy.action = -0.5
    site.go(300.0)
    record = site.decider.memory.miners[site.addresses[0]]
    since_s = site.now_s - record.wrote_s
    held = site.go(10.0, wall_s=10.0 + jump_s)
    assert "clock jumped" in held.trouble[0]
    assert held.changed == frozenset()
    record = site.decider.memory.miners[site.addresses[0]]
    assert site.now_s - record.wrote_s == pytest.approx(since_s + 10.0)
    passes = [site.go(60.0) for _ in range(11)]
    assert any(one.decision is not None for one in passes)
    assert passes[-1].trouble == ()


def test_a_clock_behind_the_last_run_holds_after_a_restart() -> None:
    site = Site()
    site.go(0.0)
    kept = site.decider.to_json()
    site.now_s -= 7200.0
    site.decider = site.fresh()
    site.decider.recall(json.loads(json.dumps(kept)))
    assert "clock jumped" in site.go(0.0).trouble[0]


def test_a_silent_miner_is_counted_at_its_top_and_its_group_does_not_rise() -> None:
    site = Site(policy=Wish(-0.6), settings=Settings(cap_w=60e3, neighbour_hold_s=900.0))
    site.go(0.0)
    lost = site.addresses[7]
    for _ in range(6):
        site.go(300.0)
    site.silent = {lost}
    site.policy.action = 0.2
    site.go(100.0)
    result = site.go(200.0)
    assert result.decision is not None
    assert result.why[lost] in (Why.STALE, Why.UNREACHABLE)
    assert result.changed == frozenset()
    others = [address for address in site.addresses if address != lost]
    commanded_w = {one.address: one.before.power_w for one in result.decision.miners}
    assert {result.why[address] for address in others} == {Why.NEIGHBOUR_UNKNOWN}
    assert result.counted_w == pytest.approx(sum(commanded_w[a] for a in others) + RATED_W, rel=1e-6)
    for _ in range(5):
        result = site.go(300.0)
    assert result.changed  # after its time the group moves again, with the lost one still at its top
    assert result.why[lost] is Why.UNREACHABLE
    assert result.desired[lost].run


@pytest.mark.parametrize(
    ("told", "extra", "why"),
    [
        ({"inconsistent": ("boards 70 TH/s, miner 100 TH/s",)}, {}, Why.CONTRADICTORY),
        ({"power_w": 0.0}, {}, Why.CONTRADICTORY),
        ({"temp_chip_c": 12.0, "temp_board_c": 8.0}, {}, Why.CONTRADICTORY),
        ({"temp_chip_c": None, "temp_board_c": None}, {}, Why.STALE),
        ({"power_w": None}, {}, Why.STALE),
        ({}, {"pending": True}, Why.WRITE_PENDING),
        ({}, {"by_hand": True}, Why.BY_HAND),
    ],
)
def test_what_cannot_be_believed_or_is_not_ours_holds(
    told: dict[str, object], extra: dict[str, object], why: Why
) -> None:
    site = Site(policy=Wish(1.0))
    site.go(0.0)
    odd = site.addresses[2]
    site.policy.action = -1.0
    site.extra = {odd: extra}
    site.go(290.0)
    site.told = {odd: told}
    result = site.go(10.0)
    assert result.decision is not None
    assert result.why[odd] is why
    assert odd not in result.changed
    assert site.run[odd]
    assert sum(site.run.values()) == 1


def test_miners_that_somebody_else_stopped_do_not_keep_the_others_from_rising() -> None:
    site = Site(policy=Wish(-0.8))
    site.go(0.0)
    for address in site.addresses[:5]:
        site.run[address] = False
        site.extra[address] = {"halted_by": None}
    site.told[site.addresses[5]] = {"state": State.FAILURE}
    site.told[site.addresses[6]] = {"state": State.AUTO_TUNING}
    site.policy.action = 1.0
    for _ in range(60):
        result = site.go(60.0)
    assert [result.why[address] for address in site.addresses[:5]] == [Why.STOPPED_BY_SOMEBODY] * 5
    assert result.why[site.addresses[5]] is Why.FAILURE
    assert result.why[site.addresses[6]] is Why.TUNING
    assert not any(site.run[address] for address in site.addresses[:5])
    assert all(site.throttle[address] == 1.0 for address in site.addresses[7:])


def test_a_missing_chip_sensor_is_the_board_and_its_offset() -> None:
    site = Site(policy=Wish(1.0))
    site.go(0.0)
    site.told = {site.addresses[0]: {"temp_chip_c": None, "temp_board_c": 71.0}}
    result = site.go(30.0)
    assert result.why[site.addresses[0]] is Why.HARD_TEMP  # 86 C


def test_a_jump_that_stays_is_believed_once_it_is_possible() -> None:
    site = Site(policy=Wish(1.0))
    site.go(0.0)
    site.told = {site.addresses[0]: {"temp_chip_c": 110.0, "temp_board_c": 95.0}}
    first = site.go(10.0)
    assert first.why[site.addresses[0]] is Why.CONTRADICTORY
    assert site.run[site.addresses[0]]
    later = site.go(15.0)
    assert later.why[site.addresses[0]] is Why.HARD_TEMP


def test_manual_mode_and_miners_without_presets_are_left_alone() -> None:
    site = Site(policy=Wish(-1.0))
    manual, bare = site.addresses[0], site.addresses[1]
    site.configuration[manual] = configured(None)
    site.decider.learn({bare: replace(site.facts[bare], presets=())})
    result = site.go(0.0)
    assert result.why[manual] is Why.MANUAL_MODE
    assert result.why[bare] is Why.NO_PRESETS
    assert site.run[manual]
    assert site.run[bare]
    assert sum(site.run.values()) == 2


def test_a_switchers_ceiling_is_kept_and_an_overclocked_miner_comes_down() -> None:
    facts = facts_of(MODEL)
    names = [preset.name for preset in facts.presets]
    site = Site(policy=Wish(1.0), switcher=replace(OFF, enabled=True, top_preset=names[4]))
    result = site.go(0.0)
    assert {one.preset for one in result.desired.values()} == {names[4]}
    over = replace(facts.presets[-1], name="3500", power_w=3500.0)
    free = Site(policy=Wish(1.0))
    address = free.addresses[0]
    free.decider.learn({address: replace(facts, presets=(*facts.presets, over))})
    free.configuration[address] = configured("3500")
    assert free.go(0.0).desired[address].preset == names[-1]


def test_over_its_cap_a_site_gives_back_within_a_poll() -> None:
    site = Site(policy=Wish(1.0), settings=Settings(cap_w=55e3))
    site.meter_w = 56e3
    site.go(0.0)
    assert site.total_w() < COUNT * RATED_W - 1000.0
    assert (
        Why.OVER_CAP
        in site.decider.step(site.now_s, site.steady_s, site.answers(), SiteNow(56e3, site.now_s)).why.values()
    )


def test_shadow_mode_repeats_its_wish_and_spends_no_budget() -> None:
    site = Site(policy=Wish(-1.0), obey=False)
    for _ in range(10):
        result = site.go(300.0)
        assert result.changed == set(site.addresses)
    assert all(record.stops_today == 0.0 for record in site.decider.memory.miners.values())


def test_a_restart_gives_the_same_next_observation_and_commands() -> None:
    site = Site(policy=Wish(-1.0), settings=Settings(cap_w=50e3))
    for action in (-1.0, 1.0, 0.3, 1.0, -0.2):
        site.policy.action = action
        site.go(300.0)
        site.go(60.0)
        site.go(30.0)
    kept = json.dumps(site.decider.to_json(), allow_nan=False)
    other = site.fresh()
    other.recall(json.loads(kept))
    assert json.dumps(other.to_json(), allow_nan=False) == kept
    site.now_s, site.steady_s = site.now_s + 210.0, site.steady_s + 210.0
    one = site.decider.step(site.now_s, site.steady_s, site.answers(), SiteNow())
    two = other.step(site.now_s, 12345.0, site.answers(), SiteNow())
    assert one.decision is not None
    assert two.decision is not None
    assert one.decision.observation == two.decision.observation
    assert one == two


@pytest.mark.parametrize("document", [{}, {"decider": {"version": 99}}, {"decider": {"version": 1, "miners": 3}}])
def test_a_memory_of_something_else_is_refused(document: dict[str, object]) -> None:
    with pytest.raises(DataFileError):
        Site().decider.recall(document)


def test_the_record_of_a_decision_explains_it() -> None:
    site = Site(policy=Wish(0.5), settings=Settings(limits=limits("bridge"), overhead_w=1e3))
    decision = site.go(0.0).decision
    assert decision is not None
    assert decision.observation["price_last_usd_per_mwh"] == pytest.approx(50.0, rel=1e-3)  # 40 and the adder
    assert decision.action == [0.5]
    one = decision.miners[0]
    assert one.before.power_w == pytest.approx(RATED_W)
    assert one.asked.power_w == pytest.approx(one.bounded.power_w)
    assert decision.expected_power_w == pytest.approx(COUNT * one.bounded.power_w + 1e3)
    revenue = 0.96 * decision.expected_hashrate_ths * 86400e12 * 3.125 * 6e4 / (9e13 * 2**32) / 24.0
    energy = decision.expected_power_w * 1e-6 * 50.0
    assert decision.expected_profit_usd_per_h == pytest.approx(revenue - energy, abs=0.005 * revenue)


def test_demand_intervals_are_booked_as_the_meter_does() -> None:
    site = Site(policy=Wish(1.0), obey=False)
    site.meter_w = 30e3
    site.go(0.0)
    for _ in range(45):
        site.go(20.0)
    site.meter_w = 60e3
    for _ in range(20):
        site.go(20.0)
    meter = site.decider.memory.meter
    assert meter is not None
    assert meter.month_peak_kw == pytest.approx(30.0)
    assert meter.interval_kwh == pytest.approx(60.0 * 400.0 / 3600.0)


def test_a_rise_that_arrives_late_counts_from_its_last_write() -> None:
    site = Site(policy=Wish(-1.0))
    site.go(0.0)
    site.policy.action, site.obey = 1.0, False
    site.go(600.0)
    address = next(iter(site.go(60.0).changed))
    site.decider.note_sent([address])
    first_s = site.decider.memory.miners[address].raised_s
    # The preset went out, the start was refused until now.
    site.decider.memory.passed_s = site.now_s + 900.0
    site.decider.note_sent([address])
    assert site.decider.memory.miners[address].raised_s - first_s >= 900.0
    assert [at_s for at_s, _, name in site.decider.memory.rises if name == address] == [site.now_s + 900.0]
