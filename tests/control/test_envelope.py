"""The envelope, told as stories with a clock, and as properties over random requests."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minesim.arrays import NUMPY
from minesim.control.actuate import command_power_w
from minesim.control.envelope import ControlHistory, Limits, Reason, advance_history, apply_envelope, limits
from minesim.control.fleet import CohortSpec, fleet_curves
from minesim.control.telemetry import Telemetry
from minesim.errors import ParamsError
from minesim.physics.firmware import FirmwareCommand

M = 16
FLEET = fleet_curves(tuple(CohortSpec("S19j Pro", 12) for _ in range(M)))
TOP = float(FLEET.preset_last[0])
RATED_W = FLEET.power_rated_site_w


class Clock:
    """A site whose requests pass the envelope, step by step."""

    def __init__(self, bounds: Limits, run: float, dt_s: float = 300.0) -> None:
        self.bounds, self.dt_s = bounds, dt_s
        command = self.command(run)
        ones = np.ones((1, M))
        earlier = round(300.0 / dt_s) - 1
        self.history = ControlHistory(
            command=command,
            command_w=command_power_w(command, FLEET, xp=NUMPY),
            since_up_s=1e6 * ones,
            since_write_s=1e6 * ones,
            stops_today=0.0 * ones,
            up_window_w=np.zeros((1, earlier)),
            local_day=np.zeros(1),
        )
        self.telemetry = Telemetry(
            hashrate_ths=100.0 * ones,
            power_w=3000.0 * ones,
            temp_chip_c=65.0 * ones,
            temp_board_c=50.0 * ones,
            fan_duty=0.7 * ones,
            hashing=ones,
            age_s=0.0 * ones,
            power_site_w=np.array([RATED_W]),
            temp_intake_c=np.array([20.0]),
        )

    @staticmethod
    def command(run: float, preset: float = TOP) -> FirmwareCommand:
        return FirmwareCommand(np.full((1, M), run), np.full((1, M), preset), np.ones((1, M)))

    def step(self, request: FirmwareCommand, day: float = 0.0) -> np.ndarray:
        """Ask, write what is allowed, and return the reasons of the cohorts, (M,)."""
        request_w = command_power_w(request, FLEET, xp=NUMPY)
        command, command_w, reason = apply_envelope(
            request, request_w, self.telemetry, self.history, self.bounds, FLEET, self.dt_s, xp=NUMPY
        )
        np.testing.assert_allclose(command_w, command_power_w(command, FLEET, xp=NUMPY))
        self.history = advance_history(self.history, command, command_w, np.array([day]), FLEET, self.dt_s, xp=NUMPY)
        return np.asarray(reason[0])

    @property
    def running(self) -> int:
        return int(self.history.command.run.sum())

    @property
    def power_w(self) -> float:
        return float((self.history.command_w * FLEET.count).sum())


def test_a_cold_site_comes_back_in_turn_and_never_faster_than_a_tenth_in_five_minutes() -> None:
    site = Clock(limits("bridge"), run=0.0)
    before, minutes, order = 0.0, 0, []
    while site.running < M:
        was = site.history.command.run[0].copy()
        reasons = site.step(Clock.command(1.0))
        assert site.power_w - before <= 0.10 * RATED_W * (1 + 1e-9)
        assert set(reasons) <= {Reason.NONE, Reason.RAMP}
        order += list(np.flatnonzero(site.history.command.run[0] > was))
        before, minutes = site.power_w, minutes + 5
        assert minutes < 240
    assert minutes == 5 * M, "a cohort is 6.25 % of the site: one fits into 10 % at a time"
    assert order == list(range(M))


def test_one_minute_steps_obey_both_ramps() -> None:
    site = Clock(limits("bridge"), run=0.0, dt_s=60.0)
    power = [0.0]
    for _ in range(60):
        site.step(Clock.command(1.0))
        power.append(site.power_w)
    rise = np.diff(power) / RATED_W
    in_five = np.array([rise[max(0, k - 4) : k + 1].sum() for k in range(len(rise))])
    assert rise.max() <= 1.0 / M + 1e-9, "a cohort over the minute's budget moves alone"
    assert in_five.max() <= 0.10 + 1e-9


def test_downward_is_never_rate_limited() -> None:
    site = Clock(limits("bridge"), run=1.0)
    reasons = site.step(Clock.command(0.0))
    assert site.running == 0
    assert (reasons == Reason.NONE).all()


def test_a_day_has_a_budget_of_stops_and_a_new_day_renews_it() -> None:
    site = Clock(replace(limits("free"), stops_per_day=2.0), run=1.0)
    for _ in range(2):
        site.step(Clock.command(0.0))
        site.step(Clock.command(1.0))
    reasons = site.step(Clock.command(0.0))
    assert (reasons == Reason.STOP_BUDGET).all()
    assert site.running == M
    assert (site.history.command.preset == 0.0).all(), "a stop beyond the budget becomes the lowest preset"
    site.step(Clock.command(1.0), day=1.0)
    site.step(Clock.command(0.0), day=1.0)
    assert site.running == 0


def test_a_hot_cohort_steps_down_a_hotter_one_stops_and_recovery_is_slower_than_onset() -> None:
    site = Clock(limits("bridge"), run=1.0)
    hot = site.telemetry.temp_chip_c.copy()
    hot[0, 3], hot[0, 5] = 82.0, 86.0
    site.telemetry = replace(site.telemetry, temp_chip_c=hot)
    reasons = site.step(Clock.command(1.0))
    assert reasons[3] == Reason.SOFT_TEMP
    assert reasons[5] == Reason.HARD_TEMP
    assert site.history.command.preset[0, 3] == TOP - 1
    assert site.history.command.run[0, 5] == 0.0
    assert site.running == M - 1
    site.telemetry = replace(site.telemetry, temp_chip_c=np.full((1, M), 60.0))
    site.step(Clock.command(1.0, preset=TOP - 2))
    assert site.running == M
    assert site.step(Clock.command(1.0))[5] == Reason.DWELL, "ten minutes between upward moves"
    site.step(Clock.command(1.0))
    assert site.history.command.preset[0, 5] == TOP


def test_stale_or_missing_telemetry_holds_but_a_known_hot_chip_still_stops() -> None:
    site = Clock(limits("bridge"), run=1.0)
    age = site.telemetry.age_s.copy()
    age[0, 2] = 90.0
    chip = site.telemetry.temp_chip_c.copy()
    chip[0, 4], chip[0, 6] = np.nan, 95.0
    site.telemetry = replace(site.telemetry, age_s=age, temp_chip_c=chip)
    reasons = site.step(Clock.command(0.0))
    assert reasons[2] == reasons[4] == Reason.STALE
    assert reasons[6] == Reason.HARD_TEMP
    np.testing.assert_array_equal(np.flatnonzero(site.history.command.run[0]), [2, 4])


def test_a_site_cap_binds_and_says_so() -> None:
    cap_w = 0.5 * RATED_W
    site = Clock(replace(limits("free"), site_cap_w=cap_w), run=0.0)
    for _ in range(30):
        reasons = site.step(Clock.command(1.0))
    assert site.power_w <= cap_w * (1 + 1e-9)
    assert site.running == M // 2
    assert (reasons[site.history.command.run[0] == 0.0] == Reason.SITE_CAP).all()


def test_no_second_write_before_read_back() -> None:
    site = Clock(replace(limits("free"), write_gap_s=120.0), run=1.0, dt_s=60.0)
    site.step(Clock.command(1.0, preset=TOP - 1))
    assert (site.step(Clock.command(1.0, preset=TOP - 2)) == Reason.WRITE_PENDING).all()
    assert (site.history.command.preset == TOP - 1).all()
    site.step(Clock.command(1.0, preset=TOP - 2))
    assert (site.history.command.preset == TOP - 2).all()


def test_a_single_large_cohort_may_still_start() -> None:
    fleet = fleet_curves((CohortSpec("S19j Pro", 1),))
    command = FirmwareCommand(np.zeros((1, 1)), np.full((1, 1), TOP), np.ones((1, 1)))
    site = Clock(limits("bridge"), run=0.0)
    history = ControlHistory(
        command,
        np.zeros((1, 1)),
        np.full((1, 1), 1e6),
        np.full((1, 1), 1e6),
        np.zeros((1, 1)),
        np.zeros((1, 0)),
        np.zeros(1),
    )
    one = {name: getattr(site.telemetry, name)[:, :1] for name in ("hashrate_ths", "power_w", "temp_chip_c")}
    telemetry = replace(
        site.telemetry, **one, temp_board_c=site.telemetry.temp_board_c[:, :1], age_s=site.telemetry.age_s[:, :1]
    )
    request = replace(command, run=np.ones((1, 1)))
    granted, _, reason = apply_envelope(
        request, command_power_w(request, fleet, xp=NUMPY), telemetry, history, limits("bridge"), fleet, 300.0, xp=NUMPY
    )
    assert granted.run[0, 0] == 1.0
    assert reason[0, 0] == Reason.NONE


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["free", "seed", "bridge"]))
def test_random_requests_never_break_a_limit(seed: int, name: str) -> None:
    rng = np.random.default_rng(seed)
    bounds = limits(name)
    site = Clock(bounds, run=float(rng.integers(0, 2)))
    for _ in range(12):
        chip = rng.uniform(55.0, 90.0, (1, M)).round()
        site.telemetry = replace(site.telemetry, temp_chip_c=chip, temp_board_c=chip - 15.0)
        before, before_w = site.history.command, site.power_w
        request = FirmwareCommand(
            rng.integers(0, 2, (1, M)).astype(float),
            rng.integers(0, int(TOP) + 1, (1, M)).astype(float),
            rng.uniform(0.2, 1.0, (1, M)),
        )
        site.step(request)
        after = site.history.command
        rose_w = np.maximum(site.history.command_w - command_power_w(before, FLEET, xp=NUMPY), 0.0) * FLEET.count
        if np.isfinite(bounds.ramp_up_per_5min):
            alone = (rose_w > 0.0).sum() <= 1
            assert alone or rose_w.sum() <= bounds.ramp_up_per_5min * RATED_W * (1 + 1e-9)
        if np.isfinite(bounds.temp_chip_hard_c):
            assert (after.run[chip > bounds.temp_chip_hard_c] == 0.0).all()
            soft = (chip > bounds.temp_chip_soft_c)[0]
            assert (rose_w[0][soft] == 0.0).all()
        assert site.power_w <= before_w + rose_w.sum() + 1e-6
        assert set(np.unique(after.run)) <= {0.0, 1.0}


def test_unknown_limits_name_the_nearest() -> None:
    with pytest.raises(ParamsError, match="bridge"):
        limits("brigde")
