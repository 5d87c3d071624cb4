"""Rooms whose parameters an estimator does not know: the judge of every method, on a finer grid than any of them uses.

The truth is the fine model (96 x 48, limited second order) of a layout that differs from its plan: other gaps, eddies,
heat and fans in the ``easy`` case; in the ``hard`` case also a weak fan, two groups whose filters are clogged, half of
an intake blocked, and biased sensors. Truth and models share one family of schemes: real rooms will be harder.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from agents.fields.course import STEP_S, draw_course
from agents.fields.protocol import GRID, FieldRecord, Floats
from minesim.calibrate.telemetry import RoomTelemetry
from minesim.catalog.layouts import layout
from minesim.errors import pick
from minesim.physics.airflow import Grid
from minesim.physics.room_fine import advance_fine, fine_room
from minesim.physics.room_grid import room_model, sensor_cells
from minesim.physics.room_plan import Opening, RoomPlan

TRAIN_ROWS: Final = 288
"""24 hours of readings."""
FORECAST_ROWS: Final = 72
"""6 hours after them."""
WARM_ROWS: Final = 36
"""3 hours before them, which no record shows: what the structure remembers is unknown too."""
SUB_STEPS: Final = 5
SENSORS: Final = 16
NOISE_K: Final = 0.2


@dataclass(frozen=True)
class Case:
    """How far a hidden room is from its plan.

    Attributes:
        name: what tables call it.
        gaps, eddies: range of the factors on gap shares and eddy diffusivity.
        heat, fans: largest deviation of each group's heat and each fan's flow, relative.
        weak_fan: factor on the flow of one fan; 1 for none.
        clogged: factors on the flow of as many groups.
        blocked: share of the free area that is lost over half of an intake; 0 for none.
        bias_k: standard deviation of the sensors' biases, K.
        ratio: range of commanded room fans over miners.
    """

    name: str
    gaps: tuple[float, float]
    eddies: tuple[float, float]
    heat: float
    fans: float
    weak_fan: float
    clogged: tuple[float, ...]
    blocked: float
    bias_k: float
    ratio: tuple[float, float]


CASES: Final = {
    case.name: case
    for case in (
        Case("easy", (1.4, 1.6), (1.2, 1.4), 0.10, 0.08, 1.0, (), 0.0, 0.0, (0.70, 1.51)),
        Case("hard", (2.3, 2.7), (1.4, 1.8), 0.15, 0.12, 0.65, (0.72, 0.80), 0.75, 0.5, (0.65, 1.35)),
    )
}


class RoomKey(NamedTuple):
    """Which hidden room: layout, case and seed."""

    layout: str
    case: str
    seed: int

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.layout}, {self.case}, seed {self.seed}"


@dataclass(frozen=True)
class HiddenParameters:
    """How a hidden room differs from its plan.

    Attributes:
        gap_factor, eddy_factor: on every row's gap share, on the eddy diffusivity.
        heat_factor: of each group, (M,).
        flow_factor: of groups, fans and dampers, (U,).
        blocked: opening, from and to along its wall (m), and the factor on its free share there; None for none.
        bias_k: of each sensor, (N,).
    """

    gap_factor: float
    eddy_factor: float
    heat_factor: Floats
    flow_factor: Floats
    blocked: tuple[str, float, float, float] | None
    bias_k: Floats


@dataclass(frozen=True)
class HiddenRoom:
    """A hidden room: what may be known of it, and what judges.

    Attributes:
        key: which.
        record: what an estimator gets.
        parameters: the differences to the plan.
        truth_c: air in every cell of ``GRID`` at every row of the record, (T, 96, 48), degC.
    """

    key: RoomKey
    record: FieldRecord
    parameters: HiddenParameters
    truth_c: npt.NDArray[np.float32]


def hidden_room(
    key: RoomKey, train: int = TRAIN_ROWS, forecast: int = FORECAST_ROWS, sensors: int = SENSORS
) -> HiddenRoom:
    """Draw a hidden room and run it; 4 to 8 s of one core for the 30 hours.

    Args:
        key: layout (see :func:`minesim.catalog.layouts.layout`), case of ``CASES``, seed.
        train, forecast: rows with readings, and rows after them.
        sensors: how many, placed by :func:`sensor_places_m`.

    Raises:
        CatalogError, ParamsError: unknown layout or case.
    """
    plan, case = layout(key.layout), pick("case of hidden rooms", key.case, CASES)
    rng = np.random.default_rng([key.seed, zlib.crc32(key.layout.encode()), zlib.crc32(key.case.encode())])
    course = draw_course(plan, WARM_ROWS + train + forecast, case.ratio, rng)
    places = sensor_places_m(plan, sensors)
    parameters = draw_parameters(plan, case, len(places), rng)
    truth = np.array(list(true_fields(course, parameters)), dtype=np.float32)[WARM_ROWS:]
    grid = Grid(*GRID, plan.length_m, plan.width_m, plan.height_m)
    seen = truth[:train].reshape(train, -1)[:, sensor_cells(grid, places)]
    readings = np.full((train + forecast, len(places)), np.nan)
    readings[:train] = seen + parameters.bias_k + NOISE_K * rng.standard_normal(seen.shape)
    telemetry = replace(
        course.rows(WARM_ROWS, WARM_ROWS + train + forecast),
        sensors=tuple(places),
        places_m=np.array(list(places.values())),
        readings_c=readings,
    )
    return HiddenRoom(key, FieldRecord(telemetry, train), parameters, truth)


def sensor_places_m(plan: RoomPlan, count: int) -> dict[str, tuple[float, float]]:
    """Places of sensors: aisles take turns (hot ones first), in each they hang along its middle at equal distances.

    Args:
        plan: the layout; its aisles lie between rows and walls.
        count: sensors.

    Returns:
        Name -> (x, y), m.
    """
    rows = sorted(plan.rows, key=lambda row: row.y_m)
    edges = [0.0, *(row.y_m for row in rows), plan.width_m]
    middles = [0.5 * (low + high) for low, high in pairwise(edges)]
    hot = {number + (row.blows == "north") for number, row in enumerate(rows)}
    order = sorted(range(len(middles)), key=lambda aisle: aisle not in hot)
    share = {aisle: len(range(turn, count, len(order))) for turn, aisle in enumerate(order)}
    return {
        f"aisle{aisle + 1}_{number + 1}": ((number + 0.5) / share[aisle] * plan.length_m, middle)
        for aisle, middle in enumerate(middles)
        for number in range(share[aisle])
    }


def draw_parameters(plan: RoomPlan, case: Case, sensors: int, rng: np.random.Generator) -> HiddenParameters:
    """Draw how a room differs from its plan; all draws come from ``rng``."""
    groups, fans = len(plan.groups), len(plan.fans)
    flow_factor = np.ones(groups + fans + len(plan.dampers))
    flow_factor[groups : groups + fans] += case.fans * rng.uniform(-1.0, 1.0, fans)
    flow_factor[groups + int(rng.integers(fans))] *= case.weak_fan
    clogged = rng.choice(groups, len(case.clogged), replace=False)
    flow_factor[clogged] *= case.clogged
    blocked = None
    opening = plan.openings[int(rng.integers(len(plan.openings)))]
    half_m = 0.5 * (opening.to_m - opening.from_m)
    begin_m = opening.from_m + half_m * rng.random()
    if case.blocked > 0.0:
        blocked = (opening.name, begin_m, begin_m + half_m, 1.0 - case.blocked)
    return HiddenParameters(
        gap_factor=float(rng.uniform(*case.gaps)),
        eddy_factor=float(rng.uniform(*case.eddies)),
        heat_factor=1.0 + case.heat * rng.uniform(-1.0, 1.0, groups),
        flow_factor=flow_factor,
        blocked=blocked,
        bias_k=case.bias_k * rng.standard_normal(sensors),
    )


def hidden_plan(plan: RoomPlan, parameters: HiddenParameters) -> RoomPlan:
    """The plan as it really is: wider gaps, stronger eddies, an opening in parts of which one is blocked."""
    openings: Iterable[Opening] = plan.openings
    if parameters.blocked is not None:
        name, from_m, to_m, factor = parameters.blocked
        openings = [
            part for o in plan.openings for part in (_parts(o, from_m, to_m, factor) if o.name == name else (o,))
        ]
    return replace(
        plan,
        eddy_m2_per_s=plan.eddy_m2_per_s * parameters.eddy_factor,
        rows=tuple(replace(row, gap_share=min(row.gap_share * parameters.gap_factor, 1.0)) for row in plan.rows),
        openings=tuple(openings),
    )


def _parts(opening: Opening, from_m: float, to_m: float, factor: float) -> Iterator[Opening]:
    edges = [(opening.from_m, from_m, 1.0), (from_m, to_m, factor), (to_m, opening.to_m, 1.0)]
    for number, (low, high, share) in enumerate(edges):
        if high > low:
            yield replace(
                opening, name=f"{opening.name}_{number}", from_m=low, to_m=high, free_share=share * opening.free_share
            )


def true_fields(course: RoomTelemetry, parameters: HiddenParameters) -> Iterator[Floats]:
    """Air of the hidden room at the end of every step, (96, 48), degC; it starts settled at the first setting."""
    model = room_model(hidden_plan(course.plan, parameters), *GRID)
    structure = air = None
    for row in range(len(course.time)):
        cp, amb_c = float(course.rho_cp_j_per_m3_k[row]), float(course.temp_amb_c[row])
        flows, heat = course.inputs_m3_per_s[row] * parameters.flow_factor, course.heat_w[row] * parameters.heat_factor
        supply_c = float(course.temp_supply_c[row])
        if structure is None:
            settled = fine_room(model, flows, cp, np.inf)
            structure = advance_fine(settled, np.zeros(GRID), heat, supply_c, amb_c, corrections=0).structure_c
        room = fine_room(model, flows, cp, STEP_S / SUB_STEPS)
        air = None
        for _ in range(SUB_STEPS):
            air, structure = advance_fine(room, structure, heat, supply_c, amb_c, corrections=1, start_c=air)
        assert air is not None, "SUB_STEPS is at least 1"
        yield air
