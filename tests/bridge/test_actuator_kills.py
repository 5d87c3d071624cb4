"""A real process with the actuator in it, killed at random moments; the miners outlive it in a file."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from minesim.bridge.miners.miner import Power, SetPower, SetPreset, State, Write
from minesim.bridge.writing.actuator import Actuator, Answers, Order
from minesim.bridge.writing.journal import Journal, Reader
from minesim.bridge.writing.journal_records import decode_write, encode_write
from minesim.bridge.writing.plan import Desired
from minesim.bridge.writing.restore import restore
from tests.bridge.fake_miner import FakeClock, FakeMiner

COUNT = 6
STOP, START = SetPower(Power.STOP), SetPower(Power.START)
PRESET = "miner.overclock.preset"


class QuickClock:
    """Real time a thousand times as fast, so that read-backs run out between two kills."""

    def now_s(self) -> float:
        return 1_800_000_000.0 + 1000.0 * (time.time() - 1_790_000_000.0)

    def monotonic_s(self) -> float:
        return 1000.0 * time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / 1000.0)


class FileMiner(FakeMiner):
    """A miner whose state and received writes live in an append-only file, so that they survive the bridge."""

    def __init__(self, folder: Path, name: str) -> None:
        super().__init__(FakeClock(), name)
        self.file = folder / f"{name}.jsonl"
        if self.file.exists():
            for line in self.file.read_text().splitlines():
                super()._effect(decode_write(line))

    def _effect(self, write) -> None:
        # One write call: the kill comes before or after it.
        with self.file.open("ab", buffering=0) as file:
            file.write(encode_write(write).encode() + b"\n")
        super()._effect(write)

    def received(self) -> list[Write]:
        return [decode_write(line) for line in self.file.read_text().splitlines()] if self.file.exists() else []


BRIDGE = """
import asyncio, sys
from pathlib import Path
from tests.bridge.test_actuator_kills import roll

asyncio.run(roll(Path(sys.argv[1])))
"""


def miners_of(folder: Path) -> dict[str, FileMiner]:
    return {f"m{number}": FileMiner(folder, f"m{number}") for number in range(COUNT)}


async def roll(folder: Path) -> None:
    """Stop, change and start miners for ever, as a rollout does."""
    clock = QuickClock()
    miners = miners_of(folder)
    for miner in miners.values():
        miner.clock = clock
    with Journal.open(folder / "bridge.sqlite") as journal:
        actuator = Actuator(journal, miners, clock)
        await actuator.recover()
        print("ready", flush=True)  # noqa: T201
        for cycle in itertools.count(journal.last_cycle() + 1):
            answers = {name: Answers(await m.configuration(), await m.reading()) for name, m in miners.items()}
            actuator.settle(answers)
            wish = Desired(cycle % 2 == 0, ("2000", "1500")[cycle // 2 % 2])
            plans = actuator.plan(dict.fromkeys(miners, wish), answers)
            orders = [Order(name, made.writes) for name, made in plans.items()]
            await actuator.apply(orders, cycle=cycle, policy="p")


def check(folder: Path) -> bool:
    """Nothing doubled, nothing lost, nothing without an intent; tells whether a write was under way."""
    with Reader.open(folder / "bridge.sqlite") as reader:
        for name, miner in miners_of(folder).items():
            received = miner.received()
            powers = [write for write in received if isinstance(write, SetPower)]
            assert powers == ([STOP, START] * len(powers))[: len(powers)]
            intents = iter(reversed(reader.intents(name, limit=100_000)))
            for write in received:
                assert any(intent.write == write for intent in intents), "a write without an intent of its own"
            first = reader.first_values(name)
            assert first.get(PRESET, "2500") == "2500"
            assert first.get("mining.run", True) is True
            assert (PRESET in first) >= any(isinstance(write, SetPreset) for write in received)
            assert len(reader.open_intents(name)) <= 1
        return bool(reader.open_intents())


def kill_again_and_again(folder: Path, times: int) -> None:
    chance = random.Random(times)
    under_way = 0
    for _ in range(times):
        bridge = subprocess.Popen(
            [sys.executable, "-c", BRIDGE, str(folder)],
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        assert bridge.stdout is not None
        assert bridge.stdout.readline() == b"ready\n"
        time.sleep(chance.uniform(0.0, 0.1))
        bridge.kill()
        assert bridge.wait() == -signal.SIGKILL
        bridge.stdout.close()
        under_way += check(folder)
    assert under_way >= times // 4, "too few of the kills came in the middle of a write"
    asyncio.run(settle_all(folder))


async def settle_all(folder: Path) -> None:
    """After the last kill every intent is settled once the miners are read, and all can be put back."""
    clock = FakeClock(QuickClock().now_s())
    miners = miners_of(folder)
    for miner in miners.values():
        miner.clock = clock
    with Journal.open(folder / "bridge.sqlite") as journal:
        actuator = Actuator(journal, miners, clock)
        await actuator.recover()
        clock.advance(700.0)
        assert await actuator.recover() == ()
        clock.advance(4000.0)
        results = await restore(journal, miners, clock, actor="ann")
    assert all(result.complete for result in results)
    assert all(miner.settings[PRESET] == "2500" and miner.state is State.MINING for miner in miners.values())


def test_a_few_kills(tmp_path):
    kill_again_and_again(tmp_path, 5)


@pytest.mark.long
def test_two_hundred_kills(tmp_path):
    kill_again_and_again(tmp_path, 200)
