"""Model predictive control: plan the coming hours on forecasts, do the first step, plan again.

Sees observations only, as any rule; formulas, forecasts and relaxations are in ``docs/mpc.md``.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from agents.baselines.base import Knowledge, Rule
from agents.baselines.forecast import (
    LEADS,
    Forecast,
    SeenPrices,
    fit_forecast,
    hour_of_week,
    quarter_of_day,
)
from agents.baselines.myopic import load_frac
from agents.baselines.planning import Floats, Moves, kinds_of, nearest_state, plan, price_of_load
from agents.baselines.reserve import (
    CALLED_ABOVE,
    NO_OFFER_BELOW,
    ReserveMemory,
    forget,
    kept_share,
    remember,
    within_power,
)
from agents.baselines.table import TUNED_FOR, tuned_record
from minesim.arrays import NUMPY, Array, Namespace
from minesim.control.actuate import FleetCurves
from minesim.control.market import PRICE_HOURS
from minesim.control.observe import schema
from minesim.envs.core import World
from minesim.errors import ActionError, ParamsError, explain

KW_PER_MW = 1000.0
HOURS_PER_MONTH = 730.0
PEAK_INTERVAL_H = 0.25
PEAK_PRICE_MIN_USD_PER_MWH = 1.0
"""While the expected peak charge is below this, a changed prediction is no reason to plan again before the hour."""

STEADY, STEADY_LOAD, OVERHEAD_RANGE = 0.99, 0.3, (0.8, 1.2)
"""All that is commanded hashes to this share, and is this share of the fleet at least: then the meter shows the
overhead, which is believed within the range."""


@dataclass(frozen=True)
class MPCParams:
    """Parameters of :class:`MPC`; money and times are public planning numbers, none is read from the twin.

    Attributes:
        stop_usd: assumed cost of stopping one miner (wear and failed starts), USD.
        start_h: assumed time without hashing after a start, h: 5 min and half of the 2 min ramp of the firmware, and
            a mean wait of 6 min for the site's ramp limit.
        change_h: the same after a change of preset, h: 3 min and half the ramp.
        horizon_h: hours that are planned, 2 to 36.
        quantile: of the forecast price that is planned with where the price is not known, 0.05 to 0.95.
        call_factor: weight of the predicted chance of a coincident peak.
        next_day_factor: chance of tomorrow's peak relative to today's.
        demand_factor: weight of the demand charge.
        overhead: metered site power over the nameplate power of what is commanded, until the site has been seen
            running steadily; from then on the ratio last seen.
        unheld_chance: accepted chance that an offer is not fully held; 1 / (1 + penalty factor) is the best under
            the settlement's terms.
        load_sd: relative error of the planned load of an hour (assumed).
        unheld_penalty_factor: penalty of an offer that is not held, in multiples of the reserve price.
    """

    stop_usd: float = 0.12
    start_h: float = 0.2
    change_h: float = 4.0 / 60.0
    horizon_h: int = 24
    quantile: float = 0.5
    call_factor: float = 0.5
    next_day_factor: float = 0.5
    demand_factor: float = 1.0
    overhead: float = 0.97
    unheld_chance: float = 0.5
    load_sd: float = 0.01
    unheld_penalty_factor: float = 1.0

    def __post_init__(self) -> None:
        for name, low, high in (
            ("stop_usd", 0.0, 1e4),
            ("start_h", 0.0, 24.0),
            ("change_h", 0.0, 24.0),
            ("horizon_h", 2, LEADS),
            ("quantile", 0.05, 0.95),
            ("call_factor", 0.0, 1e3),
            ("next_day_factor", 0.0, 1.0),
            ("demand_factor", 0.0, 1e3),
            ("overhead", 0.5, 2.0),
            ("unheld_chance", 1e-6, 1.0 - 1e-6),
            ("load_sd", 0.0, 1.0),
            ("unheld_penalty_factor", 0.0, 100.0),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ParamsError(explain(f"{name} is {value}", allowed=f"{low:g} to {high:g}", origin="MPC"))

    @property
    def share(self) -> float:
        """Share of the planned load that is offered: the offer is held with chance 1 - ``unheld_chance``."""
        return float(np.clip(1.0 + self.load_sd * NormalDist().inv_cdf(self.unheld_chance), 0.0, 1.0))


MPC_GRID: Final[Mapping[str, tuple[float, ...]]] = {
    "stop_usd": (0.06, 0.12, 0.25),
    "quantile": (0.5, 0.65),
    "call_factor": (0.3, 0.5, 1.0),
}
"""Parameter -> candidates for tuning on validation weeks; their product is searched, less what cannot matter."""


def mpc_candidates(world: World) -> list[MPCParams]:
    """Parameter sets to tune over: the product of :data:`MPC_GRID` over what matters under the world's tariff."""
    grid = dict(MPC_GRID)
    if world.scenario.tariff.coincident_peak is None:
        grid["call_factor"] = (MPCParams().call_factor,)
    if world.scenario.tariff.price_known == "day_ahead":
        grid["quantile"] = (MPCParams().quantile,)
    sets: list[dict[str, Any]] = [dict(zip(grid, v, strict=True)) for v in itertools.product(*grid.values())]
    return [MPCParams(**values) for values in sets]


