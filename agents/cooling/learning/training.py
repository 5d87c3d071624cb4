"""A training run: some episodes at a time; between them it is judged, saved, stopped and gone on with.

A run that goes on begins new episodes with what it has learned and seen, so it is not bit for bit one that was never
stopped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3 import SAC
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import VecEnv

from agents.cooling.episodes import play, week_rows
from agents.cooling.knowledge import knowledge_of
from agents.cooling.learning.graph import GraphFeatures
from agents.cooling.learning.halls import TrainingHalls
from agents.cooling.learning.policy import BEST, Meaning, SacPolicy, describe_policy, network_options
from agents.cooling.learning.settings import DIRECT, SacSettings, TrainCoolingSettings
from agents.cooling.shield import Shield, Shielded
from agents.cooling.steady import SteadyBest, steady_map
from agents.rl.checkpoint import random_state, save_checkpoint, save_weights, set_random_state
from agents.rl.network import NormalisedObservation
from agents.rl.resumable import Course, ResumableTraining
from agents.rl.tracking import Trackers
from minesim.bench.files import content_hash
from minesim.control.policy import Policy
from minesim.envs.cooling_core import CoolingCore, CoolingWorld

CHUNK = 144
"""Control steps of each hall between two rests."""
PRIMED_STEPS = 288
"""Control steps of each hall from which the scale of observations is taken."""
SHOWN = ("train/actor_loss", "train/critic_loss", "train/ent_coef")
FILLED = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")


@dataclass
class Judgement:
    """Validation weeks under a policy.

    Attributes:
        steps: control steps trained before.
        cost_usd, violations: of each week.
    """

    steps: int
    cost_usd: list[float]
    violations: list[float]

    def fined(self, fine_usd: float) -> float:
        """Mean cost of a week with fines, USD."""
        return float(np.mean(self.cost_usd) + fine_usd * np.mean(self.violations))


@dataclass
class Outcome(Course):
    """What a run has come to; its steps are control steps of all halls together.

    Attributes:
        judgements: in order; the first is of the untrained network.
        rule: the same weeks under the rule that the actions may stand on.
    """

    judgements: list[Judgement] = field(default_factory=list)
    rule: Judgement | None = None

    def best(self, fine_usd: float) -> int:
        """Number of the best judgement."""
        return int(np.argmin([item.fined(fine_usd) for item in self.judgements]))


def make_learner(agent: SacSettings, world: CoolingWorld, halls: VecEnv, seed: int) -> SAC:
    """A silent learner that has learned nothing; where it adds to a rule, its mean is the rule.

    Args:
        agent: the recipe.
        world: hall and task.
        halls: what it acts in.
        seed: of weights, exploration and batches; set for the whole process, as stable-baselines3 does.
    """
    learner = SAC(
        "MlpPolicy",
        halls,
        learning_rate=agent.learning_rate,
        buffer_size=agent.buffer_size,
        learning_starts=agent.learning_starts,
        batch_size=agent.batch_size,
        tau=agent.tau,
        gamma=agent.discount(world.config.dt_s),
        train_freq=(1, "step"),
        gradient_steps=agent.updates,
        ent_coef=f"auto_{agent.entropy_start:g}",
        policy_kwargs=network_options(agent, world),
        device="cpu",
        seed=seed,
    )
    learner.set_logger(Logger(folder=None, output_formats=[]))
    if agent.actions != DIRECT:
        with torch.no_grad():
            for part in learner.policy.actor.mu.parameters():
                part.zero_()
    return learner


class CoolingTraining(ResumableTraining[Outcome, Outcome]):
    """A run in cooled halls.

    Args:
        settings: checked settings.
        tell: for notices.

    Raises:
        MinesimError: an impossible value.
    """

    def __init__(self, settings: TrainCoolingSettings, tell: Callable[[str], None] = lambda text: None) -> None:
        settings.check()
        self.settings, self.agent = settings, settings.agent
        content = asdict(settings)
        for key in ("out", "tracking", "steps", "evaluate_every", "threads"):
            del content[key]
        name = f"{self.agent.name}-{settings.climate}-s{settings.seed}-{content_hash(content)[:8]}"
        super().__init__(
            settings,
            Path(settings.out) / name,
            Outcome(),
            settings.steps,
            evaluate_every=settings.evaluate_every,
            checkpoint_every=settings.evaluate_every,
            tell=tell,
        )

    # ------------------------------------------------------------------ run

    def _start(self, trackers: Trackers) -> None:
        if self.outcome.rule is None:
            self.outcome.rule = self._judge(SteadyBest(knowledge_of(self.judged), self.steady))
            self._evaluate(trackers)

    def _iterate(self) -> dict[str, float]:
        model = self.model
        # It is declared an int, but None is what turns its own log off.
        model.learn(CHUNK * self.agent.envs, log_interval=None, reset_num_timesteps=False)  # type: ignore[arg-type]
        self.outcome.steps = int(model.num_timesteps)
        logged = model.logger.name_to_value
        return {**self.halls.take_means(), **{name: float(logged[name]) for name in SHOWN if name in logged}}

    def _progress(self) -> Outcome:
        return self.outcome

    # ------------------------------------------------------------------ build

    def _build(self, saved: dict[str, Any] | None) -> None:
        settings, agent = self.settings, self.agent
        torch.set_num_threads(settings.threads)
        world, self.judged = settings.world(agent.episode_days), settings.world(7.0)
        self.rows = week_rows(self.judged, "validation", settings.validation_every)
        self.steady = steady_map(world)
        rule = SteadyBest(knowledge_of(world), self.steady)
        meaning = Meaning(agent, world, self.steady)
        self.halls = TrainingHalls(world, agent, meaning, rule if agent.yardstick else None, settings.seed)
        self.halls.begin(0 if saved is None else saved["episode"])
        self.model = make_learner(agent, world, self.halls, settings.seed)
        if saved is None:
            self._prime(rule)
        else:
            self._restore(saved)
        describe_policy(self.folder, self.folder.name, agent, world)

    def _prime(self, rule: SteadyBest) -> None:
        """First scale of observations, from the rule's halls with actions scattered around its own."""
        rng = np.random.default_rng([self.settings.seed, 1])
        core = CoolingCore(self.halls.world, self.agent.envs)
        core.seed(self.halls.run_seeds)
        seen = [core.reset()]
        for _ in range(PRIMED_STEPS):
            action = rule.act(seen[-1])
            seen.append(core.step(np.clip(action + 0.3 * rng.standard_normal(action.shape), -1.0, 1.0)).observation)
        policy = self.model.policy
        for part in (policy.actor, policy.critic, policy.critic_target):
            extractor = part.features_extractor
            assert isinstance(extractor, NormalisedObservation | GraphFeatures), "see network_options"
            extractor.update(np.stack(seen))

    # ------------------------------------------------------------------ judge, save, go on

    def _judge(self, policy: Policy) -> Judgement:
        found = play(policy, self.judged, self.rows, np.arange(len(self.rows)))
        return Judgement(self.outcome.steps, found["cost_usd"].tolist(), found["violations"].tolist())

    def _evaluate(self, trackers: Trackers) -> None:
        policy: Policy = SacPolicy(
            self.folder.name, self.model.policy.actor, Meaning(self.agent, self.judged, self.steady)
        )
        if self.agent.shielded:
            policy = Shielded(policy, Shield(self.judged))
        self.model.policy.set_training_mode(False)
        outcome, fine_usd = self.outcome, self.settings.fine_usd
        outcome.judgements.append(self._judge(policy))
        if outcome.best(fine_usd) == len(outcome.judgements) - 1:
            save_weights(self.folder / BEST, self.model.policy.state_dict())
        trackers.log({"validation/fined_usd_per_week": outcome.judgements[-1].fined(fine_usd)}, outcome.steps)

    def _save(self) -> None:
        model, buffer, outcome = self.model, self._buffer, self.outcome
        filled = buffer.buffer_size if buffer.full else buffer.pos
        save_checkpoint(
            self.folder,
            {
                "steps": outcome.steps,
                "episode": self.halls.episode,
                "judgements": [asdict(item) for item in outcome.judgements],
                "rule": None if outcome.rule is None else asdict(outcome.rule),
                "policy": model.policy.state_dict(),
                "optimisers": [item.state_dict() for item in self._optimisers()],
                "log_ent_coef": self._log_ent_coef.detach(),
                "buffer": {name: getattr(buffer, name)[:filled] for name in FILLED},
                "place": (buffer.pos, buffer.full),
                "random": random_state(),
            },
        )

    @property
    def _buffer(self) -> ReplayBuffer:
        buffer = self.model.replay_buffer
        assert buffer is not None, "SAC has made it"
        return buffer

    @property
    def _log_ent_coef(self) -> torch.Tensor:
        weight = self.model.log_ent_coef
        assert weight is not None, "the weight of the entropy is learned"
        return weight

    def _optimisers(self) -> list[Any]:
        model = self.model
        return [model.actor.optimizer, model.critic.optimizer, model.ent_coef_optimizer]

    def _restore(self, saved: dict[str, Any]) -> None:
        model, buffer, outcome = self.model, self._buffer, self.outcome
        outcome.steps = model.num_timesteps = saved["steps"]
        outcome.judgements = [Judgement(**item) for item in saved["judgements"]]
        outcome.rule = None if saved["rule"] is None else Judgement(**saved["rule"])
        model.policy.load_state_dict(saved["policy"])
        for item, state in zip(self._optimisers(), saved["optimisers"], strict=True):
            item.load_state_dict(state)
        with torch.no_grad():
            self._log_ent_coef.copy_(saved["log_ent_coef"])
        for name, values in saved["buffer"].items():
            getattr(buffer, name)[: len(values)] = values
        buffer.pos, buffer.full = saved["place"]
        set_random_state(saved["random"])
