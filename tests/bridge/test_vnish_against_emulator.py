"""The client against emulated miners of both generations: what is written takes effect, what goes wrong is told."""

from __future__ import annotations

import math

import pytest

from minesim.bridge.miners.discovery import discover, parse_range
from minesim.bridge.miners.miner import (
    FanMode,
    MinerAnswerInvalid,
    MinerError,
    MinerRefused,
    MinerUnreachable,
    Power,
    SetFan,
    SetFields,
    SetPower,
    SetPreset,
    SetThrottle,
    State,
    SwitchPool,
    WriteOutcomeUnknown,
)
from minesim.bridge.miners.vnish import VnishMiner
from minesim.bridge.miners.vnish_auth import Credentials
from minesim.bridge.miners.vnish_writes import FAN_MODE, WRITABLE_FIELDS
from minesim.emulator.emulator import FIRMWARES, Emulator
from minesim.emulator.faults import Fault, FaultKind
from tests.bridge.vnish_fake import ManualClock

STOP = SetPower(Power.STOP)
MINUTES = 60.0


def fleet(firmware: str, count: int = 1) -> Emulator:
    emulator = Emulator(["Antminer S19j Pro"] * count, firmware=firmware, seed=3)
    emulator.advance(10 * MINUTES)
    return emulator


def client_of(emulator: Emulator, index: int = 0, password: str = "admin") -> VnishMiner:
    host = emulator.hosts[index]
    return VnishMiner(host, Credentials(password=password), ManualClock(), transport=emulator.transport())


def untouched(emulator: Emulator) -> bool:
    """No miner was asked for what bricks or locks it."""
    return not any(sum(miner.dangerous.values()) for miner in emulator.miners)


@pytest.mark.parametrize("firmware", FIRMWARES)
async def test_a_miner_tells_itself_without_contradiction(firmware: str) -> None:
    emulator = fleet(firmware)
    client = client_of(emulator)
    identity, limits, reading = await client.identity(), await client.limits(), await client.reading()
    assert identity.model == "Antminer S19j Pro"
    assert identity.firmware_version == tuple(int(part) for part in firmware.split("."))
    assert limits.has_throttle == (firmware == "1.3.4")
    assert reading.state is State.MINING
    assert reading.inconsistent == ()
    assert reading.hashrate_ths == pytest.approx(104.0, rel=0.1)
    assert reading.power_w == pytest.approx(3068.0, rel=0.1)
    assert reading.temp_chip_c is not None
    assert 50.0 < reading.temp_chip_c < 85.0
    configuration = await client.configuration()
    assert configuration.preset in [preset.name for preset in await client.presets()]
    assert reading.preset == configuration.preset


@pytest.mark.parametrize("firmware", FIRMWARES)
async def test_a_lower_preset_runs_after_minutes_and_restore_brings_the_first_back(firmware: str) -> None:
    emulator = fleet(firmware)
    client = client_of(emulator)
    first = await client.fields(WRITABLE_FIELDS)
    before = (await client.reading()).power_w
    low = (await client.presets())[0]
    await client.write(SetPreset(low.name, top_preset=low.name))
    await client.write(SetFan(FanMode.MANUAL, 0.9))
    emulator.advance(15 * MINUTES)
    configuration, reading = await client.configuration(), await client.reading()
    assert (configuration.preset, configuration.switcher.top_preset) == (low.name, low.name)
    assert (configuration.fan_mode, configuration.fan_setting) == (FanMode.MANUAL, 0.9)
    assert reading.preset == low.name
    assert before is not None
    assert reading.power_w is not None
    assert reading.power_w < 0.5 * before
    await client.write(SetFields(tuple(first.items())))
    emulator.advance(15 * MINUTES)
    assert await client.fields(WRITABLE_FIELDS) == first
    assert (await client.reading()).power_w == pytest.approx(before, rel=0.1)
    assert untouched(emulator)


async def test_a_throttle_is_read_back_and_halves_the_power() -> None:
    emulator = fleet("1.3.4")
    client = client_of(emulator)
    before = (await client.reading()).power_w
    await client.write(SetThrottle(0.5))
    emulator.advance(5 * MINUTES)
    reading = await client.reading()
    assert reading.throttle == 0.5
    assert before is not None
    assert reading.power_w == pytest.approx(0.5 * before, rel=0.25)


async def test_old_firmware_refuses_a_throttle_before_anything_is_sent() -> None:
    emulator = fleet("1.2.6")
    with pytest.raises(MinerRefused, match="no throttle"):
        await client_of(emulator).write(SetThrottle(0.5))


@pytest.mark.parametrize("firmware", FIRMWARES)
@pytest.mark.parametrize(
    ("halt", "go", "wrong"), [(Power.STOP, Power.START, Power.RESUME), (Power.PAUSE, Power.RESUME, Power.START)]
)
async def test_halts_and_their_pairs(firmware: str, halt: Power, go: Power, wrong: Power) -> None:
    emulator = fleet(firmware)
    client = client_of(emulator)
    await client.write(SetPower(halt))
    emulator.advance(2 * MINUTES)
    reading = await client.reading()
    assert reading.state.started is False
    assert reading.hashrate_ths == 0.0
    with pytest.raises(MinerRefused, match="not"):
        await client.write(SetPower(wrong))
    await client.write(SetPower(go))
    emulator.advance(15 * MINUTES)
    assert (await client.reading()).state is State.MINING


