"""The table of who takes part: rules and MPC tuned on validation weeks, trained policies, policies of others."""

from __future__ import annotations

import importlib
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import xarray as xr

from agents.baselines import AlwaysStock, applicable, build
from agents.baselines.table import entry, plain_params
from agents.baselines.tuning import as_text, pick
from agents.benchmark.settings import BenchmarkSettings, Learned, Offline
from agents.benchmark.side_by_side import SideBySide
from agents.benchmark.stage import Stage, Stopped, code_hash
from agents.rl.settings import BEST_RULE, ON_A_RULE, TaskSettings, TrainSettings, Validation
from minesim.bench.files import content_hash, source_hash
from minesim.control.policy import Policy
from minesim.errors import ParamsError, explain, nearest


@dataclass(frozen=True)
class Played:
    """What an agent did on a scenario.

    Attributes:
        agent, scenario: who and where.
        by_scale: cost scale -> sums over ``run`` at scale 1 of the policy that was chosen for that scale.
        validation_usd: cost scale -> mean profit of that policy on the validation weeks, USD a week; none where it was
            not judged there.
        parameters: of the policy at scale 1, for people.
        record: the same as plain values.
    """

    agent: str
    scenario: str
    by_scale: Mapping[float, xr.Dataset]
    validation_usd: Mapping[float, float]
    parameters: str
    record: Mapping[str, Any] = field(default_factory=dict)


class Contender(Protocol):
    """One who takes part."""

    @property
    def name(self) -> str:
        """In tables."""
        ...

    @property
    def kind(self) -> str:
        """``rule``, ``mpc``, ``learned``, ``offline`` or ``foreign``."""
        ...

    @property
    def summary(self) -> str:
        """One line for reports."""
        ...

    def applies(self, offers_reserve: bool) -> bool:
        """Whether it is of use under a tariff with (or without) reserves."""
        ...

    def play(self, stage: Stage) -> Played:
        """Prepare on training and validation data, then run the test weeks."""
        ...


def _is_of_use(offers_reserve: bool) -> bool:
    return True


@dataclass(frozen=True)
class TunedContender:
    """One whose parameters are searched on validation weeks, anew for every assumed cost of stops and wear.

    Attributes:
        candidates: parameter sets that are tried in a world.
        make: policies of parameter sets.
    """

    name: str
    kind: str
    summary: str
    candidates: Callable[[Stage], Sequence[Any]]
    make: Callable[[Stage, Sequence[Any]], Sequence[Policy]]
    use: Callable[[bool], bool] = _is_of_use

    def applies(self, offers_reserve: bool) -> bool:
        """See :class:`Contender`."""
        return self.use(offers_reserve)

    def tried(self, stage: Stage) -> tuple[Sequence[Any], list[dict[str, float]], xr.Dataset]:
        """Candidates, the same as plain numbers, and what they earned on the validation weeks."""
        candidates = self.candidates(stage)
        plain = [plain_params(params) for params in candidates]
        return candidates, plain, stage.try_on_validation(self.name, lambda: self.make(stage, candidates), plain)

    def play(self, stage: Stage) -> Played:
        """Choose the candidate with the highest mean validation profit at each scale, and test each choice once."""
        candidates, plain, tried = self.tried(stage)
        chosen, validation_usd = {}, {}
        for scale in stage.settings.bench.scales:
            chosen[scale], validation_usd[scale] = pick(tried, scale)

        def made(index: int) -> Policy:
            return self.make(stage, [candidates[index]])[0]

        tested = {
            index: stage.test(self.name, partial(made, index), plain[index]) for index in dict.fromkeys(chosen.values())
        }
        best = plain[chosen[1.0]]
        return Played(
            self.name,
            stage.scenario,
            {scale: tested[index] for scale, index in chosen.items()},
            validation_usd,
            as_text(plain, best),
            {"params": best, "by_scale": {f"{scale:g}": plain[index] for scale, index in chosen.items()}},
        )


