"""Typed settings of the cooling benchmark; its entry point is the only reader of the configuration."""

from __future__ import annotations

from dataclasses import dataclass, field

from agents.benchmark.checks import at_least_one, each_once
from agents.cooling.contenders import CONTENDERS, FORESIGHT
from minesim.envs.cooling_core import CoolingConfig, CoolingWorld, build_cooling_world
from minesim.errors import ParamsError, explain, pick
from minesim.scenario.climates import climate


@dataclass
class SuiteBench:
    """What is frozen under a name.

    Attributes:
        name: a change of anything here is a new one.
        climates: names of climates.
        layout_name: of the hall.
        noise_k, bias_k, drop_out: errors of the air sensors (assumed).
        validation_every, test_every: every so many weeks of a split are played.
        fine_usd: what a broken limit in a step counts when parameters and the best rule are chosen (assumed; nothing
            else uses it).
        seed: of the sensors.
        contenders: names of :data:`agents.cooling.contenders.CONTENDERS`.
        compliant: whose cooling energy savings are measured against.
    """

    name: str = "cooling_v1"
    climates: list[str] = field(default_factory=list)
    layout_name: str = "container_40ft"
    noise_k: float = 0.2
    bias_k: float = 0.3
    drop_out: float = 0.01
    validation_every: int = 2
    test_every: int = 1
    fine_usd: float = 5.0
    seed: int = 0
    contenders: list[str] = field(default_factory=lambda: list(CONTENDERS))
    compliant: str = "fixed"


@dataclass
class SuiteSettings:
    """A run of the benchmark.

    Attributes:
        bench: what is run.
        policies: trained policies that take part: name -> folder of ``experiments.train_cooling``; ``{climate}`` in it
            stands for the climate's name.
        jobs: processes.
        out: folder of results.
    """

    bench: SuiteBench = field(default_factory=SuiteBench)
    policies: dict[str, str] = field(default_factory=dict)
    jobs: int = 1
    out: str = "outputs/cooling_benchmark"

    def check(self) -> None:
        """Refuse impossible values.

        Raises:
            ParamsError, ScenarioError: see the message.
        """
        bench = self.bench
        at_least_one(jobs=self.jobs, validation_every=bench.validation_every, test_every=bench.test_every)
        each_once(climates=bench.climates, contenders=bench.contenders)
        for name in (*bench.contenders, bench.compliant):
            pick("contender", name, CONTENDERS)
        if bench.compliant not in bench.contenders:
            raise ParamsError(explain(f"compliant is {bench.compliant!r}", allowed=", ".join(bench.contenders)))
        for name in self.policies:
            if name in CONTENDERS:
                raise ParamsError(explain(f"a policy is called {name!r}", allowed="a name that no contender has"))
        if bench.fine_usd < 0.0:
            raise ParamsError(explain(f"fine_usd is {bench.fine_usd:g}", allowed="0 USD or more"))
        for name in bench.climates:
            climate(name)

    def world(self, climate_name: str) -> CoolingWorld:
        """Hall and task in a climate, episodes of a week."""
        bench = self.bench
        return build_cooling_world(
            CoolingConfig(
                layout_name=bench.layout_name,
                scenario=climate_name,
                noise_k=bench.noise_k,
                bias_k=bench.bias_k,
                drop_out=bench.drop_out,
            )
        )

    def names(self) -> list[str]:
        """Everybody who takes part, those who know the weather ahead last."""
        known = [name for name in self.bench.contenders if CONTENDERS[name].kind != FORESIGHT]
        return [*known, *self.policies, *(name for name in self.bench.contenders if name not in known)]
