"""Train, judge and write a surrogate for each lesson; a stopped run goes on where it stopped."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from agents.pinn.onnx_file import OnnxSurrogate, export_surrogate
from agents.pinn.steady import SettingsRange, draw_settings
from agents.pinn.surrogate import Surrogate, new_surrogate, save_surrogate
from agents.pinn.surrogate_judge import Exactness, Speed, Truths, exactness, speed, truths_of
from agents.pinn.surrogate_lessons import lesson_of
from agents.pinn.surrogate_settings import SurrogateSettings
from agents.pinn.training import Fitting
from minesim.bench.files import content_hash, write_json
from minesim.catalog.layouts import layout
from minesim.physics.room_grid import RoomModel, room_model
from minesim.physics.room_plan import RoomPlan

TRAIN_DRAW, TEST_DRAW = 0, 1
"""Streams of settings below a run's seed."""

Show = Callable[[str, int, int, float], None]


@dataclass(frozen=True)
class SurrogateResult:
    """A trained surrogate and its judgement.

    Attributes:
        lesson: what it learned from.
        surrogate: the network.
        exactness: on unseen settings.
        trained_s, prepared_s: processor seconds of training, and of solving fields or inverting matrices before it.
        onnx_gap_k: largest difference of the exported file.
        steps, finished: how far training came.
    """

    lesson: str
    surrogate: Surrogate
    exactness: Exactness
    trained_s: float
    prepared_s: float
    onnx_gap_k: float
    steps: int
    finished: bool

    def about(self) -> dict[str, Any]:
        """Everything but the network, JSON-like."""
        told = {name: value for name, value in vars(self).items() if name != "surrogate"}
        return {**told, "exactness": asdict(self.exactness)}


@dataclass(frozen=True)
class SurrogateRun:
    """What all lessons of a layout share.

    Attributes:
        plan, model: the room.
        settings: of the run.
        span: from where settings are drawn.
        seed: of all draws.
        folder: of results.
        truths: solved fields of unseen settings.
    """

    plan: RoomPlan
    model: RoomModel
    settings: SurrogateSettings
    span: SettingsRange
    seed: int
    folder: Path
    truths: Truths

    def fit(self, lesson: str, stop: Callable[[], bool], show: Show) -> SurrogateResult:
        """Train with one lesson to the end or a wish to stop, and judge what there is.

        Args:
            lesson: a name in :data:`agents.pinn.surrogate_settings.LESSONS`.
            stop: whether to stop.
            show: is told lesson, steps done, all steps, root of the loss.
        """
        begin, s = time.process_time(), self.settings
        sample = draw_settings(self.plan, self.span, s.samples, np.random.default_rng([self.seed, TRAIN_DRAW]))
        teacher = lesson_of(lesson, self.plan, self.model, sample, self.span, s.modes, s.references)
        surrogate = seeded(
            self.seed, lambda: new_surrogate(self.plan, self.model.grid, *teacher.modes, s.width, s.layers)
        )
        surrogate.set_scales(sample)
        prepared_s = time.process_time() - begin
        steps, batch = s.steps_of(lesson), s.batch_of(lesson)
        shape = (s.nx, s.ny, s.modes, s.width, s.layers, s.samples, s.references, s.rate, s.rate_end)
        key = content_hash([lesson, asdict(self.plan), asdict(self.span), self.seed, shape, steps, batch])
        fitting = Fitting(
            module=surrogate,
            loss=lambda index: teacher.loss(surrogate, index),
            samples=s.samples,
            batch=batch,
            steps=steps,
            rate=s.rate,
            rate_end=s.rate_end,
            seed=self.seed,
            path=self.folder / f"{lesson}_training.npz",
            key=key,
        )
        fitting.resume()
        finished = fitting.run(stop, lambda done, missed: show(lesson, done, steps, missed), time.process_time)
        onnx = self.folder / f"{lesson}.onnx"
        gap = export_surrogate(onnx, surrogate, self.truths.settings)
        result = SurrogateResult(
            lesson=lesson,
            surrogate=surrogate,
            exactness=exactness(surrogate.rise_k(self.truths.settings), self.truths),
            trained_s=fitting.trained_s,
            prepared_s=prepared_s,
            onnx_gap_k=gap,
            steps=fitting.done,
            finished=finished,
        )
        save_surrogate(self.folder / f"{lesson}.npz", surrogate, {"layout": self.plan.name, "lesson": lesson})
        write_json(self.folder / f"{lesson}.json", result.about())
        return result

    def speed(self, result: SurrogateResult) -> Speed:
        """Time a surrogate of this run and the solvers; written beside its files."""
        exported = OnnxSurrogate(self.folder / f"{result.lesson}.onnx")
        times = speed(self.plan, self.model, result.surrogate, exported, self.truths.settings)
        write_json(self.folder / "speed.json", asdict(times))
        return times


def surrogate_run(name: str, settings: SurrogateSettings, seed: int, folder: Path) -> SurrogateRun:
    """Prepare a run: solve the unseen settings.

    Args:
        name: a layout, or a path to one.
        settings: of the run.
        seed: of all draws.
        folder: of results.

    Raises:
        CatalogError, ParamsError: an unknown or impossible layout, or a grid that 96 x 48 cells do not fill.
    """
    plan, span = layout(name), SettingsRange()
    model = room_model(plan, settings.nx, settings.ny)
    unseen = draw_settings(plan, span, settings.test, np.random.default_rng([seed, TEST_DRAW]))
    truths = truths_of(plan, model, unseen, settings.fine_test)
    return SurrogateRun(plan, model, settings, span, seed, folder, truths)


def seeded(seed: int, make: Callable[[], Surrogate]) -> Surrogate:
    """A new network with weights of a seed; torch's own generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()
