"""What the benchmark of field estimators says, in numbers, with intervals over hidden rooms.

Intervals resample the seeds of each layout by themselves, so that they say how results move with the room, not with
the choice of layouts. Two methods are compared on the same rooms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from agents.fields.hidden import RoomKey
from agents.fields.methods import DATA_ONLY
from agents.fields.protocol import Floats
from agents.fields.suite import Cell, Cells
from agents.fields.suite_settings import SuiteSettings
from minesim.bench.statistics import Estimate

Row = tuple[RoomKey, Cell]
RESAMPLES: Final = 4000
LEVEL: Final = 0.95
NUMBERS: Final = (
    "rmse_k", "forecast_rmse_k", "coverage", "forecast_coverage", "width_k", "worst_k", "seconds", "wall_s"
)  # fmt: skip


def over_rooms(layouts: Sequence[str], *values: Floats) -> Estimate:
    """Mean of values, or ratio of the means of two, with an interval by resampling rooms within each layout.

    Args:
        layouts: of the N rooms.
        values: one or two arrays (N,) in their order; of two, the first over the second.
    """
    kinds = np.unique(layouts, return_inverse=True)[1]
    members = [np.flatnonzero(kinds == kind) for kind in range(kinds.max() + 1)]

    def ratio(drawn: Any) -> Any:
        means = [value[drawn].mean(axis=-1) for value in values]
        return means[0] / means[1] if len(means) == 2 else means[0]

    if min(len(of) for of in members) < 3:
        return Estimate(float(ratio(np.arange(len(kinds)))), np.nan, np.nan)
    rng = np.random.default_rng(0)
    drawn = np.concatenate([of[rng.integers(0, len(of), (RESAMPLES, len(of)))] for of in members], axis=1)
    tail = 0.5 - 0.5 * LEVEL
    low, high = np.quantile(ratio(drawn), [tail, 1.0 - tail])
    return Estimate(float(ratio(np.arange(len(kinds)))), float(low), float(high))


def by_method(rows: Sequence[Row]) -> dict[str, Estimate]:
    """All numbers of a method's rows."""
    layouts = [key.layout for key, _ in rows]
    return {name: over_rooms(layouts, np.array([cell[name] for _, cell in rows])) for name in NUMBERS}


def against(mine: Sequence[Row], others: Sequence[Row]) -> dict[str, Estimate]:
    """Errors of one method over those of another on the same rooms."""
    layouts = [key.layout for key, _ in mine]
    return {
        name: over_rooms(layouts, *(np.array([cell[name] for _, cell in rows]) for rows in (mine, others)))
        for name in ("rmse_k", "forecast_rmse_k")
    }


def rows_of(cells: Cells, keys: Sequence[RoomKey], name: str) -> list[Row]:
    """Parts of a method on rooms, in their order."""
    found = [(key, cells.load(key, name)) for key in keys]
    return [(key, cell) for key, cell in found if cell is not None]


def summarise(settings: SuiteSettings, cells: Cells) -> dict[str, Any]:
    """All numbers of a finished benchmark.

    Returns:
        By case: ``methods`` by name; ``by_layout`` of every method; ``best_data_only``, the method without physics
        of the least mean error, and every method ``against_it`` (ratio of mean errors).
    """
    out: dict[str, Any] = {}
    for case in settings.bench.cases:
        keys = [key for key in settings.rooms() if key.case == case]
        rows = {name: rows_of(cells, keys, name) for name in settings.bench.methods}
        methods = {name: by_method(found) for name, found in rows.items()}
        out[case] = {"methods": methods, "by_layout": _by_layout(rows)}
        plain = [name for name in methods if name in DATA_ONLY]
        if plain:
            best = min(plain, key=lambda name: methods[name]["rmse_k"].value)
            compared = {name: against(found, rows[best]) for name, found in rows.items() if name not in DATA_ONLY}
            out[case] |= {"best_data_only": best, "against_it": compared}
    return out


def _by_layout(rows: Mapping[str, Sequence[Row]]) -> dict[str, dict[str, dict[str, Estimate]]]:
    names = dict.fromkeys(key.layout for found in rows.values() for key, _ in found)
    return {
        layout: {name: by_method([row for row in found if row[0].layout == layout]) for name, found in rows.items()}
        for layout in names
    }
