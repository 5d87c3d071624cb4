"""Notifications: severity, throttling, retries, secrets."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import json
import logging
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from minesim.bridge.settings.secret import Secret, read_secret
from minesim.bridge.telling.alerts import Alert, Severity
from minesim.bridge.telling.notify import THROTTLE_S, TRIES, Email, Message, Notifier, NotifyError, Webhook
from minesim.errors import ParamsError

URL = "https://hooks.example/T0P53CR3T"
MESSAGE = Message("north", "MinerChipHot", Severity.CRITICAL, ("a: chip at 90 C",), 1, 3)


@dataclass
class FakeClock:
    """Time that moves when told to; sleeping moves it."""

    at_s: float = 1e6
    slept_s: list[float] = field(default_factory=list)

    def now_s(self) -> float:
        return self.at_s

    def monotonic_s(self) -> float:
        return self.at_s

    async def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.at_s += seconds
        await asyncio.sleep(0)


@dataclass
class Memory:
    """A channel that keeps what it gets, after failing some times."""

    least: Severity = Severity.INFO
    fail: int = 0
    again: bool = True
    name: str = "memory"
    got: list[Message] = field(default_factory=list)

    async def send(self, message: Message) -> None:
        if self.fail > 0:
            self.fail -= 1
            raise NotifyError("busy", again=self.again)
        self.got.append(message)


def hot(miner: str = "a") -> Alert:
    return Alert("MinerChipHot", Severity.CRITICAL, "chip at 90 C", miner)


async def told(channel: Memory, clock: FakeClock, story: Callable[[Notifier], None]) -> Counter[tuple[str, str]]:
    results: Counter[tuple[str, str]] = Counter()
    async with Notifier("north", [channel], clock, lambda *what: results.update([what])) as notifier:
        story(notifier)
        await notifier.drain()
    return results


# ------------------------------------------------------------------------------------------------------- throttling


async def test_a_lasting_alert_is_told_every_15_minutes_with_the_number_suppressed() -> None:
    channel, clock = Memory(), FakeClock()

    def an_hour(notifier: Notifier) -> None:
        for _ in range(360):
            notifier.tell([hot()])
            clock.at_s += 10.0

    results = await told(channel, clock, an_hour)
    assert len(channel.got) == 4
    assert [message.suppressed for message in channel.got] == [0, 89, 89, 89]
    assert "seen 89 more times" in channel.got[1].text
    assert results == {("all", "suppressed"): 356, ("memory", "sent"): 4}


async def test_another_miner_or_kind_is_told_at_once() -> None:
    channel, clock = Memory(), FakeClock()

    def story(notifier: Notifier) -> None:
        notifier.tell([hot("a")])
        notifier.tell([hot("a"), hot("b")])
        notifier.tell([Alert("FeedStale", Severity.WARNING, "feed price is old")])

    await told(channel, clock, story)
    assert [message.title for message in channel.got] == [
        "[north] critical: MinerChipHot",
        "[north] critical: MinerChipHot",
        "[north] warning: FeedStale",
    ]
    assert channel.got[1].lines == ("b: chip at 90 C",)
    assert channel.got[2].lines == ("feed price is old",)


async def test_a_dead_switch_is_one_message_and_a_trickle_is_four() -> None:
    channel, clock = Memory(), FakeClock()

    def story(notifier: Notifier) -> None:
        notifier.tell([hot(f"m{index}") for index in range(1000)])
        for index in range(50):
            clock.at_s += 10.0
            notifier.tell([hot(f"late{index}")])
        clock.at_s += THROTTLE_S - 300.0
        notifier.tell([hot(f"late{index}") for index in range(50)])

    await told(channel, clock, story)
    assert [message.count for message in channel.got] == [1000, 1, 1, 1, 50]
    assert "(1000 miners)" in channel.got[0].title
    assert len(channel.got[0].lines) == 10
    assert "and 990 more" in channel.got[0].text


async def test_severity_chooses_the_channel() -> None:
    channel = Memory(least=Severity.CRITICAL)
    await told(channel, FakeClock(), lambda n: n.tell([Alert("FeedStale", Severity.WARNING, "old"), hot(), hot("b")]))
    assert [message.kind for message in channel.got] == ["MinerChipHot"]


# ------------------------------------------------------------------------------------------------------------ retries


async def test_retries_wait_longer_each_time_and_end() -> None:
    channel, clock = Memory(fail=3), FakeClock()
    results = await told(channel, clock, lambda n: n.tell([hot()]))
    assert clock.slept_s == [5.0, 10.0, 20.0]
    assert results["memory", "sent"] == 1

    channel, clock = Memory(fail=100), FakeClock()
    results = await told(channel, clock, lambda n: n.tell([hot()]))
    assert channel.fail == 100 - TRIES
    assert results["memory", "failed"] == 1


async def test_what_will_never_be_taken_is_not_tried_again() -> None:
    channel, clock = Memory(fail=1, again=False), FakeClock()
    results = await told(channel, clock, lambda n: n.tell([hot()]))
    assert (clock.slept_s, results["memory", "failed"]) == ([], 1)


async def test_a_slow_channel_holds_up_neither_the_loop_nor_the_other_channel() -> None:
    stuck = asyncio.Event()

    class Stuck(Memory):
        async def send(self, message: Message) -> None:
            await stuck.wait()

    fast, results = Memory(), Counter[tuple[str, str]]()
    async with Notifier("north", [Stuck(name="stuck"), fast], FakeClock(), lambda *w: results.update([w])) as notifier:
        for index in range(150):
            notifier.tell([Alert(f"Kind{index}", Severity.CRITICAL, "x")])
            await asyncio.sleep(0)
        assert len(fast.got) >= 149
        assert results["stuck", "failed"] > 0, "the queue is bounded"


async def test_a_broken_channel_stops_alone_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Memory):
        async def send(self, message: Message) -> None:
            raise RuntimeError("T0P53CR3T")

    fast = Memory()
    async with Notifier("north", [Broken(), fast], FakeClock()) as notifier:
        notifier.tell([hot()])
        await asyncio.sleep(0.01)
    assert fast.got
    assert "RuntimeError" in caplog.text
    assert "T0P53CR3T" not in caplog.text


# ------------------------------------------------------------------------------------------------------------ webhook


def hook(answer: Callable[[httpx.Request], httpx.Response]) -> Webhook:
    return Webhook(Secret("env:HOOK", URL), transport=lambda: httpx.MockTransport(answer))


async def test_webhook_posts_what_a_chat_service_shows() -> None:
    seen = []
    await hook(lambda request: seen.append(request) or httpx.Response(200)).send(MESSAGE)
    body = json.loads(seen[0].content)
    assert str(seen[0].url) == URL
    assert body["title"] == "[north] critical: MinerChipHot"
    assert body["text"].splitlines()[1] == "a: chip at 90 C"
    assert (body["severity"], body["suppressed"]) == ("critical", 3)


@pytest.mark.parametrize(("status", "again"), [(500, True), (429, True), (404, False), (302, False)])
async def test_webhook_refusals(status: int, again: bool) -> None:
    with pytest.raises(NotifyError, match=str(status)) as caught:
        await hook(lambda _: httpx.Response(status)).send(MESSAGE)
    assert caught.value.again is again


async def test_the_address_of_a_webhook_is_never_shown(caplog: pytest.LogCaptureFixture) -> None:
    def lost(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError(f"cannot reach {request.url}", request=request)

    caplog.set_level(logging.DEBUG)
    for channel in (hook(lost), hook(lambda _: httpx.Response(404)), hook(lambda _: httpx.Response(200))):
        async with Notifier("north", [channel], FakeClock()) as notifier:
            notifier.tell([hot()])
            await notifier.drain()
        assert "T0P53CR3T" not in repr(channel)
    assert "ConnectError" in caplog.text
    assert "T0P53CR3T" not in caplog.text


@pytest.mark.parametrize("url", ["http://hooks.example/x", "ftp://x", "nonsense", "https://[::"])
def test_an_address_in_the_clear_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ParamsError, match="env:HOOK") as caught:
        Webhook(Secret("env:HOOK", url))
    assert url not in str(caught.value)


# -------------------------------------------------------------------------------------------------------------- e-mail


def certificate(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Contexts of a server on this machine and of a client that trusts it."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    both = folder / "server.pem"
    both.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + made.public_bytes(serialization.Encoding.PEM)
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(both)
    return server, ssl.create_default_context(cadata=made.public_bytes(serialization.Encoding.PEM).decode())


@dataclass
class MailServer:
    """Just enough SMTP to take a mail; keeps what came before and inside TLS."""

    tls: ssl.SSLContext | None
    login: bytes = b"235 ok"
    clear: list[bytes] = field(default_factory=list)
    inside: list[bytes] = field(default_factory=list)
    port: int = 0

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 test\r\n")
        heard, data = self.clear, False
        while line := (await reader.readline()).strip():
            heard.append(line)
            word = line.split()[0].upper()
            if data:
                while line != b".":
                    line = (await reader.readline()).strip()
                    heard.append(line)
                data, answer = False, b"250 taken"
            elif word == b"EHLO":
                offer = b"250-STARTTLS\r\n" if self.tls and heard is self.clear else b"250-AUTH PLAIN LOGIN\r\n"
                answer = b"250-test\r\n" + offer + b"250 HELP"
            elif word == b"STARTTLS" and self.tls:
                writer.write(b"220 go\r\n")
                await writer.start_tls(self.tls)
                heard = self.inside
                continue
            elif word == b"DATA":
                data, answer = True, b"354 go"
            else:
                answer = {b"AUTH": self.login, b"QUIT": b"221 bye"}.get(word, b"250 ok")
            writer.write(answer + b"\r\n")
        writer.close()


@asynccontextmanager
async def serving(server: MailServer) -> AsyncIterator[MailServer]:
    listener = await asyncio.start_server(server.talk, "127.0.0.1", 0)
    server.port = listener.sockets[0].getsockname()[1]
    async with listener:
        yield server


def mail(server: MailServer, trust: ssl.SSLContext) -> Email:
    return Email(
        "127.0.0.1",
        "bridge@site",
        ["ops@site"],
        server.port,
        "bridge",
        Secret("env:PW", "T0P53CR3T"),
        tls=lambda: trust,
    )


async def test_mail_goes_out_and_the_password_only_inside_tls(tmp_path: Path) -> None:
    ours, trust = certificate(tmp_path)
    async with serving(MailServer(ours)) as server:
        await mail(server, trust).send(MESSAGE)
    inside = b"\n".join(server.inside)
    assert b"Subject: [north] critical: MinerChipHot" in inside
    assert b"a: chip at 90 C" in inside
    assert b"AUTH" in inside
    assert b"AUTH" not in b"\n".join(server.clear)


async def test_without_tls_or_trust_nothing_is_sent(tmp_path: Path) -> None:
    ours, trust = certificate(tmp_path)
    async with serving(MailServer(None)) as server:
        with pytest.raises(NotifyError, match="SMTPNotSupportedError") as caught:
            await mail(server, trust).send(MESSAGE)
    assert caught.value.again is False
    assert b"AUTH" not in b"\n".join(server.clear)
    async with serving(MailServer(ours)) as server:
        with pytest.raises(NotifyError, match="SSLCertVerificationError"):
            await mail(server, ssl.create_default_context()).send(MESSAGE)
    assert server.inside == []


async def test_a_refused_login_is_final_and_shows_no_password(tmp_path: Path) -> None:
    ours, trust = certificate(tmp_path)
    async with serving(MailServer(ours, login=b"535 wrong T0P53CR3T")) as server:
        with pytest.raises(NotifyError, match="SMTPAuthenticationError") as caught:
            await mail(server, trust).send(MESSAGE)
    assert caught.value.again is False
    assert "T0P53CR3T" not in str(caught.value) + repr(mail(server, trust))


async def test_an_absent_mail_server_is_tried_again() -> None:
    with pytest.raises(NotifyError) as caught:
        await Email("127.0.0.1", "bridge@site", ["ops@site"], port=9).send(MESSAGE)
    assert caught.value.again is True


def test_half_a_login_or_nobody_to_write_to() -> None:
    with pytest.raises(ParamsError, match="username or a password alone"):
        Email("mail", "a@b", ["c@d"], username="x")
    with pytest.raises(ParamsError, match="no recipients"):
        Email("mail", "a@b", [])


# ------------------------------------------------------------------------------------------------------------- secrets


def test_secrets_come_from_the_environment_or_a_private_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINESIM_TEST", "T0P53CR3T")
    secret = read_secret("env:MINESIM_TEST")
    assert secret.reveal() == "T0P53CR3T"
    assert "T0P53CR3T" not in f"{secret!r} {secret}"
    path = tmp_path / "hook"
    path.write_text("T0P53CR3T\n")
    path.chmod(0o640)
    with pytest.raises(ParamsError, match=f"mode 0640.*chmod 600 {path}"):
        read_secret(f"file:{path}")
    path.chmod(0o600)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert read_secret("file:$CREDENTIALS_DIRECTORY/hook").reveal() == "T0P53CR3T"


@pytest.mark.parametrize("given", ["T0P53CR3T", "T0P:53CR3T", "env:", "file:"])
def test_a_secret_in_the_open_is_refused_and_not_repeated(given: str) -> None:
    with pytest.raises(ParamsError, match="env:NAME or file:PATH") as caught:
        read_secret(given)
    assert "T0P" not in str(caught.value)


def test_missing_and_empty_secrets(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match="not set"):
        read_secret("env:MINESIM_SURELY_NOT_SET")
    with pytest.raises(ParamsError, match="No such file"):
        read_secret(f"file:{tmp_path / 'none'}")
