"""How fast the environments step on this machine: `make bench-speed`.

Env-only rates under random actions, one thread, nothing written to disk. Best and median of repeats; the time of the
first step (compilation included) is told apart from steady state.
"""

from __future__ import annotations

import functools
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from importlib import util
from typing import Any

import gymnasium as gym
import numpy as np
from rich.console import Console
from rich.table import Table

import minesim
from minesim.control.fleet import CohortSpec
from minesim.envs.batch import HashrateTuningVectorEnv
from minesim.envs.core import SiteCore, World, build_world
from minesim.envs.single import HashrateTuningEnv, make_config
from minesim.site_spec import SiteSpec

REPEATS = 9
SECONDS_PER_REPEAT = 0.35
GPU_SITES = (16_384, 65_536)
HALLS = 1024
MODELS = ("Antminer S19j Pro (104T)", "Antminer S19 XP", "Antminer S19k Pro", "Antminer S19 Pro")


def measure(
    step: Callable[[], Any], sites: int, clock: Callable[[], float] = time.perf_counter
) -> tuple[float, float, float]:
    """Seconds of the first step, then best and median rate in site-steps per second."""
    begin = clock()
    step()
    first_s = clock() - begin
    for _ in range(3):
        step()
    begin = clock()
    step()
    count = max(2, int(SECONDS_PER_REPEAT / max(clock() - begin, 1e-6)))
    rates = []
    for _ in range(REPEATS):
        begin = clock()
        for _ in range(count):
            step()
        rates.append(count * sites / (clock() - begin))
    return first_s, max(rates), statistics.median(rates)


def single_env(world: World) -> Callable[[], Any]:
    """The Gymnasium environment of one site, resets included."""
    env = HashrateTuningEnv(world=world)
    env.reset(seed=0)
    actions = np.random.default_rng(0).uniform(-1.0, 1.0, (97, world.action_size)).astype(np.float32)
    counter = iter(range(10**9))

    def step() -> None:
        if env.step(actions[next(counter) % 97])[3]:
            env.reset()

    return step


def numpy_batch(world: World, sites: int) -> Callable[[], Any]:
    """The native batch in numpy."""
    envs = HashrateTuningVectorEnv(sites, world=world)
    envs.reset(seed=0)
    actions = np.random.default_rng(0).uniform(-1.0, 1.0, (7, sites, world.action_size)).astype(np.float32)
    counter = iter(range(10**9))
    return lambda: envs.step(actions[next(counter) % 7])


def torch_batch(world: World, sites: int, *, compiled: bool, device: str = "cpu") -> Callable[[], Any]:
    """The batch as torch tensors."""
    import torch

    from minesim.envs.torch_batch import TorchBatch

    envs = TorchBatch(sites, device, world=world, compiled=compiled)
    envs.reset()
    actions = 2.0 * torch.rand(7, sites, world.action_size, device=device) - 1.0
    counter = iter(range(10**9))

    def step() -> None:
        envs.step(actions[next(counter) % 7])
        if device != "cpu":
            torch.cuda.synchronize()

    return step


def machine() -> str:
    """Processor model and what the rates were measured with."""
    model = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
    return f"{model}, {os.cpu_count()} cores; Python {platform.python_version()}, numpy {np.__version__}, 1 thread"


def small_sites(parts: Sequence[str]) -> Table:
    """Sites of 16 cohorts in every kind of environment, on the processor and on a GPU."""
    world = build_world(make_config())
    table = Table(
        title=f"minesim {minesim.__version__}: env-only rates, 16 cohorts, random actions", title_justify="left"
    )
    for name in ("what", "sites", "dtype", "first step, s", "best site-steps/s", "median site-steps/s"):
        table.add_column(name, justify="left" if name in ("what", "dtype") else "right")

    def add(what: str, sites: int, dtype: str, step: Callable[[], Any]) -> None:
        first_s, best, median = measure(step, sites)
        table.add_row(what, f"{sites:,}", dtype, f"{first_s:.3f}", f"{best:,.0f}", f"{median:,.0f}")

    has_torch = util.find_spec("torch") is not None
    if "cpu" in parts:
        add("gymnasium env, numpy", 1, "float64", single_env(world))
        for sites in (64, 1024, 4096):
            add("vector env, numpy", sites, "float64", numpy_batch(world, sites))
        for compiled, sizes in ((False, (1, 1024, 4096)), (True, (1024, 4096))) if has_torch else ():
            for sites in sizes:
                what = f"torch, {'compiled' if compiled else 'eager'}"
                add(what, sites, "float32", torch_batch(world, sites, compiled=compiled))
    if "gpu" in parts and accelerator() != "none":
        for sites in GPU_SITES:
            for compiled in (False, True):
                what = f"torch, {'compiled' if compiled else 'eager'}, GPU"
                add(what, sites, "float32", torch_batch(world, sites, compiled=compiled, device="cuda"))
    return table


