"""A native batch as a stable-baselines3 ``VecEnv``: the part of the interface that is about single environments."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import gymnasium as gym
from stable_baselines3.common.vec_env import VecEnv


class BatchVecEnv(VecEnv):
    """A ``VecEnv`` whose rows are one batch, so that none has attributes or methods of its own."""

    @property
    @abstractmethod
    def shared(self) -> Any:
        """Whose attributes all rows have."""

    def close(self) -> None:
        """Nothing is open."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """An attribute that all rows share, once for every row asked for."""
        value = None if attr_name == "render_mode" else getattr(self.shared, attr_name)
        return [value] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Refuse: rows share one batch."""
        raise NotImplementedError("rows of a batch have no attributes of their own")

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """Refuse: rows share one batch."""
        raise NotImplementedError("rows of a batch have no methods of their own")

    def env_is_wrapped(self, wrapper_class: type[gym.Wrapper], indices: Any = None) -> list[bool]:
        """No row is wrapped."""
        return [False] * len(list(self._get_indices(indices)))
