"""What all rules share: public knowledge of the fleet, and the way from wished levels to an action."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

from minesim.arrays import Array, Namespace, namespace_of
from minesim.control.actuate import OFF_BELOW, ON_ABOVE, FleetCurves
from minesim.control.channels import ObservationSchema
from minesim.errors import ActionError, explain

HOURS_PER_DAY = 24.0
W_PER_MW = 1e6
ACTION_MARGIN = 1e-3
"""Distance kept from the switching points of the action, above float32 rounding."""
STOP = -1.0


@dataclass(frozen=True)
class Knowledge:
    """What a rule may hold beside its parameters; all of it is public.

    Attributes:
        schema: channels of the observation.
        fleet: nameplates, preset tables and fees of the M cohorts.
        offers_reserve: whether the action has one more number, the share of the load offered as reserve.
    """

    schema: ObservationSchema
    fleet: FleetCurves
    offers_reserve: bool = False

    @property
    def cohorts(self) -> int:
        """Number of cohorts M."""
        return len(self.fleet.models)


def action_for_level(level: Array, running: Array, level_min: Array, *, xp: Namespace) -> Array:
    """Action that asks for ``level``: the inverse of :func:`minesim.control.actuate.target_level`.

    A level between 0 and the lowest preset asks for the lowest preset; one above 1 for rated power. A stopped cohort
    starts a little above its lowest preset, because it starts only above -0.85.

    Args:
        level: wished share of rated power, 0 for off, (..., M).
        running: above 0 where the cohort is commanded on now, (..., M).
        level_min: share of the lowest preset, (M,).
        xp: namespace of the arrays.

    Returns:
        In [-1, 1], (..., M).
    """
    span = xp.clip((level - level_min) / xp.maximum(1.0 - level_min, 1e-6), 0.0, 1.0)
    on = OFF_BELOW + span * (1.0 - OFF_BELOW)
    lowest = xp.where(running > 0.0, OFF_BELOW + ACTION_MARGIN, ON_ABOVE + ACTION_MARGIN)
    return xp.where(level > 0.0, xp.maximum(on, lowest), STOP)


def earnings_usd_per_mwh(
    hashrate_ths: Array, power_w: Array, net_factor: Array, revenue_usd_per_ths_day: Array
) -> Array:
    """Net mining revenue of a MWh, the energy price at which mining just breaks even, USD/MWh.

    Args:
        hashrate_ths: hashrate of one miner.
        power_w: its wall power.
        net_factor: share of gross revenue that is paid out.
        revenue_usd_per_ths_day: gross revenue of 1 TH/s in a day, USD.

    >>> round(earnings_usd_per_mwh(100.0, 3000.0, 1.0, 0.072), 9)
    100.0
    """
    return revenue_usd_per_ths_day * net_factor * hashrate_ths / HOURS_PER_DAY / (power_w / W_PER_MW)


def local_hour(schema: ObservationSchema, observation: Array, *, xp: Namespace) -> Array:
    """Local clock at the start of the present quarter hour, h, 0 to 23.75, (..., 1)."""
    sine, cosine = schema.read(observation, "hour_sin"), schema.read(observation, "hour_cos")
    half_angle = xp.arctan(sine / (1.0 + xp.abs(cosine)))
    angle = xp.where(cosine >= 0.0, 2.0 * half_angle, math.pi - 2.0 * half_angle)
    quarters = xp.round(angle * (4.0 * HOURS_PER_DAY / (2.0 * math.pi)))
    quarters = xp.where(quarters < 0.0, quarters + 4.0 * HOURS_PER_DAY, quarters)
    return quarters / 4.0


class Rule(ABC):
    """A rule: a Policy that wishes a level per cohort, computed from observations alone.

    Works on any leading shape, with numpy or torch. Memory, where a rule has one, has a value per row and cohort and
    starts from what the observation says is running.
    """

    name: str

    def __init__(self, knowledge: Knowledge) -> None:
        self.knowledge = knowledge
        self._fleet = knowledge.fleet
        self._fleet_kind: object = None

    @abstractmethod
    def levels(self, observation: Array, fleet: FleetCurves, *, xp: Namespace) -> Array:
        """Wished power of each cohort as a share of its rated power, 0 for off, (..., M)."""

    def offer_share(self, observation: Array, level: Array, fleet: FleetCurves, *, xp: Namespace) -> Array:
        """Share of the present load offered as reserve for the coming hour, 0 to 1, (..., 1); none by default.

        Called after :meth:`levels` on the same observation, and only where the tariff has reserves.
        """
        return xp.zeros_like(level[..., :1])

    def reset(self, done: Array | None = None) -> None:  # noqa: B027
        """Forget memory of finished rows; rules without memory have nothing to forget."""

    def act(self, observation: Array) -> Array:
        """Actions (..., n_act) in [-1, 1] for observations (..., n_obs).

        Raises:
            ActionError: the observation has another size than the schema.
        """
        schema = self.knowledge.schema
        if observation.shape[-1] != schema.size:
            raise ActionError(
                explain(
                    f"rule {self.name!r} got an observation of {observation.shape[-1]} numbers",
                    allowed=f"{schema.size} (the schema it was built with)",
                    fix="Build the rules from the schema of the environment they run in.",
                )
            )
        xp = namespace_of(observation)
        fleet = self._fleet_like(observation)
        level = self.levels(observation, fleet, xp=xp)
        action = action_for_level(level, schema.read(observation, "level"), fleet.level_min, xp=xp)
        action = xp.cast(action, observation)
        if not self.knowledge.offers_reserve:
            return action
        share = xp.clip(self.offer_share(observation, level, fleet, xp=xp), 0.0, 1.0)
        return xp.concat([action, xp.cast(2.0 * share - 1.0, observation)], -1)

    def _fleet_like(self, observation: Array) -> FleetCurves:
        kind = (observation.dtype, getattr(observation, "device", None))
        if kind != self._fleet_kind:
            self._fleet = self.knowledge.fleet.to(observation)
            self._fleet_kind = kind
        return self._fleet
