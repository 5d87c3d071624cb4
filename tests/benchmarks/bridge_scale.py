"""How fast the bridge goes round a large site: ``make bench-bridge``.

A thousand emulated miners in a process of their own, over real sockets, one port a miner; the bridge polls, decides and
journals in shadow. Prints the time of the first and the later cycles, memory, and how long the command takes to start.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from agents.baselines.named import named_rule
from minesim.bridge.clock import SystemClock
from minesim.bridge.loop import Bridge, LoopSettings
from minesim.bridge.miners.poller import Poller
from minesim.bridge.service import make_decider, open_ports
from minesim.bridge.settings.inventory import load_inventory
from minesim.bridge.telling.snapshot import PolicyView
from minesim.bridge.writing.actuator import Planner, ReadOnlyPort
from minesim.bridge.writing.journal import Journal
from minesim.control.bundle import Bundle
from minesim.control.envelope import limits
from minesim.control.manifest import Manifest, RulePolicy, cohort_entries

HOST, FIRST_PORT, PASSWORD = "127.0.0.1", 18000, "MINESIM_SCALE_PASSWORD"
MODEL = "Antminer S19j Pro (104T)"
FEEDS = {
    "power_price_usd_per_mwh": 40.0,
    "coin_price_usd": 60000.0,
    "difficulty": 9e13,
    "subsidy_coin": 3.125,
    "temp_amb_c": 20.0,
}


def inventory_text(miners: int) -> str:
    """A site of that many miners on ports counting up."""
    feeds = "\n".join(f"  {name}: {{constant: {value}}}" for name, value in FEEDS.items())
    hosts = f"{HOST}:{FIRST_PORT}-{FIRST_PORT + miners - 1}"
    return (
        f"site: scale\ntimezone: UTC\ntariff: energy_only\ncredentials: {{password: env:{PASSWORD}}}\n"
        f"cohorts:\n  - {{name: all, model: {MODEL}, miners: ['{hosts}']}}\nfeeds:\n{feeds}\n"
    )


def threshold_bundle(inventory: object) -> Bundle:
    """A threshold rule for the site; unsigned, so it never leaves this process."""
    manifest = Manifest(
        version="scale",
        agent="threshold",
        policy=RulePolicy("threshold", {"factor": 1.2}),
        cohorts=cohort_entries(inventory.cohorts),  # type: ignore[attr-defined]
        offers_reserve=False,
        dt_ctrl_s=300.0,
        limits=limits("bridge"),
        scenario="",
        scenario_hash="",
        created_at_s=0,
        expires_at_s=2**40,
    )
    return Bundle(manifest, "", {})


def memory_mb() -> float:
    """Largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0


async def cycles(folder: Path, miners: int, count: int) -> tuple[list[float], list[float], int]:
    """Seconds and processor seconds of each cycle, and how many miners answered in the last."""
    path = folder / "miners.yaml"
    path.write_text(inventory_text(miners))
    inventory, clock = load_inventory(path), SystemClock()
    decider = make_decider(inventory, threshold_bundle(inventory), named_rule)
    walls, cpus, answered = [], [], 0
    with Journal.open(folder / "journal.db") as journal:
        async with open_ports(inventory, clock) as ports:
            poller = Poller({name: ReadOnlyPort(port) for name, port in ports.items()}, clock)
            settings = LoopSettings("scale")
            bridge = Bridge(
                settings, poller, decider, journal, Planner(journal, clock), clock, PolicyView("threshold", "scale")
            )
            await bridge.start()
            for _ in range(count):
                wall, cpu = time.perf_counter(), time.process_time()
                snapshot = await bridge.cycle()
                walls.append(time.perf_counter() - wall)
                cpus.append(time.process_time() - cpu)
                answered = sum(miner.age_s is not None for miner in snapshot.miners)
    return walls, cpus, answered


def start_s(arguments: list[str]) -> float:
    """Seconds until a command has ended."""
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=False, capture_output=True)
    return time.perf_counter() - began


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--miners", type=int, default=1000)
    parser.add_argument("--cycles", type=int, default=6)
    chosen = parser.parse_args()
    command = [sys.executable, "-m", "minesim.cli", "emulate", "--miners", str(chosen.miners)]
    command += ["--host", HOST, "--port", str(FIRST_PORT), "--speed", "1"]
    os.environ[PASSWORD] = "admin"
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as emulator:
        try:
            assert emulator.stdout is not None
            ready = emulator.stdout.readline()
            if not ready.startswith("ready"):
                sys.exit(f"the emulator did not start: {ready}")
            with tempfile.TemporaryDirectory() as folder:
                walls, cpus, answered = asyncio.run(cycles(Path(folder), chosen.miners, chosen.cycles))
        finally:
            emulator.terminate()
    table = Table(
        title=f"bridge in shadow, {chosen.miners:,} emulated miners on loopback sockets", title_justify="left"
    )
    for name in ("what", "value"):
        table.add_column(name)
    table.add_row("answered in the last cycle", f"{answered:,}")
    table.add_row("first cycle (identity, presets, limits)", f"{walls[0]:.1f} s, {cpus[0]:.1f} s of processor time")
    table.add_row("later cycles, median", f"{statistics.median(walls[1:]):.1f} s, {statistics.median(cpus[1:]):.1f} s")
    table.add_row("later cycles, longest", f"{max(walls[1:]):.1f} s")
    table.add_row("memory of the bridge", f"{memory_mb():.0f} MB")
    table.add_row(
        "minesim bridge --help", f"{min(start_s(['-m', 'minesim.cli', 'bridge', '--help']) for _ in range(3)):.2f} s"
    )
    Console().print(table)


if __name__ == "__main__":
    main()
