"""A real process with the whole bridge in it, killed at random moments; the miners live on in a process of their own.

Both write what happens to one file: the emulator each write that a miner received, the bridge the end of each cycle.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import random
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agents.baselines.base import Knowledge
from minesim.bridge.deciding.decide import Decider, Settings
from minesim.bridge.feeds import FeedBook
from minesim.bridge.loop import Bridge, LoopSettings, Mode
from minesim.bridge.miners.fleet import Member
from minesim.bridge.miners.poller import Poller
from minesim.bridge.miners.vnish import VnishMiner
from minesim.bridge.miners.vnish_auth import Credentials
from minesim.bridge.miners.vnish_writes import WRITABLE_FIELDS
from minesim.bridge.telling.snapshot import PolicyView
from minesim.bridge.writing.actuator import Actuator
from minesim.bridge.writing.journal import Journal, Reader
from minesim.bridge.writing.restore import restore
from minesim.control.envelope import limits
from minesim.control.fleet import CohortSpec, fleet_curves
from minesim.control.observe import schema
from minesim.emulator.emulator import Emulator
from minesim.emulator.http import Delivery, Request
from minesim.emulator.serve import addresses, serving
from minesim.scenario import Scenario, TraceTable, compile_table, scenario
from tests.bridge.chaos import Whims
from tests.bridge.chaos_judge import API, _request_of
from tests.bridge.replay import replay_feeds

MODELS = ("Antminer S19j Pro (104T)", "Antminer S19 XP") * 2
START = "2022-06-26T05:00"
SPEED = 200.0
"""Seconds of the site a second."""
POLL_S = 20.0
ANSWER_S = 0.02
"""Real time that a write takes before and after it acts, so that kills come in between."""
POWERS = ("POST /mining/stop", "POST /mining/start")
FORK = multiprocessing.get_context("fork")


@cache
def world() -> tuple[Scenario, TraceTable, float]:
    made = scenario("generated/energy_only", start="2022-06-20", days=20, level="hard")
    table = compile_table(made)
    return made, table, float(table.start_utc[table.row_of(START)].astype("datetime64[s]").astype(np.int64))


@dataclass(frozen=True)
class FastClock:
    """The machine's time, :data:`SPEED` times as fast, the same in all processes."""

    began_s: float

    def now_s(self) -> float:
        return world()[2] + self.monotonic_s()

    def monotonic_s(self) -> float:
        return SPEED * (time.monotonic() - self.began_s)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / SPEED)


def tell(folder: Path, *what: Any) -> None:
    """Append a line in one call, so that a kill comes before or after it."""
    with (folder / "story.jsonl").open("ab", buffering=0) as file:
        file.write(json.dumps(what).encode() + b"\n")


def emulate(folder: Path, pipe: Any) -> None:
    """The process of the miners."""
    emulator = Emulator(MODELS, seed=5, step_s=POLL_S)
    emulator.advance(1800.0)
    answer = emulator.answer

    def noting(index: int, request: Request) -> Delivery:
        path = request.path.removeprefix(API)
        if request.method != "GET" and path != "/unlock":
            time.sleep(ANSWER_S)
            tell(folder, "got", index, f"{request.method} {path}", json.loads(request.body or b"null"))
            delivery = answer(index, request)
            time.sleep(ANSWER_S)
            return delivery
        return answer(index, request)

    emulator.answer = noting  # type: ignore[method-assign]

    async def serve() -> None:
        async with serving(emulator, addresses(len(MODELS), "127.0.0.1", 0, 0), SPEED) as service:
            pipe.send([f"{one.host}:{one.http_port}" for one in service.addresses])
            await service.ended

    asyncio.run(serve())


def ports_for(hosts: list[str], clock: FastClock) -> dict[str, VnishMiner]:
    return {host: VnishMiner(host, Credentials(password="admin"), clock) for host in hosts}


