"""What may be wrong with a room: coefficients and named faults, each with a prior.

Priors were set once, before any hidden room was drawn, from what the numbers of a layout usually are worth; all are
assumed. An unknown is a factor with a log-normal prior (``theta`` is the logarithm) or an offset with a normal one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from minesim.physics.room_plan import Opening, RoomPlan

Floats = npt.NDArray[np.float64]
Kind = Literal[
    "gap", "leak", "eddy", "structure_j", "structure_w", "envelope_w", "heat", "fan", "damper", "group", "free", "bias"
]

OPENING_PARTS: Final = 6
"""Parts of an opening that may be blocked by themselves."""


class Prior(NamedTuple):
    """How far an unknown usually is from its nominal value.

    Attributes:
        sd: standard deviation of ``theta``: of the logarithm of a factor, or of an offset in its unit.
        low, high: bounds of the factor or offset.
        unit: of the value.
        source: where the prior comes from.
    """

    sd: float
    low: float
    high: float
    unit: str
    source: str


COEFFICIENTS: Final[dict[Kind, Prior]] = {
    "gap": Prior(0.5, 0.2, 5.0, "open share", "assumed: gaps are guessed by eye"),
    "leak": Prior(0.7, 0.1, 10.0, "open share", "assumed: nobody measures leaks"),
    "eddy": Prior(0.4, 0.3, 4.0, "m2/s", "assumed: 5 % of speed times width, within a factor of two"),
    "structure_j": Prior(0.3, 0.3, 3.0, "J/K", "assumed: mass of walls, racks and miners"),
    "structure_w": Prior(0.4, 0.2, 5.0, "W/K", "assumed: area times 5 to 15 W/(m2 K)"),
    "envelope_w": Prior(0.4, 0.2, 5.0, "W/K", "assumed: insulation varies"),
    "heat": Prior(0.1, 0.5, 1.5, "1", "firmware's estimate of power: +-5 % (asic-hardware.md), load of others assumed"),
    "fan": Prior(0.1, 0.5, 1.5, "m3/s", "assumed: rated flow at a guessed pressure"),
    "damper": Prior(0.2, 0.3, 2.0, "m3/s", "assumed"),
}
"""Unknown in every room."""

FAULTS: Final[dict[Kind, Prior]] = {
    "fan": Prior(0.25, 0.2, 1.5, "m3/s", "assumed: a weak or slipping fan"),
    "group": Prior(0.15, 0.3, 1.5, "m3/s", "assumed: clogged filters or heatsinks, failed fans"),
    "free": Prior(0.6, 0.05, 1.6, "free share", "assumed: a blocked louvre, filter or pad"),
    "bias": Prior(0.5, -3.0, 3.0, "K", "assumed: sensors are not calibrated"),
}
"""Faults by name; they replace a coefficient's prior where both are listed."""


@dataclass(frozen=True)
class Unknown:
    """One number to be found.

    Attributes:
        name: what it is of: a row, group, fan, damper, part of an opening, sensor, or the room.
        kind: which number of it.
        index: its place among those of its kind.
        nominal: value in the layout; 0 for offsets.
        prior: see :class:`Prior`.
    """

    name: str
    kind: Kind
    index: int
    nominal: float
    prior: Prior

    @property
    def is_offset(self) -> bool:
        """Whether theta is added to the nominal value; otherwise it is the logarithm of a factor on it."""
        return self.kind == "bias"

    @property
    def title(self) -> str:
        """For people and files: kind and name."""
        return f"{self.kind} {self.name}"

    @property
    def bounds(self) -> tuple[float, float]:
        """Least and greatest theta."""
        low, high = self.prior.low, self.prior.high
        if self.is_offset:
            return low, high
        if self.kind in ("gap", "leak", "free"):
            high = min(high, 1.0 / self.nominal)
        return math.log(low), math.log(high)

    def value(self, theta: float) -> float:
        """Value at a theta, in the unit of the prior."""
        return self.nominal + theta if self.is_offset else self.nominal * math.exp(theta)