def rule_contender(name: str) -> TunedContender:
    """A rule of the table."""
    row = entry(name)
    return TunedContender(
        name,
        "rule",
        row.summary,
        lambda stage: row.candidates(),
        lambda stage, candidates: [build(name, stage.knowledge, params) for params in candidates],
        row.applies,
    )


def best_rule(stage: Stage) -> tuple[str, dict[str, float]]:
    """Name and parameters of the rule that earns most on the validation weeks, of all that apply there."""
    found = {}
    for name in applicable(stage.knowledge.offers_reserve):
        _, plain, tried = rule_contender(name).tried(stage)
        index, usd = pick(tried, 1.0)
        found[name] = (usd, plain[index])
    best = max(found, key=lambda name: found[name][0])
    return best, found[best][1]


def mpc_contender() -> TunedContender:
    """Model predictive control, with forecasts fitted on the training years."""
    from agents.baselines.forecast import fit_forecast
    from agents.baselines.mpc import MPC, build_mpc, mpc_candidates

    def make(stage: Stage, candidates: Sequence[Any]) -> list[Policy]:
        forecast = fit_forecast(stage.world)
        return [build_mpc(stage.world, params, forecast) for params in candidates]

    return TunedContender(
        MPC.name,
        "mpc",
        "plans a day ahead in hourly blocks on forecasts, and plans again every hour",
        lambda stage: mpc_candidates(stage.world),
        make,
    )


class _Trained(ABC):
    """What policies from folders have in common: they are trained, then loaded and tested."""

    name: str
    kind: str

    def applies(self, offers_reserve: bool) -> bool:
        """See :class:`Contender`."""
        return True

    @abstractmethod
    def folders(self, stage: Stage) -> tuple[list[Path], float]:
        """Folders of the finished training runs, one a seed, and their mean validation profit, USD a week."""

    def play(self, stage: Stage) -> Played:
        """Train what is not trained yet, choose on validation weeks, test once."""
        folders, validation_usd = self.folders(stage)
        identity = [weights_hash(folder) for folder in folders]
        sums = stage.test(self.name, lambda: self._load(stage, folders), identity)
        scales = stage.settings.bench.scales
        record = {"folders": [folder.name for folder in folders]}
        return Played(
            self.name,
            stage.scenario,
            dict.fromkeys(scales, sums),
            {1.0: validation_usd},
            ", ".join(record["folders"]),
            record,
        )

    def _load(self, stage: Stage, folders: Sequence[Path]) -> Policy:
        from agents.rl.policy import load_policy

        policies: list[Policy] = [load_policy(folder, stage.world) for folder in folders]
        return seeds_of_runs(self.name, policies, stage)


def seeds_of_runs(name: str, policies: Sequence[Policy], stage: Stage) -> Policy:
    """One policy of several training seeds, in the order of a stage's runs."""
    number = len(stage.settings.bench.seeds)
    return SideBySide(name, policies, np.arange(len(stage.starts)) % number) if len(policies) > 1 else policies[0]


def place_of(stage: Stage) -> dict[str, Any]:
    """What the settings of every learner say of the scenario, the site and the weeks that choose among its policies."""
    site = stage.settings.site
    return {
        "validation": validation_of(stage),
        "scenario": stage.scenario,
        "site": site.name,
        "limits": site.limits,
        "difficulty": site.difficulty,
        "out": str(Path(stage.settings.out) / "train"),
    }


def trained(name: str, trainings: Sequence[Any], stage: Stage) -> tuple[list[Path], float]:
    """Run or finish training runs, one a seed; a finished one tells its folder at once.

    Raises:
        Stopped: somebody asked for a stop; checkpoints are kept.
    """
    judged = []
    for number, training in enumerate(trainings):
        title = f"train {name}, {number + 1} of {len(trainings)}"
        outcome = training.run(
            stage.stop, lambda state, title=title: stage.on_progress(title, state.steps, state.total)
        )
        if not outcome.finished:
            raise Stopped(f"stopped at {title}")
        judged.append(float(outcome.best_profit().mean()))
    return [training.folder for training in trainings], float(np.mean(judged))