@dataclass(frozen=True)
class _Memory:
    """The plan in force, what it was made on, and the site's overhead; (R, M) and (R,).

    Rows with ``hour`` below 0 begin anew.
    """

    level: Floats
    hour: Floats
    price: Floats
    peak_price: Floats
    call: Floats
    overhead: Floats


class MPC(Rule):
    """Receding horizon over hourly blocks; plans again every hour, and when a price, a call or a peak changes.

    Memory: the plan in force, and the reserve prices of this hour and the next, per row.
    """

    name = "mpc"

    def __init__(self, knowledge: Knowledge, forecast: Forecast, params: MPCParams | None = None) -> None:
        super().__init__(knowledge)
        self.forecast = forecast
        self.params = params or MPCParams()
        self.kinds = kinds_of(knowledge.fleet)
        self._moves = Moves(self.params.stop_usd, self.params.start_h, self.params.change_h)
        self._plan: _Memory | None = None
        self._reserve: ReserveMemory | None = None

    def reset(self, done: Array | None = None) -> None:
        """Forget plans and reserve prices, for the rows where ``done`` is true (all when None)."""
        if done is None or self._plan is None or self._reserve is None:
            self._plan = self._reserve = None
            return
        finished = _as_numpy(done).astype(bool)
        self._plan = replace(self._plan, hour=np.where(finished.reshape(-1), -1.0, self._plan.hour))
        self._reserve = forget(self._reserve, finished.reshape(-1))

    def act(self, observation: Array) -> Array:
        """Actions (..., n_act) in [-1, 1] for observations (..., n_obs), of the kind of the observation.

        Raises:
            ActionError: the observation has another size than the schema, or entries that are not numbers.
        """
        seen = _as_numpy(observation)
        if not np.isfinite(seen).all():
            raise ActionError(
                explain(
                    f"{self.name!r} got an observation with {int((~np.isfinite(seen)).sum())} entries that are "
                    "not numbers",
                    allowed="finite numbers",
                    fix="Fill what a sensor did not deliver with its last good value.",
                )
            )
        rows = seen.reshape(-1, seen.shape[-1]) if seen.ndim else seen.reshape(1, 1)
        action = super().act(rows).reshape(*seen.shape[:-1], -1)
        if isinstance(observation, np.ndarray):
            return action
        return observation.new_tensor(action)

    def levels(self, observation: Floats, fleet: FleetCurves, *, xp: Namespace) -> Floats:
        """The plan's level of the present block, (R, M)."""
        read = self.knowledge.schema.read
        self._reserve = remember(self._reserve, observation, self.knowledge.schema, xp=NUMPY)
        self._plan = self._planned(observation, self._reserve)
        level = self._plan.level
        kept_frac = np.maximum(self._reserve.baseline_frac - read(observation, "reserve_held_frac"), 0.0)
        called = read(observation, "reserve_call") > CALLED_ABOVE
        if not called.any():
            return level
        shed = within_power(level, kept_frac, observation, self.knowledge, fleet, xp=NUMPY)
        return np.where(called, shed, level)

    def offer_share(self, observation: Floats, level: Floats, fleet: FleetCurves, *, xp: Namespace) -> Floats:
        """Planned load that is held with the wished chance, as a share of the present load."""
        commanded = self.knowledge.schema.read(observation, "level")
        return np.asarray(self.params.share * kept_share(level, commanded, fleet, xp=NUMPY))

    # ------------------------------------------------------------------ planning

    def _planned(self, observation: Floats, reserve: ReserveMemory) -> _Memory:
        """The plan in force: a new one in the rows where something happened."""
        one = self._one
        hour = reserve.hour[:, 0]
        price, call = one(observation, "price_last_usd_per_mwh"), one(observation, "reserve_call")
        peak_price = self._peak_price(observation)
        old = self._plan
        if old is None or old.level.shape != (len(observation), self.knowledge.cohorts):
            due = np.ones(len(observation), bool)
            level = np.zeros((len(observation), self.knowledge.cohorts))
            priced = peak_price
            overhead = self._overhead(observation, np.full(len(observation), self.params.overhead))
        else:
            moved = np.abs(peak_price - old.peak_price) > 0.05 * np.maximum(old.peak_price, PEAK_PRICE_MIN_USD_PER_MWH)
            moved &= np.maximum(peak_price, old.peak_price) > PEAK_PRICE_MIN_USD_PER_MWH
            due = (hour != old.hour) | (price != old.price) | (call != old.call) | moved
            overhead = self._overhead(observation, np.where(old.hour < 0.0, self.params.overhead, old.overhead))
            level, priced = old.level, np.where(due, peak_price, old.peak_price)
        if due.any():
            chosen = np.flatnonzero(due)
            level = level.copy()
            level[chosen] = self._solve(observation[chosen], _rows(reserve, chosen), overhead[chosen])
        return _Memory(level, hour, price, priced, call, overhead)

    def _overhead(self, observation: Floats, before: Floats) -> Floats:
        """Metered power over commanded power where most of the site hashes steadily, else as before, (R,)."""
        read, fleet = self.knowledge.schema.read, self.knowledge.fleet
        level = read(observation, "level")
        commanded = load_frac(level, fleet, xp=NUMPY)[:, 0]
        steady = ((read(observation, "hashing") > STEADY) | (level <= 0.0)).all(axis=1) & (commanded > STEADY_LOAD)
        ratio = self._one(observation, "site_power_frac") / np.maximum(commanded, STEADY_LOAD)
        return np.where(steady, np.clip(ratio, *OVERHEAD_RANGE), before)

    def _solve(self, observation: Floats, reserve: ReserveMemory, overhead: Floats) -> Floats:
        """Levels of the present block of a new plan, (R, M)."""
        one, params, forecast, kinds = self._one, self.params, self.forecast, self.kinds
        read, fleet, horizon = self.knowledge.schema.read, self.knowledge.fleet, params.horizon_h
        seen = SeenPrices(
            hour_of_week(one(observation, "week_sin"), one(observation, "week_cos")),
            one(observation, "price_last_usd_per_mwh"),
            one(observation, "price_mean_24h_usd_per_mwh"),
            np.stack([one(observation, f"price_h{k:02d}_usd_per_mwh") for k in range(PRICE_HOURS)], axis=1),
            one(observation, "price_known_h"),
        )
        quarter = quarter_of_day(one(observation, "hour_sin"), one(observation, "hour_cos"))
        first_h = 1.0 - (quarter % 4) / 4.0
        revenue = one(observation, "hash_revenue_usd_per_ths_day")
        energy = forecast.prices(seen, horizon, params.quantile)
        chance = forecast.peak_probability(
            quarter,
            one(observation, "peak_probability"),
            one(observation, "peak_probability_next_4h"),
            horizon,
            params.next_day_factor,
        )
        rate = params.call_factor * one(observation, "cp_rate_usd_per_kw") * KW_PER_MW / PEAK_INTERVAL_H
        worth, standing = self._reserve_worth(observation, reserve, energy, revenue, first_h)
        net = energy + rate[:, None] * chance
        cap_price, cap_frac = self._peak_cap(observation, net, worth.mean(axis=-1), revenue, overhead)
        net = np.maximum(net, cap_price[:, None] + worth.max(axis=-1))
        state = nearest_state(kinds, read(observation, "level"))
        chosen = plan(kinds, self._moves, revenue, net, worth, standing, first_h, state)
        power_mw = kinds.power_mw[kinds.of_cohort]
        level: Floats = power_mw[np.arange(power_mw.shape[0]), chosen] / power_mw.max(axis=-1)
        if not np.isfinite(cap_frac).any():
            return level
        return np.asarray(within_power(level, cap_frac[:, None], observation, self.knowledge, fleet, xp=NUMPY))

    def _reserve_worth(
        self, observation: Floats, reserve: ReserveMemory, energy: Floats, revenue: Floats, first_h: Floats
    ) -> tuple[Floats, Floats]:
        """What a MW earns as reserve: in each block (R, K, N), and under the offer that stands (R,), USD/MW-h."""
        params, kinds, rows = self.params, self.kinds, len(observation)
        none = np.zeros(rows)
        if not self.knowledge.offers_reserve:
            return np.zeros((rows, energy.shape[1], len(kinds.power_mw))), none
        price = self.forecast.reserve_prices(reserve.price_next[:, 0], energy)
        price[:, 0] = reserve.price_now[:, 0]
        stock = kinds.power_mw.argmax(axis=1)
        at = np.arange(len(stock))
        power_mw = kinds.power_mw[at, stock]
        earns = revenue[:, None, None] / 24.0 * kinds.earn_ths[at, stock] / power_mw
        called_usd_per_mw = params.stop_usd / power_mw + self.forecast.call_h * np.maximum(earns - energy[..., None], 0)
        calls = self.forecast.calls_per_h(energy)[..., None]
        worth = params.share * np.maximum(price[..., None] - calls * called_usd_per_mw, 0.0)
        opens, called = reserve.opens[:, 0] > 0.0, self._one(observation, "reserve_call") > CALLED_ABOVE
        stands = (self._one(observation, "reserve_held_frac") > NO_OFFER_BELOW) & ~opens & ~called
        worth[:, 0] = np.where((opens & ~called)[:, None], worth[:, 0] * first_h[:, None], 0.0)
        standing = params.share * (1.0 + params.unheld_penalty_factor) * price[:, 0]
        return worth, np.where(stands, standing, none)

    def _peak_cap(
        self, observation: Floats, net: Floats, worth: Floats, revenue: Floats, overhead: Floats
    ) -> tuple[Floats, Floats]:
        """Least price at which power is used, USD/MWh, and cap on the miners' power over rated; infinite where none.

        Power above the month's peak is used by what earns, over the rest of the month, more than the demand charge.
        """
        params, one = self.params, self._one
        rate_usd_per_kw = params.demand_factor * one(observation, "demand_rate_usd_per_kw")
        hours_left = np.maximum((1.0 - one(observation, "month_fraction")) * HOURS_PER_MONTH, 1.0)
        raising = (net - worth).mean(axis=1) + rate_usd_per_kw * KW_PER_MW / hours_left
        used = one(observation, "month_peak_frac") / overhead
        holding = price_of_load(self.kinds, used, revenue) * (1.0 - 1e-9)
        charged = rate_usd_per_kw > 0.0
        capped = charged & (raising >= holding) & np.isfinite(holding)
        cap_price = np.where(charged, np.minimum(raising, holding), -np.inf)
        return cap_price, np.where(capped, used, np.inf)

    def _peak_price(self, observation: Floats) -> Floats:
        """Expected charge of a coincident peak now as an energy price, USD/MWh, (R,)."""
        one = self._one
        rate = one(observation, "cp_rate_usd_per_kw") * (KW_PER_MW / PEAK_INTERVAL_H)
        return np.asarray(self.params.call_factor * rate * one(observation, "peak_probability"))

    def _one(self, observation: Floats, channel: str) -> Floats:
        """A market or site channel in double precision, (R,)."""
        return np.asarray(self.knowledge.schema.read(observation, channel)[:, 0], np.float64)


