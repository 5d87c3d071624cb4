"""The VNish client against a scripted miner: sessions, refusals, lost answers, and secrets that stay secret."""

from __future__ import annotations

import asyncio
import json
import logging
import traceback
from collections.abc import AsyncIterator, Callable

import httpx
import pytest

from minesim.bridge.miners.miner import (
    FanMode,
    MinerAnswerInvalid,
    MinerError,
    MinerPort,
    MinerRefused,
    MinerUnreachable,
    Power,
    SetFan,
    SetPower,
    SetPreset,
    SetThrottle,
    State,
    SwitchPool,
    WriteOutcomeUnknown,
)
from minesim.bridge.miners.vnish import SENSOR_CHECK_S, VnishMiner
from minesim.bridge.miners.vnish_auth import Credentials
from minesim.errors import ParamsError
from tests.bridge.vnish_fake import (
    API_KEY,
    INFO_S19_126,
    PASSWORD,
    SUMMARY_FAILURE_126,
    TOKEN,
    FakeMiner,
    Handler,
    ManualClock,
)

STOP = SetPower(Power.STOP)


def always(status: int, **kwargs: object) -> Handler:
    return lambda request: httpx.Response(status, **kwargs)  # type: ignore[arg-type]


def fails(error: type[httpx.HTTPError]) -> Handler:
    def handler(request: httpx.Request) -> httpx.Response:
        raise error("broken", request=request)  # type: ignore[call-arg]

    return handler


def echoes(status: int) -> Handler:
    """A miner that says back whatever it was told, with colours."""

    def handler(request: httpx.Request) -> httpx.Response:
        told = [*request.headers.values(), request.content.decode()]
        return httpx.Response(status, json={"err": "\n\x1b[31m".join(told[-2:])})

    return handler


# ---------------------------------------------------------------------- a day with a miner


async def test_reading_a_miner_of_either_generation() -> None:
    for version, throttle in (("1.2.6", None), ("1.3.4", 0.9)):
        clock = ManualClock()
        client: MinerPort = FakeMiner(version).client(clock=clock)
        reading = await client.reading()
        assert reading.state is State.MINING
        assert reading.at_s == clock.now_s()
        assert reading.throttle == throttle
        assert (await client.limits()).has_throttle == (throttle is not None)
        assert client.address == "10.0.0.7"


async def test_telemetry_needs_no_credentials_and_settings_do() -> None:
    miner = FakeMiner()
    client = VnishMiner("10.0.0.7", None, ManualClock(), transport=httpx.MockTransport(miner.answer))
    await client.identity()
    await client.limits()
    assert (await client.reading()).power_w == 2631.0
    with pytest.raises(MinerRefused, match="no credentials"):
        await client.presets()
    with pytest.raises(MinerRefused, match="no credentials"):
        await client.write(STOP)
    assert miner.unlocks == 0
    assert miner.writes() == []


async def test_every_write_reaches_its_endpoint_once() -> None:
    miner = FakeMiner()
    client = miner.client()
    for write in (
        SetPreset("1500", top_preset="1500"),
        SetThrottle(0.8),
        SetFan(FanMode.AUTO, 65.0),
        SwitchPool(1),
        *(SetPower(command) for command in Power),
    ):
        await client.write(write)
    assert miner.writes() == [
        ("/settings", {"miner": {"overclock": {"preset": "1500", "preset_switcher": {"top_preset": "1500"}}}}),
        ("/mining/throttle", {"percent": 80}),
        ("/settings", {"miner": {"cooling": {"mode": {"name": "auto", "param": 65}}}}),
        ("/mining/switch-pool", {"pool_id": 1}),
        ("/mining/stop", None),
        ("/mining/start", None),
        ("/mining/pause", None),
        ("/mining/resume", None),
        ("/mining/restart", None),
        ("/system/reboot", None),
    ]
    assert miner.unlocks == 1


@pytest.mark.parametrize("body", [b"", b"{}", b'{"after": 3}', b"not json", b"null"])
async def test_any_2xx_is_success_whatever_its_body(body: bytes) -> None:
    miner = FakeMiner()
    miner.overrides["POST", "/mining/stop"] = always(200, content=body)
    await miner.client().write(STOP)
    miner.overrides["POST", "/mining/stop"] = always(204)
    await miner.client().write(STOP)


