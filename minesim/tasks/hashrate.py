"""Hashrate tuning: run, stop and tune cohorts of miners against prices, peaks, reserves and heat.

Reward ``profit``: US dollars of the step over a documented constant, what the fleet's rated energy of a step costs at
100 USD/MWh. Reward ``weighted``: 0.7 profit + 0.2 efficiency + 0.1 stability, the published recipe.
"""

from __future__ import annotations

from dataclasses import dataclass

from minesim.arrays import Array, Namespace
from minesim.control.actuate import FleetCurves
from minesim.errors import ParamsError, explain, nearest
from minesim.settlement import Money
from minesim.site import Outcome
from minesim.units import SECONDS_PER_HOUR

REWARD_PRICE_USD_PER_MWH = 100.0
"""A reward of 1 is what the fleet's rated energy of one step costs at this price."""


@dataclass(frozen=True)
class HashrateTask:
    """What the task rewards.

    Attributes:
        reward: ``profit`` or ``weighted``.
        weight_profit, weight_efficiency, weight_stability: of the weighted reward.
        temp_chip_limit_c: a chip above it costs.
        power_change_limit: change of the site's power in a step, as a share of rated power, that is free of cost;
            stops do not count.
    """

    reward: str = "profit"
    weight_profit: float = 0.7
    weight_efficiency: float = 0.2
    weight_stability: float = 0.1
    temp_chip_limit_c: float = 80.0
    power_change_limit: float = 0.2

    def __post_init__(self) -> None:
        kinds = ("profit", "weighted")
        if self.reward not in kinds:
            raise ParamsError(explain(f"reward {self.reward!r} is unknown", fix=nearest(self.reward, kinds)))


def reward_scale_usd(curves: FleetCurves, dt_s: float) -> float:
    """The constant that rewards are divided by, USD."""
    return curves.power_rated_site_w * 1e-6 * dt_s / SECONDS_PER_HOUR * REWARD_PRICE_USD_PER_MWH


def reward_terms(
    task: HashrateTask,
    money: Money,
    outcome: Outcome,
    power_before_w: Array,
    scale_usd: float,
    curves: FleetCurves,
    *,
    xp: Namespace,
) -> dict[str, Array]:
    """Named terms of the reward, each (B,), already weighted; the reward is their sum.

    Args:
        task: weights.
        money: terms of the step.
        outcome: of the twin.
        power_before_w: site power in the step before, (B,).
        scale_usd: from :func:`reward_scale_usd`.
        curves: the fleet.
        xp: namespace of the arrays.
    """
    profit = money.profit_usd * (1.0 / scale_usd)
    if task.reward == "profit":
        return {"profit": profit}
    rated_j_per_th = curves.power_rated_site_w / curves.hashrate_rated_site_ths
    hashrate_ths = xp.dot(outcome.hashrate_ths, curves.count)
    # Both ratios are 0 for a standing site: nothing is hashed, nothing is efficient or wasteful.
    j_per_th = outcome.power_site_w / xp.maximum(hashrate_ths, 1e-6)
    gain = xp.where(hashrate_ths > 1e-3, xp.clip(1.0 - j_per_th / rated_j_per_th, -1.0, 1.0), 0.0)
    change = xp.abs(outcome.power_site_w - power_before_w) * (1.0 / curves.power_rated_site_w)
    return {
        "profit": task.weight_profit * profit,
        "efficiency": task.weight_efficiency * gain,
        "stability": -task.weight_stability * xp.minimum(change, 1.0),
    }


def constraint_cost(
    task: HashrateTask,
    outcome: Outcome,
    power_before_w: Array,
    stopped_w: Array,
    curves: FleetCurves,
    *,
    xp: Namespace,
) -> Array:
    """Constraint cost of a step, (B,), in Safety-Gymnasium's convention (0 is safe).

    The share of miners with a chip over the limit, plus the excess of the site's power change over the free share; the
    drop that stops account for is not counted.

    Args:
        task: limits.
        outcome: of the twin.
        power_before_w: site power in the step before, (B,).
        stopped_w: power that cohorts stopped in this step drew before, (B,).
        curves: the fleet.
        xp: namespace of the arrays.
    """
    change_w = xp.abs(outcome.power_site_w - power_before_w + stopped_w)
    cost = xp.maximum(change_w * (1.0 / curves.power_rated_site_w) - task.power_change_limit, 0.0)
    if xp.may_reach(outcome.temp_chip_max_c, task.temp_chip_limit_c):
        cost = cost + xp.dot(xp.above(outcome.temp_chip_max_c, task.temp_chip_limit_c), curves.count_share)
    return cost