@pytest.mark.parametrize("firmware", FIRMWARES)
async def test_restart_and_reboot_come_back(firmware: str) -> None:
    emulator = fleet(firmware)
    client = client_of(emulator)
    for command in (Power.RESTART, Power.REBOOT):
        await client.write(SetPower(command))
        emulator.advance(20 * MINUTES)
        assert (await client.reading()).state is State.MINING


@pytest.mark.parametrize("firmware", FIRMWARES)
async def test_only_user_pools_are_offered(firmware: str) -> None:
    client = client_of(fleet(firmware))
    numbers = [pool.number for pool in (await client.reading()).pools]
    assert numbers
    await client.write(SwitchPool(numbers[0]))
    with pytest.raises(MinerRefused, match="no user pool"):
        await client.write(SwitchPool(max(numbers) + 1))


@pytest.mark.parametrize("firmware", FIRMWARES)
@pytest.mark.parametrize(
    ("kind", "read_error", "write_error"),
    [
        (FaultKind.UNREACHABLE, MinerUnreachable, MinerUnreachable),
        (FaultKind.TIMEOUT, MinerUnreachable, WriteOutcomeUnknown),
        (FaultKind.SLOW_DRIP, MinerUnreachable, WriteOutcomeUnknown),
        (FaultKind.TRUNCATED, MinerUnreachable, WriteOutcomeUnknown),
        (FaultKind.MALFORMED_JSON, MinerAnswerInvalid, None),
        (FaultKind.UNAUTHORIZED, MinerRefused, MinerRefused),
        (FaultKind.FORBIDDEN, MinerRefused, MinerRefused),
        (FaultKind.TOO_MANY_REQUESTS, MinerRefused, MinerRefused),
        (FaultKind.SERVER_ERROR, MinerRefused, MinerRefused),
        (FaultKind.WRITE_REFUSED, None, MinerRefused),
        (FaultKind.ANSWER_LOST, None, WriteOutcomeUnknown),
        (FaultKind.WRITE_IGNORED, None, None),
        (FaultKind.STALE, None, None),
        (FaultKind.SENSOR_NULL, None, None),
        (FaultKind.SENSOR_ZERO, None, None),
        (FaultKind.CLOCK_JUMP, None, None),
    ],
)
async def test_every_fault_is_one_of_the_four_errors(
    firmware: str, kind: FaultKind, read_error: type[MinerError] | None, write_error: type[MinerError] | None
) -> None:
    emulator = fleet(firmware)
    client = client_of(emulator)
    await client.presets()  # a session is open before the fault
    await client.reading()
    emulator.inject(Fault(0, kind))
    if write_error is None:
        await client.write(STOP)
    else:
        with pytest.raises(write_error):
            await client.write(STOP)
    client = client_of(emulator)
    if read_error is None:
        await client.reading()
    else:
        with pytest.raises(read_error):
            await client.reading()
    emulator.clear_faults()
    assert math.isfinite((await client_of(emulator).reading()).at_s)
    assert untouched(emulator)


@pytest.mark.parametrize("kind", [FaultKind.SENSOR_NULL, FaultKind.SENSOR_ZERO])
async def test_a_failed_sensor_is_no_cold_miner(kind: FaultKind) -> None:
    emulator = fleet("1.3.4")
    emulator.inject(Fault(0, kind))
    reading = await client_of(emulator).reading()
    assert reading.state is State.MINING
    assert (reading.temp_chip_c, reading.temp_board_c) == (None, None)
    assert all(board.temp_chip_c is None for board in reading.boards)


async def test_a_lost_answer_is_settled_by_reading_back() -> None:
    emulator = fleet("1.3.4")
    client = client_of(emulator)
    emulator.inject(Fault(0, FaultKind.ANSWER_LOST))
    with pytest.raises(WriteOutcomeUnknown):
        await client.write(STOP)
    emulator.advance(2 * MINUTES)
    assert (await client.reading()).state.started is False


async def test_a_wrong_password_never_locks_the_fleet() -> None:
    emulator = fleet("1.3.4")
    client = client_of(emulator, password="not-it")
    for _ in range(20):
        with pytest.raises(MinerRefused, match="wrong password"):
            await client.write(STOP)
    await client_of(emulator).write(STOP)  # others are still let in


async def test_the_fan_setting_is_read_as_it_is_written() -> None:
    emulator = fleet("1.2.6")
    client = client_of(emulator)
    await client.write(SetFan(FanMode.AUTO, 66.0))
    assert await client.fields((FAN_MODE,)) == {FAN_MODE: {"name": "auto", "param": 66}}


async def test_discovery_finds_the_fleet() -> None:
    emulator = fleet("1.3.4", count=5)
    network = parse_range(f"{emulator.hosts[0]}/28".replace(".1/28", ".0/28"))
    found = [item async for item in discover(network, ManualClock(), transport=emulator.transport())]
    assert {item.address for item in found} == set(emulator.hosts)
    assert len({item.identity.serial for item in found if item.identity}) == 5
    assert untouched(emulator)
