"""Plans, writes and restore through the real client against emulated firmware of both generations."""

from __future__ import annotations

import contextlib

import pytest

from minesim.bridge.miners.miner import MinerError, State
from minesim.bridge.miners.vnish import VnishMiner
from minesim.bridge.miners.vnish_auth import Credentials
from minesim.bridge.miners.vnish_writes import WRITABLE_FIELDS
from minesim.bridge.writing.actuator import Actuator, Answers, Order
from minesim.bridge.writing.journal import Journal
from minesim.bridge.writing.journal_records import IntentState
from minesim.bridge.writing.plan import Desired
from minesim.bridge.writing.restore import restore
from minesim.emulator.emulator import FIRMWARES, Emulator
from minesim.emulator.faults import Fault, FaultKind
from tests.bridge.fake_miner import FakeClock


class SharedClock(FakeClock):
    """Takes the emulated miners along."""

    def __init__(self, emulator: Emulator) -> None:
        super().__init__()
        self._emulator = emulator

    def advance(self, seconds: float) -> None:
        super().advance(seconds)
        self._emulator.advance(seconds)


class Site:
    """Two emulated miners behind an actuator."""

    def __init__(self, firmware, folder):
        self.emulator = Emulator(["Antminer S19j Pro"] * 2, firmware=firmware, seed=3)
        self.emulator.advance(600.0)
        self.clock = SharedClock(self.emulator)
        self.miners = {
            host: VnishMiner(host, Credentials(password="admin"), self.clock, transport=self.emulator.transport())
            for host in self.emulator.hosts
        }
        self.journal = Journal.open(folder / "bridge.sqlite")
        self.actuator = Actuator(self.journal, self.miners, self.clock)

    async def until_satisfied(self, desired, polls=30):
        """Poll once a minute until no miner needs a write and none is open."""
        for _ in range(polls):
            answers = {}
            for name, miner in self.miners.items():
                with contextlib.suppress(MinerError):
                    answers[name] = Answers(await miner.configuration(), await miner.reading())
            self.actuator.settle(answers)
            plans = self.actuator.plan(dict.fromkeys(self.miners, desired), answers)
            all_told = len(answers) == len(self.miners) and not self.journal.open_intents()
            if all_told and not any(made.writes or made.notes for made in plans.values()):
                return
            await self.actuator.apply([Order(n, p.writes) for n, p in plans.items()], cycle=1, policy="p")
            self.clock.advance(60.0)
        raise AssertionError([(made.writes, made.notes) for made in plans.values()])

    async def state(self):
        found = {}
        for name, miner in self.miners.items():
            reading = await miner.reading()
            found[name] = (await miner.fields(WRITABLE_FIELDS), reading.state, reading.throttle)
        return found


@pytest.fixture(params=FIRMWARES)
def site(request, tmp_path):
    made = Site(request.param, tmp_path)
    yield made
    made.journal.close()


async def test_a_day_of_settings_and_back(site):
    before = await site.state()
    low, middle = (await next(iter(site.miners.values())).presets())[:2]
    throttle = 0.6 if site.emulator.firmware == "1.3.4" else None
    await site.until_satisfied(Desired(True, low.name, throttle))
    await site.until_satisfied(Desired(False))
    assert all(state is State.STOPPED for _, state, _ in (await site.state()).values())
    await site.until_satisfied(Desired(True, middle.name, throttle))
    await site.until_satisfied(Desired(False))
    assert all(intent.state is IntentState.DONE for intent in site.journal.intents())
    results = await restore(site.journal, site.miners, site.clock, actor="ann")
    assert all(result.complete for result in results), results
    site.clock.advance(1800.0)
    assert await site.state() == before
    assert not any(sum(miner.dangerous.values()) for miner in site.emulator.miners)


@pytest.mark.parametrize(
    "kind",
    [
        FaultKind.UNREACHABLE,
        FaultKind.TIMEOUT,
        FaultKind.ANSWER_LOST,
        FaultKind.WRITE_IGNORED,
        FaultKind.WRITE_REFUSED,
        FaultKind.HALF_APPLIED,
        FaultKind.RESTART_REQUIRED,
        FaultKind.SERVER_ERROR,
        FaultKind.MALFORMED_JSON,
    ],
)
@pytest.mark.parametrize("site", ["1.3.4"], indirect=True)
async def test_a_quarter_of_an_hour_of_trouble_is_got_over(site, kind):
    before = await site.state()
    presets = await next(iter(site.miners.values())).presets()
    await site.until_satisfied(Desired(True, presets[1].name))
    for desired in (Desired(False), Desired(True, presets[0].name)):
        fault = Fault(0, kind, at_s=site.emulator.elapsed_s, duration_s=900.0)
        site.emulator.inject(fault)
        await site.until_satisfied(desired, polls=120)
    results = await restore(site.journal, site.miners, site.clock, actor="ann")
    assert all(result.complete for result in results), results
    site.clock.advance(1800.0)
    assert await site.state() == before
