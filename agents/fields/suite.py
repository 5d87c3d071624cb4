"""The benchmark of field estimators: every method on every hidden room, one file for each, several processes.

A file is written whole and holds what it depends on, so that a stopped run goes on, and a change of code or settings
computes anew what it touches; a new method leaves the others' files alone.
"""

from __future__ import annotations

import inspect
import time
import zlib
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from agents.benchmark.processes import each, one_thread
from agents.fields.hidden import HiddenRoom, RoomKey, hidden_room
from agents.fields.methods import method
from agents.fields.scores import score
from agents.fields.suite_settings import SuiteSettings
from minesim.bench.cells import PlainStore
from minesim.bench.files import source_hash

Cell = dict[str, Any]
CODE: Final = (
    "minesim/physics",
    "minesim/catalog/rooms",
    "minesim/calibrate/fit.py",
    "minesim/calibrate/fine_twin.py",
    "minesim/calibrate/room_twin.py",
    "minesim/calibrate/unknown_room.py",
    "minesim/calibrate/unknowns.py",
    "agents/fields/aisles.py",
    "agents/fields/course.py",
    "agents/fields/hidden.py",
    "agents/fields/scores.py",
)


class Cells:
    """Finished parts on disk.

    Args:
        folder: of the files.
    """

    def __init__(self, folder: Path) -> None:
        self.store = PlainStore(folder)
        root = Path(__file__).parents[2]
        self.code = source_hash(*(root / part for part in CODE), suffixes=(".py", ".csv", ".toml"))

    def _spec(self, key: RoomKey, name: str) -> dict[str, Any]:
        chosen = method(name)
        home = Path(inspect.getfile(type(chosen)))
        own = source_hash(home if home.parent == Path(__file__).parent else home.parent)
        return {"room": key._asdict(), "name": name, "method": repr(chosen), "own": own, "code": self.code}

    def load(self, key: RoomKey, name: str) -> Cell | None:
        """A finished part, or None where it is missing, damaged or of other code or settings."""
        return self.store.load(self._spec(key, name))

    def save(self, key: RoomKey, name: str, result: Cell) -> None:
        """Keep a finished part."""
        self.store.save(self._spec(key, name), result)


def estimate(room: HiddenRoom, name: str) -> Cell:
    """Let a method estimate a room and judge it.

    Returns:
        The fields of :class:`agents.fields.scores.Score`, ``seconds`` of processor time and ``wall_s``.
    """
    rng = np.random.default_rng([room.key.seed, zlib.crc32(f"{room.key.title} {name}".encode())])
    began, wall = time.process_time(), time.perf_counter()
    found = method(name).fit(room.record, rng)
    took = {"seconds": time.process_time() - began, "wall_s": time.perf_counter() - wall}
    return {**asdict(score(found, room)), **took}


def work(methods: tuple[str, ...], folder: Path, key: RoomKey) -> int:
    """Compute what is missing of a room; returns how many parts were computed."""
    one_thread()
    cells = Cells(folder)
    missing = [name for name in methods if cells.load(key, name) is None]
    if not missing:
        return 0
    room = hidden_room(key)
    for name in missing:
        cells.save(key, name, estimate(room, name))
    return len(missing)


def run_suite(settings: SuiteSettings, folder: Path, on_done: Callable[[RoomKey, int], None]) -> Cells:
    """Compute all parts that are missing.

    On Ctrl-C running rooms finish, what is done is kept, and KeyboardInterrupt is raised.

    Args:
        settings: of the benchmark.
        folder: of the parts.
        on_done: told of each finished room and how many of its parts were computed.
    """
    for key, computed in each(partial(work, tuple(settings.bench.methods), folder), settings.rooms(), settings.jobs):
        on_done(key, computed)
    return Cells(folder)
