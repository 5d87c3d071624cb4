"""Train PPO (stable-baselines3) over the batch, one training iteration at a time.

Between iterations everything is at rest: there the run is judged, saved, stopped and gone on with.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3 import PPO
from stable_baselines3.common.logger import Logger

from agents.rl.actions import RuleResidual, build_actions, build_rule, rule_numbers
from agents.rl.checkpoint import (
    borrowed_random_state,
    load_checkpoint,
    random_state,
    save_checkpoint,
    save_weights,
    set_random_state,
)
from agents.rl.evaluation import Judge
from agents.rl.network import policy_options
from agents.rl.policy import BEST, LAST, TrainedPolicy, describe_policy
from agents.rl.settings import TrainSettings
from agents.rl.tracking import Trackers, open_tracking
from agents.rl.vec_env import SiteVecEnv
from agents.rl.warm_start import MapAsPolicy, gather, imitate, is_actor
from minesim.bench.files import content_hash
from minesim.envs.batch import HashrateTuningVectorEnv
from minesim.envs.core import EnvConfig, World, build_world
from minesim.tasks.hashrate import HashrateTask

PRIMED_DAYS = 1.0
"""Experience from which the first scale of observations is taken."""
SHOWN = ("train/approx_kl", "train/clip_fraction", "train/explained_variance", "train/value_loss", "train/std")


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
class Outcome:
    """What a run has come to.

    Attributes:
        steps: control steps trained.
        finished: whether all were.
        trained_s: seconds of this call spent in training iterations.
        trained_steps: control steps of this call.
        evaluations: all judgements, in order.
        best: number of the best one.
    """

    steps: int
    finished: bool
    trained_s: float = 0.0
    trained_steps: int = 0
    evaluations: list[Evaluation] = field(default_factory=list)
    best: int = -1

    def best_profit(self) -> NDArray[np.float64]:
        """Profit of the best policy, (weeks, seeds)."""
        return np.asarray(self.evaluations[self.best].profit)


def never() -> bool:
    """No stop asked for."""
    return False


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


class Training:
    """A training run in its folder; made again over the same folder it goes on where it stopped.

    Args:
        settings: checked settings.
        folder: of the run; by default :func:`run_folder`.
        judge: how policies are judged; None judges none.
        tell: for notices.
    """

    def __init__(
        self,
        settings: TrainSettings,
        folder: Path | None = None,
        judge: Judge | None = None,
        tell: Callable[[str], None] = lambda text: None,
    ) -> None:
        settings.check()
        self.settings, self.agent = settings, settings.agent
        self.folder = run_folder(settings) if folder is None else folder
        self.judge, self.tell = judge, tell
        self.total = settings.total_steps()
        self.stages = settings.stages()
        self.outcome = Outcome(0, False)
        self.iteration = 0
        self.stage = 0
        self.cost_weight = self.agent.constraint.weight if self.agent.constraint.kind != "none" else 0.0
        self._last_profit = float("nan")

    # ------------------------------------------------------------------ run

    def run(
        self, stop: Callable[[], bool] = never, on_progress: Callable[[Progress], None] = lambda progress: None
    ) -> Outcome:
        """Train until all steps are done or ``stop`` says so, from the checkpoint where there is one.

        Raises:
            MinesimError: settings that cannot be met, or a damaged checkpoint.
        """
        with borrowed_random_state():
            saved = load_checkpoint(self.folder)
            self._build(saved)
            trackers = open_tracking(
                self.folder, self.settings.tracking, asdict(self.settings), self.outcome.steps, self.tell
            )
            try:
                self._train(trackers, stop, on_progress)
            finally:
                trackers.close()
        return self.outcome

    def _train(self, trackers: Trackers, stop: Callable[[], bool], on_progress: Callable[[Progress], None]) -> None:
        trainer, outcome = self.settings.trainer, self.outcome
        if not outcome.steps and not outcome.evaluations and trainer.evaluate_every:
            self._evaluate(trackers)
            self._save()
        on_progress(self._progress())
        saved_at = outcome.steps
        while outcome.steps < self.total and not stop():
            self._enter_stage()
            began, before = time.monotonic(), outcome.steps
            values = self._iterate()
            outcome.trained_s += time.monotonic() - began
            outcome.trained_steps += outcome.steps - before
            trackers.log(values, outcome.steps)
            last = outcome.steps >= self.total
            if last or self._crossed(before, trainer.evaluate_every):
                self._evaluate(trackers)
            if last or self._crossed(saved_at, trainer.checkpoint_every):
                self._save()
                saved_at = outcome.steps
            on_progress(self._progress())
        outcome.finished = outcome.steps >= self.total
        if saved_at != outcome.steps:
            self._save()

    def _crossed(self, before: int, every: int) -> bool:
        return every > 0 and self.outcome.steps // every > before // every

    def _iterate(self) -> dict[str, float]:
        """One iteration: gather, learn, then take observations and costs into account."""
        agent, model = self.agent, self.model
        for name, weight in model.policy.named_parameters():
            weight.requires_grad_(self.iteration >= agent.frozen_iterations or not is_actor(name))
        self.env.cost_weight = self.cost_weight
        model.learn(agent.envs * agent.n_steps, log_interval=None, reset_num_timesteps=False)
        self.iteration += 1
        self.outcome.steps += agent.envs * agent.n_steps * self.env.repeat
        means = self.env.take_means()
        self._last_profit = means["profit_usd_per_week"]
        constraint = agent.constraint
        if constraint.kind == "lagrangian":
            self.cost_weight = max(0.0, self.cost_weight + constraint.step * (means["cost"] - constraint.limit))
        if agent.normalise_observations:
            model.policy.features_extractor.update(model.rollout_buffer.observations)
        learned = {
            name: float(model.logger.name_to_value[name]) for name in SHOWN if name in model.logger.name_to_value
        }
        model.logger.name_to_value.clear()
        return {
            **{f"train/{name}": value for name, value in means.items()},
            "train/cost_weight": self.cost_weight,
        } | learned

    def _progress(self) -> Progress:
        best = self.outcome.evaluations[self.outcome.best].mean if self.outcome.evaluations else float("nan")
        return Progress(self.outcome.steps, self.total, self.stages[self.stage].difficulty, self._last_profit, best)

    # ------------------------------------------------------------------ build

    def _build(self, saved: dict[str, Any] | None) -> None:
        agent, seed = self.agent, self.settings.seed
        self.stage = saved["stage"] if saved else 0
        self.world = training_world(self.settings, self.stages[self.stage].difficulty)
        self.numbers = rule_numbers(agent.actions.rule, self.world) if agent.actions.kind == "residual" else {}
        self.env = self._make_env(self.world)
        self.model = PPO(
            "MlpPolicy",
            self.env,
            learning_rate=agent.learning_rate,
            n_steps=agent.n_steps,
            batch_size=agent.batch_size,
            n_epochs=agent.epochs,
            gamma=agent.discount(),
            gae_lambda=agent.gae_lambda,
            clip_range=agent.clip_range,
            ent_coef=agent.ent_coef,
            vf_coef=agent.vf_coef,
            max_grad_norm=agent.max_grad_norm,
            target_kl=agent.target_kl,
            policy_kwargs=policy_options(agent),
            device=self.settings.trainer.device,
            seed=seed,
        )
        self.model.set_logger(Logger(folder=None, output_formats=[]))
        if saved is None:
            self._begin()
        else:
            self._restore(saved)
        describe_policy(self.folder, self.folder.name, agent, self.world, self.numbers, self.env.actions.size)

    def _make_env(self, world: World) -> SiteVecEnv:
        agent = self.agent
        return SiteVecEnv(
            HashrateTuningVectorEnv(agent.envs, world=world, stagger=True),
            build_actions(agent.actions, world, self.numbers),
            repeat=agent.repeat(world.config.dt_ctrl_s),
            reward_scale=agent.scale(),
            reward_clip=agent.reward_clip,
        )

    def _begin(self) -> None:
        """First scale of observations, and imitation where it is asked for."""
        agent, seed = self.agent, self.settings.seed
        warm = agent.warm_start
        if not warm.rule and not agent.normalise_observations:
            return
        if warm.rule:
            teacher: Any = build_rule(warm.rule, self.world)
        elif isinstance(self.env.actions, RuleResidual) or agent.actions.kind == "shadow_price":
            teacher = MapAsPolicy(build_actions(agent.actions, self.world, self.numbers))
        else:
            teacher = build_rule("always_stock", self.world)
        days = warm.days if warm.rule else PRIMED_DAYS
        steps = max(1, round(days * 86400.0 / self.world.config.dt_ctrl_s))
        experience = gather(teacher, self.world, warm.envs, steps, seed)
        if agent.normalise_observations:
            self.model.policy.features_extractor.update(experience.observations)
        if warm.rule:
            error = imitate(self.model.policy, experience, warm.epochs, seed)
            self.tell(f"Imitated {warm.rule} on {len(experience.actions):,} actions; error {error:.3f} (range 2).")

    def _enter_stage(self) -> None:
        """Change to the world of the stage that these steps belong to."""
        ends = np.cumsum([stage.steps for stage in self.stages])
        stage = min(int(np.searchsorted(ends, self.outcome.steps, side="right")), len(self.stages) - 1)
        if stage == self.stage:
            return
        self.stage = stage
        self.world = training_world(self.settings, self.stages[stage].difficulty)
        self.env.close()
        self.env = self._make_env(self.world)
        self.env.seed(self.settings.seed)
        self.model.set_env(self.env)

    # ------------------------------------------------------------------ judge, save, go on

    def policy(self) -> TrainedPolicy:
        """The network as it is now, as a policy."""
        world = self.judge.world if self.judge else self.world
        actions = build_actions(self.agent.actions, world, self.numbers)
        return TrainedPolicy(self.folder.name, self.model.policy, actions, self.env.repeat)

    def _evaluate(self, trackers: Trackers) -> None:
        if self.judge is None:
            return
        self.model.policy.set_training_mode(False)
        result = Evaluation(self.outcome.steps, self.judge.profit(self.policy()).tolist())
        self.outcome.evaluations.append(result)
        means = [item.mean for item in self.outcome.evaluations]
        self.outcome.best = int(np.argmax(means))
        if self.outcome.best == len(means) - 1:
            save_weights(self.folder / BEST, self.model.policy.state_dict())
        trackers.log({"validation/profit_usd_per_week": result.mean}, self.outcome.steps)

    def _save(self) -> None:
        model = self.model
        save_weights(self.folder / LAST, model.policy.state_dict())
        save_checkpoint(
            self.folder,
            {
                "steps": self.outcome.steps,
                "iteration": self.iteration,
                "stage": self.stage,
                "cost_weight": self.cost_weight,
                "evaluations": [asdict(item) for item in self.outcome.evaluations],
                "best": self.outcome.best,
                "policy": model.policy.state_dict(),
                "optimiser": model.policy.optimizer.state_dict(),
                "num_timesteps": model.num_timesteps,
                "n_updates": model._n_updates,
                "last_obs": model._last_obs,
                "last_episode_starts": model._last_episode_starts,
                "env": None if model._last_obs is None else self.env.snapshot(),
                "random": random_state(),
            },
        )

    def _restore(self, saved: dict[str, Any]) -> None:
        model, outcome = self.model, self.outcome
        outcome.steps, outcome.best = saved["steps"], saved["best"]
        outcome.evaluations = [Evaluation(**item) for item in saved["evaluations"]]
        self.iteration, self.cost_weight = saved["iteration"], saved["cost_weight"]
        model.policy.load_state_dict(saved["policy"])
        model.policy.optimizer.load_state_dict(saved["optimiser"])
        model.num_timesteps, model._n_updates = saved["num_timesteps"], saved["n_updates"]
        model._last_obs, model._last_episode_starts = saved["last_obs"], saved["last_episode_starts"]
        if saved["env"] is not None:
            self.env.restore(saved["env"])
        set_random_state(saved["random"])
