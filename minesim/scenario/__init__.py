"""Scenario = traces + tariff + calendar + what is known when (see ``docs/data.md``)."""

from __future__ import annotations

from minesim.scenario.core import Scenario
from minesim.scenario.names import scenario, scenario_names
from minesim.scenario.table import SETTLE_NAMES, TraceTable, compile_table
from minesim.scenario.validate import validate

__all__ = ["SETTLE_NAMES", "Scenario", "TraceTable", "compile_table", "scenario", "scenario_names", "validate"]
