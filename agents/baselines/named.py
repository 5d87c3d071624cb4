"""A rule by name and plain parameters, as a bundle names it; numpy is enough."""

from __future__ import annotations

from collections.abc import Mapping

from agents.baselines.base import Knowledge, Rule
from agents.baselines.table import build, make_params
from minesim.control.actuate import FleetCurves
from minesim.control.channels import ObservationSchema


def named_rule(
    name: str, params: Mapping[str, float], schema: ObservationSchema, fleet: FleetCurves, offers_reserve: bool
) -> Rule:
    """Build a rule; a :data:`minesim.control.bundle.RuleFactory`.

    Raises:
        ParamsError: no rule of that name, or a parameter that it does not have.
    """
    return build(name, Knowledge(schema, fleet, offers_reserve), make_params(name, params))
