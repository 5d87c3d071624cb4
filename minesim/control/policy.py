"""What a policy is: observations in, actions out; rules, MPC and learned policies alike."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from minesim.arrays import Array


@runtime_checkable
class Policy(Protocol):
    """A controller that sees observations only.

    ``act`` takes observations (..., n_obs) and returns actions (..., n_act) in [-1, 1]; leading dimensions are sites
    of a batch. ``reset`` forgets memory of the rows where ``done`` is true (all rows when it is None), so that a
    policy with memory can run in a batch.
    """

    name: str

    def act(self, observation: Array) -> Array:
        """Actions for these observations."""
        ...

    def reset(self, done: Array | None = None) -> None:
        """Forget memory for finished rows."""
        ...
