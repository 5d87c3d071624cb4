"""Upper bounds by Lagrangian relaxation: prices for what couples cohorts, shortest paths for each cohort.

Whatever the prices, the relaxed optimum is never below the true one (weak duality), so an early end of the search for
better prices costs tightness, not validity.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from minesim.bench.bound_market import MarketRows, ReserveGroup
from minesim.bench.bound_schedule import SwitchCosts, best_schedules
from minesim.bench.bound_site import RunSite

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

TERMS: Final = (
    "revenue_usd",
    "energy_usd",
    "demand_usd",
    "coincident_usd",
    "reserve_usd",
    "wear_usd",
    "restart_usd",
)
INCOME: Final = ("revenue_usd", "reserve_usd")
ROUNDS: Final = 4
ROUNDS_DEMAND: Final = 60
RANKS: Final = (1.0, 0.5, 0.0)
"""Miners, from the best to the worst, that may just stay on to offer reserve."""
EAGER_ROUND: Final = 1
TIGHT: Final = 2e-4
PATIENCE: Final = 6
STEP_MAX: Final = 3.0
"""Largest change of the logarithm of a demand price in a round."""
LOG_SHARE_MIN: Final = -12.0
FIRST_CARRIED: Final = (3.0, 30.0)
"""First weight of a carried peak against all rows of the month together: where the full load exceeds it by more than
:data:`NEAR_PEAK`, and elsewhere."""
NEAR_PEAK: Final = 1.05


@dataclass(frozen=True)
class Plan:
    """What a schedule does, for one run and S scales.

    Attributes:
        on: (T, S, M).
        hash_ths: paid hashrate of the site, (S, T).
        power_kw: of the site, cooling included, (S, T).
        wear_usd, restart_usd: of the run at its scale, (S,).
        saved_kwh: energy that cold starts save, (S, T).
    """

    on: Flags
    hash_ths: Floats
    power_kw: Floats
    wear_usd: Floats
    restart_usd: Floats
    saved_kwh: Floats


@dataclass(frozen=True)
class Solution:
    """Bound and best schedule found of one run.

    Attributes:
        bound_usd: (S,).
        plan: schedule of the highest profit in the relaxed model.
        terms: its money, by name (S,) each.
        profit_usd: its profit, (S,).
    """

    bound_usd: Floats
    plan: Plan
    terms: dict[str, Floats]
    profit_usd: Floats


@dataclass(frozen=True)
class Prices:
    """Prices of one round.

    Attributes:
        demand_usd_per_kw: of each row's mean load, (R, S, T).
        flow_at: flow share at which cooling is linearised, (R, T).
    """

    demand_usd_per_kw: Floats
    flow_at: Floats


@dataclass(frozen=True)
class ReservePrices:
    """Reserve as prices on load and a constant.

    Attributes:
        load_usd_per_kwh: added to the price of load, (T,).
        constant_usd: added to the bound.
    """

    load_usd_per_kwh: Floats
    constant_usd: float


def reserve_prices(site: RunSite, market: MarketRows, ranks: tuple[float, ...]) -> ReservePrices:
    """Price reserve so that no offer and no response to a call can earn more than the bound.

    A row without a call pays at most the price on the load itself. For the calls under one offer ``o``:

    * they pay at most ``price * o``, less price and penalty on ``shortfall >= load - baseline + o`` once it is due;
    * a row in which the offer is held pays at most ``price * (load + factor * (load - o))``;
    * ``o`` is at most the load of the control step before it was made, ``baseline`` that of the step before the call,
      neither above ``steps per row`` times the mean load of its row, nor above the site's highest load.

    Each of these gets a multiplier, after which all is linear in load, ``o`` and ``baseline``. They are chosen so that
    the best miner just does not run through the call, and so that some miner (of those tried, the one that gives the
    lowest bound) just stays on before it only to offer; less where the calls pay too little for that.

    Args:
        site, market: of the run.
        ranks: miners to try, 1 the best and 0 the worst; -1 gives the most credit that is allowed.
    """
    load = np.where(market.called, 0.0, -market.reserve_usd_per_kwh)
    constant = 0.0
    for group in market.groups:
        tried = [_group_prices(site, market, load, group, rank) for rank in ranks]
        _, more, load = min(tried, key=lambda entry: entry[0])
        constant += more
    return ReservePrices(load, constant)


def _group_prices(
    site: RunSite, market: MarketRows, load: Floats, group: ReserveGroup, rank: float
) -> tuple[float, float, Floats]:
    """Estimate of what a group adds to the bound, its constant (USD), and the prices of load with it."""
    assert market.product is not None
    load = load.copy()
    factor, penalty = market.product.unheld_penalty_factor, market.product.shortfall_penalty_usd_per_mwh * 1e-3
    reserve, hours, steps = market.reserve_usd_per_kwh, market.hours, market.steps_per_row
    most_kw = offer_kw = _most_kw(site, group)
    left = float((reserve * hours)[group.paid_rows].sum())
    due = group.due_rows
    price = np.clip(_margins(site, market, load, due).max(axis=-1, initial=0.0), 0.0, reserve[due] + penalty)
    cost = float((price * hours[due]).sum())
    if cost > left:
        price, cost = price * (left / cost), left
    load[due] += price
    left -= cost

    def need(row: int) -> float:
        if rank < 0.0:
            return np.inf
        return max(-float(np.quantile(_margins(site, market, load, np.array([row])), rank)), 0.0)

    # What holding the load before the call costs comes off what the offer is worth.
    for row in group.held_rows:
        credit = min(need(row), factor * reserve[row], left / hours[row])
        load[row] -= credit
        left -= credit * hours[row]
    if group.fixed_row == 0:
        offer_kw = min(offer_kw, market.load_before_kw)
    else:
        row = group.fixed_row - 1
        multiplier = min(need(row) * hours[row] / steps, left)
        load[row] -= multiplier * steps / hours[row]
        left -= multiplier
    row = group.before_call
    multiplier = min(need(row) * hours[row] / steps, cost)
    load[row] -= multiplier * steps / hours[row]
    constant = offer_kw * left + most_kw * (cost - multiplier)
    rows = np.unique(np.concatenate([group.held_rows, due, [max(group.fixed_row - 1, 0), group.before_call]]))
    power = site.points.power_low_kw.max(axis=-1)[site.hour[rows]] * site.count
    earned = (np.maximum(_margins(site, market, load, rows), 0.0) * power).sum(axis=-1) @ hours[rows]
    return constant + float(earned), constant, load


def worth_offering(site: RunSite, market: MarketRows, call_chance: float) -> Flags:
    """Whether load is worth offering in the hour of each group of calls, (G,), before the call is known.

    An hour's price is weighed against what the load would have earned in the share of time that is called.
    """
    rows = np.array([group.fixed_row for group in market.groups], np.int64)
    margin = np.maximum(_margins(site, market, np.zeros(len(market.hours)), rows).max(axis=-1, initial=0.0), 0.0)
    return np.asarray(market.reserve_usd_per_kwh[rows] >= call_chance * margin)


def planned_prices(market: MarketRows, offers: Flags) -> ReservePrices:
    """Prices for somebody who does not know calls beforehand: offered load is shed once a call is due."""
    load = np.where(market.called, 0.0, -market.reserve_usd_per_kwh)
    for group, offered in zip(market.groups, offers, strict=True):
        if offered and market.product is not None:
            penalty = market.product.shortfall_penalty_usd_per_mwh * 1e-3
            load[group.due_rows] = market.reserve_usd_per_kwh[group.due_rows] + penalty
    return ReservePrices(load, 0.0)


def _margins(site: RunSite, market: MarketRows, load_usd_per_kwh: Floats, rows: Ints) -> Floats:
    """What a kWh of load earns each cohort at its most efficient in each of ``rows``, USD, (rows, M)."""
    points, at = site.points, site.hour[rows]
    paid = points.hashrate_ths * (site.paid_count / site.count)[:, None]
    price = market.energy_usd_per_kwh[rows] + load_usd_per_kwh[rows]
    worth = (paid / points.power_low_kw[at]).max(axis=-1)
    return np.asarray(market.revenue_usd_per_ths_h[rows, None] * worth - price[:, None])


def _most_kw(site: RunSite, group: ReserveGroup) -> float:
    """Highest load of a control step from before the offer to the end of its calls, kW."""
    return float(site.peak_kw[max(group.fixed_row - 1, 0) : int(group.paid_rows[-1]) + 1].max())


def solve(
    sites: list[RunSite],
    markets: list[MarketRows],
    scales: Floats,
    running: bool,
    *,
    offers: list[Flags] | None = None,
    rounds: int | None = None,
) -> list[Solution]:
    """Bound R runs of equal length.

    Args:
        sites, markets: of the runs.
        scales: of wear and stop costs, (S,).
        running: whether cohorts run at the beginning.
        offers: whether load is offered in each group of calls, where calls are not known beforehand; None for the
            clairvoyant.
        rounds: of the search for prices; None takes :data:`ROUNDS`, and :data:`ROUNDS_DEMAND` where demand is charged.
    """
    rows, sizes = len(markets[0].hours), len(scales)
    charged = any(market.months for market in markets)
    rounds = (ROUNDS_DEMAND if charged else ROUNDS) if rounds is None else rounds
    pairs = list(zip(sites, markets, strict=True))
    if offers is None:
        reserve = [reserve_prices(site, market, RANKS) for site, market in pairs]
        # All credit that is allowed: rarely the lowest bound, but it finds the schedules that stay on to be called.
        eager = [reserve_prices(site, market, (-1.0,)) for site, market in pairs]
    else:
        reserve = [planned_prices(market, own) for market, own in zip(markets, offers, strict=True)]
        eager = reserve
    search = [
        DemandSearch(market, market.energy_usd_per_kwh + own.load_usd_per_kwh, _full_kw(site), sizes)
        for (site, market), own in zip(pairs, reserve, strict=True)
    ]
    flow_at = np.stack([_first_flow(site) for site in sites])
    stop_usd = np.stack([site.stop_usd for site in sites], axis=1)
    start_usd = np.stack([site.start_usd for site in sites], axis=2)
    cohorts = stop_usd.shape[-1]
    best: list[Solution | None] = [None] * len(sites)
    shape = (rows, len(sites), sizes, cohorts)
    course: list[Floats] = []
    for turn in range(rounds):
        asked = eager if turn == EAGER_ROUND else reserve
        on_usd, off_usd, gain_usd = np.empty(shape), np.empty(shape), np.empty(shape)
        picks, constants = [], []
        for r, (site, market) in enumerate(zip(sites, markets, strict=True)):
            weights, constant = search[r].weights()
            price = (market.energy_usd_per_kwh + asked[r].load_usd_per_kwh)[None] + (
                weights + market.charge_usd_per_kw
            ) / market.hours
            slope, intercept = site.cooling.line(flow_at[r], site.x_highest, price >= 0.0)
            pick = row_values(site, market, price, slope, scales, on_usd[:, r], off_usd[:, r], gain_usd[:, r])
            picks.append(pick)
            first = (site.gain_kwh[0].sum() * np.maximum(price[:, 0], 0.0)) if running else 0.0
            constants.append(constant + asked[r].constant_usd + first - (price * intercept * market.hours).sum(axis=-1))
        found = best_schedules(
            on_usd, off_usd, SwitchCosts(stop_usd, start_usd, gain_usd), _scaled(sites, scales), running
        )
        for r, (site, market) in enumerate(zip(sites, markets, strict=True)):
            bound = found.value_usd[r] + constants[r]
            plan, flow = plan_of(site, market, found.on[:, r], picks[r], found.restart_usd[r], scales, running)
            terms, profit = settle_plan(plan, site, market, None if offers is None else offers[r])
            best[r] = held = _better(best[r], Solution(bound, plan, terms, profit))
            if turn != EAGER_ROUND or offers is not None:
                search[r].update(plan.power_kw, bound - held.profit_usd)
            flow_at[r] = flow_at[r] + (flow.mean(axis=0) - flow_at[r]) * (1.0 if turn == 0 else 0.5)
        course.append(np.stack([held.bound_usd for held in best if held is not None]))
        if all(held is not None and _tight(held) for held in best) or _stalled(course):
            break
    return [solution for solution in best if solution is not None]


def _tight(solution: Solution) -> bool:
    """Whether no price could lower the bound by more than :data:`TIGHT` of it."""
    gap = solution.bound_usd - solution.profit_usd
    return bool((gap <= TIGHT * np.abs(solution.bound_usd)).all())


def _stalled(course: list[Floats]) -> bool:
    """Whether the last :data:`PATIENCE` rounds lowered no bound by more than :data:`TIGHT` of it."""
    if len(course) <= PATIENCE:
        return False
    before, now = course[-1 - PATIENCE], course[-1]
    return bool((before - now <= TIGHT * np.abs(now)).all())


def _scaled(sites: list[RunSite], scales: Floats) -> Floats:
    return scales * sites[0].wear_scale


def _first_flow(site: RunSite) -> Floats:
    """Flow share of the site when everything runs at the point of highest hashrate, (T,)."""
    top = site.points.hashrate_ths.argmax(axis=-1)
    duty = site.points.flow_share[:, np.arange(len(top)), top]
    return np.asarray((site.flow_weight * duty).sum(axis=-1)[site.hour])


def _full_kw(site: RunSite) -> float:
    """Highest load of the miners, kW."""
    return float((site.points.power_low_kw.max(axis=-1) @ site.count).max())


def row_values(
    site: RunSite,
    market: MarketRows,
    price_usd_per_kwh: Floats,
    cooling_slope_kw: Floats,
    scales: Floats,
    on_usd: Floats,
    off_usd: Floats,
    gain_usd: Floats,
) -> Ints:
    """Fill in what each row is worth to each cohort, on at its best point or off, (T, S, M).

    Args:
        site, market: of the run.
        price_usd_per_kwh: of load, (S, T).
        cooling_slope_kw: cooling power per flow share, (S, T).
        scales: (S,).
        on_usd, off_usd, gain_usd: written to.

    Returns:
        Best point of each cohort, (T, S, M).
    """
    points, hour = site.points, site.hour
    picks = np.empty(on_usd.shape, np.int64)
    value = (market.revenue_usd_per_ths_h[:, None, None] * points.hashrate_ths) * site.paid_count[:, None]
    count = site.count[:, None]
    for s, scale in enumerate(scales * site.wear_scale):
        price, pays = price_usd_per_kwh[s], price_usd_per_kwh[s] < 0.0
        power = (points.power_low_kw * count)[hour]
        if pays.any():
            power[pays] = (points.power_high_kw * count)[hour[pays]]
        weight = site.flow_weight[hour]
        slope = cooling_slope_kw[s][:, None]
        power += slope[..., None] * (points.flow_share * site.flow_weight[..., None])[hour]
        gain = value - price[:, None, None] * power
        if scale > 0.0:
            gain -= (scale * points.wear_usd_per_h * count)[hour]
        picks[:, s] = gain.argmax(axis=-1)
        best = np.take_along_axis(gain, picks[:, s][..., None], -1)[..., 0]
        on_usd[:, s] = best * market.hours[:, None]
        standing = site.count * site.off_kw + slope * weight * site.x_off
        off_usd[:, s] = -price[:, None] * standing * market.hours[:, None]
        gain_usd[:, s] = site.gain_kwh * np.maximum(price, 0.0)[:, None]
    return picks


def plan_of(
    site: RunSite,
    market: MarketRows,
    on: Flags,
    picks: Ints,
    restart_usd: Floats,
    scales: Floats,
    running: bool,
) -> tuple[Plan, Floats]:
    """Follow a schedule in the relaxed model, cooling exact.

    Args:
        site, market: of the run.
        on, picks: state and point, (T, S, M).
        restart_usd: of the schedule, (S,).
        scales: (S,).
        running: whether cohorts run at the beginning.

    Returns:
        The plan, and the flow share of the site in each row, (S, T).
    """
    points = site.points
    h, m = site.hour[:, None, None], np.arange(on.shape[-1])
    power = np.where(on, points.power_low_kw[h, m, picks], site.off_kw) @ site.count
    duty = np.where(on, points.flow_share[h, m, picks], site.x_off)
    flow = (duty * site.flow_weight[site.hour][:, None, :]).sum(axis=-1).T
    hashes = np.where(on, points.hashrate_ths[m, picks], 0.0) @ site.paid_count
    wear = (np.where(on, points.wear_usd_per_h[h, m, picks], 0.0) @ site.count * market.hours[:, None]).sum(axis=0)
    before = np.concatenate([np.full_like(on[:1], running), on[:-1]])
    saved = ((on & ~before) * site.gain_kwh[:, None, :]).sum(axis=-1)
    if running:
        saved[0] += site.gain_kwh[0].sum()
    return (
        Plan(
            on=on,
            hash_ths=hashes.T,
            power_kw=power.T + site.cooling.power_kw(flow),
            wear_usd=wear * scales * site.wear_scale,
            restart_usd=restart_usd,
            saved_kwh=saved.T,
        ),
        flow,
    )


def settle_plan(
    plan: Plan, site: RunSite, market: MarketRows, offers: Flags | None = None
) -> tuple[dict[str, Floats], Floats]:
    """Settle a plan on the rows of a market.

    Args:
        plan: of the run.
        site: of the run.
        market: what happens.
        offers: whether the load is offered in each group of calls, (G,); None takes what turns out better.

    Returns:
        Money terms by name, (S,) each, and the profit.
    """
    hours, load = market.hours, plan.power_kw
    demand = np.zeros(len(load))
    for rows, rate, carried_kw in market.months:
        demand += rate * np.maximum(load[:, rows].max(axis=-1) - carried_kw, 0.0)
    reserve = (np.where(market.called, 0.0, market.reserve_usd_per_kwh) * hours * load).sum(axis=-1)
    for g, group in enumerate(market.groups):
        earned = _call_usd(load, site, market, group)
        if offers is None:
            reserve += np.maximum(earned, 0.0)
        elif offers[g]:
            reserve += earned
    # What a cold start saves counts at the plain price of its row, as far as it costs.
    plain = market.energy_usd_per_kwh - np.where(market.called, 0.0, market.reserve_usd_per_kwh)
    saved = (plan.saved_kwh * np.maximum(plain, 0.0)).sum(axis=-1)
    terms = {
        "revenue_usd": (plan.hash_ths * market.revenue_usd_per_ths_h * hours).sum(axis=-1),
        "energy_usd": (load * market.energy_usd_per_kwh * hours).sum(axis=-1) - saved,
        "demand_usd": demand,
        "coincident_usd": (load * market.charge_usd_per_kw).sum(axis=-1),
        "reserve_usd": reserve,
        "wear_usd": plan.wear_usd,
        "restart_usd": plan.restart_usd,
    }
    profit = sum((value if name in INCOME else -value for name, value in terms.items()), np.zeros(len(load)))
    return terms, profit


def _call_usd(load: Floats, site: RunSite, market: MarketRows, group: ReserveGroup) -> Floats:
    """Income less penalties of called rows when the load before the hour was offered, USD, (S,)."""
    assert market.product is not None
    before = load[:, group.fixed_row - 1] if group.fixed_row > 0 else np.full(len(load), market.load_before_kw)
    offer = np.minimum(before, _most_kw(site, group))[:, None]
    price, hours = market.reserve_usd_per_kwh, market.hours
    due = group.due_rows
    short = np.clip(load[:, due] - (load[:, group.before_call][:, None] - offer), 0.0, offer)
    penalty = price[due] + market.product.shortfall_penalty_usd_per_mwh * 1e-3
    paid = (price[group.paid_rows] * hours[group.paid_rows]).sum() * offer[:, 0]
    held = group.held_rows
    unheld = np.maximum(offer - load[:, held], 0.0)
    # Rows without a call were paid on all their load; what exceeds the offer was not, and an offer that exceeds the
    # load is penalised.
    lost = (unheld * market.product.unheld_penalty_factor * price[held] * hours[held]).sum(axis=-1)
    return np.asarray(paid - (short * penalty * hours[due]).sum(axis=-1) - lost)


class DemandSearch:
    """Prices of the rows' mean load for the month's peak, (S, T).

    A month's charge is at least ``sum(w * (load - carried))`` for any ``w >= 0`` with sum at most the rate. The first
    prices make one marginal kW indifferent in all rows at once: ``w = hours * max(0, worth * revenue - price)``, with
    the ``worth`` (TH/s per kW) at which the rate is spent. Then mirror descent with Polyak's step moves them to where
    the load is highest. What is not spent on rows lies on the carried peak.
    """

    def __init__(self, market: MarketRows, price_usd_per_kwh: Floats, full_kw: float, sizes: int) -> None:
        self._market = market
        self._sizes = sizes
        self._logs = [
            np.tile(_first_logs(market, price_usd_per_kwh, full_kw, rows, rate, carried_kw), (sizes, 1))
            for rows, rate, carried_kw in market.months
        ]

    def weights(self) -> tuple[Floats, Floats]:
        """Prices, USD/kW, and what the carried peaks give back, USD, (S,)."""
        prices = np.zeros((self._sizes, len(self._market.hours)))
        constant = np.zeros(self._sizes)
        for (rows, rate, carried_kw), logs in zip(self._market.months, self._logs, strict=True):
            share = _shares(logs)
            prices[:, rows] = rate * share[:, :-1]
            constant += rate * share[:, :-1].sum(axis=-1) * carried_kw
        return prices, constant

    def update(self, load_kw: Floats, gap_usd: Floats) -> None:
        """Move prices to where the load is highest.

        Args:
            load_kw: of the round's schedules, (S, T).
            gap_usd: how much the round's bound may still fall, (S,).
        """
        for (rows, rate, carried_kw), logs in zip(self._market.months, self._logs, strict=True):
            load = np.concatenate([load_kw[:, rows], np.full((self._sizes, 1), carried_kw)], axis=-1)
            off_mean = load - (_shares(logs) * load).sum(axis=-1, keepdims=True)
            worst = np.maximum(np.abs(off_mean).max(axis=-1, keepdims=True), 1e-9)
            step = np.minimum(gap_usd[:, None] / (rate * worst), STEP_MAX)
            logs += step * off_mean / worst
            logs -= logs.max(axis=-1, keepdims=True)
            np.maximum(logs, LOG_SHARE_MIN, out=logs)


def _shares(logs: Floats) -> Floats:
    share = np.exp(logs)
    return np.asarray(share / share.sum(axis=-1, keepdims=True))


def _first_logs(
    market: MarketRows, price: Floats, full_kw: float, rows: Ints, rate: float, carried_kw: float
) -> Floats:
    """Logarithms of the first shares of the rows and of the carried peak, (len(rows) + 1,)."""
    revenue, hours = market.revenue_usd_per_ths_h[rows], market.hours[rows]
    low, high = 0.0, 1e4
    for _ in range(60):
        worth = 0.5 * (low + high)
        spent = (hours * np.maximum(worth * revenue - price[rows], 0.0)).sum()
        low, high = (worth, high) if spent < rate else (low, worth)
    first = FIRST_CARRIED[int(full_kw <= NEAR_PEAK * carried_kw)]
    share = np.append(hours * np.maximum(high * revenue - price[rows], 0.0), rate * first * (carried_kw > 0.0))
    return np.asarray(np.maximum(np.log(np.maximum(share / rate, 1e-300)), LOG_SHARE_MIN))


def _better(old: Solution | None, new: Solution) -> Solution:
    """Lowest bound and best schedule by scale."""
    if old is None:
        return new
    better = new.profit_usd > old.profit_usd

    def choose(mine: Floats, other: Floats) -> Floats:
        return np.where(better.reshape(-1, *([1] * (mine.ndim - 1))), mine, other)

    plan = Plan(
        on=np.where(better[None, :, None], new.plan.on, old.plan.on),
        **{
            name: choose(getattr(new.plan, name), getattr(old.plan, name))
            for name in ("hash_ths", "power_kw", "wear_usd", "restart_usd", "saved_kwh")
        },
    )
    return Solution(
        bound_usd=np.minimum(new.bound_usd, old.bound_usd),
        plan=plan,
        terms={name: choose(new.terms[name], old.terms[name]) for name in TERMS},
        profit_usd=np.maximum(new.profit_usd, old.profit_usd),
    )
