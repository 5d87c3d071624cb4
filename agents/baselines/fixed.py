"""Rules that never look at the market."""

from __future__ import annotations

from dataclasses import dataclass

from agents.baselines.base import Knowledge, Rule
from minesim.arrays import Array, Namespace
from minesim.control.actuate import FleetCurves


class AlwaysStock(Rule):
    """Every miner at its stock setting, always: what most sites do, and the baseline of all comparisons."""

    name = "always_stock"

    def levels(self, observation: Array, fleet: FleetCurves, *, xp: Namespace) -> Array:
        """Level 1 everywhere."""
        return xp.ones_like(self.knowledge.schema.read(observation, "level"))


@dataclass(frozen=True)
class FixedPresetParams:
    """Parameters of :class:`BestFixedPreset`.

    Attributes:
        level: share of rated power at which every cohort runs all the time, 0 to 1.
    """

    level: float = 0.8


class BestFixedPreset(Rule):
    """Every cohort at the same share of its rated power, all the time; the share is tuned."""

    name = "best_fixed_preset"

    def __init__(self, knowledge: Knowledge, params: FixedPresetParams | None = None) -> None:
        super().__init__(knowledge)
        self.params = params or FixedPresetParams()

    def levels(self, observation: Array, fleet: FleetCurves, *, xp: Namespace) -> Array:
        """The tuned level everywhere."""
        return xp.zeros_like(self.knowledge.schema.read(observation, "level")) + self.params.level
