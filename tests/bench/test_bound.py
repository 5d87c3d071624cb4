"""The bound is above everything that is tried on the twin, and not far above the best of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.optimize import linprog

from agents.baselines.table import rules
from minesim.arrays import Array
from minesim.bench.bound import SCALES, clairvoyant, informed
from minesim.bench.bound_exhaustive import exhaustive, gap_table, relaxation_gap, small_world
from minesim.bench.bound_market import market_rows
from minesim.bench.bound_points import point_menu
from minesim.bench.bound_site import RunSite, run_site
from minesim.bench.rollout import Panel, rollout
from minesim.envs.core import EnvConfig, SiteCore, World, build_world
from minesim.errors import ParamsError, ScenarioError

COLD, HOT = "2021-02-15", "2023-08-17"
"""The frost of February 2021 and the heat of August 2023, both with price spikes in Texas."""
CASES = {
    "ercot/energy_only": ((COLD, "2023-05-03", HOT), "medium"),
    "pjm/late_price": (("2022-12-23", "2023-07-20"), "medium"),
    "ercot/demand_charge": (("2023-03-01", HOT), "medium"),
    "ercot/mixed": ((COLD, HOT), "hard"),
    "ercot/reserves": ((COLD, "2023-06-20"), "medium"),
    "generated": (("2022-06-03", "2022-06-30"), "hard"),
}


def make_world(scenario: str, difficulty: str, *, days: float, limits: str = "seed") -> World:
    """A container without a split."""
    return build_world(
        EnvConfig(
            scenario=None if scenario == "generated" else scenario,
            difficulty=difficulty,
            limits=limits,
            split=None,
            episode_days=days,
        )
    )


class Offering:
    """Sees calls coming: offers a share of its load in every hour, sheds when called, else runs below break-even.

    ``mode`` is how: ``full`` and ``random`` share, or ``keep`` (offers nothing before a call and runs through it).
    """

    name = "offering"

    def __init__(self, world: World, starts: np.ndarray, mode: str) -> None:
        self.world, self.mode, self.step = world, mode, 0
        self.rows = np.array([world.table.row_of(start) for start in starts])
        self.rng = np.random.default_rng(5)

    def reset(self, done: Array | None = None) -> None:
        """Begin again."""
        self.step = 0

    def act(self, observation: Array) -> Array:
        """Actions of all rows."""
        world, table, fleet = self.world, self.world.table, self.world.params.curves
        row = self.rows + self.step // world.steps_per_row
        self.step += 1
        call = table.column("reserve_call")
        called = call[row] > 0.5
        soon = np.any([call[np.minimum(row + k, table.size - 1)] > 0.5 for k in range(1, 10)], axis=0)
        price = table.column("energy_price_usd_per_mwh")[row]
        price = np.where(called, price, price - table.column("reserve_price_usd_per_mw_h")[row])
        worth = fleet.net_revenue_factor * fleet.hashrate_rated_ths / 24.0 / (fleet.power_rated_w * 1e-6)
        on = price[:, None] < table.column("hash_revenue_usd_per_ths_day")[row][:, None] * worth
        share = np.ones(len(row))
        if self.mode == "random":
            share = self.rng.random(len(row))
        if self.mode == "keep":
            share = np.where(soon, 0.0, 1.0)
        else:
            on = (on | soon[:, None]) & ~called[:, None]
        return np.concatenate([np.where(on, 1.0, -1.0), (2.0 * share - 1.0)[:, None]], axis=1)


def policies(world: World, starts: np.ndarray) -> list[Any]:
    """All rules, and where reserve is sold some that offer with foresight."""
    reserve = world.scenario.tariff.reserve is not None
    made = rules(SiteCore(world, 1).schema, world.params.curves, offers_reserve=reserve)
    found: list[Any] = [make() for make in made.values()]
    if reserve:
        found += [Offering(world, starts, mode) for mode in ("full", "random", "keep")]
    return found


def check(world: World, starts: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """Assert the order of bounds and policies; gap of the best policy over the bound at scale 1, (runs,)."""
    bound = clairvoyant(world, starts, seeds, scales=SCALES)
    plan = informed(world, starts, seeds, scales=SCALES)
    panel = policies(world, starts)
    sums = rollout(Panel(panel, len(starts)), world, np.tile(starts, len(panel)), seeds=np.tile(seeds, len(panel)))
    costs = (sums["wear_usd"] + sums["restart_usd"]).to_numpy()
    profit = np.stack([sums["profit_usd"].to_numpy() + (1.0 - scale) * costs for scale in SCALES], axis=-1)
    profit = profit.reshape(len(panel), len(starts), len(SCALES))
    most = bound["profit_usd"].to_numpy()
    for policy, earned in zip(panel, profit, strict=True):
        assert (earned <= most).all(), (policy.name, (most - earned).min())
    assert (np.diff(most, axis=-1) <= 0.0).all()
    assert (bound["schedule_usd"].to_numpy() <= most + 1e-6).all()
    assert (plan["profit_usd"].to_numpy() <= most + 1e-6).all()
    return (most - profit.max(axis=0))[:, 2]


@pytest.mark.parametrize("scenario", ["ercot/energy_only", "pjm/late_price", "ercot/mixed", "ercot/reserves"])
def test_never_below_a_rule(scenario: str) -> None:
    days, difficulty = CASES[scenario]
    world = make_world(scenario, difficulty, days=0.75, limits="free" if scenario == "ercot/reserves" else "seed")
    starts = np.array(days, "datetime64[s]")
    check(world, starts, np.arange(len(starts)))


@pytest.mark.long
@pytest.mark.parametrize("scenario", CASES)
def test_never_below_a_rule_in_whole_weeks(scenario: str) -> None:
    days, difficulty = CASES[scenario]
    world = make_world(scenario, difficulty, days=7.0)
    starts = np.array(days, "datetime64[s]") - np.timedelta64(3, "D") * (scenario != "generated")
    gap = check(world, np.repeat(starts, 2), np.tile([0, 7], len(starts)))
    if scenario == "ercot/energy_only":
        most = clairvoyant(world, np.repeat(starts, 2), np.tile([0, 7], len(starts)))["profit_usd"].to_numpy()[:, 0]
        assert gap.sum() < 0.03 * most.sum()


@pytest.fixture(scope="module")
def small() -> World:
    """Half a day of two cohorts: 64 sequences."""
    return small_world(days=0.5)


def test_gap_to_exhaustive_search(small: World) -> None:
    gap = relaxation_gap(small, scales=SCALES)
    assert gap.sequences == 64
    assert (gap.gap_usd >= 0.0).all()
    assert (gap.gap_pct <= [2.0, 2.5, 3.0, 4.0, 6.0]).all()
    assert (gap.best_usd > gap.stock_usd).all()
    assert gap_table([gap]).row_count == len(SCALES)


@pytest.mark.long
def test_gap_to_exhaustive_search_of_a_day() -> None:
    gap = relaxation_gap(small_world(), scales=SCALES)
    assert gap.sequences == 4096
    assert (gap.gap_usd >= 0.0).all()
    assert (gap.gap_pct <= [3.0, 3.5, 4.0, 5.5, 8.5]).all()


def test_a_cheap_day_by_hand() -> None:
    """At no price at all everything runs; the bound is then the hashes' worth, less wear."""
    world = small_world(days=0.125)
    traces = world.scenario.traces.copy()
    traces["power_price_usd_per_mwh"] = 0.0 * traces["power_price_usd_per_mwh"] - 10.0
    free = build_world(
        EnvConfig(scenario=traces, site=world.config.site, split=None, episode_days=0.125, difficulty="easy")
    )
    start = free.table.start_utc[96:97]
    curves = free.params.curves
    revenue = free.table.column("hash_revenue_usd_per_ths_day")[96:108].mean() * 3.0 / 24.0
    by_hand = revenue * (curves.paid_count * curves.hashrate_rated_ths).sum()
    found = clairvoyant(free, start, scales=(0.0,))
    # -10 USD/MWh and the adder of 10: energy costs nothing.
    assert float(found["profit_usd"][0, 0]) == pytest.approx(by_hand, rel=1e-9)
    assert float(found["energy_usd"][0, 0]) == pytest.approx(0.0, abs=1e-9)


