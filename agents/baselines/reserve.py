"""A rule that sells its load as reserve, and shows what any learner that offers reserve has to beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from agents.baselines.base import Knowledge, earnings_usd_per_mwh, local_hour
from agents.baselines.myopic import best_levels, load_frac
from agents.baselines.patience import Patient, PatientParams
from minesim.arrays import Array, Namespace
from minesim.control.actuate import FleetCurves
from minesim.control.channels import ObservationSchema

CALLED_ABOVE = 0.5
NO_OFFER_BELOW = 1e-3
"""An offer below this share of rated power counts as none."""
START_AHEAD_H = 0.5
"""A stopped site starts this long before an hour that it wants to sell; starting and ramping take about as long."""


@dataclass(frozen=True)
class ReserveOfferingParams(PatientParams):
    """Parameters of :class:`ReserveOffering`, beside those of :class:`PatientParams`.

    Attributes:
        call_factor: weight of the expected peak charge.
        hold_factor: further weight for a cohort that stands still for a peak.
        share: share of the load that is offered.
        price_min_usd_per_mw_h: no offer below this reserve price.
        ahead_factor: how much of the largest peak probability of the next 4 h counts against an offer.
        unheld_penalty_factor: penalty of an offer that is not held, in multiples of the reserve price (terms of the
            product, :class:`minesim.economics.reserve.ReserveProduct`).
    """

    call_factor: float = 0.3
    hold_factor: float = 1.0
    share: float = 1.0
    price_min_usd_per_mw_h: float = 0.0
    ahead_factor: float = 0.0
    unheld_penalty_factor: float = 1.0


class ReserveMemory(NamedTuple):
    """What a seller of reserve remembers, (..., 1) each.

    Attributes:
        hour: local clock hour of the last step.
        price_now, price_next: reserve price of that hour and of the one after it, USD/MW-h.
        baseline_frac: site power of the last step before a call, share of rated power.
        opens: 1 where an hour began with the last step.
    """

    hour: Array
    price_now: Array
    price_next: Array
    baseline_frac: Array
    opens: Array


class ReserveOffering(Patient):
    """Patient, with the load sold as reserve wherever holding it pays.

    A MW that is held earns the reserve price on top of its hashes, so that a cohort runs while

        energy price + peak price - worth of holding < break-even.

    The worth of holding is ``share x reserve price`` when an hour opens and the offer is still free, ``share x (1 +
    penalty factor) x reserve price`` while an offer stands, and nothing in an hour without one. In the last half of
    such an hour a stopped site looks at the coming hour instead, because only present load can be offered. The offer
    covers what is expected to run: not the cohorts that would stop for the price or for a peak that is near.

    When called, the cohorts that earn least stop until the load is below the baseline by the offer.

    Memory: reserve prices of this hour and the next, and the load before a call, per row.
    """

    name = "reserve_offering"
    params: ReserveOfferingParams

    def __init__(self, knowledge: Knowledge, params: ReserveOfferingParams | None = None) -> None:
        super().__init__(knowledge, params or ReserveOfferingParams())
        self._memory: ReserveMemory | None = None

    def reset(self, done: Array | None = None) -> None:
        """Forget prices, baselines and calls, for the rows where ``done`` is true (all when None)."""
        super().reset(done)
        self._memory = None if done is None or self._memory is None else forget(self._memory, done)

    def levels(self, observation: Array, fleet: FleetCurves, *, xp: Namespace) -> Array:
        """Best level with the worth of holding in the price; less when called."""
        read = self.knowledge.schema.read
        memory = self._memory = remember(self._memory, observation, self.knowledge.schema, xp=xp)
        price, worth = self._price_and_worth(observation, memory, xp=xp)
        level = self._levels_at(price - worth, observation, fleet, xp=xp)
        level = self._shave(level, worth, observation, fleet, xp=xp)
        called = read(observation, "reserve_call") > CALLED_ABOVE
        kept_frac = xp.maximum(memory.baseline_frac - read(observation, "reserve_held_frac"), 0.0)
        shed = within_power(level, kept_frac, observation, self.knowledge, fleet, xp=xp)
        return xp.where(called, shed, level)

    def offer_share(self, observation: Array, level: Array, fleet: FleetCurves, *, xp: Namespace) -> Array:
        """The tuned share of what is expected to run through the hour, as a share of the present load."""
        read, memory = self.knowledge.schema.read, self._memory
        assert memory is not None
        price = read(observation, "price_last_usd_per_mwh") - self.params.share * memory.price_now
        near = self.params.ahead_factor * self._peak_price(observation, "peak_probability_next_4h")
        price = price + xp.maximum(near, self._peak_price(observation))
        lasting = best_levels(price, read(observation, "hash_revenue_usd_per_ths_day"), fleet, xp=xp)
        share = self.params.share * kept_share(xp.minimum(level, lasting), read(observation, "level"), fleet, xp=xp)
        worth_it = memory.price_now >= self.params.price_min_usd_per_mw_h
        return xp.where(worth_it, share, xp.zeros_like(share))

    def _price_and_worth(self, observation: Array, memory: ReserveMemory, *, xp: Namespace) -> tuple[Array, Array]:
        """Energy price to decide by and what a MWh of load is worth as reserve, USD/MWh, (..., 1) each."""
        params, read = self.params, self.knowledge.schema.read
        price = read(observation, "price_last_usd_per_mwh")
        called = read(observation, "reserve_call") > CALLED_ABOVE
        none = xp.zeros_like(price)
        now_usd, next_usd = (
            xp.where(usd >= params.price_min_usd_per_mw_h, params.share * usd, none)
            for usd in (memory.price_now, memory.price_next)
        )
        stands = read(observation, "reserve_held_frac") > NO_OFFER_BELOW
        opens = memory.opens > 0.0
        clock = local_hour(self.knowledge.schema, observation, xp=xp)
        late = ~opens & ~stands & (clock - memory.hour >= 1.0 - START_AHEAD_H)
        known = read(observation, "price_known_h") >= 1.0
        coming = xp.where(known, read(observation, "price_h01_usd_per_mwh"), price)
        worth = xp.where(
            opens,
            now_usd,
            xp.where(stands, (1.0 + params.unheld_penalty_factor) * now_usd, xp.where(late, next_usd, none)),
        )
        return xp.where(late & ~called, coming, price), xp.where(called, none, worth)


def remember(
    old: ReserveMemory | None, observation: Array, schema: ObservationSchema, *, xp: Namespace
) -> ReserveMemory:
    """Memory with the present observation: at the turn of the hour the price of the next becomes that of this.

    Args:
        old: memory of the step before, None at the first; rows with a negative hour begin anew.
        observation: (..., n).
        schema: its channels.
        xp: namespace of the arrays.
    """
    seen = schema.read(observation, "reserve_price_usd_per_mw_h")
    power = schema.read(observation, "site_power_frac")
    hour = xp.floor(local_hour(schema, observation, xp=xp))
    called = schema.read(observation, "reserve_call") > CALLED_ABOVE
    if old is None or old.hour.shape != hour.shape:
        return ReserveMemory(hour, seen, seen, power, xp.ones_like(hour))
    fresh, turned = old.hour < 0.0, old.hour != hour
    return ReserveMemory(
        hour=hour,
        price_now=xp.where(fresh, seen, xp.where(turned, old.price_next, old.price_now)),
        price_next=seen,
        baseline_frac=xp.where(called & ~fresh, old.baseline_frac, power),
        opens=xp.where(turned, xp.ones_like(hour), xp.zeros_like(hour)),
    )


def forget(memory: ReserveMemory, done: Array) -> ReserveMemory:
    """Memory that begins anew in the rows where ``done`` is true, (...)."""
    finished = done[..., None] * 1.0
    return memory._replace(hour=memory.hour * (1.0 - finished) - finished)


def kept_share(level: Array, commanded: Array, fleet: FleetCurves, *, xp: Namespace) -> Array:
    """Share of the power commanded now that remains at the levels planned, at most 1, (..., 1).

    As a share of the present load it needs no assumption on fans, cooling and silicon.
    """
    commanded_frac = load_frac(commanded, fleet, xp=xp)
    return xp.minimum(load_frac(level, fleet, xp=xp) / xp.maximum(commanded_frac, NO_OFFER_BELOW), 1.0)


def within_power(
    level: Array, power_frac: Array, observation: Array, knowledge: Knowledge, fleet: FleetCurves, *, xp: Namespace
) -> Array:
    """Levels cut to a total power: the cohorts that earn most a MWh keep theirs, the last one is throttled or stopped.

    Args:
        level: wished levels, (..., M).
        power_frac: power of all miners that may be used, share of rated power, (..., 1).
        observation: for the present hash revenue.
        knowledge: schema of the observation.
        fleet: public curves.
        xp: namespace of the arrays.
    """
    rated_w = fleet.count * fleet.power_rated_w
    earns = earnings_usd_per_mwh(fleet.hashrate_rated_ths, fleet.power_rated_w, fleet.net_revenue_factor, 1.0)
    order = xp.argsort(-earns, axis=-1)
    back = xp.argsort(order, axis=-1)
    wished_w = (level * rated_w)[..., order]
    before_w = xp.cumsum(wished_w, axis=-1) - wished_w
    granted_w = xp.clip(power_frac * xp.sum(rated_w, axis=-1) - before_w, 0.0, wished_w)[..., back]
    granted = granted_w / rated_w
    return xp.where(granted >= fleet.level_min * (1.0 - 1e-6), granted, xp.zeros_like(granted))
