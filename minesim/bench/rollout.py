"""Run one policy through many weeks at once and keep what they earned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from minesim.arrays import NUMPY, Array
from minesim.bench.reaction import reaction, response
from minesim.control.policy import Policy
from minesim.envs.core import SiteCore, StepResult, World
from minesim.errors import ParamsError, explain
from minesim.settlement import Money

MONEY_TERMS = tuple(Money.__dataclass_fields__)
"""Money terms of a step, in USD; costs are positive and subtracted, revenue and reserve income are added."""
INCOME_TERMS = ("revenue_usd", "reserve_usd")

SUMMED = {
    "profit_usd": "USD",
    **dict.fromkeys(MONEY_TERMS, "USD"),
    "energy_kwh": "kWh",
    "carbon_g": "g",
    "stops": "1",
    "trips": "1",
    "cost": "1",
}
"""Step values that are summed over a run, with their units."""
TRACED = {
    "energy_price_usd_per_mwh": "USD/MWh",
    "power_site_kw": "kW",
    "hashrate_ths": "TH/s",
    "temp_chip_max_c": "degC",
    "temp_intake_c": "degC",
    "temp_amb_c": "degC",
    "profit_usd": "USD",
}
"""Step values that are kept step by step on request, with their units."""

DERIVED = {
    "hash_th": "TH",
    "hash_commanded_th": "TH",
    "hash_square_th": "TH",
    "off_miner_h": "h",
    "fan_miner_h": "h",
    "violation_steps": "1",
    "temp_chip_max_c": "degC",
    "adapted_usd": "USD",
    "adaptable_usd": "USD",
    "revenue_possible_usd": "USD",
    "response_minutes": "min",
    "price_crossings": "1",
    "price_crossings_answered": "1",
}
"""What else is known of a run, with its unit; see :func:`rollout`."""
CARBON = "carbon_g_per_kwh"

OnStep = Callable[[int], None]
"""Told after every control step how many steps are done (for a progress bar)."""


class Watch(Protocol):
    """Looks on while a rollout runs."""

    def before(self, core: SiteCore, action: Array) -> None:
        """Told what is about to be done, before the step."""
        ...

    def after(self, core: SiteCore, result: StepResult) -> None:
        """Told what came of it."""
        ...


class Panel:
    """Several policies side by side in one batch: each acts on its own block of rows.

    Every block sees the same weeks, so that many candidates run for the price of one batch.
    """

    name = "panel"

    def __init__(self, policies: Sequence[Policy], rows_each: int) -> None:
        self.policies = tuple(policies)
        self._blocks = [slice(k * rows_each, (k + 1) * rows_each) for k in range(len(self.policies))]

    def act(self, observation: Array) -> Array:
        """Actions of all blocks (numpy)."""
        parts = [policy.act(observation[block]) for policy, block in zip(self.policies, self._blocks, strict=True)]
        return np.concatenate(parts)

    def reset(self, done: Array | None = None) -> None:
        """Reset every policy on its block."""
        for policy, block in zip(self.policies, self._blocks, strict=True):
            policy.reset(None if done is None else done[block])


def rollout(
    policy: Policy,
    world: World,
    starts: NDArray[np.datetime64],
    *,
    seeds: Sequence[int] | NDArray[np.int64] | None = None,
    options: dict[str, Any] | None = None,
    trace_runs: Sequence[int] = (),
    on_step: OnStep | None = None,
    watch: Watch | None = None,
) -> xr.Dataset:
    """Run ``policy`` once from every start, all runs together as one batch.

    The horizon is the world's. Draws (silicon, sensor errors, faults) follow from seed and start alone, so two policies
    with the same starts and seeds meet the same world.

    Args:
        policy: acts on observations (B, n) and sees nothing else.
        world: compiled traces and site.
        starts: start of each run, UTC, (B,).
        seeds: seed of each run, (B,); 0 for all when None.
        options: further reset options of the environment.
        trace_runs: runs whose steps are kept.
        on_step: progress callback.
        watch: looks on (see :mod:`minesim.bench.decisions`).

    Returns:
        Dataset over ``run``: sums of ``SUMMED`` (``carbon_g`` NaN where the scenario has no carbon trace), ``hash_th``
        (hashes, TH), ``hash_commanded_th`` (what the commands in force mean at nameplate), ``hash_square_th`` (hashes
        times their ratio to the command), ``off_miner_h`` (miner-hours not hashing), ``fan_miner_h`` (miner-hours at
        full fan speed with as many turns), ``violation_steps`` (steps with a constraint cost), ``temp_chip_max_c``;
        ``adapted_usd``, ``adaptable_usd``, ``revenue_possible_usd`` of :func:`minesim.bench.reaction.reaction`;
        ``response_minutes``, ``price_crossings``, ``price_crossings_answered`` of
        :func:`minesim.bench.reaction.response`; and constants ``power_rated_w``, ``miners``, ``duration_h``. With
        ``trace_runs`` also ``trace_*`` over ``traced_run`` and ``step``.

    Raises:
        ParamsError: no starts, or as many seeds as starts are not given.
        ScenarioError: a start whose horizon leaves the data.
    """
    starts = np.asarray(starts, "datetime64[s]")
    runs = len(starts)
    seeds = np.zeros(runs, np.int64) if seeds is None else np.asarray(seeds, np.int64)
    if runs == 0 or len(seeds) != runs:
        raise ParamsError(
            explain(f"{runs} starts with {len(seeds)} seeds", allowed="one seed for each start, not none")
        )
    core = SiteCore(world, runs)
    core.seed([run_seed(int(seed), start) for seed, start in zip(seeds, starts, strict=True)])
    observation = core.reset(options={"split": None, **(options or {}), "start": starts})
    policy.reset()
    curves = world.params.curves
    dt_s = world.config.dt_ctrl_s
    dt_h = dt_s / 3600.0
    fans = curves.count * (1.0 - world.params.miners.liquid)
    start_row = core.start_row.copy()
    sums = {name: np.zeros(runs) for name in SUMMED}
    hash_ths, commanded_ths, square_ths, hashing, fan, violations = (np.zeros(runs) for _ in range(6))
    hottest = np.full(runs, -np.inf)
    power_kw, commanded_w = (np.empty((world.horizon_steps, runs)) for _ in range(2))
    kept = list(trace_runs)
    traces = {name: np.empty((len(kept), world.horizon_steps)) for name in TRACED} if kept else {}
    for step in range(world.horizon_steps):
        action = policy.act(observation)
        if watch is not None:
            watch.before(core, action)
        result = core.step(action)
        observation, info = result.observation, result.info
        if watch is not None:
            watch.after(core, result)
        for name in SUMMED:
            sums[name] += info[name]
        command, telemetry, ths = core.history.command, core.telemetry, info["hashrate_ths"]
        meant = curves.at_preset(curves.preset_hashrate_ths, command.preset, xp=NUMPY) * command.throttle * command.run
        meant_ths = meant @ curves.count
        hash_ths += ths
        commanded_ths += meant_ths
        square_ths += ths * ths / np.maximum(meant_ths, 1e-9) * (meant_ths > 0.0)
        hashing += telemetry.hashing @ curves.count
        fan += telemetry.fan_duty @ fans
        violations += info["cost"] > 0.0
        hottest = np.maximum(hottest, info["temp_chip_max_c"])
        power_kw[step] = info["power_site_kw"]
        commanded_w[step] = core.history.command_w @ curves.count
        for name, values in traces.items():
            values[:, step] = info[name][kept]
        if on_step is not None:
            on_step(step + 1)
    if CARBON not in world.scenario.traces:
        sums["carbon_g"] = np.full(runs, np.nan)
    money = reaction(world, start_row, sums["revenue_usd"], commanded_w.T * 1e-3)
    followed = response(world, start_row, power_kw.T)
    derived = {
        "hash_th": hash_ths * dt_s,
        "hash_commanded_th": commanded_ths * dt_s,
        "hash_square_th": square_ths * dt_s,
        "off_miner_h": (curves.count.sum() * world.horizon_steps - hashing) * dt_h,
        "fan_miner_h": fan * dt_h,
        "violation_steps": violations,
        "temp_chip_max_c": hottest,
        "adapted_usd": money.adapted,
        "adaptable_usd": money.adaptable,
        "revenue_possible_usd": money.possible,
        "response_minutes": followed.minutes,
        "price_crossings": followed.crossings,
        "price_crossings_answered": followed.answered,
    }
    units = SUMMED | DERIVED
    variables: dict[str, Any] = {
        name: ("run", values, {"units": units[name]}) for name, values in (sums | derived).items()
    }
    for name, values in traces.items():
        variables[f"trace_{name}"] = (("traced_run", "step"), values.astype(np.float32), {"units": TRACED[name]})
    return xr.Dataset(
        variables,
        coords={
            "start": ("run", starts.astype("datetime64[ns]")),
            "seed": ("run", np.asarray(seeds, np.int64)),
            **({"traced_run": kept} if kept else {}),
        },
        attrs={
            "policy": policy.name,
            "power_rated_w": curves.power_rated_site_w,
            "miners": float(curves.count.sum()),
            "duration_h": world.horizon_steps * dt_h,
            "steps": world.horizon_steps,
            "dt_ctrl_s": dt_s,
        },
    )


def run_seed(seed: int, start: np.datetime64) -> int:
    """Seed of the environment for one run: other weeks draw other silicon and noise under the same seed."""
    hours = int(start.astype("datetime64[s]").astype(np.int64)) // 3600
    return seed * 100_000_000 + hours


def week_starts(first: str, weeks: int, every: int = 1) -> NDArray[np.datetime64]:
    """Starts of ``weeks`` weeks from ``first`` (UTC), every ``every``-th week.

    >>> [str(day) for day in week_starts("2023-07-01", 2)]
    ['2023-07-01T00:00:00', '2023-07-08T00:00:00']
    """
    return np.datetime64(first, "s") + np.arange(0, weeks, every) * np.timedelta64(7 * 86400, "s")
