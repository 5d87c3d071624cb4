"""The task of a whole site: run and tune its miners and cool its hall, for one bill.

Reward: that of :mod:`minesim.tasks.hashrate` on the whole site, whose power includes the hall's fans, pump and coil,
less the water. Cost: that of the hashrate task (a chip too hot, power that jumps), and the limits of the room of
:mod:`minesim.tasks.cooling` (intakes too uneven, metal below the dew point).
"""

from __future__ import annotations

from minesim.arrays import Array, Namespace
from minesim.hall import HallOutcome
from minesim.tasks.cooling import CoolingTask, cost_terms
from minesim.tasks.hashrate import HashrateTask

ROOM_LIMITS = ("cost_gradient", "cost_dewpoint")
"""Limits of :func:`room_costs`; chips are judged as in the hashrate task, by the share of miners."""


def water_term(task: HashrateTask, water_usd: Array, scale_usd: float) -> Array:
    """The water in the reward, none positive, (B,): weighted as profit is.

    Args:
        task: what is rewarded.
        water_usd: what it cost, USD, (B,).
        scale_usd: from :func:`minesim.tasks.hashrate.reward_scale_usd`.
    """
    weight = task.weight_profit if task.reward == "weighted" else 1.0
    return water_usd * (-weight / scale_usd)


def room_costs(task: CoolingTask, outcome: HallOutcome, structure_c: Array, *, xp: Namespace) -> dict[str, Array]:
    """Limits of the room broken in a step, 0 or 1 each, (B,); see :func:`minesim.tasks.cooling.cost_terms`."""
    broken = cost_terms(task, outcome, structure_c, xp=xp)
    return {name: broken[name] for name in ROOM_LIMITS}
