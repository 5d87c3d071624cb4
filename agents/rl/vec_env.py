"""The native batch as a stable-baselines3 ``VecEnv``: no process and no Python loop per site."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from agents.rl.actions import ActionMap, Direct
from minesim.envs.batch import HashrateTuningVectorEnv
from minesim.errors import ParamsError, explain

SEED_STRIDE = 1_000_003
"""Distance between the seeds of two runs, so that no two share an environment."""
CORE_MEMORY = (
    "seeds",
    "start_row",
    "step_count",
    "_episode",
    "_noise_seed",
    "_row_index",
    "_phase",
    "_row",
    "_block",
    "_noise_block",
    "_block_at",
    "_carry",
)
"""What steps and resets of a core change; all else a core of an equal world has as well."""


class SiteVecEnv(VecEnv):
    """Adapter over :class:`minesim.envs.batch.HashrateTuningVectorEnv`.

    A horizon is no end of the site's life, so a finished row has ``TimeLimit.truncated`` and its last observation in
    its info, and the learner bootstraps from it. Infos of running rows are empty. With ``repeat`` above 1 the rewards
    of the control steps of a decision are summed; when an episode ends in between, what its successor earns before
    the next decision is left out.

    Args:
        env: the batch.
        actions: what the learner's numbers mean.
        repeat: control steps per decision.
        reward_scale: factor on the reward, and on the weighted cost.
        reward_clip: largest size of a scaled reward; 0 for none.

    Attributes:
        cost_weight: reward per unit of constraint cost that is subtracted (set by the trainer).
    """

    def __init__(
        self,
        env: HashrateTuningVectorEnv,
        actions: ActionMap | None = None,
        *,
        repeat: int = 1,
        reward_scale: float = 1.0,
        reward_clip: float = 0.0,
    ) -> None:
        if repeat < 1:
            raise ParamsError(explain(f"repeat is {repeat}", allowed="1 or more control steps"))
        self.env = env
        self.actions = Direct(env.world.action_size) if actions is None else actions
        self.repeat = repeat
        self.reward_scale = reward_scale
        self.reward_clip = reward_clip
        self.cost_weight = 0.0
        self._observation: NDArray[np.float32] = np.zeros(0, np.float32)
        self._raw: NDArray[np.float32] = np.zeros(0, np.float32)
        self._clear_totals()
        super().__init__(
            env.num_envs,
            env.single_observation_space,
            gym.spaces.Box(-1.0, 1.0, shape=(self.actions.size,), dtype=np.float32),
        )

    # ------------------------------------------------------------------ episodes

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Seed the rows from the next reset on."""
        first = int(np.random.default_rng().integers(2**31)) if seed is None else int(seed)
        self._seeds = [first * SEED_STRIDE + row for row in range(self.num_envs)]
        return self._seeds

    def reset(self) -> NDArray[np.float32]:
        """Begin all episodes."""
        seeds = self._seeds if self._seeds[0] is not None else None
        self._observation, _ = self.env.reset(seed=seeds)
        self._reset_seeds()
        self._reset_options()
        self.actions.reset()
        return self._observation

    def step_async(self, actions: NDArray[np.float32]) -> None:
        """Keep the numbers for :meth:`step_wait`."""
        self._raw = actions

    def step_wait(self) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        """Advance all rows by one decision."""
        reward = np.zeros(self.num_envs)
        done = np.zeros(self.num_envs, bool)
        infos: list[dict[str, Any]] = [{}] * self.num_envs
        observation = self._observation
        for _ in range(self.repeat):
            action = self.actions.action(observation, self._raw)
            observation, gain, _, truncated, info = self.env.step(action)
            alive = ~done
            reward += alive * (gain - self.cost_weight * info["cost"])
            self._count(gain, info)
            if truncated.any():
                self.actions.reset(truncated)
                for row in np.flatnonzero(truncated & alive):
                    infos[row] = {"terminal_observation": info["final_obs"][row], "TimeLimit.truncated": True}
                done |= truncated
        self._observation = observation
        reward *= self.reward_scale
        if self.reward_clip > 0.0:
            reward = np.clip(reward, -self.reward_clip, self.reward_clip)
        return observation, reward.astype(np.float32), done, infos

    # ------------------------------------------------------------------ what happened

    def _clear_totals(self) -> None:
        self._steps, self._reward, self._cost, self._profit_usd = 0, 0.0, 0.0, 0.0

    def _count(self, reward: NDArray[np.floating], info: dict[str, Any]) -> None:
        self._steps += self.num_envs
        self._reward += float(reward.sum())
        self._cost += float(info["cost"].sum())
        self._profit_usd += float(info["profit_usd"].sum())

    def take_means(self) -> dict[str, float]:
        """Mean reward and cost of a control step, and profit in USD a week, since the last call."""
        steps = max(self._steps, 1)
        steps_per_week = 7.0 * 86400.0 / self.env.world.config.dt_ctrl_s
        means = {
            "reward": self._reward / steps,
            "cost": self._cost / steps,
            "profit_usd_per_week": self._profit_usd / steps * steps_per_week,
        }
        self._clear_totals()
        return means

    # ------------------------------------------------------------------ stop and go on

    def snapshot(self) -> dict[str, Any]:
        """Everything that :meth:`restore` needs to go on from here, bit for bit."""
        core = vars(self.env.core)
        return {
            "core": {name: core[name] for name in CORE_MEMORY if name in core},
            "early": self.env._early,
            "seeded": self.env._seeded,
            "actions": self.actions,
            "observation": self._observation,
            "cost_weight": self.cost_weight,
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go on from a snapshot of an equal environment."""
        for name, value in snapshot["core"].items():
            setattr(self.env.core, name, value)
        self.env._early = snapshot["early"]
        self.env._seeded = snapshot["seeded"]
        self.actions = snapshot["actions"]
        self._observation = snapshot["observation"]
        self.cost_weight = snapshot["cost_weight"]

    # ------------------------------------------------------------------ the rest of the interface

    def close(self) -> None:
        """Close the batch."""
        self.env.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """An attribute of the batch, once for every row asked for."""
        return [getattr(self.env, attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Refuse: rows share one batch."""
        raise NotImplementedError("rows of a batch have no attributes of their own")

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """Refuse: rows share one batch."""
        raise NotImplementedError("rows of a batch have no methods of their own")

    def env_is_wrapped(self, wrapper_class: type[gym.Wrapper], indices: Any = None) -> list[bool]:
        """No row is wrapped."""
        return [False] * len(list(self._get_indices(indices)))
