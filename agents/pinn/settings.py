"""Typed settings of ``experiments.fit_pinn``, the only reader of its Hydra configuration."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from agents.benchmark.checks import each_once
from agents.pinn.field_settings import FieldSettings
from agents.pinn.miner_response_settings import MinerResponseSettings
from agents.pinn.surrogate_settings import SurrogateSettings
from minesim.errors import ParamsError, explain, nearest

TASKS = ("field", "surrogate", "miner_response")


@dataclass
class FitSettings:
    """A run.

    Attributes:
        layout: name of a layout, or a TOML file of one.
        task: ``field`` (a hidden room's field from its sensors) or ``surrogate`` (settings to field) or
            ``miner_response`` (a miner's temperatures after a step of workload).
        surrogate: of that task.
        models, miner: hardware models and settings of task ``miner_response``.
        agent: the network of task ``field``.
        sensors, case: how many a hidden room has, and how far it is from its plan (``easy``, ``hard``).
        seed: of all draws.
        threads: of torch; two on a busy machine of two cores are slower than one.
        out: folder of results.
    """

    layout: str = "container_40ft"
    task: str = "field"
    surrogate: SurrogateSettings = field(default_factory=SurrogateSettings)
    models: list[str] = field(default_factory=lambda: ["Antminer S19j Pro", "Antminer S19 XP", "Whatsminer M30S++"])
    miner: MinerResponseSettings = field(default_factory=MinerResponseSettings)
    agent: FieldSettings = field(default_factory=FieldSettings)
    sensors: int = 16
    case: str = "hard"
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
        if self.sensors < 1:
            raise ParamsError(explain(f"sensors is {self.sensors}", allowed="1 or more"))
        each_once(models=self.models)
        self.surrogate.check()
        self.agent.check()
        self.miner.check()

    @property
    def folder(self) -> Path:
        """Where this run keeps its state."""
        if self.task == "miner_response":
            return Path(self.out) / self.task
        of = f"_{self.case}_{self.sensors}sensors" if self.task == "field" else ""
        return Path(self.out) / self.task / f"{Path(self.layout).stem}{of}_seed{self.seed}"
