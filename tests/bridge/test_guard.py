"""What the guard promises, for any fleet state that hypothesis finds."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minesim.arrays import NUMPY
from minesim.bridge.deciding import guard
from minesim.bridge.deciding.guard import Bounded, Sight, SitePower, Why, bound
from minesim.bridge.miners.fleet import MinerFleet, miner_fleet, usable_presets
from minesim.bridge.miners.miner import Preset
from minesim.control.actuate import command_power_w
from minesim.control.envelope import ControlHistory, limits
from minesim.control.fleet import CohortSpec
from minesim.control.telemetry import Telemetry
from minesim.physics.firmware import FirmwareCommand
from tests.bridge.stand_in import OFF, configured, facts_of, members_of

MODELS = ("Antminer S19j Pro (104T)", "Antminer S19 XP", "Antminer S19 (95T)", "Antminer S17 Pro")
N = 8
BRIDGE = limits("bridge")


def a_fleet(throttles: tuple[bool, ...] = (True, False)) -> MinerFleet:
    models = [MODELS[i % len(MODELS)] for i in range(N)]
    members = members_of(models, [i % len(MODELS) for i in range(N)])
    facts = {
        m.address: facts_of(model, has_throttle=throttles[i % len(throttles)])
        for i, (m, model) in enumerate(zip(members, models, strict=True))
    }
    return miner_fleet(members, [CohortSpec(model, 1) for model in MODELS], facts)


FLEET = a_fleet()
LAST = FLEET.curves.preset_last


@dataclasses.dataclass(frozen=True)
class Case:
    request: FirmwareCommand
    sight: Sight
    history: ControlHistory

    def bounded(self, site: SitePower | None = None, **changes: float) -> Bounded:
        bounds = replace(BRIDGE, **changes)
        return bound(self.request, self.sight, self.history, bounds, FLEET, site or SitePower(), 300.0)


def floats(low: float, high: float) -> st.SearchStrategy[np.ndarray]:
    return st.lists(st.floats(low, high), min_size=N, max_size=N).map(np.array)


def masks() -> st.SearchStrategy[np.ndarray]:
    return st.lists(st.integers(0, 5), min_size=N, max_size=N).map(lambda values: np.array(values) == 0)


@st.composite
def commands(draw: st.DrawFn) -> FirmwareCommand:
    run = np.array(draw(st.lists(st.integers(0, 1), min_size=N, max_size=N)), float)
    preset = np.minimum(np.array(draw(st.lists(st.integers(0, 7), min_size=N, max_size=N)), float), LAST)
    percent = np.array(draw(st.lists(st.integers(20, 100), min_size=N, max_size=N)), float)
    return FirmwareCommand(run, preset, np.where(FLEET.throttles, percent / 100.0, 1.0))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    current = draw(commands())
    power_w = command_power_w(current, FLEET.curves, xp=NUMPY)
    board_c = np.round(draw(floats(20.0, 78.0)))
    holds = {why: draw(masks()) for why in (Why.WRITE_PENDING, Why.CONTRADICTORY, Why.UNREACHABLE, Why.BY_HAND)}
    age_s = draw(floats(0.0, 90.0)) + 1e6 * holds[Why.UNREACHABLE]
    telemetry = Telemetry(
        hashrate_ths=np.zeros(N),
        power_w=power_w * draw(floats(0.95, 1.05)),
        temp_chip_c=board_c + 15.0,
        temp_board_c=board_c,
        fan_duty=np.full(N, 0.5),
        hashing=current.run,
        age_s=age_s,
        power_site_w=np.float64(power_w.sum()),
        temp_intake_c=np.float64(25.0),
    )
    history = ControlHistory(
        command=current,
        command_w=power_w,
        since_up_s=draw(floats(0.0, 2000.0)),
        since_write_s=draw(floats(0.0, 2000.0)),
        stops_today=np.round(draw(floats(0.0, 8.0))),
        up_window_w=np.array([draw(st.floats(0.0, 5000.0))]),
        local_day=np.float64(0.0),
    )
    return Case(draw(commands()), Sight(telemetry, holds, draw(masks()), power_w), history)


@given(cases(), st.floats(0.3, 1.2))
@settings(max_examples=40, deadline=None)
def test_without_a_meter_the_cap_holds_with_unknown_miners_at_their_top(case: Case, share: float) -> None:
    site = SitePower(cap_w=share * float(FLEET.top_w.sum()))
    out = case.bounded(site)
    held = case.sight.held()
    counted_w = np.where(case.sight.unknown(), np.maximum(out.command_w, FLEET.top_w), out.command_w)
    can_act = ~held
    # Either the site fits, or everything that may be written to has been stopped.
    fits = counted_w.sum() * 1.05 <= site.cap_w * (1.0 + 1e-9)
    assert fits or not (out.command.run * can_act).any()
    assert (out.counted_w >= counted_w - 1e-6).all()


@given(cases(), st.floats(0.3, 1.2), st.floats(0.5, 1.1))
@settings(max_examples=40, deadline=None)
def test_rises_never_use_more_room_than_the_meter_leaves(case: Case, share: float, drawn: float) -> None:
    cap_w = share * float(FLEET.top_w.sum())
    measured_w = drawn * cap_w
    out = case.bounded(SitePower(cap_w=cap_w, measured_w=measured_w, meter_tolerance=0.02))
    rise_w = np.maximum(out.command_w - case.history.command_w, 0.0).sum()
    assert rise_w == 0.0 or measured_w + rise_w <= cap_w / 1.02 + 1e-6


@given(cases())
@settings(max_examples=40, deadline=None)
def test_what_is_not_known_well_enough_never_rises(case: Case) -> None:
    out = case.bounded()
    not_known = case.sight.held() | case.sight.neighbour_unknown
    assert (out.command_w[not_known] <= case.history.command_w[not_known] + 1e-9).all()
    cannot = case.sight.holds[Why.UNREACHABLE] | case.sight.holds[Why.BY_HAND]
    assert (out.command_w[cannot] == case.history.command_w[cannot]).all()
    assert (out.why[case.sight.holds[Why.UNREACHABLE]] >= Why.UNREACHABLE).all()


@given(cases())
@settings(max_examples=40, deadline=None)
def test_downward_moves_and_stops_pass(case: Case) -> None:
    out = case.bounded()
    asked_w = command_power_w(case.request, FLEET.curves, xp=NUMPY)
    free = ~case.sight.held() & (asked_w < case.history.command_w - 1e-6)
    stop_spent = (case.history.command.run > case.request.run) & (case.history.stops_today >= BRIDGE.stops_per_day)
    passes = free & ~stop_spent
    assert (out.command_w[passes] <= asked_w[passes] + 1e-6).all()
    lowest_w = FLEET.curves.preset_power_w[:, 0]
    spent = free & stop_spent
    assert (out.command_w[spent] <= np.maximum(lowest_w, case.history.command_w)[spent] + 1e-6).all()


@given(cases(), floats(0.0, 15.0))
@settings(max_examples=40, deadline=None)
def test_hotter_never_means_more_power(case: Case, warmer_k: np.ndarray) -> None:
    told = case.sight.telemetry
    hotter = replace(told, temp_chip_c=told.temp_chip_c + warmer_k, temp_board_c=told.temp_board_c + warmer_k)
    # The queue may hand the room of a hot miner to a cool one, so compare where nobody queues.
    free = {"ramp_up_per_min": math.inf, "ramp_up_per_5min": math.inf}
    cool = case.bounded(**free)
    hot = replace(case, sight=replace(case.sight, telemetry=hotter)).bounded(**free)
    assert (hot.command_w <= cool.command_w + 1e-6).all()


@given(cases())
@settings(max_examples=40, deadline=None)
def test_a_hot_chip_stops_unless_it_cannot_or_must_not_be_written_to(case: Case) -> None:
    out = case.bounded()
    told = case.sight.telemetry
    hot = (told.temp_chip_c > BRIDGE.temp_chip_hard_c) | (told.temp_board_c > BRIDGE.temp_board_hard_c)
    left = case.sight.holds[Why.UNREACHABLE] | case.sight.holds[Why.BY_HAND]
    assert (out.command.run[hot & ~left] == 0.0).all()
    assert (out.why[hot & ~left] == Why.HARD_TEMP).all()


@given(cases())
@settings(max_examples=40, deadline=None)
def test_the_site_rises_by_no_more_than_the_ramp(case: Case) -> None:
    out = case.bounded()
    rise_w = np.maximum(out.command_w - case.history.command_w, 0.0)
    room_w = 0.10 * FLEET.curves.power_rated_site_w - case.history.up_window_w.sum()
    alone = case.history.up_window_w.sum() == 0.0 and np.count_nonzero(rise_w) == 1
    assert alone or rise_w.sum() <= max(room_w, 0.0) + 1e-6


@given(cases())
@settings(max_examples=40, deadline=None)
def test_the_guard_is_pure_and_what_it_allows_it_allows_again(case: Case) -> None:
    before = [array.copy() for array in (case.request.run, case.request.preset, case.history.command_w)]
    first, second = case.bounded(SitePower(cap_w=15e3)), case.bounded(SitePower(cap_w=15e3))
    assert (first.command_w == second.command_w).all()
    assert (first.why == second.why).all()
    for old, new in zip(before, (case.request.run, case.request.preset, case.history.command_w), strict=True):
        assert (old == new).all()


def at_stock(temp_board_c: float = 50.0) -> Case:
    """All miners healthy at stock, asked to stay there."""
    ones = np.ones(N)
    command = FirmwareCommand(ones, LAST, ones)
    power_w = command_power_w(command, FLEET.curves, xp=NUMPY)
    none = np.zeros(N, bool)
    board_c = np.full(N, temp_board_c)
    told = Telemetry(
        ones, power_w, board_c + 15.0, board_c, ones, ones, 0.0 * ones, np.float64(power_w.sum()), np.float64(25.0)
    )
    long_ago = np.full(N, 1e6)
    history = ControlHistory(command, power_w, long_ago, long_ago, 0.0 * ones, np.zeros(1), np.float64(0.0))
    return Case(command, Sight(told, {Why.UNREACHABLE: none}, none, power_w), history)


def test_over_the_cap_the_least_efficient_miners_give_first_by_throttle() -> None:
    case = at_stock()
    total_w = float(case.history.command_w.sum())
    out = case.bounded(SitePower(cap_w=total_w, measured_w=total_w + 500.0, meter_tolerance=0.0))
    shed = np.flatnonzero(out.command_w < case.history.command_w)
    j_per_th = FLEET.curves.power_rated_w / FLEET.curves.hashrate_rated_ths
    assert 0 < len(shed) < N
    assert j_per_th[shed].min() >= np.delete(j_per_th, shed).max() - 1e-9
    assert (case.history.command_w - out.command_w).sum() >= 500.0 - 1e-6
    assert (out.why[shed] == Why.OVER_CAP).all()
    throttled = shed[FLEET.throttles[shed]]
    assert (out.command.preset[throttled] == LAST[throttled]).all()
    assert out.command.throttle[throttled] * 100.0 == pytest.approx(np.round(out.command.throttle[throttled] * 100.0))


def test_what_was_shed_a_moment_ago_is_not_shed_again() -> None:
    case = at_stock()
    total_w = float(case.history.command_w.sum())
    site = SitePower(cap_w=total_w, measured_w=total_w + 500.0, meter_tolerance=0.0)
    out = case.bounded(site)
    changed = out.command_w < case.history.command_w
    # Ten seconds later the writes are read back, but power has not fallen yet.
    later = replace(
        case,
        request=out.command,
        history=replace(
            case.history,
            command=out.command,
            command_w=out.command_w,
            since_write_s=np.where(changed, 10.0, 1e6),
        ),
    )
    again = later.bounded(site)
    assert (again.command_w.sum() - out.command_w.sum()) == pytest.approx(0.0, abs=250.0)


def test_one_step_down_for_heat_in_five_minutes() -> None:
    case = at_stock(temp_board_c=67.0)  # chip 82: above soft
    first = case.bounded()
    assert (first.command.preset == LAST - 1.0).all()
    history = replace(case.history, command=first.command, command_w=first.command_w, since_write_s=np.full(N, 30.0))
    soon = replace(case, request=first.command, history=history).bounded()
    assert (soon.command.preset == LAST - 1.0).all()
    late = replace(case, request=first.command, history=replace(history, since_write_s=np.full(N, 300.0))).bounded()
    assert (late.command.preset == LAST - 2.0).all()
    assert (late.why == Why.SOFT_TEMP).all()


def test_the_same_envelope_as_in_the_twin_where_nothing_is_special() -> None:
    from minesim.control.envelope import apply_envelope

    rng = np.random.default_rng(0)
    for _ in range(50):
        case = at_stock()
        run = np.round(rng.random(N))
        current = FirmwareCommand(run, np.floor(rng.random(N) * (LAST + 1.0)), np.ones(N))
        power_w = command_power_w(current, FLEET.curves, xp=NUMPY)
        board_c = np.round(rng.uniform(40.0, 78.0, N))
        told = replace(case.sight.telemetry, temp_board_c=board_c, temp_chip_c=board_c + 15.0)
        history = replace(
            case.history,
            command=current,
            command_w=power_w,
            since_up_s=rng.uniform(0.0, 1500.0, N),
            since_write_s=rng.uniform(300.0, 1500.0, N),
            stops_today=np.floor(rng.uniform(0.0, 8.0, N)),
        )
        request = FirmwareCommand(np.round(rng.random(N)), np.floor(rng.random(N) * (LAST + 1.0)), np.ones(N))
        asked_w = command_power_w(request, FLEET.curves, xp=NUMPY)
        expected, expected_w, _ = apply_envelope(request, asked_w, told, history, BRIDGE, FLEET.curves, 300.0, xp=NUMPY)
        out = Case(request, replace(case.sight, telemetry=told), history).bounded()
        assert (out.command.run == expected.run).all()
        assert (out.command.preset == expected.preset).all()
        assert out.command_w == pytest.approx(expected_w)


def test_rises_are_spread_over_the_minutes_of_a_step() -> None:
    rise_w, since_up_s = np.array([300.0, 300.0, 0.0, 300.0]), np.array([10.0, 30.0, 40.0, 20.0])
    release = lambda *risen: guard.release(rise_w, since_up_s, risen, BRIDGE, 10e3).tolist()  # noqa: E731
    assert release() == [False, True, False, False]  # 500 W a minute
    assert release((59.0, 300.0)) == [False, False, False, False]
    assert release((61.0, 500.0)) == [False, True, False, False]  # 1000 W in five minutes
    assert release((61.0, 900.0)) == [False, False, False, False]
    assert release((301.0, 900.0)) == [False, True, False, False]
    # One that is larger than the limit may rise alone.
    assert guard.release(np.array([900.0, 900.0]), np.zeros(2), [], BRIDGE, 10e3).tolist() == [True, False]


def test_every_reason_has_a_sentence() -> None:
    assert all(why.sentence.endswith(".") for why in Why)


def preset(power_w: float, *, tuned: bool = True, modded_psu: bool = False) -> Preset:
    return Preset(f"{power_w:.0f}", power_w, None, tuned, modded_psu)


def test_only_tuned_presets_without_a_modified_supply_below_stock_and_the_operators_ceiling() -> None:
    told = [
        preset(1500.0),
        preset(2000.0, tuned=False),
        preset(2500.0),
        preset(2800.0, modded_psu=True),
        preset(3000.0),
        preset(3500.0),
    ]
    names = lambda chosen: [p.name for p in chosen]  # noqa: E731
    assert names(usable_presets(told, 3068.0, None, None)) == ["1500", "2500", "3000"]
    assert names(usable_presets(told, 3068.0, None, "2500")) == ["1500", "2500"]
    low = configured("3000", replace(OFF, enabled=True, min_preset="2500"))
    assert names(usable_presets(told, 3068.0, low, None)) == ["2500", "3000"]
    assert usable_presets([preset(3500.0)], 3068.0, None, None) == ()


@given(st.floats(-1.0, 1.0), st.integers(3, 12))
@settings(max_examples=40, deadline=None)
def test_a_miner_with_presets_of_its_own_is_asked_for_the_same_power(action: float, count: int) -> None:
    model = MODELS[0]
    facts = facts_of(model)
    rungs = np.linspace(facts.presets[0].power_w * 0.9, facts.presets[-1].power_w, count)
    own = replace(facts, presets=tuple(preset(float(rung)) for rung in rungs))
    members = members_of((model, model), (0, 0))
    fleet = miner_fleet(members, [CohortSpec(model, 2)], {members[0].address: facts, members[1].address: own})
    running = FirmwareCommand(np.ones(2), fleet.curves.preset_last, np.ones(2))
    request, power_w = guard.ask(np.array([action]), running, fleet)
    assert request.run[0] == request.run[1]
    low_w = facts.presets[0].power_w
    if request.run[0] and power_w[0] > low_w + 1.0:
        assert power_w[1] == pytest.approx(power_w[0], abs=5.0)


def test_the_page_tells_every_reason_and_its_inventory_is_one() -> None:
    from pathlib import Path

    from minesim.bridge.settings.inventory import parse_inventory

    page = (Path(__file__).parents[2] / "docs" / "bridge_guard.md").read_text(encoding="utf-8")
    table = [line.split("|")[1].strip(" `") for line in page.splitlines() if line.startswith("| `")]
    assert [name for name in table if name in Why.__members__] == [why.name for why in Why]
    site = parse_inventory(page.partition("```yaml\n")[2].partition("```")[0])
    assert len(site.miners) == 17
    assert site.feed_book().essential