def linear_program(site: RunSite, market: Any) -> float:
    """The relaxed model at cost scale 0 without switching, as one linear program with all cohorts and the peak."""
    points, rows = site.points, len(market.hours)
    cohorts, width = points.hashrate_ths.shape
    ((span, rate, carried_kw),) = market.months
    per_row = cohorts * (width + 1)
    size = rows * per_row + rows + 1
    gain, upper, limits = np.zeros(size), [], []
    equal = np.zeros((rows * cohorts, size))
    tangents = np.linspace(0.05, 0.95, 10)
    for t in range(rows):
        h, base, cool = site.hour[t], t * per_row, rows * per_row + t
        power = (
            np.concatenate([points.power_low_kw[h], np.full((cohorts, 1), site.off_kw)], axis=1) * site.count[:, None]
        )
        hashes = np.concatenate([points.hashrate_ths, np.zeros((cohorts, 1))], axis=1) * site.paid_count[:, None]
        flow = (
            np.concatenate([points.flow_share[h], np.full((cohorts, 1), site.x_off)], axis=1)
            * site.flow_weight[h][:, None]
        )
        price = market.energy_usd_per_kwh[t] * market.hours[t]
        gain[base : base + per_row] = (
            hashes * market.revenue_usd_per_ths_h[t] * market.hours[t] - price * power
        ).ravel()
        gain[cool] = -price
        for m in range(cohorts):
            equal[t * cohorts + m, base + m * (width + 1) : base + (m + 1) * (width + 1)] = 1.0
        for at in tangents:
            slope, intercept = site.cooling.line(np.full(rows, at), site.x_highest, np.ones(rows, bool))
            line = np.zeros(size)
            line[base : base + per_row], line[cool] = (slope[t] * flow).ravel(), -1.0
            upper.append(line)
            limits.append(-intercept[t])
        if t in span:
            line = np.zeros(size)
            line[base : base + per_row], line[cool], line[-1] = power.ravel(), 1.0, -1.0
            upper.append(line)
            limits.append(carried_kw)
    gain[-1] = -rate
    answer = linprog(-gain, A_ub=np.array(upper), b_ub=limits, A_eq=equal, b_eq=np.ones(len(equal)), method="highs")
    return float(-answer.fun)