def weights_hash(folder: Path) -> str:
    """Hash of a trained policy's files."""
    from agents.rl.policy import BEST

    return source_hash(folder / BEST, *folder.glob("*.json"), suffixes=(Path(BEST).suffix, ".json"))


@dataclass(frozen=True)
class LearnedContender(_Trained):
    """A policy that is trained in the environment, on the training years."""

    name: str
    spec: Learned
    kind: str = "learned"

    @property
    def summary(self) -> str:
        """One line for reports."""
        agent, trainer = self.spec.agent, self.spec.trainer
        steps = trainer.steps or sum(stage.steps for stage in agent.curriculum)
        return (
            f"PPO ({agent.name}, {trainer.name}), {steps:,} control steps of training, {len(self.spec.seeds)} seed(s)"
        )

    def folders(self, stage: Stage) -> tuple[list[Path], float]:
        """Train each seed; a finished run tells its folder at once."""
        import torch

        from agents.rl.evaluation import Judge
        from agents.rl.training import Training, validation_world

        torch.set_num_threads(self.spec.trainer.threads)
        agent = self.spec.agent
        if agent.actions.rule == BEST_RULE and (agent.yardstick or agent.actions.kind in ON_A_RULE):
            rule, params = best_rule(stage)
            agent = replace(agent, actions=replace(agent.actions, rule=rule, params=params))

        def training(seed: int) -> Training:
            settings = TrainSettings(
                task=TaskSettings(),
                agent=agent,
                trainer=self.spec.trainer,
                seed=seed,
                **place_of(stage),
            )
            return Training(settings, judge=Judge(validation_world(settings), settings.validation))

        return trained(self.name, [training(seed) for seed in self.spec.seeds], stage)


@dataclass(frozen=True)
class OfflineContender(_Trained):
    """A policy that is learned from recorded rollouts of rules, on the training years."""

    name: str
    spec: Offline
    kind: str = "offline"

    @property
    def summary(self) -> str:
        """One line for reports."""
        spec = self.spec
        return (
            f"learned offline ({spec.agent.name}, {spec.trainer.updates:,} updates) from {spec.episodes} weeks each of "
            f"{', '.join(spec.policies)}, plain and with noise"
        )

    def folders(self, stage: Stage) -> tuple[list[Path], float]:
        """Record, then learn each seed."""
        import torch

        from agents.offline.settings import OfflineSettings
        from agents.offline.training import OfflineTraining
        from agents.rl.evaluation import Judge

        torch.set_num_threads(self.spec.trainer.threads)
        dataset = str(self._recorded(stage))

        def training(seed: int) -> OfflineTraining:
            settings = OfflineSettings(
                dataset=dataset, agent=self.spec.agent, trainer=self.spec.trainer, seed=seed, **place_of(stage)
            )
            return OfflineTraining(settings, stage.world, Judge(stage.world, settings.validation))

        return trained(self.name, [training(seed) for seed in self.spec.seeds], stage)

    def _recorded(self, stage: Stage) -> Path:
        from agents.offline.rollouts import RolloutOptions, plain_options, write_rollouts

        site = stage.settings.site
        options = RolloutOptions(
            scenario=stage.scenario,
            policies=tuple(self.spec.policies),
            noise=self.spec.noise,
            episodes=self.spec.episodes,
            site=site.name,
            limits=site.limits,
            difficulty=site.difficulty,
        )
        key = content_hash({**plain_options(options), "code": code_hash()})[:16]
        folder = Path(stage.settings.out) / "rollouts" / key
        if not folder.exists():
            write_rollouts(
                options, folder, on_progress=lambda name, done, total: stage.on_progress(f"record {name}", done, total)
            )
        return folder


