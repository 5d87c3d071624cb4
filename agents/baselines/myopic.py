"""Rules that take the preset that earns most now, with and without the price of predicted peaks."""

from __future__ import annotations

from dataclasses import dataclass

from agents.baselines.base import HOURS_PER_DAY, W_PER_MW, Knowledge, Rule, earnings_usd_per_mwh
from minesim.arrays import Array, Namespace
from minesim.control.actuate import FleetCurves

KW_PER_MW = 1000.0
PEAK_INTERVAL_H = 0.25
"""Length of a charged peak interval (ERCOT 4CP; the prediction is made per trace row of 15 min)."""
HOURS_PER_MONTH = 730.0


def best_levels(
    price_usd_per_mwh: Array, revenue_usd_per_ths_day: Array, fleet: FleetCurves, *, xp: Namespace
) -> Array:
    """Level of the preset with the highest earnings less energy at this price, 0 where every preset loses, (..., M).

    Presets above rated power are left out, because no action asks for them.

    Args:
        price_usd_per_mwh: energy price, (..., 1) or (..., M).
        revenue_usd_per_ths_day: gross revenue of 1 TH/s in a day, (..., 1).
        fleet: preset tables, (M, P).
        xp: namespace of the arrays.
    """
    revenue = revenue_usd_per_ths_day[..., None] * fleet.net_revenue_factor[:, None] * fleet.preset_hashrate_ths
    gain_usd_per_h = revenue / HOURS_PER_DAY - price_usd_per_mwh[..., None] * fleet.preset_power_w / W_PER_MW
    level = fleet.preset_power_w / fleet.power_rated_w[:, None]
    usable = xp.where(level <= 1.0 + 1e-3, 1.0, 0.0)
    gain_usd_per_h = xp.where(usable > 0.0, gain_usd_per_h, -1e9)
    best = xp.argmax(gain_usd_per_h, axis=-1)[..., None]
    chosen = xp.take_along(level + xp.zeros_like(gain_usd_per_h), best, -1)[..., 0]
    gain = xp.take_along(gain_usd_per_h, best, -1)[..., 0]
    return xp.where(gain > 0.0, xp.minimum(chosen, 1.0), xp.zeros_like(chosen))


def load_frac(level: Array, fleet: FleetCurves, *, xp: Namespace) -> Array:
    """Power of all miners at these levels over the fleet's rated power, (..., 1)."""
    rated_w = fleet.count * fleet.power_rated_w
    return xp.sum(level * rated_w, axis=-1)[..., None] / xp.sum(rated_w, axis=-1)


class MyopicBestPreset(Rule):
    """Each cohort at the preset that earns most at the known price, stopped when none earns."""

    name = "myopic_best_preset"

    def levels(self, observation: Array, fleet: FleetCurves, *, xp: Namespace) -> Array:
        """Best level at the known price."""
        read = self.knowledge.schema.read
        price = read(observation, "price_last_usd_per_mwh")
        return best_levels(price, read(observation, "hash_revenue_usd_per_ths_day"), fleet, xp=xp)


@dataclass(frozen=True)
class PeakAvoidingParams:
    """Parameters of :class:`PeakAvoiding`.

    Attributes:
        call_factor: weight of the expected peak charge; 1 takes the predicted probability at its word.
        hold_factor: further weight for a cohort that stands still for a peak, so that a flickering prediction does
            not stop and start it.
        demand_factor: how many times the demand charge the rest of the month has to earn before the running month's
            peak is exceeded.
        overhead: metered site power over the nameplate power of what is commanded. A container of mixed models draws
            0.94 (frost) to 0.99 (heat) of it, fans of the room included; leakage falls with the chips' temperature.
    """

    call_factor: float = 1.0
    hold_factor: float = 2.0
    demand_factor: float = 1.0
    overhead: float = 0.97


