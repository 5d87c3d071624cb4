"""A training run: a learner, one training iteration at a time.

Between iterations everything is at rest: there the run is judged, saved, stopped and gone on with.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.policies import ActorCriticPolicy

from agents.rl.actions import build_actions, build_rule, rule_numbers, settled
from agents.rl.checkpoint import random_state, save_checkpoint, save_weights, set_random_state
from agents.rl.evaluation import Judge
from agents.rl.learner import Learner, check_device, make_learner
from agents.rl.network import is_actor, normalisation
from agents.rl.policy import BEST, LAST, TrainedPolicy, describe_policy
from agents.rl.resumable import Course, ResumableTraining
from agents.rl.settings import ON_A_RULE, TrainSettings
from agents.rl.tracking import Trackers
from agents.rl.warm_start import MapAsPolicy, gather, imitate
from minesim.bench.files import content_hash
from minesim.control.policy import Policy
from minesim.envs.core import EnvConfig, World, build_world
from minesim.tasks.hashrate import HashrateTask

PRIMED_DAYS = 1.0
"""Experience from which the first scale of observations is taken."""


@dataclass(frozen=True)
class Progress:
    """Where a run stands, for a progress bar."""

    steps: int
    total: int
    stage: str
    profit_usd_per_week: float
    best_usd_per_week: float


@dataclass
class Evaluation:
    """One judgement on the validation weeks."""

    steps: int
    profit: list[list[float]]

    @property
    def mean(self) -> float:
        """Mean profit, USD a week."""
        return float(np.mean(self.profit))


@dataclass
class Outcome(Course):
    """What a run has come to; its steps are control steps.

    Attributes:
        evaluations: all judgements, in order.
        best: number of the best one.
    """

    evaluations: list[Evaluation] = field(default_factory=list)
    best: int = -1

    def best_profit(self) -> NDArray[np.float64]:
        """Profit of the best policy, (weeks, seeds)."""
        return np.asarray(self.evaluations[self.best].profit)


def run_folder(settings: TrainSettings) -> Path:
    """Folder of a run: its name and the hash of all that its result depends on, but not how long it trains."""
    content = asdict(settings)
    for key in ("out", "tracking"):
        del content[key]
    for key in ("evaluate_every", "checkpoint_every", *(() if settings.agent.curriculum else ("steps",))):
        del content["trainer"][key]
    place = settings.scenario.replace("/", "_")
    name = f"{settings.task.name}-{settings.agent.name}-{place}-s{settings.seed}-{content_hash(content)[:8]}"
    return Path(settings.out) / name


def training_world(settings: TrainSettings, difficulty: str) -> World:
    """World of a stage: split ``train``, horizon of the task."""
    task = settings.task
    return build_world(
        EnvConfig(
            scenario=settings.scenario,
            site=settings.site,
            limits=settings.limits,
            difficulty=difficulty,
            task=HashrateTask(
                reward=task.reward,
                temp_chip_limit_c=task.temp_chip_limit_c,
                power_change_limit=task.power_change_limit,
            ),
            split="train",
            episode_days=task.episode_days,
            dt_ctrl_s=task.dt_ctrl_s,
        )
    )


def validation_world(settings: TrainSettings) -> World:
    """World of the judge: weeks, at the run's difficulty."""
    world = training_world(settings, settings.difficulty)
    return replace(world, config=replace(world.config, split=None, episode_days=7.0))


