"""Tells people: webhooks and e-mail, by severity, throttled, and never in the way of the control loop.

An alert that goes on is told once in 15 minutes for each kind and miner, with the number of times it was seen since.
What comes up in one cycle goes out as one message a kind, so that a dead switch is one message and not a thousand.
"""

from __future__ import annotations

import asyncio
import logging
import math
import smtplib
import ssl
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from email.message import EmailMessage
from types import TracebackType
from typing import Protocol, Self

import httpx

from minesim.bridge.clock import Clock
from minesim.bridge.settings.secret import Secret
from minesim.bridge.telling.alerts import Alert, Severity
from minesim.errors import MinesimError, ParamsError, explain

LOG = logging.getLogger(__name__)

THROTTLE_S = 15 * 60.0
MESSAGES_PER_KIND = 4
"""At most so many messages of a kind in a throttle time, however many miners are concerned (assumed)."""
LINES = 10
"""Miners named in one message."""
TRIES = 6
WAIT_FIRST_S, WAIT_MAX_S = 5.0, 300.0
QUEUE = 100
TIMEOUT_S = 10.0


class NotifyError(MinesimError):
    """A message was not taken; ``again`` tells whether trying once more makes sense."""

    def __init__(self, text: str, *, again: bool) -> None:
        super().__init__(text)
        self.again = again


@dataclass(frozen=True)
class Message:
    """What is sent.

    Attributes:
        site: where.
        kind: of the alerts in it.
        severity: the worst of them.
        lines: one a miner; the first few.
        count: alerts in it.
        suppressed: how often the same were seen and not told since the last message.
    """

    site: str
    kind: str
    severity: Severity
    lines: tuple[str, ...]
    count: int
    suppressed: int

    @property
    def title(self) -> str:
        """One line."""
        more = f" ({self.count} miners)" if self.count > 1 else ""
        return f"[{self.site}] {self.severity.name.lower()}: {self.kind}{more}"

    @property
    def text(self) -> str:
        """All of it."""
        rest = [f"and {self.count - len(self.lines)} more"] if self.count > len(self.lines) else []
        before = [f"seen {self.suppressed} more times since the last message"] if self.suppressed else []
        return "\n".join([self.title, *self.lines, *rest, *before])


class Channel(Protocol):
    """A way to people."""

    @property
    def name(self) -> str:
        """For logs and metrics."""

    @property
    def least(self) -> Severity:
        """Milder alerts are not sent this way."""

    async def send(self, message: Message) -> None:
        """Send once.

        Raises:
            NotifyError: it was not taken; the text holds no secret.
        """


@dataclass(frozen=True)
class Webhook:
    """Posts JSON with ``text`` (which chat services show), ``title``, ``site``, ``kind``, ``severity``, ``count``.

    The address of a webhook is its password, so it is a secret; redirects are not followed. The transport is used
    directly because httpx's client logs the addresses it asks.

    Attributes:
        url: https address; http is taken for this machine only.
        least: see :class:`Channel`.
        transport: makes the connection; injectable for tests.
        name: see :class:`Channel`.
    """

    url: Secret
    least: Severity = Severity.WARNING
    transport: Callable[[], httpx.AsyncBaseTransport] = field(default=httpx.AsyncHTTPTransport, repr=False)
    name: str = "webhook"

    def __post_init__(self) -> None:
        try:
            url = httpx.URL(self.url.reveal())
        except httpx.InvalidURL:
            url = httpx.URL("")
        if url.scheme != "https" and not (url.scheme == "http" and url.host in ("127.0.0.1", "localhost", "::1")):
            raise ParamsError(
                explain(
                    "the webhook is no https address",
                    allowed="https://..., or http on this machine",
                    origin=self.url.origin,
                )
            )

    async def send(self, message: Message) -> None:
        """Post once."""
        body = {
            "text": message.text,
            "title": message.title,
            "site": message.site,
            "kind": message.kind,
            "severity": message.severity.name.lower(),
            "count": message.count,
            "suppressed": message.suppressed,
        }
        limits = dict.fromkeys(("connect", "read", "write", "pool"), TIMEOUT_S)
        request = httpx.Request("POST", self.url.reveal(), json=body, extensions={"timeout": limits})
        try:
            async with self.transport() as transport:
                response = await transport.handle_async_request(request)
                await response.aclose()
        except httpx.HTTPError as error:
            raise NotifyError(f"{self.name}: {type(error).__name__}", again=True) from None
        if not response.is_success:
            again = response.status_code in (408, 429) or response.status_code >= 500
            raise NotifyError(f"{self.name}: answered {response.status_code}", again=again)