def live(folder: Path, hosts: list[str], clock: FastClock, seed: int, cycles: int, pipe: Any) -> None:
    """The process of the bridge: a policy that wants something else every few cycles, in steps of a rollout."""
    asyncio.run(_live(folder, hosts, clock, seed, cycles, pipe))


async def _live(folder: Path, hosts: list[str], clock: FastClock, seed: int, cycles: int, pipe: Any) -> None:
    made, table, _ = world()
    specs = tuple(CohortSpec(model, 1) for model in MODELS)
    members = tuple(Member(host, i, f"rack-{i}") for i, host in enumerate(hosts))
    # Ramps, dwell times and budgets would leave most of the kills without a write to interrupt.
    free = replace(
        limits("bridge"),
        ramp_up_per_min=float("inf"),
        ramp_up_per_5min=float("inf"),
        dwell_up_s=0.0,
        stops_per_day=float("inf"),
    )
    policy = Whims(Knowledge(schema(len(specs)), fleet_curves(specs)))
    book = FeedBook(replay_feeds(made, table), made.tariff, made.site_timezone)
    decider = Decider(members, specs, policy, book, Settings(limits=free, cap_w=1e9, step_s=60.0))
    passes = []
    step = decider.step

    def noting(*args: Any) -> Any:
        passes.append(step(*args))
        return passes[-1]

    decider.step = noting  # type: ignore[method-assign]
    ports = ports_for(hosts, clock)
    with Journal.open(folder / "journal.db") as journal:
        bridge = Bridge(
            LoopSettings("kills", Mode.AUTO, poll_s=POLL_S),
            Poller(ports, clock),
            decider,
            journal,
            Actuator(journal, ports, clock),
            clock,
            PolicyView("whims", "1"),
        )
        await bridge.start()
        pipe.send("ready")
        chance = random.Random(seed)
        for number in range(cycles):
            if number % 3 == 0:
                stops = [chance.random() < 0.3 and i % 2 == 0 for i in range(len(MODELS))]
                policy.wanted = np.array([0.0 if stop else chance.choice((0.5, 0.65, 0.8, 1.0)) for stop in stops])
            began_s = clock.monotonic_s()
            snapshot = await bridge.cycle()
            opened = {intent.miner for intent in journal.open_intents()}
            wants = passes[-1].desired
            tell(
                folder,
                "cycle",
                [[view.state, view.name in opened, list(astuple(wants[view.name]))] for view in snapshot.miners],
            )
            await clock.sleep(max(POLL_S - (clock.monotonic_s() - began_s), 0.0))


@dataclass
class Truth:
    """What the miners received, and how long they have been between two settings."""

    presets: list[str]
    throttles: list[int] = field(default_factory=lambda: [100] * len(MODELS))
    received: list[list[str]] = field(default_factory=lambda: [[] for _ in MODELS])
    half: list[int] = field(default_factory=lambda: [0] * len(MODELS))
    cycles: int = 0
    read: int = 0

    def follow(self, folder: Path) -> None:
        """Take in what was told since the last look."""
        text = (folder / "story.jsonl").read_bytes() if (folder / "story.jsonl").exists() else b""
        for line in text[self.read :].splitlines():
            kind, *told = json.loads(line)
            if kind == "got":
                self._got(*told)
            else:
                self._cycle(*told)
        self.read = len(text)

    def _got(self, index: int, what: str, body: Any) -> None:
        self.received[index].append(what)
        if what == "POST /settings":
            self.presets[index] = body["miner"]["overclock"]["preset"]
        elif what == "POST /mining/throttle":
            self.throttles[index] = body["percent"]

    def _cycle(self, miners: list[Any]) -> None:
        self.cycles += 1
        for index, (state, opened, wanted) in enumerate(miners):
            run, preset, throttle = wanted
            moving = opened or state != "mining" or not run or throttle is None
            half = not moving and preset == self.presets[index] and round(100 * throttle) != self.throttles[index]
            self.half[index] = self.half[index] + 1 if half else 0
            assert self.half[index] <= 1, f"miner {index} has preset {preset} and not its throttle {throttle}"


