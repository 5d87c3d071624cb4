"""A scenario: traces, tariff, calendar and what is known when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from minesim.data import known
from minesim.economics.reserve import CallRegime, call_regime
from minesim.economics.tariff import MarketEnergy, Tariff
from minesim.scenario.variables import BY_NAME, IS_MISSING

Span = tuple[np.datetime64, np.datetime64]
"""From (included) to (excluded), datetime64[s], UTC."""


@dataclass(frozen=True, eq=False)
class Scenario:
    """Everything outside the site: a frozen set of series, their price rules and when each value is known.

    Attributes:
        name: for reports.
        traces: validated and filled Dataset over UTC ``time`` (see ``minesim.scenario.variables``).
        tariff: how the site is billed.
        site_timezone: IANA name; calendar and day-ahead publication follow it.
        splits: name -> period; ``train``, ``validation`` and ``test``.
        peaks: coincident peaks to settle, columns ``program, base_year, interval_start_utc, interval_min``; None
            when the tariff charges none.
        reserve_regime: assumed market regime of reserve prices and calls, where the traces have none.
        seed: of everything drawn for this scenario (forecast errors, reserve calls).
    """

    name: str
    traces: xr.Dataset
    tariff: Tariff
    site_timezone: str
    splits: Mapping[str, Span]
    peaks: pd.DataFrame | None = None
    reserve_regime: CallRegime = field(default_factory=lambda: call_regime("ecrs_2023"))
    seed: int = 0

    @property
    def step_s(self) -> float:
        """Length of a trace interval, s."""
        time = self.traces["time"].to_numpy()[:2]
        return float(np.diff(time).astype("timedelta64[s]").astype(np.int64)[0])

    @property
    def start_utc(self) -> np.datetime64:
        """Start of the first interval."""
        return np.datetime64(known.as_seconds(self.traces["time"].to_numpy()[:1])[0], "s")

    @property
    def end_utc(self) -> np.datetime64:
        """End of the last interval."""
        last = np.datetime64(known.as_seconds(self.traces["time"].to_numpy()[-1:])[0], "s")
        return last + np.timedelta64(int(self.step_s), "s")

    def rule_of(self, name: str) -> tuple[str, float]:
        """When ``name`` is known: rule, and hour of publication.

        The wholesale price follows the later of the trace's and the tariff's rule: a tariff that tells the price only
        after the hour hides even a day-ahead price.
        """
        attrs: dict[Any, Any] = self.traces[name].attrs if name in self.traces else {}
        usual = BY_NAME[name].known if name in BY_NAME else known.AT_START
        rule = str(attrs.get("known", usual))
        hour = float(attrs.get("known_hour", known.DAY_AHEAD_HOUR))
        energy = self.tariff.energy
        if name == "power_price_usd_per_mwh" and isinstance(energy, MarketEnergy) and rule == known.DAY_AHEAD:
            rule = energy.known
        return rule, hour

    def known_before(self, name: str, time_utc: npt.NDArray[np.datetime64]) -> npt.NDArray[np.datetime64]:
        """For each moment, the time before which rows of ``name`` are known (datetime64[s])."""
        rule, hour = self.rule_of(name)
        return known.known_before(
            rule, time_utc, interval_s=self.step_s, site_timezone=self.site_timezone, known_hour=hour
        )

    def view(self, time: Any) -> xr.Dataset:
        """Show what is known at a moment.

        Args:
            time: a UTC time (naive, or aware of another zone).

        Returns:
            Dataset with every row that is known of at least one variable; values that are not known are NaN
            (``is_missing``: False). Variables that only the bill shows are left out.
        """
        moment = known.as_seconds(np.asarray([known.as_seconds(time)]).reshape(-1)[:1])
        starts = known.as_seconds(self.traces["time"].to_numpy())
        shown: dict[str, Any] = {}
        last = 0
        for name, data in self.traces.data_vars.items():
            if "time" not in data.dims:
                shown[str(name)] = data
                continue
            label = "power_price_usd_per_mwh" if name == IS_MISSING else str(name)
            if self.rule_of(label)[0] == known.SETTLEMENT:
                continue
            is_known = starts < self.known_before(label, moment)[0]
            last = max(last, int(is_known.sum()))
            mask = xr.DataArray(is_known, dims="time")
            shown[str(name)] = data & mask if data.dtype == bool else data.where(mask)
        return xr.Dataset(shown, attrs=self.traces.attrs).isel(time=slice(0, last))