def test_demand_prices_reach_the_linear_program() -> None:
    world = small_world("demand_charge", days=0.5, difficulty="easy")
    start = world.table.start_utc[96:97]
    menu = point_menu(world.params, 300.0)
    for carried in (0.5, 0.8, 1.0):
        options = {"month_peak_frac": carried}
        exact = linear_program(run_site(world, menu, 96, 48, np.ones((3, 2))), market_rows(world, 96, options))
        bound = float(clairvoyant(world, start, scales=(0.0,), options=options)["profit_usd"][0, 0])
        # What the bound has more is the energy that cold starts save.
        assert exact <= bound + 1e-6
        assert bound <= exact + 0.025 * abs(exact)


def test_options_and_silicon_follow_the_rollout() -> None:
    world = small_world("demand_charge", days=0.25)
    start = world.table.start_utc[96:97]

    def bound(**options: float) -> float:
        return float(clairvoyant(world, start, [3], options=options or None)["profit_usd"][0, 0])

    assert bound(month_peak_frac=1.2) > bound(month_peak_frac=0.3)
    # A start from cold may fail.
    assert bound(running=1.0, month_peak_frac=1.2) > bound(running=0.0, month_peak_frac=1.2)
    for options in ({"month_peak_frac": 0.3}, {"running": 0.0, "month_peak_frac": 1.2}):
        best = exhaustive(world, start[0], 3, options=options)["profit_usd"].max()
        assert float(best) <= bound(**options)
    others = clairvoyant(world, np.repeat(start, 2), [3, 4])["profit_usd"].to_numpy()[:, 0]
    assert others[0] != others[1]


def test_a_plan_without_secrets_is_worth_no_less() -> None:
    """With published prices and no peaks or calls, only the day's fees are not known beforehand."""
    world = make_world("ercot/energy_only", "easy", days=1.0)
    start = np.array(["2023-05-03"], "datetime64[s]")
    most, plan = clairvoyant(world, start), informed(world, start)
    assert float(plan["profit_usd"][0, 0]) == pytest.approx(float(most["profit_usd"][0, 0]), rel=2e-3)
    late = make_world("ercot/late_price", "easy", days=1.0)
    hot = np.array([HOT], "datetime64[s]")
    assert float(informed(late, hot)["profit_usd"][0, 0]) < float(clairvoyant(late, hot)["profit_usd"][0, 0]) - 1.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda w, t: clairvoyant(w, t[:0]), "0 starts"),
        (lambda w, t: clairvoyant(w, t[:1], [0, 1]), "1 starts with 2 seeds"),
        (lambda w, t: clairvoyant(w, t[:1], scales=()), "scales are"),
        (lambda w, t: clairvoyant(w, t[:1], scales=(-1.0,)), "0 or above"),
        (lambda w, t: clairvoyant(w, t[:1], options={"runing": 1}), "running"),
        (lambda w, t: exhaustive(w, t[0], actions=(-1.0, 0.0, 0.5, 1.0), block_h=1.0), "sequences"),
    ],
)
def test_bad_input(small: World, call: Callable[..., object], message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        call(small, small.table.start_utc)


def test_a_run_that_leaves_the_data(small: World) -> None:
    with pytest.raises(ScenarioError, match="does not fit"):
        clairvoyant(small, small.table.start_utc[-1:])
