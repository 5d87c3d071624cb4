"""Typed settings of the benchmark of field estimators; its entry point is the only reader of the configuration."""

from __future__ import annotations

from dataclasses import dataclass, field

from agents.benchmark.checks import at_least_one, each_once
from agents.fields.hidden import CASES, RoomKey
from agents.fields.methods import METHODS
from minesim.catalog.layouts import layout
from minesim.errors import pick


@dataclass
class SuiteBench:
    """What is frozen under a name.

    Attributes:
        name: a change of anything here is a new one.
        layouts, cases: crossed with the seeds ``first_seed``, ``first_seed + 1``, ...
        first_seed, seeds: which hidden rooms; those that methods were developed on (0 to 9) stay out of a frozen
            version.
        methods: names of :data:`agents.fields.methods.METHODS`.
    """

    name: str = "fields_v1"
    layouts: list[str] = field(default_factory=list)
    cases: list[str] = field(default_factory=lambda: list(CASES))
    first_seed: int = 100
    seeds: int = 5
    methods: list[str] = field(default_factory=lambda: list(METHODS))


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
    out: str = "outputs/field_benchmark"

    def check(self) -> None:
        """Refuse impossible values.

        Raises:
            ParamsError, CatalogError: see the message.
        """
        bench = self.bench
        at_least_one(seeds=bench.seeds, jobs=self.jobs)
        each_once(layouts=bench.layouts, cases=bench.cases, methods=bench.methods)
        for name in bench.methods:
            pick("field method", name, METHODS)
        for name in bench.cases:
            pick("case of hidden rooms", name, CASES)
        for name in bench.layouts:
            layout(name)

    def rooms(self) -> list[RoomKey]:
        """All hidden rooms; the first of every layout and case come first, so that a stopped run has met each."""
        bench = self.bench
        seeds = range(bench.first_seed, bench.first_seed + bench.seeds)
        return [RoomKey(name, case, seed) for seed in seeds for name in bench.layouts for case in bench.cases]