def tuned_mpc(world: World) -> MPCParams:
    """Packaged parameters for a world's scenario, tuned on validation weeks, or those of the market most like it."""
    record = tuned_record()
    found = record.get(world.scenario.name, {}).get("mpc")
    if found is None:
        found = record[TUNED_FOR.get(world.scenario.tariff.price_known, "pjm")]["mpc"]
    return MPCParams(**found["params"])


def _as_numpy(values: Array) -> NDArray[np.floating]:
    return values if isinstance(values, np.ndarray) else values.detach().cpu().numpy()


def _rows(memory: ReserveMemory, chosen: NDArray[np.int64]) -> ReserveMemory:
    return ReserveMemory(*(values[chosen] for values in memory))


def build_mpc(world: World, params: MPCParams | None = None, forecast: Forecast | None = None) -> MPC:
    """Build the MPC of a world, with forecasts fitted on its training split.

    Args:
        world: compiled traces and site.
        params: parameters; the packaged ones (:func:`tuned_mpc`) when None.
        forecast: fitted before, for several policies of one world; fitted now when None.

    Raises:
        ScenarioError: the scenario has no training split to fit on.
    """
    knowledge = Knowledge(schema(world.cohorts), world.params.curves, world.scenario.tariff.reserve is not None)
    return MPC(knowledge, forecast or fit_forecast(world), params or tuned_mpc(world))
