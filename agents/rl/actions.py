"""From the numbers of a network to an action of the site: directly, added to a rule, or as a price adder.

Numpy arrays and torch tensors alike; tensors stay on their device.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol

from agents.baselines import Knowledge, Rule, build
from agents.baselines.base import action_for_level, earnings_usd_per_mwh
from agents.baselines.myopic import KW_PER_MW, PEAK_INTERVAL_H, best_levels
from agents.baselines.table import TUNED_FOR, applicable, make_params, tuned_record
from agents.rl.settings import BEST_RULE, ActionSettings
from minesim.arrays import Array, namespace_of
from minesim.control.actuate import FleetCurves
from minesim.control.channels import symexp
from minesim.control.observe import schema
from minesim.envs.core import World

PRICE = "price_last_usd_per_mwh"
TUNED_WITH_RESERVE = "ercot/mixed"
"""Whose tuned parameters suit a site that sells reserve."""
RuleNumbers = Mapping[str, float]


class ActionMap(Protocol):
    """What the numbers mean; in training and in use the same code.

    Attributes:
        size: how many numbers the network gives.
    """

    size: int

    def action(self, observation: Array, raw: Array) -> Array:
        """Action (B, n_act) from an observation (B, n_obs) and numbers of the network (B, size) in [-1, 1]."""
        ...

    def reset(self, done: Array | None = None) -> None:
        """Forget memory of finished rows."""
        ...


class Direct:
    """The numbers are the action."""

    def __init__(self, size: int) -> None:
        self.size = size

    def action(self, observation: Array, raw: Array) -> Array:
        """The numbers themselves."""
        return raw

    def reset(self, done: Array | None = None) -> None:
        """Nothing to forget."""


class RuleResidual:
    """The numbers are added to a rule's action; zeros are the rule itself."""

    def __init__(self, rule: Rule, size: int, scale: float) -> None:
        self.rule, self.size, self.scale = rule, size, scale

    def action(self, observation: Array, raw: Array) -> Array:
        """Rule plus scaled numbers, within [-1, 1]."""
        return namespace_of(raw).clip(self.rule.act(observation) + self.scale * raw, -1.0, 1.0)

    def reset(self, done: Array | None = None) -> None:
        """Forget the rule's memory."""
        self.rule.reset(done)


class RulePrice:
    """The number is an adder to the present energy price that a rule reads; zero is the rule itself.

    A rule decides well at the price it is told; what it cannot know is what a stop now is worth later. One number for
    the site says that, and the rule keeps what it does for peaks, reserves and waiting. Where the expected charge of a
    coincident peak is more than a MWh of hashes earns the adder cannot lower the price: a few hours in a year cost as
    much as months earn, and no learner meets enough of them.
    """

    size = 1

    def __init__(self, rule: Rule, price_max_usd_per_mwh: float) -> None:
        self.rule = rule
        self.log_max = math.log1p(price_max_usd_per_mwh)
        schema_ = rule.knowledge.schema
        self._at, self._channel = schema_.slices[PRICE], schema_.by_name[PRICE]
        # What a MWh of the best miner's hashes earns, for each USD that a TH/s earns in a day.
        fleet = rule.knowledge.fleet
        earned = earnings_usd_per_mwh(fleet.hashrate_rated_ths, fleet.power_rated_w, fleet.net_revenue_factor, 1.0)
        self._earned_per_revenue = float(earned.max())

    def action(self, observation: Array, raw: Array) -> Array:
        """What the rule does where the energy price is higher by the adder."""
        xp, read, at = namespace_of(observation), self.rule.knowledge.schema.read, self._at
        adder = symexp(raw * self.log_max, xp=xp)
        rate_usd_per_kw = read(observation, "cp_rate_usd_per_kw")
        peak_usd_per_mwh = read(observation, "peak_probability") * rate_usd_per_kw * KW_PER_MW / PEAK_INTERVAL_H
        dear = peak_usd_per_mwh > self._earned_per_revenue * read(observation, "hash_revenue_usd_per_ths_day")
        adder = xp.where(dear, xp.maximum(adder, xp.zeros_like(adder)), adder)
        price = self._channel.encode(read(observation, PRICE) + adder, xp=xp)
        told = xp.concat(
            [observation[..., : at.start], price + 0.0 * observation[..., at], observation[..., at.stop :]], -1
        )
        return self.rule.act(told)

    def reset(self, done: Array | None = None) -> None:
        """Forget the rule's memory."""
        self.rule.reset(done)