class PeakAvoiding(Rule):
    """Myopic, with the expected peak charge added to the energy price, and shaved to the month's running peak.

    A kW in an interval that is charged with probability p costs p x rate on top of its energy; as a price that is
    p x rate / interval length. Power above the month's peak so far is used only when the rest of the month is
    expected to earn more than the demand charge for it.

    Memory: which cohorts stand still for a predicted peak, per row and cohort.
    """

    name = "peak_avoiding"

    def __init__(self, knowledge: Knowledge, params: PeakAvoidingParams | None = None) -> None:
        super().__init__(knowledge)
        self.params = params or PeakAvoidingParams()
        self._called: Array | None = None

    def reset(self, done: Array | None = None) -> None:
        """Forget calls, for the rows where ``done`` is true (all when None)."""
        if done is None or self._called is None:
            self._called = None
        else:
            self._called = self._called * (1.0 - done[..., None] * 1.0)

    def levels(self, observation: Array, fleet: FleetCurves, *, xp: Namespace) -> Array:
        """Best level at the price with the expected peak charge, then shaved."""
        price = self.knowledge.schema.read(observation, "price_last_usd_per_mwh")
        level = self._levels_at(price, observation, fleet, xp=xp)
        return self._shave(level, 0.0 * price, observation, fleet, xp=xp)

    def _levels_at(self, price: Array, observation: Array, fleet: FleetCurves, *, xp: Namespace) -> Array:
        """Best levels at an energy price (USD/MWh, (..., 1)) with the expected peak charge on top; keeps the memory."""
        revenue = self.knowledge.schema.read(observation, "hash_revenue_usd_per_ths_day")
        plain = best_levels(price, revenue, fleet, xp=xp)
        called = self._called
        if called is None or called.shape != plain.shape:
            called = xp.zeros_like(plain)
        weight = 1.0 + called * (self.params.hold_factor - 1.0)
        level = best_levels(price + weight * self._peak_price(observation), revenue, fleet, xp=xp)
        self._called = xp.where((plain > 0.0) & (level <= 0.0), 1.0, xp.zeros_like(plain))
        return level

    def _peak_price(self, observation: Array, channel: str = "peak_probability") -> Array:
        """Expected peak charge as an energy price, USD/MWh, (..., 1)."""
        read = self.knowledge.schema.read
        charge_usd_per_kw = read(observation, channel) * read(observation, "cp_rate_usd_per_kw")
        return self.params.call_factor * charge_usd_per_kw * KW_PER_MW / PEAK_INTERVAL_H

    def _shave(self, level: Array, income: Array, observation: Array, fleet: FleetCurves, *, xp: Namespace) -> Array:
        """Levels cut to the month's peak where the rest of the month does not earn the demand charge of exceeding it.

        ``income`` is what a MWh earns beside its hashes, USD/MWh, (..., 1).
        """
        read = self.knowledge.schema.read
        revenue = read(observation, "hash_revenue_usd_per_ths_day")
        rate_usd_per_kw = read(observation, "demand_rate_usd_per_kw")
        hours_left = (1.0 - read(observation, "month_fraction")) * HOURS_PER_MONTH
        breakeven = earnings_usd_per_mwh(
            fleet.hashrate_rated_ths, fleet.power_rated_w, fleet.net_revenue_factor, revenue
        )
        margin = breakeven + income - read(observation, "price_mean_24h_usd_per_mwh")
        worth = xp.maximum(margin, 0.0) * hours_left / KW_PER_MW > self.params.demand_factor * rate_usd_per_kw
        used_frac = load_frac(level, fleet, xp=xp) * self.params.overhead
        ratio = read(observation, "month_peak_frac") / xp.maximum(used_frac, 1e-6)
        shaved = xp.maximum(level * xp.clip(ratio, 0.0, 1.0), fleet.level_min)
        shave = (level > 0.0) & (rate_usd_per_kw > 0.0) & ~worth
        return xp.where(shave, xp.minimum(level, shaved), level)
