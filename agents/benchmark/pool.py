"""Run the parts of a benchmark in several processes, with progress and a way to stop that loses nothing."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from multiprocessing.managers import SyncManager
from pathlib import Path
from typing import Any

import xarray as xr

from agents.benchmark.contenders import Played, contender, contenders
from agents.benchmark.processes import begin_process
from agents.benchmark.settings import BenchmarkSettings
from agents.benchmark.stage import Stage, Stopped
from minesim.bench.files import source_hash

BOUND, INFORMED = "bound", "informed"
STOP_KEY = "stop"
POLL_S = 0.5
"""Time between two looks at what the processes do."""
TELL_EVERY_S = 0.5
"""Least time between two messages of a process."""


@dataclass(frozen=True)
class Task:
    """A part: one agent (or a bound) on one scenario."""

    scenario: str
    agent: str

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.agent} on {self.scenario}"


@dataclass(frozen=True)
class Done:
    """What a part came to.

    Attributes:
        played: for an agent.
        bound: for a bound, over ``run`` and ``scale``.
        computed, resumed: pieces computed now and taken from the store.
        took_s: wall time.
    """

    task: Task
    played: Played | None = None
    bound: xr.Dataset | None = None
    computed: int = 0
    resumed: int = 0
    took_s: float = 0.0


@dataclass(frozen=True)
class Report:
    """How far a running part is."""

    title: str
    done: int
    total: int


class _Teller:
    """Puts progress where the main process sees it, not too often, and looks there for a stop."""

    def __init__(self, task: Task, board: MutableMapping[Any, Any]) -> None:
        self.task, self.board = task, board
        self._told_at = 0.0
        self._stop = False

    def tell(self, title: str, done: int, total: int) -> None:
        """Progress of the part."""
        now = time.monotonic()
        if now - self._told_at >= TELL_EVERY_S:
            self._told_at = now
            self.board[self.task] = Report(title, done, total)
            self._stop = bool(self.board.get(STOP_KEY, False))

    def stopped(self) -> bool:
        """Whether a stop was asked for when progress was last told."""
        return self._stop


def work(settings: BenchmarkSettings, task: Task, board: MutableMapping[Any, Any]) -> Done:
    """Do one part, in whatever process."""
    began = time.monotonic()
    teller = _Teller(task, board)
    stage = Stage(task.scenario, settings, teller.tell, teller.stopped)
    played = bound = None
    if task.agent in (BOUND, INFORMED):
        bound = bounds(task.agent, stage)
    else:
        played = contender(task.agent, contenders(settings)).play(stage)
    return Done(task, played, bound, stage.computed, stage.resumed, time.monotonic() - began)


def bounds(name: str, stage: Stage) -> xr.Dataset:
    """The clairvoyant or the informed bound of every run, at every cost scale."""
    from minesim.bench import bound as bounding

    compute = bounding.clairvoyant if name == BOUND else bounding.informed
    scales = tuple(stage.settings.bench.scales)
    code = source_hash(*sorted(Path(bounding.__file__).parent.glob("bound*.py")))
    spec = stage.spec(
        name, name, starts=stage.weeks, seeds=list(stage.settings.bench.seeds), scales=list(scales), bound_code=code
    )
    return stage.cell(
        name,
        spec,
        len(stage.starts),
        lambda on_run: compute(stage.world, stage.starts, stage.seeds, scales=scales, on_run=on_run),
    )


def run_tasks(
    settings: BenchmarkSettings,
    tasks: Sequence[Task],
    *,
    on_done: Callable[[Done], None] = lambda done: None,
    on_look: Callable[[Mapping[Task, Report]], None] = lambda running: None,
) -> dict[Task, Done]:
    """Do all parts, ``settings.jobs`` at a time.

    On Ctrl-C the running parts come to rest, keep what they have, and KeyboardInterrupt is raised.

    Args:
        settings: of the benchmark.
        tasks: parts, in the order in which they begin.
        on_done: told of every finished part.
        on_look: told about twice a second what is running.

    Raises:
        MinesimError: of the first part that failed; the others are stopped.
    """
    if settings.jobs == 1:
        return _run_here(settings, tasks, on_done, on_look)
    context = multiprocessing.get_context("spawn")
    finished: dict[Task, Done] = {}
    manager = SyncManager(ctx=context)
    manager.start(begin_process)
    with manager:
        board = manager.dict()
        with ProcessPoolExecutor(settings.jobs, mp_context=context, initializer=begin_process) as pool:
            waiting: dict[Future[Done], Task] = {pool.submit(work, settings, task, board): task for task in tasks}
            try:
                while waiting:
                    ready, _ = wait(waiting, timeout=POLL_S, return_when=FIRST_COMPLETED)
                    for future in ready:
                        task = waiting.pop(future)
                        finished[task] = future.result()
                        board.pop(task, None)
                        on_done(finished[task])
                    on_look({task: report for task, report in dict(board).items() if isinstance(task, Task)})
            except BaseException:
                board[STOP_KEY] = True
                pool.shutdown(wait=True, cancel_futures=True)
                raise
    return finished


def _run_here(
    settings: BenchmarkSettings,
    tasks: Sequence[Task],
    on_done: Callable[[Done], None],
    on_look: Callable[[Mapping[Task, Report]], None],
) -> dict[Task, Done]:
    class Board(dict[Any, Any]):
        def __setitem__(self, key: Any, value: Any) -> None:
            super().__setitem__(key, value)
            on_look({key: value})

    finished = {}
    for task in tasks:
        try:
            finished[task] = work(settings, task, Board())
        except Stopped as error:
            raise KeyboardInterrupt from error
        on_done(finished[task])
    return finished
