"""From a benchmark to miners: judge a rule, sign it, watch, act on emulated miners, compare with what was predicted."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from agents.baselines.named import named_rule
from agents.benchmark.settings import BenchmarkSettings, Site, Suite, Weeks
from agents.benchmark.suite import benchmark
from agents.promotable import Promotable
from minesim.bridge.loop import Mode
from minesim.bridge.service import JOURNAL, SNAPSHOT, ServiceSettings, open_ports, run_bridge
from minesim.bridge.settings.inventory import Inventory, load_inventory
from minesim.bridge.telling.outcomes import from_journal
from minesim.bridge.telling.snapshot import read_snapshot
from minesim.bridge.writing.explain import explain_miner, tell_outcomes
from minesim.bridge.writing.journal import Journal, Reader
from minesim.bridge.writing.restore import restore
from minesim.control.bundle import Bundle, read_bundle
from minesim.emulator import Emulator, Weather
from minesim.promote.promotion import Request, judge, promote
from minesim.scenario import compile_table, scenario
from tests.bridge.rehearsal import EmulatorClock
from tests.promote.small import KEY, TRUSTED

MODELS = ("Antminer S19j Pro (104T)",) * 6
SUITE = Suite(
    name="small",
    scenarios=["ercot/4cp"],
    validation=Weeks("2023-01-07", 25, 12),
    test=Weeks("2023-07-01", 26, 6),
)
POLL_S = 60.0


class StoppingClock(EmulatorClock):
    """Ends the bridge after some hours of the site's time."""

    stop: asyncio.Event
    end_s: float

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds)
        if self.emulator.elapsed_s >= self.end_s:
            self.stop.set()


class Place:
    """A site of emulated miners with feeds in files, from the generator's hard market."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        world = scenario("generated/energy_only", start="2022-06-20", days=12, level="hard")
        table = compile_table(world)
        row = table.row_of("2022-06-26T05:00")
        self.start_s = float(table.start_utc[row].astype("datetime64[s]").astype(np.int64))
        air = (table.column(name)[row:] for name in ("temp_amb_c", "rel_humidity_pct", "pressure_pa"))
        self.emulator = Emulator(
            MODELS, seed=4, step_s=POLL_S, weather=Weather(*air, dt_s=table.dt_s), start_at_s=self.start_s
        )
        self.clock = StoppingClock(self.emulator, self.start_s)
        monkeypatch.setenv("VNISH_PASSWORD", "admin")
        hosts = ", ".join(self.emulator.hosts)
        lines = [
            "site: rehearsal",
            f"timezone: {world.site_timezone}",
            "tariff: energy_only",
            "cap_kw: 25",
            "credentials: {password: env:VNISH_PASSWORD}",
            "cohorts:",
            f"  - {{name: s19j, model: Antminer S19j Pro (104T), miners: [{hosts}]}}",
            "feeds:",
            "  subsidy_coin: {constant: 6.25}",
        ]
        starts = world.traces["time"].to_numpy().astype("datetime64[s]")
        for name in ("power_price_usd_per_mwh", "coin_price_usd", "difficulty", "temp_amb_c", "rel_humidity_pct"):
            values = world.traces[name].to_numpy().reshape(len(starts), -1)[:, 0]
            text = "\n".join(f"{start}Z,{value}" for start, value in zip(starts, values, strict=True))
            (folder / f"{name}.csv").write_text(f"time,value\n{text}\n")
            lines.append(f"  {name}: {{file: {folder / name}.csv, time: time, interval_s: {world.step_s:g}}}")
        (folder / "miners.yaml").write_text("\n".join(lines) + "\n")

    def inventory(self) -> Inventory:
        return load_inventory(self.folder / "miners.yaml")

    async def run(self, bundle: Bundle, mode: Mode, hours: float) -> None:
        """Run the service as the command line does, until the hours are over."""
        self.clock.stop, self.clock.end_s = asyncio.Event(), self.emulator.elapsed_s + 3600.0 * hours
        settings = ServiceSettings(mode, self.folder / "state", POLL_S)
        await run_bridge(
            self.inventory(),
            bundle,
            named_rule,
            settings,
            stop=self.clock.stop,
            clock=self.clock,
            transport=self.emulator.transport(),
        )

    @property
    def writes(self) -> int:
        """Writes that the miners got."""
        return sum(count for miner in self.emulator.miners for path, count in miner.writes.items() if path != "/unlock")


async def test_from_a_benchmark_to_miners_and_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # --- a benchmark, and the gates
    settings = BenchmarkSettings(
        bench=SUITE,
        site=Site(name="one_s19j_pro"),
        rules=["always_stock", "threshold"],
        mpc=False,
        jobs=1,
        out=str(tmp_path / "out"),
    )
    result = benchmark(settings, Console(file=io.StringIO()))
    verdict = judge(Request(result.folder, "small", "threshold", "always_stock"), Promotable())
    assert [gate.name for gate in verdict.gates if not gate.passed] == []
    place = Place(tmp_path, monkeypatch)
    promote(verdict, tmp_path / "bundles", KEY, int(place.start_s) - 3600, 30)
    bundle = read_bundle(tmp_path / "bundles" / "current", TRUSTED, place.start_s)

    # --- shadow: it says what it would do, and does nothing
    await place.run(bundle, Mode.SHADOW, 0.5)
    shown = read_snapshot(tmp_path / "state" / SNAPSHOT)
    assert (shown.mode, len(shown.miners), place.writes) == ("shadow", len(MODELS), 0)
    with Reader.open(tmp_path / "state" / JOURNAL) as reader:
        assert reader.outcomes(), "predictions are made in shadow as well"

    # --- auto
    await place.run(bundle, Mode.AUTO, 5.0)
    assert place.writes > 0
    with Reader.open(tmp_path / "state" / JOURNAL) as reader:
        hours = [one for one in from_journal(reader.outcomes()) if one.horizon_s == 3600.0]
        assert len(hours) > 40
        expected, real = (
            np.array([side.profit_usd_per_h for side in sides], float)
            for sides in zip(*((one.predicted, one.measured) for one in hours), strict=True)
        )
        # The prediction knows presets, not silicon, heat and the minutes of a start.
        size = np.nanmean(np.abs(expected))
        assert abs(np.nanmean(real - expected)) < 0.05 * size
        told = io.StringIO()
        tell_outcomes(reader, Console(file=told, width=160))
        assert "profit, USD/h" in told.getvalue()
        explain_miner(reader, place.emulator.hosts[0], 5, Console(file=told, width=160), place.clock.now_s())
        assert "allowed" in told.getvalue()

    # --- and back
    clock = EmulatorClock(place.emulator, place.start_s)
    with Journal.open(tmp_path / "state" / JOURNAL) as journal:
        async with open_ports(place.inventory(), clock, place.emulator.transport()) as ports:
            done = await restore(journal, ports, clock, actor="operator")
    assert done
    assert all(one.complete for one in done)
    place.emulator.advance(1800.0)
    assert (place.emulator.twin.run == 1.0).all()
    assert (place.emulator.twin.throttle == 1.0).all()
