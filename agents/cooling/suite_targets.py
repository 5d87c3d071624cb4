"""What the mission wants of cooling, and whether somebody in the benchmark reaches it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from agents.cooling.suite_summary import Row
from minesim.bench.statistics import Estimate


@dataclass(frozen=True)
class Target:
    """A number that is wanted; it is reached strictly between ``above`` and ``below``.

    Attributes:
        what: of which measure; ``{compliant}`` and ``{best_rule}`` in it stand for names.
        wanted: in words; nothing where the mission wants nothing, and the measure stands beside the others.
        value: of a row; NaN where it says nothing.
        unit: of the value as it is told; a share is told in percent.
        above, below: bounds.
    """

    what: str
    wanted: str
    value: Callable[[Row], Estimate | float]
    unit: str = "%"
    above: float = -math.inf
    below: float = math.inf

    def reached(self, row: Row) -> bool | None:
        """Whether the mean over the test weeks reaches it; None where nothing is wanted or said."""
        found = self.value(row)
        mean = found.value if isinstance(found, Estimate) else found
        if not self.wanted or math.isnan(mean):
            return None
        return self.above < mean < self.below


TARGETS = (
    Target("cooling energy less than {compliant}", "14 to 21 %", lambda row: row.cooling_saved, above=0.14),
    Target("cooling energy less than {best_rule}", "", lambda row: row.cooling_saved_best),
    Target("air energy less than {compliant}", "", lambda row: row.energy_saved),
    Target("air energy less than {best_rule}", "", lambda row: row.energy_saved_best),
    Target("steps in range", "> 98 %", lambda row: row.means["in_range"], above=0.98),
    Target("hot spots less than {compliant}", "50 %", lambda row: row.hot_spots_less, above=0.5 - 1e-12),
    Target("reaction", "< 5 min", lambda row: row.means["reaction_min"], "min", below=5.0),
)
"""Of the mission, for cooling. More than 21 % is reached as well."""
