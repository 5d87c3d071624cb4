"""The batch as a learner meets it: decisions instead of control steps, in numpy or torch.

What is the same for all learners is here once; :mod:`agents.rl.vec_env` and :mod:`agents.rl.torch_env` give it the
shape that their libraries expect.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from agents.baselines import Rule
from agents.rl.actions import ActionMap, Direct
from minesim.arrays import Array
from minesim.envs.batch import HashrateTuningVectorEnv
from minesim.envs.core import World
from minesim.envs.torch_batch import TorchBatch
from minesim.errors import ParamsError, explain

SEED_STRIDE = 1_000_003
"""Distance between the seeds of two runs, so that no two share an environment."""
Batch = HashrateTuningVectorEnv | TorchBatch
Flags = NDArray[np.bool_]


def seeds_of(seed: int, rows: int) -> list[int]:
    """Seed of each row of a run."""
    return [seed * SEED_STRIDE + row for row in range(rows)]


class Moment(NamedTuple):
    """One control step of a batch: (B, n_obs) and (B,) arrays of its kind; ``ended`` stays on the host.

    ``final`` holds the last observations of the rows that ended; other rows hold anything.
    """

    observation: Array
    reward: Array
    cost: Array
    profit_usd: Array
    ended: Flags
    final: Array


class Decision(NamedTuple):
    """What came of a decision: reward scaled and clipped, float32; ``final`` is None where no row ended."""

    observation: Array
    reward: Array
    ended: Flags
    final: Array | None


def control_step(env: Batch, action: Array) -> Moment:
    """Advance a batch of either kind by one control step."""
    if isinstance(env, TorchBatch):
        step = env.step(action)
        # A row that has just begun is one that has ended; counters are on the host, so nothing waits for a device.
        ended = env.core.step_count == 0
        return Moment(step.observation, step.reward, step.cost, step.info["profit_usd"], ended, step.final_observation)
    observation, reward, _, ended, info = env.step(action)
    final = observation
    if ended.any():
        final = observation.copy()
        final[ended] = np.stack(list(info["final_obs"][ended]))
    return Moment(observation, reward, info["cost"], info["profit_usd"], ended, final)


def begin_batch(env: Batch, seeds: list[int] | None) -> Array:
    """Begin all episodes of a batch of either kind, from these seeds where given; observations (B, n_obs)."""
    if isinstance(env, TorchBatch):
        if seeds is not None:
            env.core.seed(seeds)
        return env.reset()
    return env.reset(seed=seeds)[0]


def batch_snapshot(env: Batch) -> dict[str, Any]:
    """Everything that :func:`restore_batch` needs for an equal batch to go on from here."""
    return {"core": env.core.snapshot(), "early": env._early}


def restore_batch(env: Batch, snapshot: dict[str, Any]) -> None:
    """Go on from a snapshot of an equal batch."""
    env.core.restore(snapshot["core"])
    env._early = snapshot["early"]
    if isinstance(env, HashrateTuningVectorEnv):
        env._seeded = True


class Yardstick:
    """The same sites on the same draws, run by a rule; what they earn is subtracted from a learner's reward.

    Most of a reward is the price of the coin and of energy, whatever is decided. What the rule earns at the same moment
    knows it, and does not depend on the learner's actions: the mean gradient stays as it is, its scatter falls.

    Args:
        env: a batch made like the learner's.
        rule: who runs it.
    """

    def __init__(self, env: Batch, rule: Rule) -> None:
        self.env, self.rule = env, rule
        self._observation: Array = np.zeros(0, np.float32)

    def begin(self, seeds: list[int] | None, learners: Array) -> None:
        """Begin all episodes like the learner, whose first observations are given.

        Raises:
            ParamsError: the learner's sites begin elsewhere.
        """
        self._observation = begin_batch(self.env, seeds)
        self.rule.reset()
        if not bool((self._observation == learners).all()):
            raise ParamsError(
                explain("the yardstick begins on other draws", fix="Seed both batches alike before they begin.")
            )

    def step(self) -> Array:
        """Advance by one control step; reward of the rule, (B,)."""
        moment = control_step(self.env, self.rule.act(self._observation))
        self._observation = moment.observation
        if moment.ended.any():
            self.rule.reset(self.env.core.flags(moment.ended))
        return moment.reward

    def snapshot(self) -> dict[str, Any]:
        """Batch, rule and place."""
        return {"batch": batch_snapshot(self.env), "rule": self.rule, "observation": self._observation}

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go on from a snapshot."""
        restore_batch(self.env, snapshot["batch"])
        self.rule, self._observation = snapshot["rule"], snapshot["observation"]


