"""Typed settings of the tuning benchmark; the only reader of its Hydra configuration is its entry point."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from agents.benchmark.checks import at_least_one, each_once
from agents.bo.methods import METHODS
from agents.bo.settings import TaskSettings
from minesim.errors import ParamsError, explain, nearest
from minesim.tuning.objective import TuningLimits
from minesim.tuning.problem import TuningProblem, tuning_problem

TAUGHT = "bo_taught"
"""Bayesian optimisation of a unit whose fellows of the same model, in the same air, were tuned before."""
PARETO = "bo_pareto"
"""Bayesian optimisation of profit, energy per hash and wear at once."""


@dataclass(frozen=True)
class UnitKey:
    """One unit in one ambient.

    Attributes:
        model: hardware model.
        seed: which unit.
        temp_amb_c: intake air, degC.
        spread: factor on the assumed spread of units.
    """

    model: str
    seed: int
    temp_amb_c: float
    spread: float = 1.0

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.model} #{self.seed} at {self.temp_amb_c:g} C, spread x{self.spread:g}"


@dataclass
class SuiteBench:
    """What is frozen under a name.

    Attributes:
        name: a change of anything here is a new one.
        task: objective and limits.
        models, temps_amb_c: crossed with units ``first_seed``, ``first_seed + 1``, ... of each model.
        first_seed, units: which units; those that methods were developed on (0 to 20) stay out of a frozen version.
        trials: budget of every method.
        methods: compared at the assumed spread.
        teachers: so many first units of each model teach the others by method ``bo_taught``; 0 for none.
        other_spreads: factors at which stock and ``bo`` are compared beside it.
        spread_units: on so many first units of each model.
        front_units: on so many first units of each model fronts of profit, energy per hash and wear are searched.
    """

    name: str = "overclock_v1"
    task: TaskSettings = field(default_factory=TaskSettings)
    models: list[str] = field(default_factory=list)
    temps_amb_c: list[float] = field(default_factory=lambda: [5.0, 20.0, 35.0])
    first_seed: int = 100
    units: int = 10
    trials: int = 30
    methods: list[str] = field(default_factory=lambda: ["bo", "stock"])
    teachers: int = 4
    other_spreads: list[float] = field(default_factory=lambda: [0.5, 2.0])
    spread_units: int = 5
    front_units: int = 1


@dataclass
class SuiteSettings:
    """A run of the benchmark.

    Attributes:
        bench: what is run.
        jobs: processes.
        out: folder of results.
    """

    bench: SuiteBench = field(default_factory=SuiteBench)
    jobs: int = 1
    out: str = "outputs/tune_benchmark"

    def check(self) -> None:
        """Refuse impossible values.

        Raises:
            ParamsError: see the message.
            CatalogError: unknown model.
        """
        bench = self.bench
        at_least_one(units=bench.units, trials=bench.trials, jobs=self.jobs)
        each_once(models=bench.models, temps_amb_c=bench.temps_amb_c, methods=bench.methods)
        for method in bench.methods:
            if method not in METHODS:
                raise ParamsError(explain(f"no tuning method {method!r}", fix=nearest(method, METHODS)))
        if "bo" not in bench.methods or "stock" not in bench.methods:
            raise ParamsError(
                explain(f"methods is {bench.methods}", allowed="'bo', 'stock' and others", fix="Add what is missing.")
            )
        if not 0 <= bench.teachers < max(bench.units, 1):
            raise ParamsError(explain(f"teachers is {bench.teachers}", allowed=f"0 to {bench.units - 1}"))
        if not 1 <= bench.spread_units <= bench.units:
            raise ParamsError(explain(f"spread_units is {bench.spread_units}", allowed=f"1 to {bench.units}"))
        if not 0 <= bench.front_units <= bench.units:
            raise ParamsError(explain(f"front_units is {bench.front_units}", allowed=f"0 to {bench.units}"))
        for key in (*self.unit_keys(), *(k for spread in bench.other_spreads for k in self.spread_keys(spread))):
            self.problem(key)

    def unit_keys(self) -> list[UnitKey]:
        """All units in all ambients; the first of every model come first, so that a stopped run has met each."""
        return self._keys(self.bench.units, 1.0)

    def spread_keys(self, spread: float) -> list[UnitKey]:
        """The units that spreads are compared on."""
        return self._keys(self.bench.spread_units, spread)

    def front_keys(self) -> list[UnitKey]:
        """The units that fronts are searched for."""
        return self._keys(self.bench.front_units, 1.0)

    def _keys(self, units: int, spread: float) -> list[UnitKey]:
        bench = self.bench
        seeds = range(bench.first_seed, bench.first_seed + units)
        return [UnitKey(m, seed, temp, spread) for seed in seeds for m in bench.models for temp in bench.temps_amb_c]

    def is_taught(self, key: UnitKey) -> bool:
        """Whether a unit comes after the teachers of its model."""
        return 0 < self.bench.teachers <= key.seed - self.bench.first_seed

    def teachers(self, key: UnitKey) -> list[UnitKey]:
        """Whose lessons a taught unit gets."""
        first = self.bench.first_seed
        return [replace(key, seed=seed) for seed in range(first, first + self.bench.teachers)]

    def problem(self, key: UnitKey) -> TuningProblem:
        """The unit to be tuned."""
        task = self.bench.task
        return tuning_problem(
            key.model,
            key.seed,
            key.temp_amb_c,
            objective=task.objective,
            power_price_usd_per_mwh=task.power_price_usd_per_mwh,
            hashprice_usd_per_ths_day=task.hashprice_usd_per_ths_day,
            power_cap_w=task.power_cap_w,
            limits=TuningLimits(temp_max_c=task.temp_max_c, error_max=task.error_max),
            spread=key.spread,
            fan_mode=task.fan_mode,
        )
