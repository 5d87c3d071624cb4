"""All who cool a hall, by name: how each is made for a climate, and what is tried of it on validation weeks."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from agents.cooling.knowledge import knowledge_of
from agents.cooling.linear_plan import LinearPlan
from agents.cooling.plan import CoolingPlan, PlanParams
from agents.cooling.rules import ChipPiParams, FixedCooling, HottestChipPi, StagedCooling, StagedParams
from agents.cooling.shield import Shield, Shielded
from agents.cooling.steady import SteadyBest, SteadyMap, least_allowed_speed, steady_map
from minesim.control.policy import Policy
from minesim.envs.cooling_core import CoolingWorld
from minesim.errors import pick

Rows = npt.NDArray[np.int64]
Params = Mapping[str, float]
RULE, PLAN, FORESIGHT, LEARNED = "rule", "plan", "foresight", "learned"
"""Kinds: by observation alone; with a model of the hall; with the true weather ahead as well; trained."""


STRICT: Final[Params] = MappingProxyType({"penalty_usd": 1000.0, "calm_k": 1.5})
"""A plan that never pays for a broken limit, and keeps as far from it as the shield."""


class Place:
    """A climate that contenders are made for; what costs time is computed once.

    Args:
        world: hall, task and climate.
    """

    def __init__(self, world: CoolingWorld) -> None:
        self.world = world

    @functools.cached_property
    def steady(self) -> SteadyMap:
        """Steady states of the hall."""
        return steady_map(self.world)

    @functools.cached_property
    def least_fixed(self) -> tuple[float, float]:
        """Lowest fixed speed, and the pad, that all training hours allow."""
        return least_allowed_speed(self.world, self.steady)


@dataclass(frozen=True)
class Contender:
    """One who cools.

    Attributes:
        kind: see :data:`RULE` and the others.
        make: policy for a place, parameters and the first rows of the weeks.
        variants: parameters tried on validation weeks; one set, mostly empty, where nothing is tuned.
    """

    kind: str
    make: Callable[[Place, Params, Rows], Policy]
    variants: tuple[Params, ...] = ({},)


def grid(**values: tuple[float, ...]) -> tuple[Params, ...]:
    """Every combination of values."""
    return tuple(dict(zip(values, chosen, strict=True)) for chosen in itertools.product(*values.values()))


def _fixed(place: Place, params: Params, rows: Rows) -> Policy:
    return FixedCooling(knowledge_of(place.world), *place.least_fixed)


def _full(place: Place, params: Params, rows: Rows) -> Policy:
    return FixedCooling(knowledge_of(place.world), 1.0, 1.0)


def _chip_pi(place: Place, params: Params, rows: Rows) -> Policy:
    return HottestChipPi(knowledge_of(place.world), ChipPiParams(**params))


def _staged(place: Place, params: Params, rows: Rows) -> Policy:
    return StagedCooling(knowledge_of(place.world), StagedParams(**params))


def _steady_best(place: Place, params: Params, rows: Rows) -> Policy:
    return SteadyBest(knowledge_of(place.world), place.steady)


def _steady_shielded(place: Place, params: Params, rows: Rows) -> Policy:
    return Shielded(_steady_best(place, params, rows), Shield(place.world))


def _plan(place: Place, params: Params, rows: Rows) -> Policy:
    return CoolingPlan(place.world)


def _plan_shielded(place: Place, params: Params, rows: Rows) -> Policy:
    limits = PlanParams(penalty_usd=params["penalty_usd"], calm_k=params["calm_k"])
    return Shielded(CoolingPlan(place.world, limits), Shield(place.world))


def _gradient(place: Place, params: Params, rows: Rows) -> Policy:
    from agents.cooling.gradient_plan import GradientPlan

    return GradientPlan(place.world, found=place.steady)


def _linear(place: Place, params: Params, rows: Rows) -> Policy:
    return LinearPlan(place.world, found=place.steady)


def _plan_foresight(place: Place, params: Params, rows: Rows) -> Policy:
    return CoolingPlan(place.world, rows=rows)


def _gradient_foresight(place: Place, params: Params, rows: Rows) -> Policy:
    from agents.cooling.gradient_plan import GradientPlan

    return GradientPlan(place.world, rows=rows, found=place.steady)


CONTENDERS: Final[Mapping[str, Contender]] = MappingProxyType(
    {
        "full": Contender(RULE, _full),
        "fixed": Contender(RULE, _fixed),
        "chip_pi": Contender(
            RULE,
            _chip_pi,
            grid(target_c=(70.5, 72.0, 74.0), speed_min=(0.3, 0.5, 0.7), pad_above_c=(18.0, 24.0)),
        ),
        "staged": Contender(
            RULE, _staged, grid(speed_cold=(0.3, 0.45, 0.6), temp_full_c=(30.0, 40.0, 55.0), pad_above_c=(18.0, 24.0))
        ),
        "steady_best": Contender(RULE, _steady_best),
        "steady_shielded": Contender(PLAN, _steady_shielded),
        "plan": Contender(PLAN, _plan),
        "plan_shielded": Contender(PLAN, _plan_shielded, (STRICT,)),
        "linear_plan": Contender(PLAN, _linear),
        "gradient_plan": Contender(PLAN, _gradient),
        "plan_foresight": Contender(FORESIGHT, _plan_foresight),
        "gradient_foresight": Contender(FORESIGHT, _gradient_foresight),
    }
)


def contender(name: str) -> Contender:
    """One who cools, by name.

    Raises:
        ParamsError: unknown name (nearest suggested).
    """
    return pick("contender", name, CONTENDERS, origin="agents/cooling/contenders.py")


def describe(params: Params) -> dict[str, Any]:
    """Parameters as plain values."""
    return {name: float(value) for name, value in params.items()}
