"""Fitted and assumed constants of the generator, one row a number in ``parameters.csv``."""

from __future__ import annotations

import csv
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from minesim.errors import DataFileError, explain, nearest

PATH: Final = Path(__file__).parent / "parameters.csv"
COLUMNS: Final = ("market", "parameter", "index", "value", "unit", "source")


@dataclass(frozen=True)
class GeneratorParameters:
    """Constants of one market's generator.

    Attributes:
        market: ``ercot`` or ``pjm``.
        values: parameter -> float64 array in the order of its index.
    """

    market: str
    values: dict[str, npt.NDArray[np.float64]]

    def array(self, name: str) -> npt.NDArray[np.float64]:
        """All numbers of a parameter.

        Raises:
            DataFileError: no such parameter.
        """
        if name not in self.values:
            raise DataFileError(explain(f"no generator parameter {name!r}", fix=nearest(name, self.values)))
        return self.values[name]

    def number(self, name: str) -> float:
        """A parameter that is one number."""
        return float(self.array(name)[0])


@functools.cache
def load_parameters(market: str) -> GeneratorParameters:
    """Read the constants of a market (``ercot`` or ``pjm``); rows of market ``*`` hold for both.

    Raises:
        DataFileError: the file is unreadable, or has no such market.
    """
    try:
        with PATH.open(encoding="utf-8", newline="") as handle:
            rows = list(csv.DictReader(handle))
        table: dict[str, list[tuple[int, float]]] = {}
        for row in rows:
            if row["market"] in ("*", market):
                table.setdefault(row["parameter"], []).append((int(row["index"]), float(row["value"])))
    except (OSError, ValueError, KeyError) as error:
        raise DataFileError(explain(f"cannot read {PATH}: {error}", fix="Reinstall minesim.")) from error
    markets = {row["market"] for row in rows} - {"*"}
    if market not in markets:
        raise DataFileError(explain(f"no generator for market {market!r}", fix=nearest(market, markets)))
    return GeneratorParameters(
        market, {name: np.array([value for _, value in sorted(numbers)]) for name, numbers in table.items()}
    )