def check(folder: Path, hosts: list[str], truth: Truth) -> int:
    """Nothing lost, nothing doubled, the journal whole; tells how many writes were under way."""
    truth.follow(folder)
    with sqlite3.connect(folder / "journal.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()
    with Reader.open(folder / "journal.db") as reader:
        for host, received in zip(hosts, truth.received, strict=True):
            powers = [what for what in received if what in POWERS]
            assert powers == (list(POWERS) * len(powers))[: len(powers)], "stopped or started twice"
            assert "POST /mining/restart" not in received, "no preset asks for a restart here"
            intents = reversed(reader.intents(host, limit=100_000))
            asked = iter([_request_of(intent.write) for intent in intents])
            for what in received:
                assert any(what == one for one in asked), f"{what} went out without an intent of its own"
            assert len(reader.open_intents(host)) <= 1
        return len(reader.open_intents())


@contextmanager
def emulated(folder: Path) -> Iterator[list[str]]:
    here, there = FORK.Pipe()
    process = FORK.Process(target=emulate, args=(folder, there), daemon=True)
    process.start()
    try:
        assert here.poll(60.0)
        yield here.recv()
    finally:
        process.kill()
        process.join()


async def state(hosts: list[str], clock: FastClock) -> list[Any]:
    """What an operator finds: settings, throttle, whether it is on."""
    found = []
    for port in ports_for(hosts, clock).values():
        async with port:
            reading = await port.reading()
            found.append((await port.fields(WRITABLE_FIELDS), reading.throttle, reading.state.started))
    return found


async def put_back(folder: Path, hosts: list[str], clock: FastClock) -> None:
    with Journal.open(folder / "journal.db") as journal:
        results = await restore(journal, ports_for(hosts, clock), clock, actor="ann")
    assert results
    assert all(result.complete for result in results), results


def kill_again_and_again(folder: Path, times: int) -> None:
    world()
    chance = random.Random(times)
    with emulated(folder) as hosts:
        clock = FastClock(time.monotonic())
        before = asyncio.run(state(hosts, clock))
        truth = Truth([found[0]["miner.overclock.preset"] for found in before])
        under_way = 0
        for number in range(times):
            here, there = FORK.Pipe()
            bridge = FORK.Process(target=live, args=(folder, hosts, clock, number, 10**6, there))
            bridge.start()
            assert here.poll(60.0)
            here.recv()
            time.sleep(chance.uniform(0.0, 2.0))
            assert bridge.pid is not None
            os.kill(bridge.pid, signal.SIGKILL)
            bridge.join()
            assert bridge.exitcode == -signal.SIGKILL
            under_way += check(folder, hosts, truth) > 0
        assert under_way >= times // 10, "too few of the kills came in the middle of a write"
        here, there = FORK.Pipe()
        last = FORK.Process(target=live, args=(folder, hosts, clock, 0, 30, there))
        last.start()
        last.join(120.0)
        assert last.exitcode == 0
        check(folder, hosts, truth)
        assert truth.cycles >= 30
        with Reader.open(folder / "journal.db") as reader:
            old = [intent for intent in reader.open_intents() if intent.at_s < clock.now_s() - 900.0]
            assert not old, "intents of the killed are settled"
        asyncio.run(put_back(folder, hosts, clock))
        assert asyncio.run(state(hosts, clock)) == before


def test_a_bridge_that_is_killed_a_few_times_loses_and_doubles_nothing(tmp_path: Path) -> None:
    kill_again_and_again(tmp_path, 5)


@pytest.mark.long
def test_a_bridge_that_is_killed_two_hundred_times_loses_and_doubles_nothing(tmp_path: Path) -> None:
    kill_again_and_again(tmp_path, 200)