class Training(ResumableTraining[Outcome, Progress]):
    """A training run on whole sites.

    Args:
        settings: checked settings.
        folder: of the run; by default :func:`run_folder`.
        judge: how policies are judged; None judges none.
        tell: for notices.

    Raises:
        ParamsError: an impossible value, or a device that is not here.
    """

    def __init__(
        self,
        settings: TrainSettings,
        folder: Path | None = None,
        judge: Judge | None = None,
        tell: Callable[[str], None] = lambda text: None,
    ) -> None:
        settings.check()
        check_device(settings.trainer.device)
        trainer = settings.trainer
        super().__init__(
            settings,
            run_folder(settings) if folder is None else folder,
            Outcome(),
            settings.total_steps(),
            evaluate_every=trainer.evaluate_every,
            checkpoint_every=trainer.checkpoint_every,
            device=trainer.device,
            tell=tell,
        )
        self.settings, self.agent, self.judge = settings, settings.agent, judge
        self.stages = settings.stages()
        self.iteration = 0
        self.stage = 0
        self.cost_weight = self.agent.constraint.weight if self.agent.constraint.kind != "none" else 0.0
        self._last_profit = float("nan")

    # ------------------------------------------------------------------ run

    def _start(self, trackers: Trackers) -> None:
        outcome = self.outcome
        if not outcome.steps and not outcome.evaluations and self.settings.trainer.evaluate_every:
            self._evaluate(trackers)
            self._save()

    def _iterate(self) -> dict[str, float]:
        """One iteration: gather, learn, then take observations and costs into account."""
        self._enter_stage()
        agent, learner = self.agent, self.learner
        for name, weight in learner.network.named_parameters():
            weight.requires_grad_(self.iteration >= agent.frozen_iterations or not is_actor(name))
        learner.env.cost_weight = self.cost_weight
        learned = learner.iterate()
        self.iteration += 1
        self.outcome.steps += agent.envs * agent.n_steps * learner.env.repeat
        means = learner.env.take_means()
        self._last_profit = means["profit_usd_per_week"]
        constraint = agent.constraint
        if constraint.kind == "lagrangian":
            self.cost_weight = max(0.0, self.cost_weight + constraint.step * (means["cost"] - constraint.limit))
        if agent.normalise_observations:
            normalisation(learner.network).update(learner.seen())
        told = {f"train/{name}": value for name, value in means.items()}
        return told | {"train/cost_weight": self.cost_weight} | learned

    def _progress(self) -> Progress:
        best = self.outcome.evaluations[self.outcome.best].mean if self.outcome.evaluations else float("nan")
        return Progress(self.outcome.steps, self.total, self.stages[self.stage].difficulty, self._last_profit, best)

    # ------------------------------------------------------------------ build

    def _build(self, saved: dict[str, Any] | None) -> None:
        self.stage = saved["stage"] if saved else 0
        self.world = training_world(self.settings, self.stages[self.stage].difficulty)
        actions = settled(self.agent.actions, self.world)
        agent = self.agent = replace(self.agent, actions=actions)
        stands_on_rule = actions.kind in ON_A_RULE or agent.yardstick
        self.numbers = (actions.params or rule_numbers(actions.rule, self.world)) if stands_on_rule else {}
        self.learner: Learner = make_learner(replace(self.settings, agent=agent), self.world, self.numbers)
        if saved is None:
            self._begin()
        else:
            self._restore(saved)
        describe_policy(self.folder, self.folder.name, agent, self.world, self.numbers, self.learner.env.actions.size)

    def _begin(self) -> None:
        """First scale of observations, and imitation where it is asked for."""
        agent, seed, warm = self.agent, self.settings.seed, self.agent.warm_start
        if not warm.rule and not agent.normalise_observations:
            return
        days = warm.days if warm.rule else PRIMED_DAYS
        steps = max(1, round(days * 86400.0 / self.world.config.dt_ctrl_s))
        experience = gather(self._teacher(), self.world, warm.envs, steps, seed)
        if agent.normalise_observations:
            normalisation(self.network).update(experience.observations)
        if warm.rule:
            error = imitate(self.network, experience, warm.epochs, seed)
            self.tell(f"Imitated {warm.rule} on {len(experience.actions):,} actions; error {error:.3f} (range 2).")

    def _teacher(self) -> Policy:
        """Whose experience a run begins with: the rule to imitate, else what the actions are at zeros."""
        agent = self.agent
        if agent.warm_start.rule:
            return build_rule(agent.warm_start.rule, self.world)
        if agent.actions.kind == "direct":
            return build_rule("always_stock", self.world)
        return MapAsPolicy(build_actions(agent.actions, self.world, self.numbers))

    def _enter_stage(self) -> None:
        """Change to the world of the stage that these steps belong to."""
        ends = np.cumsum([stage.steps for stage in self.stages])
        stage = min(int(np.searchsorted(ends, self.outcome.steps, side="right")), len(self.stages) - 1)
        if stage == self.stage:
            return
        self.stage = stage
        self.world = training_world(self.settings, self.stages[stage].difficulty)
        self.learner.enter(self.world)

    # ------------------------------------------------------------------ judge, save, go on

    @property
    def network(self) -> ActorCriticPolicy:
        """What is trained."""
        return self.learner.network

    def policy(self) -> TrainedPolicy:
        """The network as it is now, as a policy."""
        world = self.judge.world if self.judge else self.world
        actions = build_actions(self.agent.actions, world, self.numbers)
        return TrainedPolicy(self.folder.name, self.network, actions, self.learner.env.repeat)

    def _evaluate(self, trackers: Trackers) -> None:
        if self.judge is None:
            return
        self.network.set_training_mode(False)
        result = Evaluation(self.outcome.steps, self.judge.profit(self.policy()).tolist())
        self.outcome.evaluations.append(result)
        means = [item.mean for item in self.outcome.evaluations]
        self.outcome.best = int(np.argmax(means))
        if self.outcome.best == len(means) - 1:
            save_weights(self.folder / BEST, self.network.state_dict())
        trackers.log({"validation/profit_usd_per_week": result.mean}, self.outcome.steps)

    def _save(self) -> None:
        save_weights(self.folder / LAST, self.network.state_dict())
        save_checkpoint(
            self.folder,
            {
                "steps": self.outcome.steps,
                "iteration": self.iteration,
                "stage": self.stage,
                "cost_weight": self.cost_weight,
                "evaluations": [asdict(item) for item in self.outcome.evaluations],
                "best": self.outcome.best,
                "learner": self.learner.snapshot(),
                "random": random_state(),
            },
        )

    def _restore(self, saved: dict[str, Any]) -> None:
        outcome = self.outcome
        outcome.steps, outcome.best = saved["steps"], saved["best"]
        outcome.evaluations = [Evaluation(**item) for item in saved["evaluations"]]
        self.iteration, self.cost_weight = saved["iteration"], saved["cost_weight"]
        self.learner.restore(saved["learner"])
        set_random_state(saved["random"])
