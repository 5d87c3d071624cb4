"""Scorecard: every metric of every agent, scenario, week and seed, and the comparisons decided beforehand."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from minesim.bench.files import read_netcdf, write_json, write_netcdf
from minesim.bench.metrics import BY_NAME, metrics
from minesim.bench.statistics import BLOCK_WEEKS, RESAMPLES, Comparison, FloatArray, Interval, compare, mean_interval
from minesim.errors import ParamsError, explain, nearest

DIMS = ("agent", "scenario", "week", "seed")
NO_INTERVAL = Interval(np.nan, np.nan, np.nan, np.nan, 0.95)
HEADLINE = "profit_usd"
"""The metric that claims are made on; fixed before any test week is run."""


def scorecard(
    cells: Mapping[tuple[str, str], xr.Dataset],
    *,
    absent: Collection[tuple[str, str]] = (),
    attrs: Mapping[str, str | float | int] | None = None,
) -> xr.Dataset:
    """Put finished rollouts together.

    Args:
        cells: (agent, scenario) -> sums of a rollout over ``run``; all agents of a scenario on the same weeks and
            seeds, all scenarios with as many weeks and the same seeds.
        absent: pairs without a result because the agent does not apply there; their values are NaN.
        attrs: what else belongs to the record (versions, site, tuned parameters as JSON text).

    Returns:
        Dataset with dimensions ``agent, scenario, week, seed``, one variable a metric, and the coordinate
        ``week_start`` (scenario, week).

    Raises:
        ParamsError: a cell is missing, or weeks or seeds differ.
    """
    agents = list(dict.fromkeys(agent for agent, _ in cells))
    scenarios = list(dict.fromkeys(scenario for _, scenario in cells))
    if not agents:
        raise ParamsError(explain("there are no finished cells", fix="Run at least one agent on one scenario."))
    tables: dict[tuple[str, str], xr.Dataset] = {}
    firsts: dict[str, xr.Dataset] = {}
    for scenario in scenarios:
        for agent in agents:
            if (agent, scenario) in cells:
                tables[agent, scenario] = _by_week_and_seed(cells[agent, scenario])
                first = firsts.setdefault(scenario, tables[agent, scenario])
                _require_same(first, tables[agent, scenario], f"{agent!r} on {scenario!r}", ("week_start", "seed"))
            elif (agent, scenario) not in absent:
                raise ParamsError(explain(f"agent {agent!r} has no result on scenario {scenario!r}"))
        _require_same(firsts[scenarios[0]], firsts[scenario], f"scenario {scenario!r}", ("week", "seed"))
    for agent, scenario in absent:
        if agent in agents and scenario in firsts:
            tables[agent, scenario] = xr.full_like(firsts[scenario], np.nan)
    rows = [xr.concat([tables[agent, s].drop_vars("week_start") for s in scenarios], "scenario") for agent in agents]
    card = xr.concat(rows, "agent", combine_attrs="override").transpose(*DIMS)
    starts = np.stack([firsts[s]["week_start"].to_numpy() for s in scenarios])
    card = card.assign_coords(
        agent=agents, scenario=scenarios, week_start=(("scenario", "week"), starts.astype("datetime64[ns]"))
    )
    for name in BY_NAME:
        card[name].attrs = dict(firsts[scenarios[0]][name].attrs)
    card.attrs = {"headline": HEADLINE, "block_weeks": BLOCK_WEEKS, "resamples": RESAMPLES, **(attrs or {})}
    return card


def _by_week_and_seed(cell: xr.Dataset) -> xr.Dataset:
    table = metrics(cell)
    starts, seeds = (np.unique(table[name].to_numpy()) for name in ("start", "seed"))
    if len(starts) * len(seeds) != table.sizes["run"]:
        raise ParamsError(
            explain(
                f"{table.sizes['run']} runs of {len(starts)} weeks and {len(seeds)} seeds",
                allowed="every week with every seed, once",
            )
        )
    order = np.lexsort((table["seed"].to_numpy(), table["start"].to_numpy()))
    shape = (len(starts), len(seeds))
    return xr.Dataset(
        {
            str(name): (("week", "seed"), values.to_numpy()[order].reshape(shape), values.attrs)
            for name, values in table.data_vars.items()
        },
        coords={"week": np.arange(len(starts)), "seed": seeds, "week_start": ("week", starts)},
    )


def _require_same(first: xr.Dataset, other: xr.Dataset, who: str, names: Sequence[str]) -> None:
    for name in names:
        if not np.array_equal(first[name].to_numpy(), other[name].to_numpy()):
            raise ParamsError(
                explain(
                    f"{who} was run with other values of {name}",
                    allowed="identical weeks and seeds for all",
                    fix="Run all of them again with one configuration.",
                )
            )


def values(card: xr.Dataset, agent: str, scenario: str, metric: str = HEADLINE) -> FloatArray:
    """Values of one metric, shape (weeks, seeds).

    Raises:
        ParamsError: unknown metric (nearest names suggested).
    """
    if metric not in card:
        raise ParamsError(explain(f"no metric {metric!r}", fix=nearest(metric, [str(name) for name in card.data_vars])))
    return card[metric].sel(agent=agent, scenario=scenario).to_numpy()


def players(card: xr.Dataset, scenario: str) -> list[str]:
    """Agents that have a result on a scenario, in the order of the card."""
    there = card[HEADLINE].sel(scenario=scenario).notnull().any(("week", "seed")).to_numpy()
    return [str(agent) for agent, plays in zip(card["agent"].to_numpy(), there, strict=True) if plays]


def intervals(card: xr.Dataset, scenario: str, metric: str = HEADLINE) -> dict[str, Interval]:
    """Interval of the weekly mean of every agent; NaN weeks (nothing was used) are left out."""
    result = {}
    for agent in players(card, scenario):
        table = values(card, agent, scenario, metric)
        whole = table[np.isfinite(table).all(axis=1)]
        result[agent] = mean_interval(whole) if len(whole) else NO_INTERVAL
    return result


def comparisons(card: xr.Dataset, scenario: str, baseline: str, metric: str = HEADLINE) -> list[Comparison]:
    """Paired comparisons of all agents with ``baseline`` on one scenario, corrected for their number."""
    table = {agent: values(card, agent, scenario, metric) for agent in players(card, scenario)}
    return compare(table, baseline)


def best_agent(card: xr.Dataset, scenario: str, metric: str = HEADLINE) -> str:
    """Agent with the highest mean of ``metric`` (the best in hindsight: chosen on the same weeks)."""
    means = card[metric].sel(scenario=scenario).mean(("week", "seed")).to_numpy()
    return str(card["agent"].to_numpy()[int(np.nanargmax(means))])


def as_plain(card: xr.Dataset, baseline: str) -> dict[str, Any]:
    """Scorecard as nested plain values: attributes, metrics, weekly values, intervals and comparisons."""
    scenarios = {}
    for scenario in card["scenario"].to_numpy():
        name = str(scenario)
        best = best_agent(card, name)
        scenarios[name] = {
            "week_start": card["week_start"].sel(scenario=scenario).to_numpy(),
            "best_in_hindsight": best,
            "profit_usd_per_week": {agent: vars(item) for agent, item in intervals(card, name).items()},
            "against": {
                against: {
                    item.agent: {**vars(item.difference), "p_adjusted": item.p_adjusted}
                    for item in comparisons(card, name, against)
                }
                for against in dict.fromkeys((baseline, best))
            },
            "weekly": {
                agent: {name: card[name].sel(agent=agent, scenario=scenario).to_numpy() for name in BY_NAME}
                for agent in players(card, name)
            },
        }
    return {
        "attributes": dict(card.attrs),
        "metrics": {name: dict(card[name].attrs) for name in BY_NAME},
        "seeds": card["seed"].to_numpy(),
        "scenarios": scenarios,
    }


def save(card: xr.Dataset, folder: Path, baseline: str) -> tuple[Path, Path]:
    """Write ``scorecard.nc`` and ``scorecard.json``, each whole or not at all.

    Args:
        card: from :func:`scorecard`.
        folder: made if missing.
        baseline: agent that the comparisons are made with.

    Returns:
        Paths of the two files.
    """
    paths = folder / "scorecard.nc", folder / "scorecard.json"
    write_netcdf(paths[0], card)
    write_json(paths[1], as_plain(card, baseline))
    return paths


def load(path: Path) -> xr.Dataset:
    """Read ``scorecard.nc`` back.

    Raises:
        DataFileError: missing, unreadable, or not a scorecard.
    """
    from minesim.errors import DataFileError

    card = read_netcdf(path)
    if not set(DIMS) <= set(card.dims) or HEADLINE not in card:
        raise DataFileError(explain(f"{path.name} is not a scorecard", allowed=f"dimensions {', '.join(DIMS)}"))
    return card
