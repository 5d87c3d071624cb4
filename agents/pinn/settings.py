"""Typed settings of ``experiments.fit_pinn``, the only reader of its Hydra configuration."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from agents.pinn.surrogate_settings import SurrogateSettings
from minesim.errors import ParamsError, explain, nearest

TASKS = ("surrogate",)


@dataclass
class FitSettings:
    """A run.

    Attributes:
        layout: name of a layout, or a TOML file of one.
        task: ``surrogate`` (settings to field).
        surrogate: of that task.
        seed: of all draws.
        threads: of torch; two on a busy machine of two cores are slower than one.
        out: folder of results.
    """

    layout: str = "container_40ft"
    task: str = "surrogate"
    surrogate: SurrogateSettings = field(default_factory=SurrogateSettings)
    seed: int = 0
    threads: int = 1
    out: str = "outputs/pinn"

    def check(self) -> None:
        """Refuse impossible values.

        Raises:
            ParamsError: see the message.
        """
        if self.task not in TASKS:
            raise ParamsError(explain(f"no task {self.task!r}", fix=nearest(self.task, TASKS)))
        if self.threads < 1:
            raise ParamsError(explain(f"threads is {self.threads}", allowed="1 or more"))
        if self.seed < 0:
            raise ParamsError(explain(f"seed is {self.seed}", allowed="0 or more"))
        self.surrogate.check()

    def folder(self, task: str) -> Path:
        """Where a task of this run keeps its state."""
        return Path(self.out) / task / f"{Path(self.layout).stem}_seed{self.seed}"
