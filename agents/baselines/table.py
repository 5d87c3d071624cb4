"""The one table of rules: name -> how it is built, its parameters and the candidates it is tuned over."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

from agents.baselines.base import Knowledge, Rule
from agents.baselines.fixed import AlwaysStock, BestFixedPreset, FixedPresetParams
from agents.baselines.myopic import MyopicBestPreset, PeakAvoiding, PeakAvoidingParams
from agents.baselines.patience import Patient, PatientParams
from agents.baselines.reserve import ReserveOffering, ReserveOfferingParams
from agents.baselines.threshold import HysteresisParams, HysteresisThrottle, Threshold, ThresholdParams
from minesim.control.actuate import FleetCurves
from minesim.control.channels import ObservationSchema
from minesim.errors import ParamsError, explain, nearest

RuleParams = Any
"""A frozen parameter dataclass of a rule, or None for a rule without parameters."""


@dataclass(frozen=True)
class RuleEntry:
    """How a rule is built and tuned.

    Attributes:
        build: the rule's class.
        params: its parameter dataclass, None when it has none.
        grid: parameter name -> candidate values; their product is searched.
        summary: one line for reports.
        needs_reserve: whether it applies only where the tariff has reserves.
    """

    build: Callable[..., Rule]
    params: type | None
    grid: Mapping[str, tuple[float, ...]]
    summary: str
    needs_reserve: bool = False

    def applies(self, offers_reserve: bool) -> bool:
        """Whether the rule is of use under a tariff with (or without) reserves."""
        return offers_reserve or not self.needs_reserve

    def candidates(self) -> list[RuleParams]:
        """All parameter sets of the grid, ``[None]`` for a rule without parameters."""
        if self.params is None:
            return [None]
        names = list(self.grid)
        return [
            self.params(**dict(zip(names, values, strict=True))) for values in itertools.product(*self.grid.values())
        ]


RULES: Mapping[str, RuleEntry] = {
    AlwaysStock.name: RuleEntry(AlwaysStock, None, {}, "every miner at its stock setting, always"),
    BestFixedPreset.name: RuleEntry(
        BestFixedPreset,
        FixedPresetParams,
        {"level": (0.5, 0.65, 0.8, 0.9, 1.0)},
        "every miner at one tuned share of its rated power, always",
    ),
    Threshold.name: RuleEntry(
        Threshold,
        ThresholdParams,
        {"factor": (0.5, 0.7, 0.85, 1.0, 1.2, 1.5, 2.0)},
        "on at stock below a tuned share of the break-even price, else off",
    ),
    HysteresisThrottle.name: RuleEntry(
        HysteresisThrottle,
        HysteresisParams,
        {"full_below": (0.6, 0.85), "stop_above": (0.9, 1.1, 1.4), "level_low": (0.55, 0.8)},
        "stock below one price, off above another, throttled in between",
    ),
    MyopicBestPreset.name: RuleEntry(MyopicBestPreset, None, {}, "each cohort at the preset that earns most right now"),
    PeakAvoiding.name: RuleEntry(
        PeakAvoiding,
        PeakAvoidingParams,
        {"call_factor": (0.1, 0.3, 1.0, 3.0), "hold_factor": (1.0, 4.0)},
        "myopic with the expected peak charge in the price, and shaved to the month's running peak",
    ),
    Patient.name: RuleEntry(
        Patient,
        PatientParams,
        {"call_factor": (0.1, 0.3, 1.0), "switch_usd": (0.02, 0.05, 0.1, 0.2, 0.4, 0.8)},
        "peak avoiding, stopped or started only where the hours ahead repay it",
    ),
    ReserveOffering.name: RuleEntry(
        ReserveOffering,
        ReserveOfferingParams,
        {
            "share": (0.9, 0.97, 1.0),
            "call_factor": (0.1, 0.3, 1.0),
            "ahead_factor": (0.0, 0.3),
            "switch_usd": (0.0, 0.1, 0.4),
        },
        "patient, with the load sold as reserve while holding it pays, and shed when called",
        needs_reserve=True,
    ),
}


def applicable(offers_reserve: bool) -> tuple[str, ...]:
    """Names of the rules that apply under a tariff with (or without) reserves, in the order of the table."""
    return tuple(name for name, row in RULES.items() if row.applies(offers_reserve))


def entry(name: str) -> RuleEntry:
    """Row of the table.

    Raises:
        ParamsError: no rule of that name (nearest names suggested).
    """
    if name not in RULES:
        raise ParamsError(explain(f"there is no rule {name!r}", fix=nearest(name, RULES), origin="table of rules"))
    return RULES[name]


def make_params(name: str, values: Mapping[str, float]) -> RuleParams:
    """Parameters of a rule from plain numbers, e.g. of a file.

    Raises:
        ParamsError: unknown rule, or a parameter it does not have.
    """
    kind = entry(name).params
    known = {field.name for field in dataclasses.fields(kind)} if kind else set()
    for key in values:
        if key not in known:
            raise ParamsError(
                explain(f"rule {name!r} has no parameter {key!r}", fix=nearest(key, known) if known else "It has none.")
            )
    return kind(**values) if kind else None


def plain_params(params: RuleParams) -> dict[str, float]:
    """Parameters as plain numbers, for files and hashes."""
    return {} if params is None else dataclasses.asdict(params)


def build(name: str, knowledge: Knowledge, params: RuleParams = None) -> Rule:
    """Build one rule; default parameters when ``params`` is None.

    Raises:
        ParamsError: no rule of that name.
    """
    row = entry(name)
    return row.build(knowledge) if row.params is None else row.build(knowledge, params)


def rules(
    schema: ObservationSchema,
    fleet: FleetCurves,
    params: Mapping[str, RuleParams] | None = None,
    *,
    offers_reserve: bool = False,
) -> dict[str, Callable[[], Rule]]:
    """Name -> factory of every rule that applies, for an environment with this schema and fleet.

    Args:
        schema: channels of the observation.
        fleet: public curves of the fleet.
        params: tuned parameters by rule name; a rule that is not named has its defaults.
        offers_reserve: whether the action's last number is a reserve offer.
    """
    knowledge = Knowledge(schema, fleet, offers_reserve)
    tuned = params or {}

    def factory(name: str) -> Callable[[], Rule]:
        return lambda: build(name, knowledge, tuned.get(name))

    return {name: factory(name) for name in applicable(offers_reserve)}


def tuned_params(scenario: str = "ercot") -> dict[str, RuleParams]:
    """Packaged parameters, tuned on the validation weeks that ``tuned.json`` names.

    Raises:
        ParamsError: nothing was tuned for that scenario.
    """
    record = tuned_record()
    if scenario not in record:
        raise ParamsError(explain(f"no tuned parameters for {scenario!r}", fix=nearest(scenario, record)))
    return {name: make_params(name, values) for name, values in record[scenario]["params"].items()}


def tuned_record() -> dict[str, Any]:
    """Content of ``tuned.json``: scenario -> validation period, site and parameters by rule."""
    text = resources.files("agents.baselines").joinpath("tuned.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


TUNED_FOR = {"day_ahead": "ercot", "after_interval": "pjm"}
"""Whose tuned parameters suit a site, by when it knows its price."""


def tuned_rules(schema: ObservationSchema, fleet: FleetCurves, price_known: str) -> dict[str, Rule]:
    """Every rule with packaged parameters, for a site that knows prices ``day_ahead`` or ``after_interval``."""
    params = tuned_params(TUNED_FOR[price_known])
    return {name: make() for name, make in rules(schema, fleet, params).items()}