@dataclass(frozen=True)
class ForeignContender:
    """A policy of somebody else: a folder of a trained policy, or ``module:factory`` that makes one from a world."""

    name: str
    source: str
    kind: str = "foreign"

    @property
    def summary(self) -> str:
        """One line for reports."""
        return f"from {self.source}"

    def applies(self, offers_reserve: bool) -> bool:
        """See :class:`Contender`."""
        return True

    def play(self, stage: Stage) -> Played:
        """Test it as it is."""
        policy = load_foreign(self.name, self.source, stage)
        folder = Path(self.source)
        identity = weights_hash(folder) if folder.is_dir() else source_hash(_module_file(self.source))
        sums = stage.test(self.name, lambda: policy, identity)
        scales = stage.settings.bench.scales
        return Played(self.name, stage.scenario, dict.fromkeys(scales, sums), {}, self.source, {"source": self.source})


def _module_file(source: str) -> Path:
    """File of the module of ``module:factory``, which was imported before."""
    return Path(str(sys.modules[source.partition(":")[0]].__file__))


def load_foreign(name: str, source: str, stage: Stage) -> Policy:
    """The policy of a folder or of ``module:factory``, checked for what it returns.

    Raises:
        ParamsError: neither a folder nor an importable factory, or what it makes is no policy of these shapes.
    """
    if Path(source).is_dir():
        from agents.rl.policy import load_policy

        return load_policy(Path(source), stage.world)
    module_name, _, factory_name = source.partition(":")
    origin = f"policies.{name}"
    if not factory_name:
        raise ParamsError(
            explain(f"{source!r} is no folder", allowed="a folder of a policy, or module:factory", origin=origin)
        )
    try:
        factory = getattr(importlib.import_module(module_name), factory_name)
    except (ImportError, AttributeError) as error:
        raise ParamsError(explain(f"{source!r} cannot be imported ({error})", origin=origin)) from error
    policy = factory(stage.world)
    if not isinstance(policy, Policy):
        raise ParamsError(
            explain(
                f"{source!r} made a {type(policy).__name__}",
                allowed="an object with name, act(observation) and reset(done)",
                origin=origin,
                fix="See minesim.control.policy.Policy.",
            )
        )
    size = stage.knowledge.schema.size
    action = np.asarray(policy.act(np.zeros((2, size), np.float32)))
    policy.reset(None)
    if action.shape != (2, stage.world.action_size):
        raise ParamsError(
            explain(
                f"{source!r} gives actions of shape {action.shape} for two sites",
                allowed=f"(2, {stage.world.action_size})",
                origin=origin,
            )
        )
    return policy


def validation_of(stage: Stage) -> Validation:
    """The validation weeks in the form that learners are judged on."""
    weeks = stage.validation
    every = int((weeks[1] - weeks[0]) / np.timedelta64(7, "D")) if len(weeks) > 1 else 1
    return Validation(first=str(weeks[0]), weeks=(len(weeks) - 1) * every + 1, every=every, seeds=[0], rules=[])


def contenders(settings: BenchmarkSettings) -> dict[str, Contender]:
    """Everybody that the settings name, rules first.

    Raises:
        ParamsError: an unknown rule, or a name twice.
    """
    for name in settings.rules:
        entry(name)
    rules = settings.rules or list(applicable(offers_reserve=True))
    if AlwaysStock.name not in rules:
        rules = [AlwaysStock.name, *rules]
    found: list[Contender] = [rule_contender(name) for name in rules]
    if settings.mpc:
        found.append(mpc_contender())
    found.extend(LearnedContender(name, spec) for name, spec in settings.learned.items())
    found.extend(OfflineContender(name, spec) for name, spec in settings.offline.items())
    found.extend(ForeignContender(name, source) for name, source in settings.policies.items())
    table: dict[str, Contender] = {}
    for item in found:
        if item.name in table:
            raise ParamsError(explain(f"{item.name!r} takes part twice", fix="Give one of them another name."))
        table[item.name] = item
    return table


def contender(name: str, table: Mapping[str, Contender]) -> Contender:
    """One of them.

    Raises:
        ParamsError: nobody of that name (nearest names suggested).
    """
    if name not in table:
        raise ParamsError(explain(f"there is no agent {name!r}", fix=nearest(name, table), origin="benchmark"))
    return table[name]
