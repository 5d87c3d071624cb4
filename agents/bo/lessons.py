"""Lessons on disk: what a finished run teaches the next unit of its model or chip."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from agents.bo.beliefs import Lesson
from minesim.errors import DataFileError, ParamsError, explain
from minesim.tuning.problem import TuningProblem

FILE: Final = "lesson.json"


def lesson_json(problem: TuningProblem, lesson: Lesson) -> dict[str, object]:
    """A lesson as plain values."""
    return {
        "model": lesson.model,
        "chip": problem.device.chip,
        "serial": problem.serial,
        "margins": list(map(float, lesson.margins)),
        "log_power": float(lesson.log_power),
    }


def read_lesson(folder: Path, problem: TuningProblem) -> Lesson:
    """Read the lesson of a finished run.

    Raises:
        DataFileError: there is none, or it is unreadable.
        ParamsError: of another chip, or of this very unit.
    """
    path = folder / FILE
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        chip, serial = plain["chip"], plain["serial"]
        lesson = Lesson(str(plain["model"]), tuple(map(float, plain["margins"])), float(plain["log_power"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataFileError(
            explain(f"{path} is not a readable lesson ({error})", fix="Name the folder of a finished run of method bo.")
        ) from error
    if chip != problem.device.chip or serial == problem.serial:
        raise ParamsError(
            explain(
                f"the lesson is of {serial} ({chip})",
                allowed=f"other units with the chip {problem.device.chip}, best of {problem.device.model}",
                origin=str(path),
            )
        )
    return lesson
