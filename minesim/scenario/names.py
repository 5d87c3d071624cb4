"""Find a scenario by name, or make one of a user's Dataset or file."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import xarray as xr

from minesim.data import known
from minesim.economics.tariff import Tariff, tariff, tariff_names
from minesim.errors import ScenarioError, explain, nearest
from minesim.scenario.core import Scenario, Span
from minesim.scenario.fill import fill_missing
from minesim.scenario.markets import MARKETS, Market
from minesim.scenario.replay import published_peaks, replay_traces
from minesim.scenario.validate import validate

REAL_SPLITS: Final = {
    "train": ("2020-01-01", "2023-01-01"),
    "validation": ("2023-01-01", "2023-07-01"),
    "test": ("2023-07-01", "2024-01-01"),
}
"""Periods of the real scenarios, UTC, the end excluded."""
TARIFF_ALIASES: Final = {"4cp": "ercot_4cp", "5cp": "ontario_5cp", "energy": "energy_only", "demand": "demand_charge"}


def scenario(source: str | Path | xr.Dataset | Scenario = "generated", *, seed: int = 0) -> Scenario:
    """Find or make a scenario.

    Args:
        source: a name ``MARKET`` or ``MARKET/TARIFF`` (``ercot/4cp``; see :func:`scenario_names`), a Dataset, a file
            (csv, parquet, nc, zarr), or a Scenario, which comes back as it is.
        seed: of generated series and forecast errors.

    Raises:
        ScenarioError: unknown name (nearest suggested), or the tariff does not fit the market.
        TraceError: the Dataset or file breaks the contract.
        DataFileError: a packaged or given file cannot be read.
    """
    if isinstance(source, Scenario):
        return source
    if not isinstance(source, str):
        raise ScenarioError(explain(f"cannot make a scenario of a {type(source).__name__}"))
    market_name, _, variant = source.partition("/")
    if market_name not in MARKETS:
        raise ScenarioError(
            explain(f"no scenario {source!r}", fix=nearest(source, scenario_names()), origin="scenario name")
        )
    market = MARKETS[market_name]
    return Scenario(
        name=source,
        traces=_replayed(market_name),
        tariff=_tariff_of(market, variant),
        site_timezone=market.site_timezone,
        splits=_spans(REAL_SPLITS),
        peaks=published_peaks(market.peak_market) if market.peak_market else None,
        seed=seed,
    )


def scenario_names() -> tuple[str, ...]:
    """Names of the ready-made scenarios without their tariff variants."""
    return tuple(MARKETS)


@functools.lru_cache(maxsize=4)
def _replayed(name: str) -> xr.Dataset:
    traces = replay_traces(MARKETS[name])
    validate(traces)
    return traces


def _spans(splits: Mapping[str, tuple[str, str]]) -> dict[str, Span]:
    return {name: (np.datetime64(begin, "s"), np.datetime64(end, "s")) for name, (begin, end) in splits.items()}


def _tariff_of(market: Market, variant: str) -> Tariff:
    name = TARIFF_ALIASES.get(variant, variant) or market.default_tariff
    if name not in tariff_names():
        raise ScenarioError(
            explain(
                f"no tariff variant {variant!r}",
                fix=nearest(variant, (*tariff_names(), *TARIFF_ALIASES)),
                origin=f"scenario '{market.name}/{variant}'",
            )
        )
    chosen = tariff(name)
    part = chosen.coincident_peak
    if part is None or part.program == market.peak_program:
        return chosen
    if name == "mixed":
        own = tariff("ontario_5cp").coincident_peak if market.peak_program == "ICI_5CP" else None
        return dataclasses.replace(chosen, coincident_peak=own)
    raise ScenarioError(
        explain(
            f"tariff {name!r} charges {part.program} peaks, which market {market.name!r} does not have",
            allowed=", ".join(n for n in tariff_names() if tariff(n).coincident_peak is None),
            origin=f"scenario '{market.name}/{variant}'",
        )
    )