@dataclass(frozen=True)
class Email:
    """Sends mail over SMTP; the login is only made inside TLS (STARTTLS).

    Attributes:
        host, port: mail server; 587 is submission with STARTTLS.
        sender, recipients: addresses.
        username, password: login; None sends without one.
        least: see :class:`Channel`.
        tls: trust; by default the machine's.
        name: see :class:`Channel`.
    """

    host: str
    sender: str
    recipients: Sequence[str]
    port: int = 587
    username: str | None = None
    password: Secret | None = None
    least: Severity = Severity.CRITICAL
    tls: Callable[[], ssl.SSLContext] = field(default=ssl.create_default_context, repr=False)
    name: str = "email"

    def __post_init__(self) -> None:
        if not self.recipients:
            raise ParamsError(explain("e-mail has no recipients", allowed="one or more addresses"))
        if (self.username is None) != (self.password is None):
            raise ParamsError(explain("e-mail has a username or a password alone", allowed="both or none"))

    async def send(self, message: Message) -> None:
        """Send once, in a thread."""
        mail = EmailMessage()
        mail["Subject"] = " ".join(message.title.split())
        mail["From"] = self.sender
        mail["To"] = ", ".join(self.recipients)
        mail.set_content(message.text)
        try:
            await asyncio.to_thread(self._send, mail)
        except (smtplib.SMTPAuthenticationError, smtplib.SMTPNotSupportedError, ssl.SSLCertVerificationError) as error:
            raise NotifyError(f"{self.name}: {type(error).__name__} from {self.host}", again=False) from None
        except (smtplib.SMTPException, OSError) as error:
            raise NotifyError(f"{self.name}: {type(error).__name__} from {self.host}", again=True) from None

    def _send(self, mail: EmailMessage) -> None:
        with smtplib.SMTP(self.host, self.port, timeout=TIMEOUT_S) as server:
            server.starttls(context=self.tls())
            if self.username is not None and self.password is not None:
                server.login(self.username, self.password.reveal())
            server.send_message(mail)


@dataclass
class _Seen:
    """When an alert was seen last, when it was told last, and how often it was seen since."""

    seen_s: float
    told_s: float = -math.inf
    suppressed: int = 0


class Notifier:
    """Throttles alerts and hands them to the channels; use it as an asynchronous context.

    Args:
        site: name for titles.
        channels: ways to people.
        clock: the bridge's.
        on_result: told the channel and ``sent``, ``suppressed`` or ``failed``, for the metrics.
    """

    def __init__(
        self,
        site: str,
        channels: Sequence[Channel],
        clock: Clock,
        on_result: Callable[[str, str], None] = lambda channel, result: None,
    ) -> None:
        self._site, self._channels, self._clock, self._on_result = site, channels, clock, on_result
        self._queues: list[asyncio.Queue[Message]] = [asyncio.Queue(QUEUE) for _ in channels]
        self._seen: dict[tuple[str, str], _Seen] = {}
        self._sent: dict[str, list[float]] = defaultdict(list)
        self._workers: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._workers = [
            asyncio.create_task(self._deliver(channel, queue))
            for channel, queue in zip(self._channels, self._queues, strict=True)
        ]
        for worker in self._workers:
            worker.add_done_callback(_log_death)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)

    def tell(self, alerts: Iterable[Alert]) -> None:
        """Take what a cycle found; returns at once and never fails."""
        fresh: dict[str, list[Alert]] = defaultdict(list)
        suppressed: dict[str, int] = defaultdict(int)
        now_s = self._clock.monotonic_s()
        self._forget(now_s)
        for alert in alerts:
            seen = self._seen.setdefault((alert.kind, alert.miner), _Seen(now_s))
            seen.seen_s = now_s
            if now_s - seen.told_s < THROTTLE_S or len(self._sent[alert.kind]) >= MESSAGES_PER_KIND:
                seen.suppressed += 1
                self._on_result("all", "suppressed")
                continue
            fresh[alert.kind].append(alert)
            suppressed[alert.kind] += seen.suppressed
            seen.told_s, seen.suppressed = now_s, 0
        for kind, found in fresh.items():
            self._sent[kind].append(now_s)
            lines = tuple(f"{alert.miner}: {alert.text}" if alert.miner else alert.text for alert in found[:LINES])
            worst = max(alert.severity for alert in found)
            self._enqueue(Message(self._site, kind, worst, lines, len(found), suppressed[kind]))

    def _forget(self, now_s: float) -> None:
        """Drop what is older than the throttle time."""
        for kind in list(self._sent):
            self._sent[kind] = [at_s for at_s in self._sent[kind] if now_s - at_s < THROTTLE_S]
        self._seen = {key: seen for key, seen in self._seen.items() if now_s - seen.seen_s < THROTTLE_S}

    def _enqueue(self, message: Message) -> None:
        for channel, queue in zip(self._channels, self._queues, strict=True):
            if message.severity < channel.least:
                continue
            try:
                queue.put_nowait(message)
            except asyncio.QueueFull:
                LOG.warning("%s: %d messages wait already; %s is dropped", channel.name, QUEUE, message.title)
                self._on_result(channel.name, "failed")

    async def _deliver(self, channel: Channel, queue: asyncio.Queue[Message]) -> None:
        while True:
            message = await queue.get()
            result = "sent" if await self._try(channel, message) else "failed"
            self._on_result(channel.name, result)
            queue.task_done()

    async def _try(self, channel: Channel, message: Message) -> bool:
        """Send, with growing waits in between; False when it was given up."""
        for attempt in range(TRIES):
            try:
                await channel.send(message)
            except NotifyError as error:
                if not error.again or attempt + 1 == TRIES:
                    LOG.warning("not sent: %s (%s)", message.title, error)
                    return False
                await self._clock.sleep(min(WAIT_MAX_S, WAIT_FIRST_S * 2.0**attempt))
            else:
                return True
        return False

    async def drain(self) -> None:
        """Wait until all that was told is sent or given up."""
        for queue in self._queues:
            await queue.join()


def _log_death(worker: asyncio.Task[None]) -> None:
    """A channel that fails as it should not stops alone and says so, without the text, which may hold a secret."""
    error = None if worker.cancelled() else worker.exception()
    if error is not None:
        LOG.error("a notification channel stopped: %s", type(error).__name__)