async def test_immersion_mode_is_refused_in_air_and_taken_without_fans() -> None:
    miner = FakeMiner()
    with pytest.raises(MinerRefused, match="5880 rpm"):
        await miner.client().write(SetFan(FanMode.IMMERSION))
    assert miner.writes() == []
    miner.summary["miner"]["cooling"]["fans"] = []
    await miner.client().write(SetFan(FanMode.IMMERSION))
    assert miner.writes() == [("/settings", {"miner": {"cooling": {"mode": {"name": "immers"}}}})]


async def test_a_developer_fee_pool_is_never_chosen() -> None:
    miner = FakeMiner()
    with pytest.raises(MinerRefused, match="no user pool"):
        await miner.client().write(SwitchPool(3))
    assert miner.writes() == []


async def test_wrong_pair_tells_the_miners_reason_and_the_remedy() -> None:
    miner = FakeMiner()
    miner.overrides["POST", "/mining/start"] = always(500, json={"err": "failed-to-start"})
    with pytest.raises(MinerRefused, match=r"failed-to-start.*paused is resumed"):
        await miner.client().write(SetPower(Power.START))


async def test_a_stopped_miner_reads_as_zeros() -> None:
    miner = FakeMiner("1.2.6", summary=json.loads(json.dumps(SUMMARY_FAILURE_126)), boards=[])
    reading = await miner.client().reading()
    assert (reading.state, reading.power_w, reading.boards) == (State.FAILURE, 0.0, ())


async def test_sensors_are_checked_now_and_then_only() -> None:
    miner, clock = FakeMiner("1.2.6"), ManualClock()
    client = miner.client(clock=clock)
    for _ in range(5):
        await client.reading()
    assert miner.asked().count(("GET", "/api/v1/chains")) == 1
    miner.boards[0]["sensors"] = [{"state": "error"}]
    assert (await client.reading()).boards[0].temp_chip_c == 65.0
    clock.seconds += 1.5 * SENSOR_CHECK_S
    assert (await client.reading()).boards[0].temp_chip_c is None
    assert miner.asked().count(("GET", "/api/v1/chains")) == 2


async def test_the_status_is_asked_when_it_may_have_changed() -> None:
    miner, clock = FakeMiner(), ManualClock()
    client = miner.client(clock=clock)

    async def asked() -> tuple[int, bool]:
        before = miner.asked().count(("GET", "/api/v1/status"))
        waits = (await client.reading()).restart_required
        return miner.asked().count(("GET", "/api/v1/status")) - before, waits

    assert [await asked() for _ in range(3)] == [(1, False), (0, False), (0, False)]
    await client.write(SetPreset("1500"))
    miner.status["restart_required"] = True
    assert [await asked() for _ in range(2)] == [(1, True), (1, True)]
    miner.status["restart_required"] = False  # somebody restarted it
    assert [await asked() for _ in range(2)] == [(1, False), (0, False)]
    miner.status["restart_required"] = True  # somebody else wrote
    clock.seconds += 1.5 * SENSOR_CHECK_S
    assert await asked() == (1, True)


async def test_a_miner_whose_process_is_down_is_known_by_its_status() -> None:
    miner = FakeMiner()
    client = miner.client()
    await client.reading()
    miner.summary = {"miner": None}
    miner.status["miner_state"] = "restarting"
    assert (await client.reading()).state is State.RESTARTING


async def test_a_firmware_without_board_answers_still_reads() -> None:
    miner = FakeMiner()
    miner.overrides["GET", "/boards"] = always(404)
    assert (await miner.client().reading()).temp_chip_c == 65.0


async def test_a_firmware_whose_description_lacks_the_throttle_has_none() -> None:
    miner = FakeMiner()
    miner.overrides["GET", "/docs/api-doc.json"] = always(200, json={"paths": {"/boards": {}}})
    client = miner.client()
    assert not (await client.limits()).has_throttle
    with pytest.raises(MinerRefused, match="no throttle"):
        await client.write(SetThrottle(0.5))
    miner.overrides["GET", "/docs/api-doc.json"] = always(404)
    assert (await miner.client().limits()).has_throttle


async def test_another_unit_behind_the_address_is_noticed_after_an_outage() -> None:
    miner = FakeMiner()
    client = miner.client()
    assert (await client.limits()).has_throttle
    models = miner.asked().count(("GET", "/api/v1/model"))
    miner.overrides["GET", "/summary"] = fails(httpx.ConnectTimeout)
    with pytest.raises(MinerUnreachable):
        await client.reading()
    del miner.overrides["GET", "/summary"]
    await client.limits()
    assert miner.asked().count(("GET", "/api/v1/model")) == models
    miner.overrides["GET", "/info"] = always(200, json={**INFO_S19_126, "fw_version": "1.2.6", "serial": "B"})
    assert (await client.identity()).serial == "B"
    assert not (await client.limits()).has_throttle


