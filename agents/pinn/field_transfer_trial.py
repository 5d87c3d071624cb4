"""Whether a network that begins with simulated rooms gets further in few steps than one of drawn weights.

Hidden rooms (seeds apart from those of the benchmark and of development), few or many hours of readings, the same hours
to forecast; one network each. Each begins with learning rates that suited it in the room of seed 0.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from agents.fields.hidden import FORECAST_ROWS, TRAIN_ROWS, HiddenRoom, RoomKey, hidden_room
from agents.fields.protocol import FieldRecord
from agents.fields.scores import score
from agents.fields.suite import CODE as FIELDS_CODE
from agents.pinn.field_method import FieldNetwork, air_c, joined
from agents.pinn.field_settings import FieldSettings
from agents.pinn.field_task import field_task
from agents.pinn.field_transfer import Pretrained
from minesim.bench.cells import PlainStore
from minesim.bench.files import source_hash

Cell = dict[str, Any]
DRAWN: Final = FieldSettings(name="drawn weights", members=1, rate_unknowns=15.0)
SIMULATED: Final = FieldSettings(name="simulated rooms", members=1, told=True, rate=5e-4, rate_unknowns=60.0)
"""Unknowns move at the same rate in both."""


@dataclass(frozen=True)
class Trial:
    """What is tried.

    Attributes:
        layout, case, seeds: of the hidden rooms.
        rows: with readings, just before the hours to forecast.
        steps: of training.
        longest: of a network of drawn weights with all readings; 0 for none.
    """

    layout: str = "container_40ft"
    case: str = "hard"
    seeds: tuple[int, ...] = (200, 201)
    rows: tuple[int, ...] = (36, TRAIN_ROWS)
    steps: tuple[int, ...] = (300, 1000)
    longest: int = 3000

    def parts(self) -> Iterator[tuple[RoomKey, int, FieldSettings]]:
        """Room, rows with readings and network, the short ones first."""
        keys = [RoomKey(self.layout, self.case, seed) for seed in self.seeds]
        for key in keys:
            for steps in self.steps:
                for rows in self.rows:
                    yield key, rows, replace(DRAWN, steps=steps)
                    yield key, rows, replace(SIMULATED, steps=steps)
        for key in keys if self.longest else ():
            yield key, max(self.rows), replace(DRAWN, steps=self.longest)


def last_rows(room: HiddenRoom, rows: int) -> HiddenRoom:
    """The room with its last rows of readings and all that follow."""
    begin, end = room.record.train - rows, room.record.rows
    record = FieldRecord(room.record.telemetry.rows(begin, end), rows)
    return replace(room, record=record, truth_c=room.truth_c[begin:])


def train_and_judge(room: HiddenRoom, settings: FieldSettings, pretrained: Pretrained) -> Cell:
    """Errors of one network, K, and its processor time."""
    task = field_task(room.record, settings, pretrained.scale if settings.told else None)
    began = time.process_time()
    rng = np.random.default_rng(room.key.seed)
    method = FieldNetwork(settings)
    network, _ = method.train(task, 0, rng, pretrained.begin) if settings.told else method.train(task, 0, rng)
    seconds = time.process_time() - began
    found = score(joined(task, air_c(task, network)[None]), room)
    return {"rmse_k": found.rmse_k, "forecast_rmse_k": found.forecast_rmse_k, "seconds": seconds}


def run_trial(trial: Trial, pretrained: Pretrained, folder: Path, on_done: Callable[[], None]) -> list[Cell]:
    """All parts, those that are missing computed.

    Args:
        trial: what is tried.
        pretrained: on simulated rooms of the layout.
        folder: of finished parts.
        on_done: told of each part.

    Returns:
        Errors with seed, hours of readings, name and steps.
    """
    root = Path(__file__).parents[2]
    code = source_hash(*(root / part for part in FIELDS_CODE), *Path(__file__).parent.glob("field_*.py"))
    store, rooms, cells = PlainStore(folder), {}, []
    for key, rows, settings in trial.parts():
        spec = {"room": key._asdict(), "rows": rows, "network": asdict(settings), "code": code}
        cell = store.load(spec)
        if cell is None:
            if key not in rooms:
                rooms = {key: hidden_room(key, TRAIN_ROWS, FORECAST_ROWS)}
            cell = train_and_judge(last_rows(rooms[key], rows), settings, pretrained)
            store.save(spec, cell)
        cells.append({"seed": key.seed, "hours": rows // 12, "name": settings.name, "steps": settings.steps, **cell})
        on_done()
    return cells
