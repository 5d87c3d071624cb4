"""A VNish miner over its web interface, firmware 1.2.x and 1.3.x: :class:`VnishMiner` is a ``MinerPort``.

One HTTP client a miner: with one client for 1,000 miners a lap took 25 s instead of 2 s. Reads are not retried, the
next poll does that. Writes are sent once; a 401 proves that a request was not executed, so that alone is answered by a
new unlock and one more try. What can be sent at all is listed in :mod:`minesim.bridge.miners.vnish_endpoints`.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import math
import re
import ssl
import zlib
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import httpx

from minesim.bridge.clock import Clock
from minesim.bridge.miners import vnish_payloads as payloads
from minesim.bridge.miners import vnish_writes as writes
from minesim.bridge.miners.miner import (
    Configuration,
    FanMode,
    Identity,
    MinerAnswerInvalid,
    MinerRefused,
    MinerUnreachable,
    ModelLimits,
    Power,
    Preset,
    Reading,
    SetFan,
    SetFields,
    SetPower,
    SetPreset,
    SetThrottle,
    State,
    SwitchPool,
    Write,
    WriteOutcomeUnknown,
)
from minesim.bridge.miners.vnish_auth import Credentials, Gate, back_off_s, masked, wrong_password_wait_s
from minesim.bridge.miners.vnish_endpoints import Endpoint
from minesim.errors import ParamsError, explain

ANSWER_TIMEOUT_S = 10.0
"""Longest wait for one whole answer, however slowly it drips (assumed)."""
CONNECT_TIMEOUT_S = 3.0
"""Longest wait for a connection (assumed; miners stand in the same network)."""
ANSWER_MAX_BYTES = 4 * 2**20
"""Longest answer that is read (assumed; the longest real one, the interface description, has 120 kB)."""
SENSOR_CHECK_S = 600.0
"""How often the per-chip answer is asked for sensor faults, and the status for a restart that a person's settings wait
for (assumed; the former is ten times the size of a summary)."""

_ADDRESS = re.compile(
    r"(?:\[[0-9a-f:.]+\]|[0-9a-z](?:[0-9a-z.-]*[0-9a-z])?)(?::(?P<port>[0-9]{1,5}))?", re.ASCII | re.IGNORECASE
)
_PAIR = {
    Power.START: "A miner that was paused is resumed, not started.",
    Power.RESUME: "A miner that was stopped is started, not resumed.",
}


@dataclass(frozen=True)
class _Answer:
    status: int
    body: bytes
    retry_after: str | None


class VnishMiner:
    """One VNish miner.

    Args:
        address: host or host:port.
        credentials: API key or password; None for what is open to anybody (telemetry, identity, limits).
        clock: what tells the time.
        transport: what carries requests instead of the network, in tests and rehearsals.
        timeout_s: longest wait for one whole answer.

    Raises:
        ParamsError: the address is none.
    """

    def __init__(
        self,
        address: str,
        credentials: Credentials | None,
        clock: Clock,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        timeout_s: float = ANSWER_TIMEOUT_S,
    ) -> None:
        self._address = address
        self._credentials = credentials
        self._clock = clock
        self._timeout_s = timeout_s
        self._http = httpx.AsyncClient(
            base_url=_base_url(address),
            transport=transport,
            timeout=httpx.Timeout(timeout_s, connect=min(CONNECT_TIMEOUT_S, timeout_s)),
            limits=httpx.Limits(max_connections=2, max_keepalive_connections=1),
            verify=_no_tls(),
            trust_env=False,
        )
        self._token: str | None = None
        self._unlocking = asyncio.Lock()
        self._unlock_gate = Gate()
        self._wrong_passwords = 0
        self._gate = Gate()
        self._facts: payloads.Facts | None = None
        self._limits: tuple[Identity, ModelLimits] | None = None
        self._failed_sensors: frozenset[int] = frozenset()
        self._sensors_due_s = -math.inf
        self._status_due = True

    def __repr__(self) -> str:
        return f"VnishMiner({self._address!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close its connections."""
        await self._http.aclose()

    @property
    def address(self) -> str:
        """Host, or host:port, for messages and the journal."""
        return self._address

    # ------------------------------------------------------------------ reads

    async def identity(self) -> Identity:
        """Ask who it is, afresh: behind an address another unit may stand tomorrow."""
        self._facts = None
        return (await self._known_facts()).identity

    async def firmware_name(self) -> str:
        """What its firmware calls itself, e.g. ``Vnish``."""
        return (await self._known_facts()).firmware_name

    async def home_page(self) -> bytes:
        """Its web page, by which VNish can be told from other firmware."""
        return await self._ask(Endpoint.HOME)

    async def limits(self) -> ModelLimits:
        """What its model and firmware allow."""
        identity = (await self._known_facts()).identity
        if self._limits is None or self._limits[0] != identity:
            model = await self._ask(Endpoint.MODEL)
            summary = await self._ask(Endpoint.SUMMARY)
            limits = payloads.parse_limits(
                model,
                self._origin(Endpoint.MODEL),
                has_throttle=await self._has_throttle(identity.firmware_version),
                metered=payloads.parse_power_metered(summary, self._origin(Endpoint.SUMMARY)),
            )
            self._limits = (identity, limits)
        return self._limits[1]

    async def _has_throttle(self, version: tuple[int, ...]) -> bool:
        paths = None
        if payloads.has_throttle(version, paths):
            with contextlib.suppress(MinerRefused, MinerAnswerInvalid):  # no description of itself: its version decides
                paths = payloads.parse_api_paths(await self._ask(Endpoint.API_DOC), self._origin(Endpoint.API_DOC))
        return payloads.has_throttle(version, paths)

    async def reading(self) -> Reading:
        """Read present telemetry: summary and running preset, and what seldom changes now and then.

        ``/status`` is asked after a write, as long as a restart is waited for, and every ten minutes.
        """
        facts = await self._known_facts()
        summary = await self._ask(Endpoint.SUMMARY)
        at_s = self._clock.now_s()
        perf_summary = await self._ask(Endpoint.PERF_SUMMARY)
        await self._check_sensors(facts.identity.firmware_version)
        parse = functools.partial(
            payloads.parse_reading,
            summary=summary,
            perf_summary=perf_summary,
            ths_per_unit=facts.ths_per_unit,
            failed_sensors=self._failed_sensors,
            at_s=at_s,
            origin=self._address,
        )
        if not self._status_due:
            reading = parse(status=None)
            if reading.state is not State.UNKNOWN:
                return reading
        reading = parse(status=await self._ask(Endpoint.STATUS))
        self._status_due = reading.restart_required
        return reading

    async def presets(self) -> tuple[Preset, ...]:
        """Read presets by rising power, without the manual mode."""
        facts = await self._known_facts()
        return payloads.parse_presets(
            await self._ask(Endpoint.PRESETS), facts.ths_per_unit, self._origin(Endpoint.PRESETS)
        )

    async def configuration(self) -> Configuration:
        """Read what is configured now."""
        return payloads.parse_configuration(await self._ask(Endpoint.SETTINGS), self._origin(Endpoint.SETTINGS))

    async def fields(self, paths: tuple[str, ...]) -> dict[str, object]:
        """Read single settings by dotted path; those with secrets (pools, network, password) are not given out."""
        for path in paths:
            if not path.startswith(payloads.READABLE_FIELDS):
                raise MinerRefused(
                    explain(
                        f"field {path!r} is not read",
                        allowed="below " + ", ".join(payloads.READABLE_FIELDS),
                        origin=self._address,
                    )
                )
        return payloads.parse_fields(await self._ask(Endpoint.SETTINGS), paths, self._origin(Endpoint.SETTINGS))

    async def _known_facts(self) -> payloads.Facts:
        if self._facts is None:
            self._facts = payloads.parse_info(await self._ask(Endpoint.INFO), self._origin(Endpoint.INFO))
        return self._facts

    async def _check_sensors(self, version: tuple[int, ...]) -> None:
        now_s = self._clock.monotonic_s()
        if now_s < self._sensors_due_s:
            return
        endpoint = Endpoint.BOARDS if version >= (1, 3) else Endpoint.CHAINS
        try:
            body = await self._ask(endpoint)
        except MinerRefused:
            self._failed_sensors = frozenset()  # it does not tell
        else:
            self._failed_sensors = payloads.parse_failed_sensors(body, self._origin(endpoint))
        self._status_due = True
        # Miners are spread over the period by their address, so that no lap of the poller carries all of them.
        spread = 0.5 + zlib.crc32(self._address.encode()) / 2**32
        self._sensors_due_s = now_s + SENSOR_CHECK_S * (spread if self._sensors_due_s == -math.inf else 1.0)

    # ------------------------------------------------------------------ writes

    async def write(self, write: Write) -> None:
        """Send a write once, after checking it against what the miner allows.

        Raises:
            MinerRefused: it was answered with a refusal, or is outside what the miner allows (then nothing was sent).
            WriteOutcomeUnknown: it was sent, and whether it arrived is not known.
            MinerUnreachable: it was not sent.
        """
        try:
            wire = await self._wire_write(write)
            await self._ask(wire.endpoint, wire.body)
        except MinerAnswerInvalid as error:  # of a read or an unlock before it; a write's own answer is not parsed
            raise MinerRefused(f"{type(write).__name__} was not carried out: {error}") from error
        except MinerRefused as error:
            pair = _PAIR.get(write.command) if isinstance(write, SetPower) else None
            if pair is None:
                raise
            raise MinerRefused(f"{error} {pair}") from None
        finally:
            self._status_due = True

    async def _wire_write(self, write: Write) -> writes.WireWrite:
        match write:
            case SetPreset():
                return writes.preset_write(write, await self.presets(), self._address)
            case SetThrottle():
                return writes.throttle_write(write, await self.limits(), self._address)
            case SetFan():
                rpm = (await self.reading()).fans_rpm if write.mode is FanMode.IMMERSION else ()
                return writes.fan_write(write, await self.limits(), rpm, self._address)
            case SwitchPool():
                return writes.pool_write(write, (await self.reading()).pools, self._address)
            case SetPower():
                return writes.power_write(write)
            case SetFields():
                return writes.fields_write(write, await self.limits(), await self.presets(), self._address)

    # ------------------------------------------------------------------ requests

    def _origin(self, endpoint: Endpoint) -> str:
        return f"{self._address} {endpoint}"

    async def _ask(self, endpoint: Endpoint, body: dict[str, object] | None = None) -> bytes:
        """Send a request of the table and return the body of a 2xx answer, which may be empty."""
        if self._gate.closed(self._clock.monotonic_s()):
            raise MinerRefused(self._gate.reason)
        headers = await self._auth_headers() if endpoint.needs_auth else {}
        answer = await self._send(endpoint, body, headers)
        if answer.status == 401 and self._may_try_again(headers):
            answer = await self._send(endpoint, body, await self._renewed_headers(headers))
        if 200 <= answer.status < 300:
            return answer.body
        raise self._refusal(endpoint, answer)

    async def _send(self, endpoint: Endpoint, body: dict[str, object] | None, headers: dict[str, str]) -> _Answer:
        origin = self._origin(endpoint)
        # Errors are not chained: those of the HTTP library hold the request with its headers, and thus the secret.
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                self._http.stream(endpoint.method, endpoint.path, json=body, headers=headers) as response,
            ):
                received = bytearray()
                async for part in response.aiter_bytes():
                    received += part
                    if len(received) > ANSWER_MAX_BYTES:
                        break
                answer = _Answer(response.status_code, bytes(received), response.headers.get("retry-after"))
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            self._forget()
            raise MinerUnreachable(
                explain(
                    f"no connection ({type(error).__name__})",
                    origin=origin,
                    fix="Check that the miner has power and network, and its address.",
                )
            ) from None
        except (httpx.HTTPError, httpx.StreamError, TimeoutError) as error:
            self._forget()
            late = isinstance(error, TimeoutError | httpx.TimeoutException)
            what = f"no answer within {self._timeout_s:g} s" if late else "the connection broke before the answer ended"
            what += f" ({type(error).__name__})"
            if endpoint.changes:
                raise WriteOutcomeUnknown(
                    explain(what, origin=origin, fix="Read back whether the write took effect.")
                ) from None
            raise MinerUnreachable(explain(what, origin=origin)) from None
        if len(answer.body) > ANSWER_MAX_BYTES and not endpoint.changes:
            raise MinerAnswerInvalid(
                explain(
                    f"the answer is longer than {ANSWER_MAX_BYTES / 2**20:g} MiB",
                    origin=origin,
                    fix="Check that a miner stands behind this address.",
                )
            )
        if endpoint.changes and answer.status in (502, 504):
            # A gateway inside the miner gave up waiting; what stands behind it may have acted.
            raise WriteOutcomeUnknown(
                explain(f"status {answer.status}", origin=origin, fix="Read back whether the write took effect.")
            )
        return answer

    def _forget(self) -> None:
        """After an outage another unit or firmware may stand behind the address."""
        self._facts = None
        self._sensors_due_s = -math.inf

    def _refusal(self, endpoint: Endpoint, answer: _Answer) -> MinerRefused:
        text = masked(payloads.parse_error_text(answer.body), self._secrets())
        what = f"status {answer.status}" + (f": {text}" if text else "")
        fix = ""
        if answer.status == 429:
            wait_s = self._back_off_s(answer)
            fix = f"Nothing is asked for {wait_s:.0f} s."
            message = explain(f"too many requests ({what})", origin=self._origin(endpoint), fix=fix)
            self._gate.close(self._clock.monotonic_s() + wait_s, message)
            return MinerRefused(message)
        if answer.status == 401:
            fix = "Check the miner's credentials."
        if answer.status == 404:
            fix = "The firmware has no such function."
        return MinerRefused(explain(what, origin=self._origin(endpoint), fix=fix))

    def _back_off_s(self, answer: _Answer) -> float:
        told_s = payloads.parse_lockout_s(answer.body)
        if told_s is None and answer.retry_after is not None and answer.retry_after.isdecimal():
            told_s = float(answer.retry_after[:9])
        return back_off_s(told_s)

    # ------------------------------------------------------------------ credentials

    def _secrets(self) -> tuple[str, ...]:
        known = self._credentials.secrets if self._credentials else ()
        return (*known, self._token) if self._token else known

    async def _auth_headers(self) -> dict[str, str]:
        if self._credentials is None:
            raise MinerRefused(
                explain(
                    "no credentials for this miner",
                    origin=self._address,
                    fix="Give an API key or the web password for it.",
                )
            )
        if self._credentials.api_key is not None:
            return {"x-api-key": self._credentials.api_key}
        async with self._unlocking:
            if self._token is None:
                self._token = await self._unlock(self._credentials.password)
            return {"Authorization": f"Bearer {self._token}"}

    def _may_try_again(self, headers: dict[str, str]) -> bool:
        """Whether a 401 may be cured: by a new session, or by credentials where none were sent."""
        return self._credentials is not None and "x-api-key" not in headers

    async def _renewed_headers(self, refused: dict[str, str]) -> dict[str, str]:
        if self._token is not None and refused.get("Authorization") == f"Bearer {self._token}":
            self._token = None  # unless another request has renewed it meanwhile
        return await self._auth_headers()

    async def _unlock(self, password: str | None) -> str:
        endpoint = Endpoint.UNLOCK
        now_s = self._clock.monotonic_s()
        if self._unlock_gate.closed(now_s):
            raise MinerRefused(self._unlock_gate.reason)
        answer = await self._send(endpoint, {"pw": password}, {})
        if answer.status == 403:
            self._wrong_passwords += 1
            wait_s = wrong_password_wait_s(self._wrong_passwords, payloads.parse_lockout_s(answer.body))
            what, fix = "wrong password", "Correct it and start the bridge anew."
        elif answer.status == 429:
            wait_s = self._back_off_s(answer)
            what, fix = "too many unlocks", "See whether another program uses a wrong password."
        elif not 200 <= answer.status < 300:
            raise self._refusal(endpoint, answer)
        else:
            self._wrong_passwords = 0
            return payloads.parse_token(answer.body, self._origin(endpoint))
        what += f" (status {answer.status}): none is tried for {wait_s:.0f} s"
        message = explain(what, origin=self._origin(endpoint), fix=fix)
        self._unlock_gate.close(now_s + wait_s, message)
        raise MinerRefused(message)


@functools.cache
def _no_tls() -> ssl.SSLContext:
    """One context for all clients: miners speak plain HTTP, and loading certificates for each takes 30 ms."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _base_url(address: str) -> str:
    told = _ADDRESS.fullmatch(address)
    if told is None or not 0 < int(told["port"] or 80) < 65_536:
        raise ParamsError(
            explain(
                # An address with a password in it must not be quoted.
                f"miner address {masked(address.rpartition('@')[2], (), longest=60)!r}",
                allowed="host or host:port",
                fix="Give it without http://, path or password.",
            )
        )
    return f"http://{address}"