# ---------------------------------------------------------------------- sessions


async def test_requests_at_once_unlock_once() -> None:
    miner = FakeMiner()
    client = miner.client()
    await asyncio.gather(client.presets(), client.configuration(), client.presets())
    assert miner.unlocks == 1


async def test_an_expired_session_is_renewed_once_and_the_stop_is_done_once() -> None:
    miner = FakeMiner()
    client = miner.client()
    await client.presets()
    miner.open_tokens.clear()  # a person locked the miner, or it was rebooted
    await client.write(STOP)
    assert miner.unlocks == 2
    stops = [request for request in miner.requests if request.url.path.endswith("/stop")]
    assert len(stops) == 2  # the first was answered 401 and thus not executed
    assert stops[-1].headers["authorization"] == f"Bearer {TOKEN}2"


async def test_sessions_that_never_hold_do_not_loop() -> None:
    miner = FakeMiner()
    miner.overrides["POST", "/mining/stop"] = always(401)
    with pytest.raises(MinerRefused, match="401"):
        await miner.client().write(STOP)
    assert miner.asked().count(("POST", "/api/v1/mining/stop")) == 2
    assert miner.unlocks == 2


async def test_requests_at_once_renew_an_expired_session_once() -> None:
    miner = FakeMiner()
    client = miner.client()
    await client.presets()
    miner.open_tokens.clear()
    await asyncio.gather(*(client.configuration() for _ in range(4)))
    assert miner.unlocks == 2


async def test_an_api_key_needs_no_session() -> None:
    miner = FakeMiner()
    client = miner.client(Credentials(api_key=API_KEY))
    await client.presets()
    await client.write(STOP)
    assert miner.unlocks == 0
    open_reads = [request for request in miner.requests if request.url.path.endswith("/info")]
    assert open_reads
    assert all("x-api-key" not in request.headers for request in open_reads)


async def test_a_refused_api_key_is_not_tried_twice() -> None:
    miner = FakeMiner()
    with pytest.raises(MinerRefused, match="401"):
        await miner.client(Credentials(api_key="x" * 32)).write(STOP)
    assert miner.asked() == [("POST", "/api/v1/mining/stop")]


async def test_a_wrong_password_is_tried_ever_more_rarely() -> None:
    miner, clock = FakeMiner(), ManualClock()
    client = miner.client(Credentials(password="wrong-password"), clock)
    tries = []
    for _ in range(24 * 60):  # a day of polls, one a minute
        with pytest.raises(MinerRefused, match="wrong password"):
            await client.write(STOP)
        if miner.unlocks > len(tries):
            tries.append(clock.seconds - 1_000.0)
        clock.seconds += 60.0
    assert tries == [900.0 * (2**n - 1) for n in range(7)]
    assert miner.writes() == []
    assert (await client.reading()).state is State.MINING  # telemetry is open to anybody


async def test_a_miner_that_only_seemed_to_refuse_the_password_is_not_lost() -> None:
    miner, clock = FakeMiner(), ManualClock()
    client = miner.client(clock=clock)
    miner.overrides["POST", "/unlock"] = always(403, json={"unlock_timeout": 5_000})
    with pytest.raises(MinerRefused, match="5000 s"):
        await client.write(STOP)
    del miner.overrides["POST", "/unlock"]
    clock.seconds += 4_999.0
    with pytest.raises(MinerRefused, match="wrong password"):
        await client.write(STOP)
    clock.seconds += 1.0
    await client.write(STOP)


@pytest.mark.parametrize(
    ("answer", "wait_s"),
    [
        ({"json": {"unlock_timeout": 300}}, 300.0),
        ({"json": {"unlock_timeout": None}}, 60.0),
        ({"content": b"slow down"}, 60.0),
        ({"headers": {"retry-after": "120"}}, 120.0),
        ({"json": {"unlock_timeout": 10**15}}, 86_400.0),
    ],
)
async def test_too_many_unlocks_are_waited_out(answer: dict[str, object], wait_s: float) -> None:
    miner, clock = FakeMiner(), ManualClock()
    client = miner.client(clock=clock)
    asked = 0

    def locked(request: httpx.Request) -> httpx.Response:
        nonlocal asked
        asked += 1
        return httpx.Response(429, **answer)  # type: ignore[arg-type]

    miner.overrides["POST", "/unlock"] = locked
    for _ in range(3):
        with pytest.raises(MinerRefused, match="too many unlocks"):
            await client.presets()
        clock.seconds += (wait_s - 1.0) / 3.0
    assert asked == 1
    await client.reading()
    clock.seconds += 1.0
    del miner.overrides["POST", "/unlock"]
    assert await client.presets()


