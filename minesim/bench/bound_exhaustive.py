"""How far the bound lies above the best that can really be done, on a problem small enough to try everything.

Two cohorts, one day of prices that change every four hours: every sequence of actions runs on the twin itself, as a row
of one batch. What remains between the best of them and the bound is the relaxation, and what freedom within the four
hours is worth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import xarray as xr

from minesim.bench.bound import clairvoyant
from minesim.bench.rollout import run_seed
from minesim.control.fleet import CohortSpec
from minesim.envs.core import EnvConfig, SiteCore, World, build_world
from minesim.errors import ParamsError, explain
from minesim.scenario import scenario
from minesim.site_spec import SiteSpec

if TYPE_CHECKING:
    from rich.table import Table

BLOCK_H: Final = 4
BLOCK_PRICES: Final = (60.0, 900.0, 90.0, 370.0, 40.0, 500.0)
"""USD/MWh of the day's blocks: cheap, spikes, and between the break-even prices of the two miners."""
ROWS_MAX: Final = 20_000
SMALL_CASES: Final = (("energy_only", (-1.0, 1.0)), ("demand_charge", (-1.0, 0.93)))
"""Tariffs, and what cohorts may be asked for: off or on, a little below stock where a carried peak is to be kept."""


def small_world(tariff: str = "energy_only", *, difficulty: str = "medium", days: float = 1.0) -> World:
    """Two cohorts (13 S19j Pro, 12 S19 XP) and a day whose price changes every four hours.

    Weather, coin and difficulty are the generated scenario's.
    """
    traces = scenario("generated", days=10).traces.copy()
    price = traces["power_price_usd_per_mwh"]
    hour = np.arange(price.sizes["time"]) * round(
        float(np.diff(price["time"].to_numpy()[:2])[0] / np.timedelta64(1, "s"))
    )
    block = (hour // (BLOCK_H * 3600)) % len(BLOCK_PRICES)
    traces["power_price_usd_per_mwh"] = price.copy(data=np.asarray(BLOCK_PRICES)[block])
    site = SiteSpec("two_cohorts", (CohortSpec("Antminer S19j Pro (104T)", 13), CohortSpec("Antminer S19 XP", 12)))
    chosen = scenario(traces, tariff=tariff)
    return build_world(
        EnvConfig(scenario=chosen, site=site, limits="free", difficulty=difficulty, split=None, episode_days=days)
    )


def exhaustive(
    world: World,
    start: Any,
    seed: int = 0,
    *,
    block_h: float = BLOCK_H,
    actions: Sequence[float] = (-1.0, 1.0),
    options: dict[str, Any] | None = None,
) -> xr.Dataset:
    """Run every sequence of actions, constant over blocks of hours, on the twin.

    Args:
        world: of few cohorts and a short horizon; no reserve is offered.
        start: start of the run, UTC.
        seed: of the run, as in a rollout.
        block_h: length of a block, h.
        actions: what each cohort may be asked for in a block.
        options: reset options.

    Returns:
        Dataset over ``sequence``: ``profit_usd``, ``wear_usd``, ``restart_usd`` and ``action`` (sequence, block,
        cohort).

    Raises:
        ParamsError: more than :data:`ROWS_MAX` sequences.
    """
    steps_per_block = round(block_h * 3600.0 / world.config.dt_ctrl_s)
    blocks = -(-world.horizon_steps // steps_per_block)
    size = blocks * world.cohorts
    count = len(actions) ** size
    if count > ROWS_MAX:
        raise ParamsError(
            explain(
                f"{len(actions)} actions in {blocks} blocks of {world.cohorts} cohorts are {count} sequences",
                allowed=f"up to {ROWS_MAX}",
                fix="Take fewer cohorts or actions, or longer blocks.",
            )
        )
    digits = np.arange(count)[:, None] // len(actions) ** np.arange(size) % len(actions)
    sequence = np.asarray(actions)[digits].reshape(count, blocks, world.cohorts)
    moment = np.datetime64(start, "s")
    core = SiteCore(world, count)
    core.seed([run_seed(seed, moment)] * count)
    core.reset(options={"split": None, **(options or {}), "start": np.repeat(moment, count)})
    sums = {name: np.zeros(count) for name in ("profit_usd", "wear_usd", "restart_usd")}
    no_offer = -np.ones((count, world.action_size - world.cohorts))
    for step in range(world.horizon_steps):
        info = core.step(np.concatenate([sequence[:, step // steps_per_block], no_offer], axis=1)).info
        for name, total in sums.items():
            total += info[name]
    return xr.Dataset(
        {
            **{name: ("sequence", total, {"units": "USD"}) for name, total in sums.items()},
            "action": (("sequence", "block", "cohort"), sequence),
        }
    )


@dataclass(frozen=True)
class RelaxationGap:
    """Bound and best sequence of a small problem at each cost scale, (S,).

    Attributes:
        name: of the problem.
        scales: of wear and stop costs.
        sequences: how many were tried.
        best_usd, bound_usd: best sequence and clairvoyant bound.
        stock_usd: everything on, always.
    """

    name: str
    scales: tuple[float, ...]
    sequences: int
    best_usd: npt.NDArray[np.float64]
    bound_usd: npt.NDArray[np.float64]
    stock_usd: npt.NDArray[np.float64]

    @property
    def gap_usd(self) -> npt.NDArray[np.float64]:
        """Bound less best sequence."""
        return self.bound_usd - self.best_usd

    @property
    def gap_pct(self) -> npt.NDArray[np.float64]:
        """The gap over the bound, %."""
        return 100.0 * self.gap_usd / np.abs(self.bound_usd)


def relaxation_gap(
    world: World,
    start: Any = None,
    *,
    seed: int = 0,
    scales: Sequence[float] = (0.0, 0.5, 1.0, 2.0, 4.0),
    block_h: float = BLOCK_H,
    actions: Sequence[float] = (-1.0, 1.0),
) -> RelaxationGap:
    """Compare the bound with exhaustive search.

    Args:
        world: small; see :func:`small_world`.
        start: UTC; the second day of the data when None.
        seed, block_h, actions: see :func:`exhaustive`.
        scales: of wear and stop costs.
    """
    moment = world.table.start_utc[96] if start is None else np.datetime64(start, "s")
    tried = exhaustive(world, moment, seed, block_h=block_h, actions=actions)
    costs = (tried["wear_usd"] + tried["restart_usd"]).to_numpy()
    profits = np.stack([tried["profit_usd"].to_numpy() + (1.0 - scale) * costs for scale in scales])
    always = (tried["action"] == max(actions)).all(("block", "cohort")).to_numpy()
    bound = clairvoyant(world, np.array([moment]), [seed], scales=scales)
    return RelaxationGap(
        name=world.scenario.tariff.name,
        scales=tuple(scales),
        sequences=profits.shape[1],
        best_usd=profits.max(axis=1),
        bound_usd=bound["profit_usd"].to_numpy()[0],
        stock_usd=profits[:, always][:, 0],
    )


def gap_table(gaps: Sequence[RelaxationGap]) -> Table:
    """The gaps as a table for people."""
    from rich.table import Table

    table = Table(title="Bound against exhaustive search on the twin: two cohorts, one day")
    for heading in ("tariff", "cost scale", "sequences", "best USD", "bound USD", "gap USD", "gap %", "always on USD"):
        table.add_column(heading, justify="left" if heading == "tariff" else "right")
    for gap in gaps:
        for s, scale in enumerate(gap.scales):
            table.add_row(
                gap.name,
                f"{scale:g}",
                f"{gap.sequences}",
                f"{gap.best_usd[s]:.2f}",
                f"{gap.bound_usd[s]:.2f}",
                f"{gap.gap_usd[s]:.2f}",
                f"{gap.gap_pct[s]:.2f}",
                f"{gap.stock_usd[s]:.2f}",
            )
    return table


def main() -> None:
    """Print the relaxation gap of the small problems."""
    from rich.console import Console

    Console().print(
        gap_table([relaxation_gap(small_world(tariff), actions=actions) for tariff, actions in SMALL_CASES])
    )


if __name__ == "__main__":
    main()