class ShadowPrice:
    """The numbers are an adder to the energy price, on a symmetric logarithmic scale; zero is the myopic rule.

    What a kW costs beside energy (a peak that may come, wear, heat) is a price; the preset that earns most at the
    price with it follows for every cohort from public curves. One number replaces as many as there are cohorts.
    """

    def __init__(self, knowledge: Knowledge, price_max_usd_per_mwh: float, *, per_cohort: bool) -> None:
        self.knowledge = knowledge
        self.log_max = math.log1p(price_max_usd_per_mwh)
        self.prices = knowledge.cohorts if per_cohort else 1
        self.size = self.prices + int(knowledge.offers_reserve)
        self._fleet = knowledge.fleet
        self._fleet_kind: object = None

    def action(self, observation: Array, raw: Array) -> Array:
        """Best preset of every cohort at energy price plus adder; a reserve offer is taken as it is."""
        xp, read, fleet = namespace_of(observation), self.knowledge.schema.read, self._fleet_like(observation)
        adder = symexp(raw[..., : self.prices] * self.log_max, xp=xp)
        price = read(observation, "price_last_usd_per_mwh") + adder
        level = best_levels(price, read(observation, "hash_revenue_usd_per_ths_day"), fleet, xp=xp)
        action = action_for_level(level, read(observation, "level"), fleet.level_min, xp=xp)
        return xp.concat([action, raw[..., self.prices :]], -1) if self.size > self.prices else action

    def _fleet_like(self, observation: Array) -> FleetCurves:
        kind = (observation.dtype, getattr(observation, "device", None))
        if kind != self._fleet_kind:
            self._fleet, self._fleet_kind = self.knowledge.fleet.to(observation), kind
        return self._fleet

    def reset(self, done: Array | None = None) -> None:
        """Nothing to forget."""


def knowledge_of(world: World) -> Knowledge:
    """What rules may know of a world."""
    return Knowledge(schema(world.cohorts), world.params.curves, world.scenario.tariff.reserve is not None)


def packaged(world: World) -> Mapping[str, Any]:
    """What is packaged of tuned rules for this scenario, or for the market most like it."""
    record, tariff = tuned_record(), world.scenario.tariff
    like = TUNED_WITH_RESERVE if tariff.reserve is not None else TUNED_FOR.get(tariff.price_known, "ercot")
    return dict(record.get(world.scenario.name, record[like]))


def settled(actions: ActionSettings, world: World) -> ActionSettings:
    """The settings with the name of a rule where they ask for the best one: the highest packaged validation profit."""
    if actions.rule != BEST_RULE:
        return actions
    profits = packaged(world)["profit_usd_per_week"]
    there = [name for name in applicable(world.scenario.tariff.reserve is not None) if name in profits]
    return replace(actions, rule=max(there, key=lambda name: float(profits[name])))


def rule_numbers(name: str, world: World) -> dict[str, float]:
    """Packaged tuned parameters of a rule."""
    return dict(packaged(world)["params"].get(name, {}))


def build_rule(name: str, world: World, numbers: RuleNumbers | None = None) -> Rule:
    """A rule with given, otherwise with tuned parameters.

    Raises:
        ParamsError: no such rule or parameter.
    """
    chosen = rule_numbers(name, world) if numbers is None else numbers
    return build(name, knowledge_of(world), make_params(name, chosen))


def build_actions(settings: ActionSettings, world: World, numbers: RuleNumbers | None = None) -> ActionMap:
    """The action map of these settings for a world.

    Args:
        settings: kind and its parameters.
        world: site and tariff.
        numbers: parameters of the rule that the actions stand on; tuned ones when None.
    """
    settings = settled(settings, world)
    if settings.kind == "residual":
        return RuleResidual(build_rule(settings.rule, world, numbers), world.action_size, settings.scale)
    if settings.kind == "rule_price":
        return RulePrice(build_rule(settings.rule, world, numbers), settings.price_max_usd_per_mwh)
    if settings.kind == "shadow_price":
        return ShadowPrice(knowledge_of(world), settings.price_max_usd_per_mwh, per_cohort=settings.per_cohort)
    return Direct(world.action_size)
