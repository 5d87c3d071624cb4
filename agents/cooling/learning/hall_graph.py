"""A hall as a graph: what is observed and set, where it stands, and what lies near or along the air path of what.

Nodes are the air sensors, the chips of each group of miners, the actuators (each fan, treated opening, damper and row
of miners), and four without a place: weather, price, clock and powers. A node shows numbers of the flat observation.
Three relations hold between nodes with a place: *near* (closer counts more), *upwind* (what a node's air comes from:
supply, cold aisle, miners, hot aisle, exhaust; and the load of a row from its miners) and *downwind*, the reverse.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from minesim.catalog.layouts import layout
from minesim.envs.cooling_core import CoolingWorld
from minesim.errors import ParamsError, explain
from minesim.physics.room_plan import Opening, RoomFan, RoomPlan, Row, reaches
from minesim.tasks.cooling import setting_of, zoned

Floats32 = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]

AIR, CHIP, LOAD = "air", "chip", "load"
SETTINGS = ("exhaust_speed", "intake_speed", "pad_duty", "dx_set", "damper", LOAD)
OUTSIDE = {
    "weather": ("temp_amb_c", "rel_humidity_pct", "pressure_atm", "temp_amb_fc_3h_c"),
    "price": ("price_before_usd_per_mwh_symlog",),
    "clock": ("hour_sin", "hour_cos"),
    "power": ("power_miners_share", "power_cooling_share"),
}
"""Nodes without a place, and the numbers that each shows."""
PLACED = (AIR, CHIP, *SETTINGS)
NODE_KINDS = (*PLACED, *OUTSIDE)
READING_KINDS = (*PLACED, *itertools.chain(*OUTSIDE.values()))
NEAR_M = 2.0
"""Distance over which nearness falls to 1/e, about the width of an aisle (assumed)."""
PLACE_NUMBERS = 4
"""Along and across the room from -1 to 1, whether in a cold aisle, whether in a hot one."""
RELATIONS = ("near", "upwind", "downwind")


@dataclass(frozen=True)
class Node:
    """Something that is observed or set.

    Attributes:
        kind: of :data:`NODE_KINDS`.
        readings: names of the observation's numbers that it shows.
        box: x from and to, y from and to, m; None without a place.
        cold, hot: rows of miners whose cold or hot aisle it stands in or opens to; a group of miners, or a row's load,
            has its own row as ``member``.
        member: row that it is a part of.
    """

    kind: str
    readings: tuple[str, ...]
    box: tuple[float, float, float, float] | None = None
    cold: frozenset[str] = frozenset()
    hot: frozenset[str] = frozenset()
    member: str = ""


@dataclass(frozen=True)
class HallGraph:
    """Nodes and relations as arrays: N nodes, R readings.

    Attributes:
        columns: the observation's number that each reading is, (R,).
        reading_kinds: of :data:`READING_KINDS`, (R,).
        reading_nodes: the node that shows it, (R,).
        node_kinds: of :data:`NODE_KINDS`, (N,).
        places: (N, :data:`PLACE_NUMBERS`); zeros without a place.
        relations: one of :data:`RELATIONS` each; row n weighs what node n hears and sums to 1, or to 0 where it hears
            nobody, (3, N, N).
    """

    columns: Integers
    reading_kinds: Integers
    reading_nodes: Integers
    node_kinds: Integers
    places: Floats32
    relations: Floats32


def hall_graph(world: CoolingWorld) -> HallGraph:
    """The graph of a hall as it is observed and set.

    Raises:
        ParamsError: a number of the observation belongs to no node.
    """
    plan = layout(world.config.layout_name)
    nodes = [*_observed(world, plan), *_set(world, plan), *(Node(kind, names) for kind, names in OUTSIDE.items())]
    shown = [(n, name) for n, node in enumerate(nodes) for name in node.readings]
    missing = sorted(set(world.names) - {name for _, name in shown})
    if missing:
        raise ParamsError(explain(f"the observation {missing[0]!r} belongs to no node of the graph"))
    kinds = [nodes[n].kind if nodes[n].box is not None else name for n, name in shown]
    return HallGraph(
        columns=np.array([world.names.index(name) for _, name in shown]),
        reading_kinds=np.array([READING_KINDS.index(kind) for kind in kinds]),
        reading_nodes=np.array([n for n, _ in shown]),
        node_kinds=np.array([NODE_KINDS.index(node.kind) for node in nodes]),
        places=np.array([_place(node, plan) for node in nodes], np.float32),
        relations=_relations(nodes),
    )


def setting_kind(name: str) -> str:
    """The one of :data:`SETTINGS` that a number of an action is, without its zone or row.

    >>> setting_kind("load_south_row"), setting_kind("exhaust_speed_z2")
    ('load', 'exhaust_speed')
    """
    return LOAD if name.startswith("load_") else setting_of(name)


# ---------------------------------------------------------------------- nodes


def _observed(world: CoolingWorld, plan: RoomPlan) -> Iterator[Node]:
    for name, (x_m, y_m) in world.sensors.items():
        cold, hot = _aisles(plan, y_m)
        yield Node(AIR, (f"temp_{name}_c",), (x_m, x_m, y_m, y_m), cold, hot)
    for group in plan.groups:
        y_m = plan.row(group.row).y_m
        yield Node(CHIP, (f"temp_chip_{group.name}_c",), (group.from_m, group.to_m, y_m, y_m), member=group.row)


def _set(world: CoolingWorld, plan: RoomPlan) -> Iterator[Node]:
    parts, names = world.parts, world.action_names
    for fan, zone in zip(plan.fans, parts.fans, strict=True):
        aisles = _opens_to(plan, fan)
        yield Node(fan.kind + "_speed", (zoned(fan.kind + "_speed", zone),), _box(plan, fan), *aisles)
    for opening in plan.openings:
        for setting in ("pad_duty", "dx_set"):
            if opening.treated and setting in names:
                yield Node(setting, (setting,), _box(plan, opening), *_opens_to(plan, opening))
    for damper, zone in zip(plan.dampers, parts.dampers, strict=True):
        y_m, row = plan.row(damper.row).y_m, frozenset((damper.row,))
        yield Node("damper", (zoned("damper", zone),), (damper.from_m, damper.to_m, y_m, y_m), row, row)
    for row_name in dict.fromkeys(parts.rows):
        row_ = plan.row(row_name)
        box = (row_.from_m, row_.to_m, row_.y_m, row_.y_m)
        yield Node(LOAD, (f"load_{row_name}",), box, member=row_name)


def _aisle_m(plan: RoomPlan, row: Row, *, hot: bool) -> tuple[float, float]:
    """Extent across the room of a row's cold or hot aisle, m."""
    edges = sorted({0.0, plan.width_m, *(other.y_m for other in plan.rows)})
    at = edges.index(row.y_m)
    north = (row.blows == "north") == hot
    return (edges[at], edges[at + 1]) if north else (edges[at - 1], edges[at])