async def test_a_miner_that_asks_for_quiet_gets_it() -> None:
    miner, clock = FakeMiner(), ManualClock()
    client = miner.client(clock=clock)
    miner.overrides["GET", "/summary"] = always(429, headers={"retry-after": "30"})
    with pytest.raises(MinerRefused, match="too many requests"):
        await client.reading()
    before = len(miner.requests)
    with pytest.raises(MinerRefused, match="too many requests"):
        await client.write(STOP)
    assert len(miner.requests) == before
    del miner.overrides["GET", "/summary"]
    clock.seconds += 31.0
    await client.reading()


# ---------------------------------------------------------------------- lost answers


@pytest.mark.parametrize(
    "error", [httpx.ReadTimeout, httpx.WriteTimeout, httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError]
)
async def test_a_write_without_an_answer_may_have_happened(error: type[httpx.HTTPError]) -> None:
    miner = FakeMiner()
    miner.overrides["POST", "/mining/stop"] = fails(error)
    with pytest.raises(WriteOutcomeUnknown, match="Read back"):
        await miner.client().write(STOP)
    assert miner.asked().count(("POST", "/api/v1/mining/stop")) == 1


@pytest.mark.parametrize("status", [502, 504])
async def test_a_gateway_inside_the_miner_that_gave_up_proves_nothing(status: int) -> None:
    miner = FakeMiner()
    miner.overrides["POST", "/mining/stop"] = always(status)
    with pytest.raises(WriteOutcomeUnknown):
        await miner.client().write(STOP)


@pytest.mark.parametrize("error", [httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout])
async def test_a_write_without_a_connection_has_not_happened(error: type[httpx.HTTPError]) -> None:
    miner = FakeMiner()
    miner.overrides["POST", "/mining/stop"] = fails(error)
    with pytest.raises(MinerUnreachable):
        await miner.client().write(STOP)


async def test_what_fails_before_the_write_proves_that_it_was_not_sent() -> None:
    miner = FakeMiner()
    miner.overrides["POST", "/unlock"] = fails(httpx.ReadTimeout)
    with pytest.raises(MinerUnreachable):
        await miner.client().write(STOP)
    miner.overrides["POST", "/unlock"] = always(200, json={"token": ""})
    with pytest.raises(MinerRefused, match="was not carried out"):
        await miner.client().write(STOP)
    del miner.overrides["POST", "/unlock"]
    miner.overrides["GET", "/autotune/presets"] = always(200, json={"presets": []})
    with pytest.raises(MinerRefused, match="was not carried out"):
        await miner.client().write(SetPreset("1500"))
    miner.overrides["GET", "/autotune/presets"] = fails(httpx.ReadTimeout)
    with pytest.raises(MinerUnreachable):
        await miner.client().write(SetPreset("1500"))
    assert miner.writes() == []


