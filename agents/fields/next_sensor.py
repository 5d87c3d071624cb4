"""Whether advice on the next sensor is worth following: hidden rooms, more sensors by several rules, and a fit anew.

The same place reads the same by every rule: noise and bias of a new sensor are drawn by room and cell. Rooms are not
those of the benchmark (seeds from 100), nor those that methods were developed on (0 to 9).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from agents.fields.hidden import CASES, NOISE_K, HiddenRoom, RoomKey, hidden_room
from agents.fields.protocol import GRID, FieldRecord, Floats, GridEstimate
from agents.fields.scores import score
from agents.fields.suite import CODE as FIELDS_CODE
from minesim.bench.cells import PlainStore
from minesim.bench.files import source_hash
from minesim.bench.statistics import Interval, mean_interval
from minesim.calibrate.fit import Calibration, FitSettings, calibrate_room, predict
from minesim.calibrate.next_sensor import Doubt, doubt_of
from minesim.physics.room_grid import sensor_cells

Cell = dict[str, Any]
Rule = Callable[[Doubt, int, np.random.Generator], Floats]
NONE: Final = "none"
CODE: Final = (*FIELDS_CODE, "minesim/calibrate/next_sensor.py", "agents/fields/next_sensor.py")


def _spread(doubt: Doubt, count: int, rng: np.random.Generator) -> Floats:
    del rng
    return np.array([(place.x_m, place.y_m) for place in doubt.next(count)])


def _farthest(doubt: Doubt, count: int, rng: np.random.Generator) -> Floats:
    """One by one, the cell whose nearest sensor is farthest."""
    del rng
    places, at = list(doubt.places_m), _centres_m(doubt)
    for _ in range(count):
        apart = np.linalg.norm(at[:, None] - np.array(places), axis=-1).min(axis=1)
        places.append(at[int(apart.argmax())])
    return np.array(places[-count:])


def _random(doubt: Doubt, count: int, rng: np.random.Generator) -> Floats:
    return _centres_m(doubt)[rng.choice(doubt.grid.nx * doubt.grid.ny, count, replace=False)]


def _centres_m(doubt: Doubt) -> Floats:
    return np.stack(np.meshgrid(*doubt.grid.centres_m, indexing="ij"), axis=-1).reshape(-1, 2)


RULES: Final[Mapping[str, Rule]] = MappingProxyType(
    {
        "spread": _spread,
        "farthest": _farthest,
        "random": _random,
    }
)
"""Ways to place more sensors: where the air is known least, the farthest from all others, anywhere."""


@dataclass(frozen=True)
class Trial:
    """What is tried.

    Attributes:
        layout, case: of the rooms.
        seeds: of the rooms.
        sensors: that hang from the beginning.
        more: how many are added.
        train, forecast: rows with readings and rows after them.
        fit: how rooms are fitted; derivatives on a coarser grid than by default, at a quarter of the work.
    """

    layout: str = "container_40ft"
    case: str = "hard"
    seeds: tuple[int, ...] = (200, 201, 202, 203)
    sensors: int = 8
    more: tuple[int, ...] = (1, 4)
    train: int = 48
    forecast: int = 24
    fit: FitSettings = field(default_factory=lambda: FitSettings(nx=16, ny=8))

    def rooms(self) -> list[RoomKey]:
        """The hidden rooms."""
        return [RoomKey(self.layout, self.case, seed) for seed in self.seeds]

    def parts(self) -> list[tuple[str, int]]:
        """Rules and how many sensors they add; first the room as it is."""
        return [(NONE, 0), *((rule, count) for rule in RULES for count in self.more)]


def with_sensors(room: HiddenRoom, places_m: Floats) -> FieldRecord:
    """The record as it would be with more sensors, each with noise and bias of its own.

    Args:
        room: hidden.
        places_m: (K, 2).
    """
    known, train, bias_k = room.record.telemetry, room.record.train, CASES[room.key.case].bias_k
    names = [f"more_{number + 1}" for number in range(len(places_m))]
    places = {name: (float(x), float(y)) for name, (x, y) in zip(names, places_m, strict=True)}
    readings = np.full((room.record.rows, len(names)), np.nan)
    at = room.truth_c.reshape(len(room.truth_c), -1)
    for column, cell in enumerate(sensor_cells(room.record.grid, places)):
        rng = np.random.default_rng([zlib.crc32(room.key.title.encode()), int(cell)])
        readings[:train, column] = at[:train, cell] + bias_k * rng.standard_normal()
        readings[:train, column] += NOISE_K * rng.standard_normal(train)
    telemetry = replace(
        known,
        sensors=(*known.sensors, *names),
        places_m=np.concatenate([known.places_m, np.reshape(places_m, (-1, 2))]),
        readings_c=np.concatenate([known.readings_c, readings], axis=1),
    )
    return replace(room.record, telemetry=telemetry)


def judged(room: HiddenRoom, record: FieldRecord, found: Calibration) -> Cell:
    """Errors over the cells that hold no sensor, K; share of all cells in 90 % intervals; where sensors hang."""
    telemetry = record.telemetry
    estimate = GridEstimate(*predict(found, telemetry))
    places = {n: (float(x), float(y)) for n, (x, y) in zip(telemetry.sensors, telemetry.places_m, strict=True)}
    unseen = np.setdiff1d(np.arange(GRID[0] * GRID[1]), sensor_cells(record.grid, places))
    truth = room.truth_c.reshape(record.rows, -1)[:, unseen]
    squares = (estimate.mean_c(np.arange(record.rows), unseen) - truth) ** 2
    return {
        "rmse_k": float(np.sqrt(squares[: record.train].mean())),
        "forecast_rmse_k": float(np.sqrt(squares[record.train :].mean())),
        "coverage": score(estimate, room).coverage,
        "places_m": telemetry.places_m.tolist(),
    }


def run_room(trial: Trial, key: RoomKey, store: PlainStore, on_done: Callable[[], None]) -> dict[str, Cell]:
    """Parts of a room, those that are missing computed: a fit each, about 3 s of one core.

    Args:
        trial: what is tried.
        key: of the room.
        store: of finished parts.
        on_done: told of each part.

    Returns:
        Part by ``rule+count``.
    """
    root = Path(__file__).parents[2]
    code = source_hash(*(root / part for part in CODE), suffixes=(".py", ".csv", ".toml"))
    rows, fit = [trial.train, trial.forecast], trial.fit
    base = {"room": key._asdict(), "sensors": trial.sensors, "rows": rows, "fit": asdict(fit), "code": code}
    cells: dict[str, Cell] = {}
    room, doubt = None, None
    for rule, count in trial.parts():
        spec = {**base, "rule": rule, "count": count}
        cell = store.load(spec)
        if cell is None:
            room = room or hidden_room(key, trial.train, trial.forecast, trial.sensors)
            doubt = doubt or doubt_of(
                calibrate_room(room.record.telemetry, fit), room.record.telemetry.rows(0, trial.train)
            )
            record, found = room.record, doubt.calibration
            if rule != NONE:
                rng = np.random.default_rng([key.seed, count, zlib.crc32(rule.encode())])
                record = with_sensors(room, RULES[rule](doubt, count, rng))
                found = calibrate_room(record.telemetry, fit)
            cell = judged(room, record, found)
            store.save(spec, cell)
        cells[f"{rule}+{count}"] = cell
        on_done()
    return cells


def differences(rooms: Sequence[Mapping[str, Cell]], mine: str, other: str, number: str) -> Interval:
    """Mean over rooms of a part's error less another's, K, with a 95 % interval over rooms."""
    paired = np.array([room[mine][number] - room[other][number] for room in rooms])
    return mean_interval(paired, block_weeks=1)
