"""The cooling benchmark: everybody on the same weeks of every climate, one file for each, several processes.

Parameters and the best rule are chosen on validation weeks alone, and who stands for no choice does not play them; test
weeks are played once, with what was chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from agents.benchmark.processes import each, one_thread
from agents.benchmark.side_by_side import SideBySide
from agents.cooling.contenders import LEARNED, RULE, Contender, Params, Place, Rows, contender, describe
from agents.cooling.episodes import play, week_rows
from agents.cooling.suite_settings import SuiteSettings
from minesim.bench.cells import CellStore
from minesim.bench.files import array_hash, source_hash
from minesim.control.policy import Policy
from minesim.errors import MissingExtraError, explain

CODE = (
    "minesim/physics",
    "minesim/catalog",
    "minesim/hall.py",
    "minesim/tasks/cooling.py",
    "minesim/envs/cooling_core.py",
    "minesim/scenario/climates.py",
)
CODE_AGENTS = (
    "episodes",
    "follow",
    "gradient_plan",
    "knowledge",
    "linear_plan",
    "plan",
    "plan_policy",
    "rules",
    "shield",
    "steady",
)
POLICY = ("policy.json", "policy_best.pt")
"""What a policy consists of; a checkpoint beside them does not change it."""
VALIDATION, TEST = "validation", "test"


@dataclass(frozen=True)
class Chosen:
    """Somebody in a climate: parameters chosen on validation weeks, and the weeks of both splits; no validation where
    nothing was chosen by it."""

    name: str
    kind: str
    params: dict[str, float]
    validation: xr.Dataset | None
    test: xr.Dataset


def code_hash() -> str:
    """Hash of the code that results depend on."""
    root = Path(__file__).parents[2]
    own = (Path(__file__).parent / f"{name}.py" for name in CODE_AGENTS)
    return source_hash(*(root / part for part in CODE), *own, suffixes=(".py", ".csv", ".toml"))


def fined(weeks: xr.Dataset, fine_usd: float) -> float:
    """Mean cost of a week with a fine for each step that breaks a limit, USD."""
    return float((weeks["cost_usd"] + fine_usd * weeks["violations"]).mean())


class ClimateBench:
    """The part of a run that lies in one climate; what was played before is taken from its file.

    Args:
        settings: of the benchmark.
        folder: of the parts.
        climate: name of the climate.
        code: from :func:`code_hash`.

    Attributes:
        computed: parts played now.
    """

    def __init__(self, settings: SuiteSettings, folder: Path, climate: str, code: str) -> None:
        self.settings, self.climate, self.code = settings, climate, code
        self.store = CellStore(folder)
        self.place = Place(settings.world(climate))
        self.computed = 0

    def rows(self, split: str) -> Rows:
        """First rows of the weeks of a split."""
        bench = self.settings.bench
        every = bench.validation_every if split == VALIDATION else bench.test_every
        return week_rows(self.place.world, split, every)

    def choose(self, name: str) -> Chosen:
        """Tune somebody on validation weeks, and play the test weeks.

        Rules play validation weeks also where nothing is tuned, since the best of them is chosen by those.

        Raises:
            MinesimError: no such contender, or its policy's folder cannot be read.
        """
        who = self._contender(name)
        params, validation = who.variants[0], None
        if who.kind == RULE or len(who.variants) > 1:
            tried = self._weeks(name, who, who.variants, VALIDATION)
            best = min(range(len(tried)), key=lambda number: fined(tried[number], self.settings.bench.fine_usd))
            params, validation = who.variants[best], tried[best]
        (test,) = self._weeks(name, who, (params,), TEST)
        return Chosen(name, who.kind, describe(params), validation, test)

    def _contender(self, name: str) -> Contender:
        if name not in self.settings.policies:
            return contender(name)
        return Contender(LEARNED, partial(_trained, self._folder(name)))

    def _folder(self, name: str) -> Path:
        """Of the run that trained a policy for this climate."""
        return Path(self.settings.policies[name].format(climate=self.climate))

    def _weeks(self, name: str, who: Contender, variants: Sequence[Params], split: str) -> list[xr.Dataset]:
        """Weeks of a split under each set of parameters; those that are missing are played side by side."""
        rows = self.rows(split)
        specs = [self._spec(name, who, params, rows) for params in variants]
        found = [self.store.load(spec) for spec in specs]
        missing = [number for number, cell in enumerate(found) if cell is None]
        if missing:
            policies = [who.make(self.place, variants[number], rows) for number in missing]
            for number, cell in zip(missing, self._play(policies, rows), strict=True):
                self.store.save(specs[number], cell)
                found[number] = cell
        self.computed += len(missing)
        return [cell for cell in found if cell is not None]

    def _spec(self, name: str, who: Contender, params: Params, rows: Rows) -> dict[str, Any]:
        world, bench = self.place.world, self.settings.bench
        spec: dict[str, Any] = {
            "climate": self.climate,
            "weather": array_hash(world.weather),
            "world": asdict(replace(world.config, scenario=None)),
            "name": name,
            "params": describe(params),
            "rows": rows.tolist(),
            "seed": bench.seed,
            "code": self.code,
        }
        if who.kind == LEARNED:
            parts = (self._folder(name) / part for part in POLICY)
            spec["policy"] = source_hash(*(part for part in parts if part.exists()), suffixes=(".pt", ".json"))
        return spec

    def _play(self, policies: Sequence[Policy], rows: Rows) -> list[xr.Dataset]:
        """The same weeks under each policy, all at once."""
        world, seed = self.place.world, self.settings.bench.seed
        shape = (len(policies), len(rows))
        seeds = np.broadcast_to(np.arange(seed, seed + len(rows)), shape).ravel()
        policy = SideBySide("all", policies, np.repeat(np.arange(shape[0]), shape[1]))
        found = play(policy, world, np.broadcast_to(rows, shape).ravel(), seeds)
        begins = world.climate.time_utc[rows].astype("datetime64[s]").astype(np.int64)
        return [
            xr.Dataset(
                {name: ("week", values.reshape(shape)[number]) for name, values in found.items()},
                coords={"week": begins},
                attrs={"week": "first second, Unix time"},
            )
            for number in range(shape[0])
        ]


def _trained(folder: Path, place: Place, params: Params, rows: Rows) -> Policy:
    try:
        from agents.cooling.learning.policy import load_policy
    except ImportError as error:
        raise MissingExtraError(
            explain("a trained policy needs stable-baselines3", fix="Run: pip install 'minesim[agents]'")
        ) from error
    return load_policy(folder, place.world, place.steady)


def work(settings: SuiteSettings, folder: Path, code: str, climate: str) -> int:
    """Play what is missing of a climate; returns how many parts were played."""
    one_thread()
    bench = ClimateBench(settings, folder, climate, code)
    for name in settings.names():
        bench.choose(name)
    return bench.computed


def run_suite(settings: SuiteSettings, folder: Path, on_done: Callable[[str, int], None]) -> dict[str, list[Chosen]]:
    """Play all parts that are missing, and choose.

    On Ctrl-C the climates at work finish, what is done is kept, and KeyboardInterrupt is raised.

    Args:
        settings: of the benchmark.
        folder: of the parts.
        on_done: told of each finished climate and how many of its parts were played.

    Returns:
        By climate, everybody in the order of :meth:`SuiteSettings.names`.
    """
    code = code_hash()
    for climate, computed in each(partial(work, settings, folder, code), settings.bench.climates, settings.jobs):
        on_done(climate, computed)
    found = {}
    for climate in settings.bench.climates:
        bench = ClimateBench(settings, folder, climate, code)
        found[climate] = [bench.choose(name) for name in settings.names()]
    return found
