"""Typed settings of a tuning run; the only reader of its Hydra configuration is :mod:`experiments.optimise`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from agents.bo.methods import METHODS
from minesim.errors import ParamsError, explain, nearest
from minesim.tuning.objective import TuningLimits
from minesim.tuning.problem import TuningProblem, tuning_problem


@dataclass
class TaskSettings:
    """What is to be made large, and the limits; see :func:`minesim.tuning.problem.tuning_problem`."""

    name: str = "overclock"
    objective: str = "profit"
    power_price_usd_per_mwh: float = 60.0
    hashprice_usd_per_ths_day: float | None = None
    power_cap_w: float | None = None
    temp_max_c: float = 80.0
    error_max: float = 0.02
    fan_mode: str = "target"


@dataclass
class OptimiseSettings:
    """A tuning run.

    Attributes:
        task: objective and limits.
        model: hardware model, or ``gpu/ALGORITHM``.
        unit: which unit of it.
        temp_amb_c: intake air, degC.
        spread: factor on the assumed spread of units.
        trials, batch: how many in all, and side by side.
        method: who chooses (a key of :data:`agents.bo.methods.METHODS`).
        seed: of the method's draws.
        compare: further methods.
        lessons: folders of finished runs on other units of the model.
        schedule: scenario on whose real days hourly power from the tuned curve is compared; None for not.
        out: folder of results.
    """

    task: TaskSettings = field(default_factory=TaskSettings)
    model: str = "Antminer S19j Pro"
    unit: int = 0
    temp_amb_c: float = 25.0
    spread: float = 1.0
    trials: int = 30
    batch: int = 1
    method: str = "bo"
    seed: int = 0
    compare: list[str] = field(default_factory=list)
    lessons: list[str] = field(default_factory=list)
    schedule: str | None = None
    out: str = "outputs/optimise"

    def check(self) -> None:
        """Refuse impossible values.

        Raises:
            ParamsError: see the message.
        """
        for name in (self.method, *self.compare):
            if name not in METHODS:
                raise ParamsError(explain(f"no tuning method {name!r}", fix=nearest(name, METHODS)))
        if not 1 <= self.batch <= self.trials:
            raise ParamsError(
                explain(f"batch is {self.batch} and trials is {self.trials}", allowed="1 <= batch <= trials")
            )
        if self.lessons and not self.method.startswith("bo"):
            raise ParamsError(
                explain(f"method {self.method!r} takes no lessons", allowed="'bo' or 'bo_pareto'", fix="Drop lessons.")
            )

    def problem(self) -> TuningProblem:
        """The unit to be tuned."""
        task = self.task
        return tuning_problem(
            self.model,
            self.unit,
            self.temp_amb_c,
            objective=task.objective,
            power_price_usd_per_mwh=task.power_price_usd_per_mwh,
            hashprice_usd_per_ths_day=task.hashprice_usd_per_ths_day,
            power_cap_w=task.power_cap_w,
            limits=TuningLimits(temp_max_c=task.temp_max_c, error_max=task.error_max),
            spread=self.spread,
            fan_mode=task.fan_mode,
        )

    def folder(self, problem: TuningProblem) -> Path:
        """Where this run keeps its state."""
        slug = re.sub(r"[^a-z0-9]+", "_", problem.serial.lower()).strip("_")
        taught = f"_taught{len(self.lessons)}" if self.lessons else ""
        return Path(self.out) / self.task.name / f"{slug}_{self.temp_amb_c:g}c{taught}"
