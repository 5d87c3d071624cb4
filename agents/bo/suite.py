"""The tuning benchmark: every method on every unit, one file for each, several processes.

A file is written whole and holds what it depends on, so that a stopped run goes on, and a change of code or settings
computes anew what it touches.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from agents.benchmark.processes import each, one_thread
from agents.bo.beliefs import Lesson
from agents.bo.suite_cell import Cell, tune
from agents.bo.suite_settings import PARETO, TAUGHT, SuiteSettings, UnitKey
from minesim.bench.cells import PlainStore
from minesim.bench.files import source_hash
from minesim.tuning.optimum import safe_optimum

CODE = ("minesim/tuning", "minesim/physics", "minesim/catalog")
CODE_BO = (
    *("bayes", "beliefs", "candidates", "process", "surrogate"),
    *("baselines", "methods", "pareto", "run", "study", "suite_cell"),
)


@dataclass(frozen=True)
class Work:
    """A unit and the methods to carry out on it."""

    key: UnitKey
    methods: tuple[str, ...]


def code_hash() -> str:
    """Hash of the code that results depend on."""
    root = Path(__file__).parents[2]
    return source_hash(*(root / folder for folder in CODE), *(Path(__file__).parent / f"{name}.py" for name in CODE_BO))


class Cells:
    """Finished parts on disk.

    Args:
        folder: of the files.
        settings: of the benchmark.
        code: from :func:`code_hash`.
    """

    def __init__(self, folder: Path, settings: SuiteSettings, code: str) -> None:
        self.store, self.settings, self.code = PlainStore(folder), settings, code

    def _spec(self, key: UnitKey, name: str) -> dict[str, Any]:
        bench = self.settings.bench
        spec = {"unit": asdict(key), "method": name, "trials": bench.trials, "task": asdict(bench.task)}
        if name == TAUGHT:
            spec["teachers"] = [teacher.seed for teacher in self.settings.teachers(key)]
        return {**spec, "code": self.code}

    def load(self, key: UnitKey, name: str) -> Cell | None:
        """A finished part, or None where it is missing, damaged or of other settings."""
        return self.store.load(self._spec(key, name))

    def save(self, key: UnitKey, name: str, result: Cell) -> None:
        """Keep a finished part."""
        self.store.save(self._spec(key, name), result)


def work(settings: SuiteSettings, folder: Path, code: str, item: Work) -> int:
    """Compute what is missing of a unit; returns how many parts were computed."""
    one_thread()
    cells = Cells(folder, settings, code)
    missing = [name for name in item.methods if cells.load(item.key, name) is None]
    if not missing:
        return 0
    problem = settings.problem(item.key)
    optimum = safe_optimum(problem)
    for name in missing:
        lessons = _lessons(cells, settings, item.key) if name == TAUGHT else ()
        cells.save(item.key, name, tune(problem, name, settings.bench.trials, optimum, lessons))
    return len(missing)


def _lessons(cells: Cells, settings: SuiteSettings, key: UnitKey) -> list[Lesson]:
    taught = [cells.load(teacher, "bo") for teacher in settings.teachers(key)]
    return [
        Lesson(**{**cell["lesson"], "margins": tuple(cell["lesson"]["margins"])}) for cell in taught if cell is not None
    ]


def stages(settings: SuiteSettings) -> list[list[Work]]:
    """What is to be done, in order: all methods, what learns from them, fronts of several merits, other spreads."""
    bench = settings.bench
    plain_work = [Work(key, tuple(bench.methods)) for key in settings.unit_keys()]
    taught = [Work(key, (TAUGHT,)) for key in settings.unit_keys() if settings.is_taught(key)]
    fronts = [Work(key, (PARETO,)) for key in settings.front_keys()]
    other = [Work(key, ("bo", "stock")) for spread in bench.other_spreads for key in settings.spread_keys(spread)]
    return [plain_work, taught, fronts, other]


def run_suite(settings: SuiteSettings, folder: Path, on_done: Callable[[Work, int], None]) -> Cells:
    """Compute all parts that are missing.

    On Ctrl-C running units finish, what is done is kept, and KeyboardInterrupt is raised.

    Args:
        settings: of the benchmark.
        folder: of the parts.
        on_done: told of each finished unit and how many of its parts were computed.
    """
    code = code_hash()
    for stage in stages(settings):
        for item, computed in each(partial(work, settings, folder, code), stage, settings.jobs):
            on_done(item, computed)
    return Cells(folder, settings, code)