def halls() -> Table:
    """Halls of 16 groups on 8 x 4 cells, by processor time: other work on the machine matters little."""
    from minesim.envs import make_torch

    table = Table(title="40-ft container, 8 x 4 cells, processor time of one thread", title_justify="left")
    for name in ("what", "halls", "best hall-steps/s", "median hall-steps/s"):
        table.add_column(name, justify="left" if name == "what" else "right")
    for env_id in ("minesim/Cooling-v0", "minesim/Site-v0"):
        env: Any = gym.make(env_id).unwrapped
        env.reset(seed=0)
        action = env.action_space.sample()

        def alone(env: Any = env, action: Any = action) -> None:
            if env.step(action)[3]:
                env.reset()

        batch: Any = gym.make_vec(env_id, HALLS, world=env.world)
        batch.reset(seed=0)
        actions = batch.action_space.sample()
        cases: list[tuple[str, int, Callable[[], Any]]] = [
            ("gymnasium env, numpy", 1, alone),
            ("vector env, numpy", HALLS, functools.partial(batch.step, actions)),
        ]
        if util.find_spec("torch"):
            import torch

            tensors = make_torch(env_id, HALLS, world=env.world)
            tensors.reset()
            cases.append(("torch", HALLS, functools.partial(tensors.step, torch.as_tensor(actions))))
        for what, count, step in cases:
            _, best, median = measure(step, count, time.process_time)
            table.add_row(f"{env_id}, {what}", f"{count:,}", f"{best:,.0f}", f"{median:,.0f}")
    return table


def large_sites() -> Table:
    """One site of many miners, each with a state of its own."""
    table = Table(
        title="one site of individually simulated miners, numpy float64, limits 'bridge'", title_justify="left"
    )
    for name in ("miners", "best ms a step", "median ms a step", "us a miner"):
        table.add_column(name, justify="right")
    for miners in (1_000, 2_000, 5_000, 10_000):
        cohorts = tuple(CohortSpec(MODELS[k % len(MODELS)], 1) for k in range(miners))
        large = build_world(make_config(site=SiteSpec(f"{miners} miners", cohorts), limits="bridge"))
        core = SiteCore(large, 1)
        core.seed([0])
        core.reset()
        actions = np.random.default_rng(0).uniform(-1.0, 1.0, (7, 1, miners))
        counter = iter(range(10**9))

        def step(core: SiteCore = core, actions: Any = actions, counter: Any = counter) -> None:
            core.step(actions[next(counter) % 7])

        _, best, median = measure(step, 1)
        table.add_row(f"{miners:,}", f"{1e3 / best:.2f}", f"{1e3 / median:.2f}", f"{1e6 / median / miners:.2f}")
    return table


def accelerator() -> str:
    """Name of the GPU that torch sees, or ``none``."""
    if util.find_spec("torch") is None:
        return "none"
    import torch

    torch.set_num_threads(1)
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "none"


def main(parts: Sequence[str]) -> None:
    """Print the rates; ``cpu``, ``gpu``, ``halls`` and ``miners`` choose what is measured, without a choice all is."""
    parts = parts or ("cpu", "gpu", "halls", "miners")
    console = Console()
    console.print(f"{machine()}; accelerator: {accelerator()}")
    if "cpu" in parts or "gpu" in parts:
        with console.status("small sites"):
            console.print(small_sites(parts))
    if "halls" in parts:
        with console.status("halls"):
            console.print(halls())
    if "miners" in parts:
        with console.status("sites of many miners"):
            console.print(large_sites())


if __name__ == "__main__":
    main(sys.argv[1:])
