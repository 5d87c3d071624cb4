"""A training run that lives in its folder: between two iterations it is judged, saved, stopped and gone on with."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from agents.rl.checkpoint import borrowed_random_state, load_checkpoint
from agents.rl.settings import TrackingSettings
from agents.rl.tracking import Trackers, open_tracking


@dataclass
class Course:
    """How far a run has come.

    Attributes:
        steps: trained so far, in whatever the run counts.
        finished: whether all were.
        trained_s: seconds of this call spent in training iterations.
        trained_steps: steps of this call.
    """

    steps: int = 0
    finished: bool = False
    trained_s: float = 0.0
    trained_steps: int = 0


class RunSettings(Protocol):
    """What every run's settings, a dataclass, have."""

    __dataclass_fields__: ClassVar[dict[str, Any]]
    tracking: TrackingSettings


CourseT = TypeVar("CourseT", bound=Course)
ProgressT = TypeVar("ProgressT")


def never() -> bool:
    """No stop asked for."""
    return False


class ResumableTraining(ABC, Generic[CourseT, ProgressT]):
    """A run in its folder; made again over the same folder it goes on where it stopped.

    Args:
        settings: checked settings.
        folder: of the run.
        outcome: of a run that has not begun.
        total: steps in all.
        evaluate_every, checkpoint_every: steps between two judgements, and between two checkpoints; 0 for none but
            those at the end.
        device: of the tensors of a checkpoint.
        tell: for notices.
    """

    def __init__(
        self,
        settings: RunSettings,
        folder: Path,
        outcome: CourseT,
        total: int,
        *,
        evaluate_every: int,
        checkpoint_every: int,
        device: str = "cpu",
        tell: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.folder, self.outcome, self.total, self.tell = folder, outcome, total, tell
        self._described, self._device = settings, device
        self._evaluate_every, self._checkpoint_every = evaluate_every, checkpoint_every

    def run(
        self, stop: Callable[[], bool] = never, on_progress: Callable[[ProgressT], None] = lambda progress: None
    ) -> CourseT:
        """Train until all steps are done or ``stop`` says so, from the checkpoint where there is one.

        Raises:
            MinesimError: settings that cannot be met, or a damaged checkpoint.
        """
        described = self._described
        with borrowed_random_state():
            self._build(load_checkpoint(self.folder, self._device))
            with closing(
                open_tracking(self.folder, described.tracking, asdict(described), self.outcome.steps, self.tell)
            ) as trackers:
                self._train(trackers, stop, on_progress)
        return self.outcome

    def _train(self, trackers: Trackers, stop: Callable[[], bool], on_progress: Callable[[ProgressT], None]) -> None:
        outcome = self.outcome
        self._start(trackers)
        on_progress(self._progress())
        saved_at = outcome.steps
        while outcome.steps < self.total and not stop():
            began, before = time.monotonic(), outcome.steps
            values = self._iterate()
            outcome.trained_s += time.monotonic() - began
            outcome.trained_steps += outcome.steps - before
            trackers.log(values, outcome.steps)
            last = outcome.steps >= self.total
            if last or _crossed(before, outcome.steps, self._evaluate_every):
                self._evaluate(trackers)
            if last or _crossed(saved_at, outcome.steps, self._checkpoint_every):
                self._save()
                saved_at = outcome.steps
            on_progress(self._progress())
        outcome.finished = outcome.steps >= self.total
        if saved_at != outcome.steps:
            self._save()

    @abstractmethod
    def _build(self, saved: dict[str, Any] | None) -> None:
        """Make what is trained, anew or as in a checkpoint."""

    def _start(self, trackers: Trackers) -> None:
        """Before the first iteration of this call."""

    @abstractmethod
    def _iterate(self) -> dict[str, float]:
        """Train for a while and count the steps; what is logged of it."""

    @abstractmethod
    def _evaluate(self, trackers: Trackers) -> None:
        """Judge what is trained, and keep it where it is the best so far."""

    @abstractmethod
    def _save(self) -> None:
        """Write a checkpoint."""

    @abstractmethod
    def _progress(self) -> ProgressT:
        """Where the run stands, for a progress bar."""


def _crossed(before: int, after: int, every: int) -> bool:
    return every > 0 and before // every != after // every
