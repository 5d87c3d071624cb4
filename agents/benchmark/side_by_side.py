"""Several policies that drive rows of one batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minesim.arrays import Array
from minesim.control.policy import Policy
from minesim.errors import ParamsError, explain


class SideBySide:
    """Policies as one, each on its own rows.

    Args:
        name: for reports.
        policies: who drives.
        of_row: number of the policy of each row, (B,).

    Raises:
        ParamsError: a row of no policy.
    """

    def __init__(self, name: str, policies: Sequence[Policy], of_row: np.ndarray) -> None:
        self.name = name
        self.policies = tuple(policies)
        if not np.isin(of_row, np.arange(len(self.policies))).all():
            raise ParamsError(explain(f"rows are driven by {np.unique(of_row)}", allowed=f"0 to {len(policies) - 1}"))
        self._rows = [np.flatnonzero(of_row == number) for number in range(len(self.policies))]

    def act(self, observation: Array) -> Array:
        """Actions of all rows."""
        parts = [policy.act(observation[rows]) for policy, rows in zip(self.policies, self._rows, strict=True)]
        action = np.empty((len(observation), parts[0].shape[-1]), parts[0].dtype)
        for part, rows in zip(parts, self._rows, strict=True):
            action[rows] = part
        return action

    def reset(self, done: Array | None = None) -> None:
        """Reset every policy on its rows."""
        for policy, rows in zip(self.policies, self._rows, strict=True):
            policy.reset(None if done is None else done[rows])
