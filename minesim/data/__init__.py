"""Real traces with their licences, as :class:`xarray.Dataset` (see ``docs/data.md``)."""

from __future__ import annotations

from minesim.data.registry import TraceFile, registry, trace_file
from minesim.data.traces_io import (
    load_btc,
    load_carbon,
    load_coincident_peaks,
    load_power,
    load_typical_year,
    load_weather,
)

__all__ = [
    "TraceFile",
    "load_btc",
    "load_carbon",
    "load_coincident_peaks",
    "load_power",
    "load_typical_year",
    "load_weather",
    "registry",
    "trace_file",
]