class TrainingSites:
    """A batch, what the learner's numbers mean, and what it is paid.

    A horizon is no end of a site's life, so ``final`` is there to bootstrap from. With ``repeat`` above 1 the rewards
    of the control steps of a decision are summed; when an episode ends in between, what its successor earns before
    the next decision is left out.

    Args:
        env: the batch.
        actions: what the learner's numbers mean; the action itself when None.
        repeat: control steps per decision.
        reward_scale: factor on the reward, and on the weighted cost.
        reward_clip: largest size of a scaled reward; 0 for none.
        yardstick: whose reward is subtracted; None for none.

    Attributes:
        cost_weight: reward per unit of constraint cost that is subtracted (set by the trainer).

    Raises:
        ParamsError: no control step per decision.
    """

    def __init__(
        self,
        env: Batch,
        actions: ActionMap | None = None,
        *,
        repeat: int = 1,
        reward_scale: float = 1.0,
        reward_clip: float = 0.0,
        yardstick: Yardstick | None = None,
    ) -> None:
        if repeat < 1:
            raise ParamsError(explain(f"repeat is {repeat}", allowed="1 or more control steps"))
        self.env = env
        self.xp = env.core.xp
        self.actions = Direct(env.world.action_size) if actions is None else actions
        self.repeat = repeat
        self.reward_scale = reward_scale
        self.reward_clip = reward_clip
        self.yardstick = yardstick
        self.cost_weight = 0.0
        self._observation: Array = np.zeros(0, np.float32)
        self._clear_totals()

    @property
    def world(self) -> World:
        """What all rows share."""
        return self.env.world

    # ------------------------------------------------------------------ episodes

    def begin(self, seeds: list[int] | None) -> Array:
        """Begin all episodes, from these seeds where given; observations (B, n_obs)."""
        self._observation = begin_batch(self.env, seeds)
        if self.yardstick is not None:
            self.yardstick.begin(seeds, self._observation)
        self.actions.reset()
        return self._observation

    def decide(self, raw: Array) -> Decision:
        """Advance all rows by one decision, the numbers (B, size) in [-1, 1] of the learner."""
        core, xp = self.env.core, self.xp
        ended = np.zeros(self.env.num_envs, bool)
        observation, final = self._observation, None
        reward: Array = 0.0
        for _ in range(self.repeat):
            moment = control_step(self.env, self.actions.action(observation, raw))
            self._count(moment)
            gain = moment.reward
            if self.yardstick is not None:
                gain = gain - self.yardstick.step()
            if self.cost_weight > 0.0:
                gain = gain - self.cost_weight * moment.cost
            reward = reward + (gain * core.flags(~ended) if final is not None else gain)
            observation = moment.observation
            if moment.ended.any():
                self.actions.reset(core.flags(moment.ended))
                first = core.flags(moment.ended & ~ended)[:, None]
                final = moment.final if final is None else xp.where(first, moment.final, final)
                ended = ended | moment.ended
        self._observation = observation
        reward = reward * self.reward_scale
        if self.reward_clip > 0.0:
            reward = xp.clip(reward, -self.reward_clip, self.reward_clip)
        return Decision(observation, xp.cast(reward, observation), ended, final)

    # ------------------------------------------------------------------ what happened

    def _clear_totals(self) -> None:
        self._steps, self._reward, self._cost, self._profit_usd = 0, 0.0, 0.0, 0.0

    def _count(self, moment: Moment) -> None:
        self._steps += self.env.num_envs
        self._reward = self._reward + moment.reward.sum()
        self._cost = self._cost + moment.cost.sum()
        self._profit_usd = self._profit_usd + moment.profit_usd.sum()

    def take_means(self) -> dict[str, float]:
        """Mean reward and cost of a control step, and profit in USD a week, since the last call."""
        steps = max(self._steps, 1)
        steps_per_week = 7.0 * 86400.0 / self.world.config.dt_ctrl_s
        means = {
            "reward": float(self._reward) / steps,
            "cost": float(self._cost) / steps,
            "profit_usd_per_week": float(self._profit_usd) / steps * steps_per_week,
        }
        self._clear_totals()
        return means

    # ------------------------------------------------------------------ stop and go on

    def snapshot(self) -> dict[str, Any]:
        """Everything that :meth:`restore` needs to go on from here, bit for bit."""
        return {
            "batch": batch_snapshot(self.env),
            "yardstick": None if self.yardstick is None else self.yardstick.snapshot(),
            "actions": self.actions,
            "observation": self._observation,
            "cost_weight": self.cost_weight,
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go on from a snapshot of equal sites."""
        restore_batch(self.env, snapshot["batch"])
        if self.yardstick is not None:
            self.yardstick.restore(snapshot["yardstick"])
        self.actions = snapshot["actions"]
        self._observation = snapshot["observation"]
        self.cost_weight = snapshot["cost_weight"]