async def test_an_answer_that_drips_is_given_up() -> None:
    async def drip() -> AsyncIterator[bytes]:
        while True:
            yield b" "
            await asyncio.sleep(0.01)

    class Dripping(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            return httpx.Response(200, content=drip())

    client = VnishMiner("10.0.0.7", Credentials(api_key=API_KEY), ManualClock(), transport=Dripping(), timeout_s=0.1)
    with pytest.raises(MinerUnreachable, match=r"0\.1 s"):
        await client.identity()
    with pytest.raises(WriteOutcomeUnknown):
        await client.write(STOP)


async def test_an_endless_answer_is_cut_off() -> None:
    async def flood() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 65_536

    miner = FakeMiner()
    miner.overrides["GET", "/info"] = lambda request: httpx.Response(200, content=flood())
    with pytest.raises(MinerAnswerInvalid, match="MiB"):
        await miner.client().identity()


@pytest.mark.parametrize("status", [301, 302, 307, 400, 403, 404, 500, 503])
async def test_other_statuses_refuse_and_lead_nowhere(status: int) -> None:
    miner = FakeMiner()
    miner.overrides["GET", "/info"] = always(status, headers={"location": "http://10.9.9.9/"})
    with pytest.raises(MinerRefused, match=str(status)):
        await miner.client().identity()
    assert [request.url.host for request in miner.requests] == ["10.0.0.7"]


async def test_broken_json_is_told_with_place_and_address() -> None:
    miner = FakeMiner()
    miner.overrides["GET", "/summary"] = always(200, content=b'{"miner": {"miner_status"')
    with pytest.raises(MinerAnswerInvalid, match=r"10\.0\.0\.7 /summary"):
        await miner.client().reading()


async def test_against_a_real_socket_that_closes_after_the_request() -> None:
    async def slam(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(slam, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    credentials = Credentials(api_key=API_KEY)
    async with VnishMiner(f"{host}:{port}", credentials, ManualClock()) as client:
        with pytest.raises(WriteOutcomeUnknown):
            await client.write(STOP)
        with pytest.raises(MinerUnreachable):
            await client.identity()
    server.close()
    await server.wait_closed()
    async with VnishMiner(f"{host}:{port}", credentials, ManualClock()) as client:
        with pytest.raises(MinerUnreachable, match="no connection"):
            await client.write(STOP)


async def test_a_connection_that_the_miner_closed_meanwhile_is_replaced() -> None:
    connections = 0

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")
        body = json.dumps(INFO_S19_126).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(once, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    async with VnishMiner(f"{host}:{port}", Credentials(api_key=API_KEY), ManualClock()) as client:
        for _ in range(3):
            await client.identity()
            await asyncio.sleep(0.01)
        await client.write(STOP)
    assert connections == 4
    server.close()
    await server.wait_closed()


# ---------------------------------------------------------------------- secrets and addresses


def test_credentials_do_not_show_themselves() -> None:
    for credentials in (Credentials(password=PASSWORD), Credentials(api_key=API_KEY)):
        shown = f"{credentials!r} {credentials} {[credentials]}"
        assert PASSWORD not in shown
        assert API_KEY not in shown


@pytest.mark.parametrize(
    "make",
    [
        lambda: Credentials(),
        lambda: Credentials(api_key=API_KEY, password=PASSWORD),
        lambda: Credentials(api_key="secret-too-short"),
        lambda: Credentials(api_key="\n" * 32),
        lambda: Credentials(password=""),
    ],
)
def test_impossible_credentials(make: Callable[[], Credentials]) -> None:
    with pytest.raises(ParamsError) as caught:
        make()
    for secret in (API_KEY, PASSWORD, "secret-too-short"):
        assert secret not in str(caught.value)


@pytest.mark.parametrize("credentials", [Credentials(password=PASSWORD), Credentials(api_key=API_KEY)])
async def test_no_secret_in_errors_logs_or_reprs(credentials: Credentials, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    secrets = (PASSWORD, TOKEN) if credentials.password else (API_KEY,)
    shown: list[str] = []
    causes: list[BaseException | None] = []
    for status in (400, 401, 403, 404, 429, 500):
        for path in ("/mining/stop", "/unlock"):
            miner = FakeMiner()
            miner.overrides["POST", path] = echoes(status)
            client = miner.client(credentials)
            try:
                await client.write(STOP)
            except MinerError as error:
                shown += [repr(error), *traceback.format_exception(error)]
                causes.append(error.__cause__)
            shown.append(repr(client))
    for failure in (httpx.ReadTimeout, httpx.ConnectError):
        miner = FakeMiner()
        miner.overrides["POST", "/mining/stop"] = fails(failure)
        with pytest.raises(MinerError) as caught:
            await miner.client(credentials).write(STOP)
        shown += traceback.format_exception(caught.value)
        causes.append(caught.value.__cause__)
    assert set(causes) == {None}
    text = "\n".join(shown) + caplog.text
    assert "***" in text
    assert not any(secret in text for secret in secrets)
    assert "\x1b" not in text


@pytest.mark.parametrize("address", ["10.0.0.7", "10.0.0.7:8801", "miner-17.site.example", "[fe80::1]:80", "127.0.1.1"])
async def test_addresses(address: str) -> None:
    miner = FakeMiner()
    client = VnishMiner(address, None, ManualClock(), transport=httpx.MockTransport(miner.answer))
    await client.identity()
    assert str(miner.requests[0].url).startswith("http://" + address.removesuffix(":80"))


@pytest.mark.parametrize(
    "address",
    [
        "",
        "http://10.0.0.7",
        "10.0.0.7/api",
        "root:hunter2@10.0.0.7",
        "10.0.0.7:99999",
        "10.0.0.7?x",
        "a b",
        "10.0.0.7#",
        "10.0.0.7:0",
        "x" * 99 + "/",
    ],
)
def test_addresses_that_are_none(address: str) -> None:
    with pytest.raises(ParamsError) as caught:
        VnishMiner(address, None, ManualClock())
    assert "hunter2" not in str(caught.value)
