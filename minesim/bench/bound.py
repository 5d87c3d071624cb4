"""What could have been earned at most: a clairvoyant bound, and one that knows only what could be known.

``clairvoyant`` sees prices, peaks, calls, weather and silicon of a run and is never below what any policy earns in it.
``informed`` plans on what can be known before its time and is then settled on what happened. So
``clairvoyant - informed`` is what information is worth, ``informed - agent`` what skill is worth. Every relaxation is
stated in docs/bounds.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import xarray as xr

from minesim.bench.bound_market import MarketRows, expected_rows, forecasts, market_rows
from minesim.bench.bound_points import point_menu
from minesim.bench.bound_site import RunSite, run_site
from minesim.bench.bound_solve import TERMS, settle_plan, solve, worth_offering
from minesim.bench.rollout import run_seed
from minesim.envs.core import World, draw_episode
from minesim.errors import ParamsError, explain, nearest

Floats = npt.NDArray[np.float64]

SCALES: Final = (0.0, 0.5, 1.0, 2.0, 4.0)
"""Wear and stop cost scales of the benchmark."""
RUNS_AT_ONCE: Final = 6
OnRun = Callable[[int], None]
"""Told how many runs are done."""


def clairvoyant(
    world: World,
    starts: npt.NDArray[np.datetime64],
    seeds: Sequence[int] | npt.NDArray[np.int64] | None = None,
    *,
    scales: Sequence[float] = (1.0,),
    options: dict[str, Any] | None = None,
    on_run: OnRun | None = None,
) -> xr.Dataset:
    """Bound what any policy can earn in each run.

    Runs are those of :func:`minesim.bench.rollout.rollout` with the same starts and seeds: the same rows, silicon and
    carried peak. At scale ``s`` a rollout at scale 1 earned ``profit + (1 - s) (wear + restart)``.

    Args:
        world: compiled traces and site.
        starts: start of each run, UTC, (B,).
        seeds: seed of each run, (B,); 0 for all when None.
        scales: factors on the world's cost of wear and stops.
        options: reset options ``running`` and ``month_peak_frac``.
        on_run: progress callback.

    Returns:
        Dataset over ``run`` and ``scale``: ``profit_usd``, the bound; ``schedule_usd``, what the best schedule found
        earns in the relaxed model, at most the bound; and that schedule's money terms, named as in a rollout.

    Raises:
        ParamsError: no starts, other than one seed for each, no or negative scales, an unknown option.
        ScenarioError: a start whose horizon leaves the data.
    """
    bounds, found = [], []
    for batch in _batches(world, starts, seeds, scales, options):
        for solution in solve(batch.sites, batch.markets, batch.scales, batch.running):
            bounds.append(solution.bound_usd)
            found.append((solution.terms, solution.profit_usd))
        if on_run is not None:
            on_run(len(bounds))
    order = np.argsort(scales)
    values = np.stack(bounds)
    # Costs are not negative, so a bound at a lower scale holds at a higher one.
    values[:, order] = np.minimum.accumulate(values[:, order], axis=-1)
    return _dataset(values, found, starts, seeds, scales, "clairvoyant")


def informed(
    world: World,
    starts: npt.NDArray[np.datetime64],
    seeds: Sequence[int] | npt.NDArray[np.int64] | None = None,
    *,
    scales: Sequence[float] = (1.0,),
    options: dict[str, Any] | None = None,
    on_run: OnRun | None = None,
) -> xr.Dataset:
    """Earn, in the relaxed model, what a perfect plan on knowable things earns.

    The plan knows published prices, weather, the site and its silicon; in place of a price that is known only after
    its hour, of charged peaks and of calls it has what could be expected at the row (see
    :func:`minesim.bench.bound_market.forecasts`). It is settled on what happened. A bound in expectation, as good as
    its forecasts, not on each draw: a lucky policy may earn more in a run.

    Args:
        world, starts, seeds, scales, options, on_run: see :func:`clairvoyant`.

    Returns:
        Dataset over ``run`` and ``scale``: ``profit_usd`` and its money terms.

    Raises:
        ParamsError, ScenarioError: see :func:`clairvoyant`.
    """
    known = forecasts(world)
    found = []
    for batch in _batches(world, starts, seeds, scales, options):
        expected = [
            expected_rows(market, known, row) for market, row in zip(batch.markets, batch.start_rows, strict=True)
        ]
        offers = [
            worth_offering(site, market, known.call_chance) for site, market in zip(batch.sites, expected, strict=True)
        ]
        plans = solve(batch.sites, expected, batch.scales, batch.running, offers=offers)
        for site, market, solution, own in zip(batch.sites, batch.markets, plans, offers, strict=True):
            found.append(settle_plan(solution.plan, site, market, own))
        if on_run is not None:
            on_run(len(found))
    values = np.stack([profit for _, profit in found])
    return _dataset(values, found, starts, seeds, scales, "informed")


class _Batch:
    """Some runs, ready to be solved."""

    def __init__(self, scales: Floats, running: bool) -> None:
        self.scales = scales
        self.running = running
        self.sites: list[RunSite] = []
        self.markets: list[MarketRows] = []
        self.start_rows: list[int] = []


def _batches(
    world: World,
    starts: npt.NDArray[np.datetime64],
    seeds: Sequence[int] | npt.NDArray[np.int64] | None,
    scales: Sequence[float],
    options: dict[str, Any] | None,
) -> Iterator[_Batch]:
    starts = np.asarray(starts, "datetime64[s]")
    seeds = np.zeros(len(starts), np.int64) if seeds is None else np.asarray(seeds, np.int64)
    if len(starts) == 0 or len(seeds) != len(starts):
        raise ParamsError(
            explain(f"{len(starts)} starts with {len(seeds)} seeds", allowed="one seed for each start, not none")
        )
    if len(scales) == 0 or min(scales) < 0.0:
        raise ParamsError(explain(f"scales are {tuple(scales)}", allowed="one or more, 0 or above"))
    options = options or {}
    for name in options:
        if name not in ("running", "month_peak_frac"):
            raise ParamsError(
                explain(f"option {name!r} is unknown", fix=nearest(str(name), ("running", "month_peak_frac")))
            )
    running = float(options.get("running", 1.0)) > 0.0
    menu = point_menu(world.params, world.config.dt_ctrl_s)
    for first in range(0, len(starts), RUNS_AT_ONCE):
        batch = _Batch(np.asarray(scales, np.float64), running)
        for start, seed in zip(starts[first:][:RUNS_AT_ONCE], seeds[first:][:RUNS_AT_ONCE], strict=True):
            rng = np.random.default_rng([run_seed(int(seed), start) & 0xFFFFFFFFFFFFFFFF, 0])
            draw = draw_episode(world, rng, start, None)
            market = market_rows(world, draw.start_row, options)
            batch.markets.append(market)
            batch.sites.append(run_site(world, menu, draw.start_row, len(market.hours), draw.silicon_leak))
            batch.start_rows.append(draw.start_row)
        yield batch


def _dataset(
    profit: Floats,
    found: list[tuple[dict[str, Floats], Floats]],
    starts: npt.NDArray[np.datetime64],
    seeds: Sequence[int] | npt.NDArray[np.int64] | None,
    scales: Sequence[float],
    name: str,
) -> xr.Dataset:
    dims = ("run", "scale")
    usd = {"units": "USD"}
    runs = len(profit)
    return xr.Dataset(
        {
            "profit_usd": (dims, profit, usd),
            "schedule_usd": (dims, np.stack([value for _, value in found]), usd),
            **{term: (dims, np.stack([terms[term] for terms, _ in found]), usd) for term in TERMS},
        },
        coords={
            "start": ("run", np.asarray(starts).astype("datetime64[ns]")),
            "seed": ("run", np.zeros(runs, np.int64) if seeds is None else np.asarray(seeds, np.int64)),
            "scale": np.asarray(scales, np.float64),
        },
        attrs={"bound": name},
    )
