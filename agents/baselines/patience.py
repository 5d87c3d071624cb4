"""A rule that stops or starts a cohort only where the hours ahead repay it: the strongest rule without a plan."""

from __future__ import annotations

from dataclasses import dataclass

from agents.baselines.base import HOURS_PER_DAY, W_PER_MW, Knowledge
from agents.baselines.myopic import PeakAvoiding, PeakAvoidingParams
from minesim.arrays import Array, Namespace
from minesim.control.actuate import FleetCurves
from minesim.control.market import PRICE_HOURS


@dataclass(frozen=True)
class PatientParams(PeakAvoidingParams):
    """Parameters of :class:`Patient`, beside those of :class:`PeakAvoidingParams`.

    Attributes:
        switch_usd: what one miner must save by a stop, or earn by a start, over the hours ahead, USD; half the cost of
            stopping and starting once, where a tuned value is that cost.
    """

    switch_usd: float = 0.0


def margins_ahead(
    price_usd_per_mwh: Array, revenue_usd_per_ths_day: Array, fleet: FleetCurves, *, xp: Namespace
) -> Array:
    """Earnings less energy of one miner in each hour ahead, at its lowest preset or at rating, USD/h, (..., M, H).

    The better of the two tells whether running pays: presets between them are at most a few per cent better.

    Args:
        price_usd_per_mwh: of the hours ahead, (..., M, H).
        revenue_usd_per_ths_day: gross revenue of 1 TH/s in a day, (..., 1).
        fleet: preset tables.
        xp: namespace of the arrays.
    """
    earns = revenue_usd_per_ths_day * fleet.net_revenue_factor * (1.0 / HOURS_PER_DAY)

    def margin(hashrate_ths: Array, power_w: Array) -> Array:
        return (earns * hashrate_ths)[..., None] - price_usd_per_mwh * (power_w / W_PER_MW)[:, None]

    return xp.maximum(
        margin(fleet.preset_hashrate_ths[:, 0], fleet.preset_power_w[:, 0]),
        margin(fleet.hashrate_rated_ths, fleet.power_rated_w),
    )


def best_run(margin_usd_per_h: Array, *, xp: Namespace) -> Array:
    """Highest sum over the first hours, however many, USD, (..., M): what is earned until the best moment to change."""
    return xp.max(xp.cumsum(margin_usd_per_h, axis=-1), axis=-1)


class Patient(PeakAvoiding):
    """Peak avoiding, but a cohort changes between running and standing only where the hours ahead repay it.

    A running cohort that loses money goes on at its lowest preset until the losses of some stretch of hours, beginning
    now, exceed ``switch_usd``; a standing one waits until the earnings of such a stretch do. The hours ahead are the
    published prices, and where none are published the same hours of the last known day, as the observation has them.
    """

    name = "patient"
    params: PatientParams

    def __init__(self, knowledge: Knowledge, params: PatientParams | None = None) -> None:
        super().__init__(knowledge, params or PatientParams())

    def _levels_at(self, price: Array, observation: Array, fleet: FleetCurves, *, xp: Namespace) -> Array:
        level = super()._levels_at(price, observation, fleet, xp=xp)
        if self.params.switch_usd <= 0.0:
            return level
        read = self.knowledge.schema.read
        now = (price + self._peak_price(observation) + 0.0 * level)[..., None]
        later = xp.concat([read(observation, f"price_h{hour:02d}_usd_per_mwh") for hour in range(1, PRICE_HOURS)], -1)
        hours = xp.concat([now, later[..., None, :] + 0.0 * now], -1)
        margin = margins_ahead(hours, read(observation, "hash_revenue_usd_per_ths_day"), fleet, xp=xp)
        stop = best_run(-margin, xp=xp) > self.params.switch_usd
        start = best_run(margin, xp=xp) > self.params.switch_usd
        runs = read(observation, "level") > 0.0
        on = (runs & ((level > 0.0) | ~stop)) | (~runs & (level > 0.0) & start)
        return xp.where(on, xp.maximum(level, fleet.level_min), xp.zeros_like(level))