def _aisles(plan: RoomPlan, y_m: float) -> tuple[frozenset[str], frozenset[str]]:
    """Rows in whose cold, and in whose hot aisle a place lies."""
    cold, hot = (
        frozenset(row.name for row in plan.rows if (band := _aisle_m(plan, row, hot=hot))[0] <= y_m < band[1])
        for hot in (False, True)
    )
    return cold, hot


def _opens_to(plan: RoomPlan, part: RoomFan | Opening) -> tuple[frozenset[str], frozenset[str]]:
    """Rows to whose cold, and to whose hot aisle a fan or opening leads."""
    cold, hot = (
        frozenset(row.name for row in plan.rows if reaches(plan, part, *_aisle_m(plan, row, hot=hot)))
        for hot in (False, True)
    )
    return cold, hot


def _box(plan: RoomPlan, part: RoomFan | Opening) -> tuple[float, float, float, float]:
    """x from and to, y from and to of what sits in a wall or the roof, m."""
    if isinstance(part, RoomFan) and part.wall == "roof":
        return (part.from_m, part.to_m, part.y_from_m, part.y_to_m)
    if part.wall in ("south", "north"):
        y_m = 0.0 if part.wall == "south" else plan.width_m
        return (part.from_m, part.to_m, y_m, y_m)
    x_m = 0.0 if part.wall == "west" else plan.length_m
    return (x_m, x_m, part.from_m, part.to_m)


def _place(node: Node, plan: RoomPlan) -> tuple[float, ...]:
    if node.box is None:
        return (0.0,) * PLACE_NUMBERS
    x0, x1, y0, y1 = node.box
    return (
        (x0 + x1) / plan.length_m - 1.0,
        (y0 + y1) / plan.width_m - 1.0,
        float(bool(node.cold)),
        float(bool(node.hot)),
    )


# ---------------------------------------------------------------------- relations


def _relations(nodes: list[Node]) -> Floats32:
    """Relations of :data:`RELATIONS`, (3, N, N), each row normalised."""
    size = len(nodes)
    closeness = np.zeros((size, size))
    upwind = np.zeros((size, size))
    for (a, first), (b, second) in itertools.permutations(enumerate(nodes), 2):
        if first.box is not None and second.box is not None:
            closeness[a, b] = np.exp(-_distance_m(first.box, second.box) / NEAR_M)
            upwind[a, b] = _hears_upwind(first, second)
    weights = np.stack([closeness, closeness * upwind, closeness * upwind.T])
    total = weights.sum(axis=-1, keepdims=True)
    shares: Floats32 = np.divide(weights, total, out=np.zeros_like(weights), where=total > 0.0).astype(np.float32)
    return shares


def _distance_m(a: Iterable[float], b: Iterable[float]) -> float:
    """Between the nearest points of two boxes, m."""
    (ax0, ax1, ay0, ay1), (bx0, bx1, by0, by1) = a, b
    return float(np.hypot(max(0.0, ax0 - bx1, bx0 - ax1), max(0.0, ay0 - by1, by0 - ay1)))


def _hears_upwind(node: Node, other: Node) -> bool:
    """Whether the air (or the load) of ``node`` comes from ``other``."""
    if node.kind == CHIP:
        return node.member == other.member if other.kind == LOAD else node.member in other.cold and _supplies(other)
    if node.kind == AIR:
        supplied = other.kind != AIR and _supplies(other) and bool(node.cold & other.cold)
        return supplied or (other.kind == CHIP and other.member in node.hot)
    if node.kind in ("exhaust_speed", "damper"):
        return bool(node.hot & other.hot) if other.kind == AIR else other.kind == CHIP and other.member in node.hot
    return False


def _supplies(node: Node) -> bool:
    return node.kind in (AIR, "intake_speed", "pad_duty", "dx_set", "damper")
