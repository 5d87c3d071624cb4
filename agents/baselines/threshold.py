"""Rules that compare the energy price with what the energy earns."""

from __future__ import annotations

from dataclasses import dataclass

from agents.baselines.base import Knowledge, Rule, earnings_usd_per_mwh
from minesim.arrays import Array, Namespace
from minesim.control.actuate import FleetCurves


def price_ratio(knowledge: Knowledge, observation: Array, fleet: FleetCurves, *, xp: Namespace) -> Array:
    """Known energy price over break-even price of each cohort at stock setting, (..., M).

    Above 1 mining at stock loses money on energy. Where mining earns nothing the ratio is very large for positive
    prices.
    """
    price = knowledge.schema.read(observation, "price_last_usd_per_mwh")
    revenue = knowledge.schema.read(observation, "hash_revenue_usd_per_ths_day")
    breakeven = earnings_usd_per_mwh(fleet.hashrate_rated_ths, fleet.power_rated_w, fleet.net_revenue_factor, revenue)
    return price / xp.maximum(breakeven, 1e-6)


@dataclass(frozen=True)
class ThresholdParams:
    """Parameters of :class:`Threshold`.

    Attributes:
        factor: a cohort runs while price < factor x its break-even price.
    """

    factor: float = 1.0


class Threshold(Rule):
    """On at stock setting while the price is below the tuned share of break-even, else off."""

    name = "threshold"

    def __init__(self, knowledge: Knowledge, params: ThresholdParams | None = None) -> None:
        super().__init__(knowledge)
        self.params = params or ThresholdParams()

    def levels(self, observation: Array, fleet: FleetCurves, *, xp: Namespace) -> Array:
        """1 below the threshold, 0 above."""
        ratio = price_ratio(self.knowledge, observation, fleet, xp=xp)
        return xp.where(ratio < self.params.factor, 1.0, xp.zeros_like(ratio))


@dataclass(frozen=True)
class HysteresisParams:
    """Parameters of :class:`HysteresisThrottle`; prices as a share of break-even, ``full_below <= stop_above``.

    Attributes:
        full_below: below this a cohort runs at stock setting, and a stopped one starts again.
        stop_above: above this it stops; in between a running one throttles linearly, a stopped one waits.
        level_low: share of rated power just below ``stop_above``.
    """

    full_below: float = 0.8
    stop_above: float = 1.1
    level_low: float = 0.6


class HysteresisThrottle(Rule):
    """Stock below one price, off above another, throttled in between: fewer stops than a single threshold.

    Memory: whether a cohort is stopped by this rule, per row and cohort; it starts from what runs.
    """

    name = "hysteresis_throttle"

    def __init__(self, knowledge: Knowledge, params: HysteresisParams | None = None) -> None:
        super().__init__(knowledge)
        self.params = params or HysteresisParams()
        self._stopped: Array | None = None

    def reset(self, done: Array | None = None) -> None:
        """Forget which cohorts are stopped, for the rows where ``done`` is true (all when None)."""
        if done is None or self._stopped is None:
            self._stopped = None
        else:
            self._stopped = self._stopped * (1.0 - done[..., None] * 1.0)

    def levels(self, observation: Array, fleet: FleetCurves, *, xp: Namespace) -> Array:
        """Stock, throttled or off, by price and by what was stopped before."""
        params = self.params
        ratio = price_ratio(self.knowledge, observation, fleet, xp=xp)
        stopped = self._stopped
        if stopped is None or stopped.shape != ratio.shape:
            stopped = xp.zeros_like(ratio)
        stopped = xp.where(ratio > params.stop_above, 1.0, xp.where(ratio < params.full_below, 0.0, stopped))
        self._stopped = stopped
        width = max(params.stop_above - params.full_below, 1e-6)
        depth = xp.clip((ratio - params.full_below) / width, 0.0, 1.0)
        return (1.0 - stopped) * (1.0 - depth * (1.0 - params.level_low))