def split_openings(plan: RoomPlan, parts: int = OPENING_PARTS) -> RoomPlan:
    """The same room with every opening in equal parts side by side, so that a part can be blocked."""

    def cut(opening: Opening) -> list[Opening]:
        edges = np.linspace(opening.from_m, opening.to_m, parts + 1)
        return [
            replace(opening, name=f"{opening.name}[{k + 1}/{parts}]", from_m=float(edges[k]), to_m=float(edges[k + 1]))
            for k in range(parts)
        ]

    return replace(plan, openings=tuple(part for opening in plan.openings for part in cut(opening)))


def room_unknowns(plan: RoomPlan, sensors: Sequence[str], faults: bool = True) -> tuple[Unknown, ...]:
    """List what may be wrong with a room.

    Args:
        plan: the layout, its openings in parts (:func:`split_openings`) where these may be blocked.
        sensors: names of its sensors.
        faults: whether named faults are among the unknowns.
    """
    priors = {**COEFFICIENTS, **(FAULTS if faults else {})}
    listed: dict[Kind, list[tuple[str, float]]] = {
        "gap": [(row.name, row.gap_share) for row in plan.rows],
        "leak": [(plan.name, plan.leak_share)] if plan.leak_share > 0.0 else [],
        "eddy": [(plan.name, plan.eddy_m2_per_s)],
        "structure_j": [(plan.name, plan.structure_j_per_k)],
        "structure_w": [(plan.name, plan.structure_w_per_k)],
        "envelope_w": [(plan.name, plan.envelope_w_per_k)] if plan.envelope_w_per_k > 0.0 else [],
        "heat": [(group.name, 1.0) for group in plan.groups],
        "fan": [(fan.name, fan.flow_m3_per_s) for fan in plan.fans],
        "damper": [(damper.name, damper.flow_m3_per_s) for damper in plan.dampers],
        "group": [(group.name, group.miners * group.flow_m3_per_s) for group in plan.groups],
        "free": [(opening.name, opening.free_share) for opening in plan.openings if opening.free_share > 0.0],
        "bias": [(sensor, 0.0) for sensor in sensors],
    }
    return tuple(
        Unknown(name, kind, index, nominal, priors[kind])
        for kind, of_kind in listed.items()
        if kind in priors
        for index, (name, nominal) in enumerate(of_kind)
    )


def factors(unknowns: Sequence[Unknown], theta: Floats, kind: Kind, count: int) -> Floats:
    """Factors on the nominal values of a kind, (count,); 1 where nothing is unknown."""
    found = np.ones(count)
    for unknown, at in zip(unknowns, theta, strict=True):
        if unknown.kind == kind:
            found[unknown.index] = math.exp(at)
    return found


def input_factors(plan: RoomPlan, unknowns: Sequence[Unknown], theta: Floats) -> Floats:
    """Factors on the flows of groups, fans and dampers, (U,)."""
    kinds: tuple[tuple[Kind, int], ...] = (
        ("group", len(plan.groups)),
        ("fan", len(plan.fans)),
        ("damper", len(plan.dampers)),
    )
    return np.concatenate([factors(unknowns, theta, kind, count) for kind, count in kinds])


def fitted_plan(plan: RoomPlan, unknowns: Sequence[Unknown], theta: Floats) -> RoomPlan:
    """The plan with the gaps, openings, leaks, eddies and structure that were found; flows and heat stay nominal."""

    def one(kind: Kind) -> float:
        return float(factors(unknowns, theta, kind, 1)[0])

    gaps = factors(unknowns, theta, "gap", len(plan.rows))
    free = factors(unknowns, theta, "free", len(plan.openings))
    return replace(
        plan,
        eddy_m2_per_s=plan.eddy_m2_per_s * one("eddy"),
        leak_share=plan.leak_share * one("leak"),
        structure_j_per_k=plan.structure_j_per_k * one("structure_j"),
        structure_w_per_k=plan.structure_w_per_k * one("structure_w"),
        envelope_w_per_k=plan.envelope_w_per_k * one("envelope_w"),
        rows=tuple(replace(row, gap_share=row.gap_share * gap) for row, gap in zip(plan.rows, gaps, strict=True)),
        openings=tuple(
            replace(opening, free_share=opening.free_share * share)
            for opening, share in zip(plan.openings, free, strict=True)
        ),
    )
