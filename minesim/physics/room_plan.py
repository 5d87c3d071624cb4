"""What stands where in a room, in plan view: rows of miners, fans, openings and dampers, with their checks.

x runs along the room (west to east), y across it (south to north). A row is a wall of miners parallel to x; it takes
air from one side (the cold aisle) and blows it to the other (the hot aisle). Everything is a frozen value; geometry is
checked by :func:`check_plan` and cut into cells by :mod:`minesim.physics.airflow`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Final, Literal, TypeVar, get_args

from minesim.errors import ParamsError, explain, nearest

Wall = Literal["south", "north", "west", "east", "roof"]
T = TypeVar("T")
WALLS: Final = get_args(Wall)
TOUCH_M: Final = 1e-6
"""Devices may touch; they overlap when they share more than this."""
EDDY_MIN_M2_PER_S: Final = 0.1
"""Below it a grid of 96 x 48 is no reference: its own numerical diffusion is as large."""

GAP_MIN_SHARE: Final = 0.001


@dataclass(frozen=True)
class Row:
    """A wall of miners along x.

    Attributes:
        name: what messages and figures call it.
        y_m: its position across the room, m.
        from_m, to_m: its extent along x, m; beyond it the aisles are joined.
        blows: ``north`` (towards larger y) or ``south``.
        gap_share: open share of the wall between and around the miners.
    """

    name: str
    y_m: float
    from_m: float
    to_m: float
    blows: Literal["north", "south"]
    gap_share: float


@dataclass(frozen=True)
class MinerGroup:
    """Miners side by side and stacked in a row, of one model and commanded alike.

    Attributes:
        name: what messages and figures call it.
        row: name of the row it stands in.
        from_m, to_m: extent along x, m.
        miners: how many.
        power_w: rated power of one miner, W.
        flow_m3_per_s: air that one miner moves at full fan speed, m3/s.
        air_share: share of the heat that goes to the air (1, or little for a liquid-cooled unit).
    """

    name: str
    row: str
    from_m: float
    to_m: float
    miners: int
    power_w: float
    flow_m3_per_s: float
    air_share: float = 1.0


@dataclass(frozen=True)
class RoomFan:
    """A bank of fans between the room and outdoors.

    Attributes:
        name: what messages and figures call it.
        kind: ``exhaust`` or ``intake``.
        wall: where it sits; on the roof it also needs ``y_from_m`` and ``y_to_m``.
        from_m, to_m: extent along the wall (x on south, north and roof; y on west and east), m.
        flow_m3_per_s, power_w: at full speed.
        y_from_m, y_to_m: extent across the room of a roof fan, m.
    """

    name: str
    kind: Literal["exhaust", "intake"]
    wall: Wall
    from_m: float
    to_m: float
    flow_m3_per_s: float
    power_w: float
    y_from_m: float = 0.0
    y_to_m: float = 0.0


@dataclass(frozen=True)
class Opening:
    """A louvre, filter wall or pad through which air passes by pressure alone.

    Attributes:
        name: what messages and figures call it.
        wall: ``south``, ``north``, ``west`` or ``east``.
        from_m, to_m: extent along the wall, m.
        free_share: free area over area of the wall there.
        treated: whether its air comes through the pad or coil (supply temperature) or straight from outdoors.
    """

    name: str
    wall: Wall
    from_m: float
    to_m: float
    free_share: float
    treated: bool = True


@dataclass(frozen=True)
class Damper:
    """Fan-assisted flaps above a row that return hot air to the cold aisle (winter operation).

    Attributes:
        name: what messages and figures call it.
        row: name of the row above whose miners it sits.
        from_m, to_m: extent along x, m.
        flow_m3_per_s: flow when fully open.
    """

    name: str
    row: str
    from_m: float
    to_m: float
    flow_m3_per_s: float


@dataclass(frozen=True)
class RoomPlan:
    """A room with everything that moves or heats its air.

    Attributes:
        name, title, source: for listings; where the numbers come from.
        length_m, width_m, height_m: inner size along x, along y, upwards.
        rows, groups, fans, openings, dampers: what stands where.
        eddy_m2_per_s: eddy diffusivity of the aisles, m2/s.
        leak_share: open share of the outer walls, beside the openings.
        structure_j_per_k: heat capacity of walls, racks and miners' metal.
        structure_w_per_k: conductance between air and structure.
        envelope_w_per_k: conductance between structure and outdoors.
    """

    name: str
    title: str
    source: str
    length_m: float
    width_m: float
    height_m: float
    eddy_m2_per_s: float
    leak_share: float
    structure_j_per_k: float
    structure_w_per_k: float
    envelope_w_per_k: float
    rows: tuple[Row, ...] = ()
    groups: tuple[MinerGroup, ...] = ()
    fans: tuple[RoomFan, ...] = ()
    openings: tuple[Opening, ...] = ()
    dampers: tuple[Damper, ...] = ()

    @property
    def things(self) -> tuple[Row | MinerGroup | RoomFan | Opening | Damper, ...]:
        """All parts, in order of their kinds."""
        return (*self.rows, *self.groups, *self.fans, *self.openings, *self.dampers)

    @property
    def standing(self) -> tuple[MinerGroup | Damper, ...]:
        """What stands in the rows."""
        return (*self.groups, *self.dampers)

    @property
    def mounted(self) -> tuple[RoomFan | Opening, ...]:
        """What sits in walls and roof."""
        return (*self.fans, *self.openings)

    def row(self, name: str) -> Row:
        """The row called ``name``."""
        return next(row for row in self.rows if row.name == name)

    def wall_length_m(self, wall: Wall) -> float:
        """Length of a wall (of the roof: along x), m."""
        return self.width_m if wall in ("west", "east") else self.length_m


def check_plan(plan: RoomPlan, origin: str = "") -> RoomPlan:
    """Refuse an impossible room and name the culprit.

    Args:
        plan: the room.
        origin: where it comes from, for messages; its name if empty.

    Returns:
        The same plan.

    Raises:
        ParamsError: a size that is not positive or not finite, a share outside 0 ... 1, something outside its
            wall or row, two things in one place, a hot aisle without exhaust, no opening at all.
    """
    origin = origin or f"layout {plan.name!r}"
    _check_numbers(plan, origin)
    _check_rows(plan, origin)
    for row in plan.rows:
        for kind, place in ((MinerGroup, "row"), (Damper, "the dampers' level above row")):
            same = [(d.name, d.from_m, d.to_m) for d in plan.standing if d.row == row.name and isinstance(d, kind)]
            _check_apart(same, f"{place} {row.name!r}", origin)
    for wall in ("south", "north", "west", "east"):
        segments = [(d.name, d.from_m, d.to_m) for d in plan.mounted if d.wall == wall]
        _check_apart(segments, f"the {wall} wall", origin)
    _check_roof(plan, origin)
    _check_paths(plan, origin)
    return plan


def _check_numbers(plan: RoomPlan, origin: str) -> None:
    part: RoomPlan | Row | MinerGroup | RoomFan | Opening | Damper
    for part in (plan, *plan.things):
        for field_ in fields(part):
            value = getattr(part, field_.name)
            if isinstance(value, bool | str | tuple):
                continue
            label = f"{field_.name} of {part.name!r} is {value:g}{_unit_of(field_.name)}"
            if not math.isfinite(value):
                raise ParamsError(explain(label, allowed="a finite number", origin=origin))
            if field_.name.endswith("_share") and not 0.0 <= value <= 1.0:
                raise ParamsError(explain(label, allowed="0 to 1", origin=origin))
            may_be_zero = field_.name.endswith(("_share", "from_m", "envelope_w_per_k")) or field_.name == "y_to_m"
            if value < 0.0 or (value == 0.0 and not may_be_zero):
                raise ParamsError(explain(label, allowed="a positive number", origin=origin))
    if plan.eddy_m2_per_s < EDDY_MIN_M2_PER_S:
        raise ParamsError(
            explain(
                f"eddy_m2_per_s of {plan.name!r} is {plan.eddy_m2_per_s:g} m2/s",
                allowed=f"{EDDY_MIN_M2_PER_S:g} m2/s or more (less drowns in the numerical diffusion of the grids)",
                origin=origin,
            )
        )
    for thing in plan.things:
        if thing.to_m - thing.from_m <= TOUCH_M:
            raise ParamsError(
                explain(
                    f"{thing.name!r} reaches from {thing.from_m:g} m to {thing.to_m:g} m",
                    allowed="a positive size (to_m above from_m)",
                    origin=origin,
                )
            )


def _unit_of(name: str) -> str:
    units = {"_m": " m", "_w": " W", "_m3_per_s": " m3/s", "_m2_per_s": " m2/s", "_w_per_k": " W/K", "_j_per_k": " J/K"}
    return next((unit for ending, unit in units.items() if name.endswith(ending)), "")


def _check_rows(plan: RoomPlan, origin: str) -> None:
    names = [thing.name for thing in plan.things]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ParamsError(explain(f"the name {min(twice)!r} is used twice", allowed="one thing a name", origin=origin))
    for row in plan.rows:
        if row.blows not in ("north", "south"):
            raise ParamsError(explain(f"{row.name!r} blows {row.blows!r}", allowed="north or south", origin=origin))
        if row.gap_share < GAP_MIN_SHARE:
            raise ParamsError(
                explain(
                    f"gap_share of {row.name!r} is {row.gap_share:g}",
                    allowed=f"{GAP_MIN_SHARE:g} to 1 (an airtight row would leave a hot aisle without a pressure)",
                    origin=origin,
                )
            )
        if not TOUCH_M < row.y_m < plan.width_m - TOUCH_M:
            raise ParamsError(
                explain(
                    f"{row.name!r} stands at y = {row.y_m:g} m",
                    allowed=f"inside 0 to {plan.width_m:g} m",
                    origin=origin,
                )
            )
        _check_inside(row.name, row.from_m, row.to_m, 0.0, plan.length_m, "the room", origin)
    for first, second in _pairs(sorted(plan.rows, key=lambda row: row.y_m)):
        if second.y_m - first.y_m <= TOUCH_M:
            raise ParamsError(
                explain(f"{first.name!r} and {second.name!r} overlap: both stand at y = {first.y_m:g} m", origin=origin)
            )
    known = [row.name for row in plan.rows]
    for thing in plan.standing:
        if thing.row not in known:
            raise ParamsError(
                explain(f"{thing.name!r} stands in row {thing.row!r}", origin=origin, fix=nearest(thing.row, known))
            )
        row = plan.row(thing.row)
        _check_inside(thing.name, thing.from_m, thing.to_m, row.from_m, row.to_m, f"row {row.name!r}", origin)
    for device in plan.mounted:
        if device.wall not in WALLS or (device.wall == "roof" and isinstance(device, Opening)):
            raise ParamsError(
                explain(
                    f"{device.name!r} is on the wall {device.wall!r}",
                    allowed="south, north, west, east (fans: also roof)",
                    origin=origin,
                )
            )
        end_m = plan.wall_length_m(device.wall)
        _check_inside(device.name, device.from_m, device.to_m, 0.0, end_m, f"the {device.wall} wall", origin)
        if isinstance(device, RoomFan) and device.kind not in ("exhaust", "intake"):
            raise ParamsError(
                explain(f"{device.name!r} is of kind {device.kind!r}", allowed="exhaust or intake", origin=origin)
            )
        if isinstance(device, RoomFan) and device.wall == "roof":
            _check_inside(device.name, device.y_from_m, device.y_to_m, 0.0, plan.width_m, "the room (y)", origin)
            if device.y_to_m - device.y_from_m <= TOUCH_M:
                raise ParamsError(
                    explain(
                        f"roof fan {device.name!r} reaches from y = {device.y_from_m:g} m to {device.y_to_m:g} m",
                        allowed="a positive size (y_to_m above y_from_m)",
                        origin=origin,
                    )
                )


def _check_inside(name: str, from_m: float, to_m: float, low_m: float, high_m: float, of: str, origin: str) -> None:
    if from_m < low_m - TOUCH_M or to_m > high_m + TOUCH_M:
        raise ParamsError(
            explain(
                f"{name!r} reaches from {from_m:g} m to {to_m:g} m, outside of {of}",
                allowed=f"{low_m:g} to {high_m:g} m",
                origin=origin,
            )
        )


def _check_apart(segments: Iterable[tuple[str, float, float]], of: str, origin: str) -> None:
    for (first, _, end_m), (second, begin_m, _) in _pairs(sorted(segments, key=lambda segment: segment[1])):
        if begin_m < end_m - TOUCH_M:
            raise ParamsError(
                explain(
                    f"{first!r} and {second!r} overlap in {of} by {end_m - begin_m:g} m",
                    origin=origin,
                    fix="Move one of them.",
                )
            )


def _check_roof(plan: RoomPlan, origin: str) -> None:
    roof = [fan for fan in plan.fans if fan.wall == "roof"]
    for number, a in enumerate(roof):
        for b in roof[number + 1 :]:
            along_m = min(a.to_m, b.to_m) - max(a.from_m, b.from_m)
            across_m = min(a.y_to_m, b.y_to_m) - max(a.y_from_m, b.y_from_m)
            if along_m > TOUCH_M and across_m > TOUCH_M:
                raise ParamsError(
                    explain(f"{a.name!r} and {b.name!r} overlap on the roof", origin=origin, fix="Move one of them.")
                )


def _check_paths(plan: RoomPlan, origin: str) -> None:
    if not plan.openings:
        raise ParamsError(
            explain(
                f"{plan.name!r} has no opening",
                allowed="at least one, so that the air has a way in and pressures a reference",
                origin=origin,
                fix="Add an entry under openings.",
            )
        )
    edges = sorted({0.0, plan.width_m, *(row.y_m for row in plan.rows)})
    for row in plan.rows:
        place = edges.index(row.y_m)
        low_m, high_m = (row.y_m, edges[place + 1]) if row.blows == "north" else (edges[place - 1], row.y_m)
        ways_out = [d for d in plan.mounted if isinstance(d, Opening) or d.kind == "exhaust"]
        if not any(reaches(plan, device, low_m, high_m) for device in ways_out):
            raise ParamsError(
                explain(
                    f"the hot aisle of {row.name!r} (y = {low_m:g} to {high_m:g} m) has no exhaust",
                    allowed="an exhaust fan or an opening there",
                    origin=origin,
                    fix="Add a fan of kind 'exhaust' on its wall or roof.",
                )
            )


def reaches(plan: RoomPlan, device: RoomFan | Opening, low_m: float, high_m: float) -> bool:
    """Whether a device touches the band low_m < y < high_m (an aisle, say)."""
    if device.wall == "south":
        return low_m <= 0.0
    if device.wall == "north":
        return high_m >= plan.width_m
    if isinstance(device, RoomFan) and device.wall == "roof":
        return device.y_from_m < high_m and device.y_to_m > low_m
    return device.from_m < high_m and device.to_m > low_m


def _pairs(items: Sequence[T]) -> Iterable[tuple[T, T]]:
    return itertools.pairwise(items)
