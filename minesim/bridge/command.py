"""``minesim bridge``: run the bridge, look into it, and take over by hand."""

from __future__ import annotations

import asyncio
import getpass
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from minesim.errors import ParamsError, explain

if TYPE_CHECKING:
    from minesim.bridge.telling.notify import Channel
    from minesim.bridge.writing.journal import Desk, Reader
    from minesim.control.bundle import RuleFactory

INCOMPLETE = 3
"""Exit code of a restore that could not put everything back."""
METRICS_PORT = 9842
KEYS = Path("~/.minesim/trusted_keys.json")

StateOption = Annotated[
    Path | None,
    typer.Option("--state", help="folder of journal and snapshot [$STATE_DIRECTORY or bridge-state]"),
]
InventoryOption = Annotated[Path, typer.Option("--inventory", help="miners.yaml")]
ReasonOption = Annotated[str, typer.Option("--reason", help="why, for the audit")]


def bridge_app(rules: Callable[[], RuleFactory]) -> typer.Typer:
    """Make the command with its sub-commands.

    Args:
        rules: gives what makes rules by name; called when a bundle is loaded.

    Returns:
        The app to register as ``bridge``.
    """
    app = typer.Typer(
        invoke_without_command=True,
        no_args_is_help=True,
        help="Control the miners of a site by a signed bundle; by default it only watches.",
    )

    @app.callback()
    def run(
        context: typer.Context,
        inventory: Annotated[Path | None, typer.Option("--inventory", help="miners.yaml")] = None,
        bundle: Annotated[Path | None, typer.Option("--bundle", help="folder of a signed bundle")] = None,
        candidate: Annotated[
            Path | None, typer.Option("--candidate", help="folder of a signed bundle to roll out beside --bundle")
        ] = None,
        design: Annotated[str, typer.Option(help="control of a rollout: holdback miners, or switchback in time")] = (
            "holdback"
        ),
        seed: Annotated[int, typer.Option(help="draws the waves of a rollout")] = 0,
        mode: Annotated[str, typer.Option(help="shadow writes nothing, advise asks a person, auto acts")] = "shadow",
        keys: Annotated[Path, typer.Option(help="list of trusted keys")] = KEYS,
        state: StateOption = None,
        poll_s: Annotated[float, typer.Option("--poll", min=1.0, max=60.0, help="seconds between cycles")] = 20.0,
        metrics_port: Annotated[int, typer.Option(help="of the Prometheus endpoint here; 0 for none")] = METRICS_PORT,
        webhook: Annotated[str, typer.Option(help="where alerts go: env:NAME or file:PATH of the address")] = "",
        mail_host: Annotated[str, typer.Option(help="mail server for critical alerts")] = "",
        mail_from: Annotated[str, typer.Option(help="sender")] = "",
        mail_to: Annotated[list[str] | None, typer.Option(help="recipient; may be repeated")] = None,
        mail_user: Annotated[str, typer.Option(help="login at the mail server")] = "",
        mail_password: Annotated[str, typer.Option(help="env:NAME or file:PATH")] = "",
    ) -> None:
        """Run the bridge until it is interrupted."""
        if context.invoked_subcommand is not None:
            return
        if inventory is None or bundle is None:
            raise ParamsError(
                explain("the bridge needs an inventory and a bundle", fix="Give --inventory and --bundle.")
            )
        from minesim.bridge.loop import Mode
        from minesim.bridge.rollouts.waves import Design
        from minesim.bridge.service import ServiceSettings, plan_for, run_bridge
        from minesim.bridge.settings.inventory import load_inventory
        from minesim.control.bundle import read_bundle
        from minesim.control.trust import read_trusted_keys

        if mode not in {entry.value for entry in Mode}:
            raise ParamsError(explain(f"mode is {mode!r}", allowed=", ".join(entry.value for entry in Mode)))
        if design not in {entry.value for entry in Design}:
            raise ParamsError(explain(f"design is {design!r}", allowed=", ".join(entry.value for entry in Design)))
        _log_plainly()
        channels = _channels(webhook, mail_host, mail_from, mail_to or [], mail_user, mail_password)
        site = load_inventory(inventory)
        trusted = read_trusted_keys(keys.expanduser())
        loaded = read_bundle(bundle, trusted, time.time())
        other = None if candidate is None else read_bundle(candidate, trusted, time.time())
        settings = ServiceSettings(Mode(mode), _state(state), poll_s, metrics_port or None, channels)
        typer.echo(
            f"{site.site}: {len(site.miners)} miners, policy {loaded.manifest.agent} {loaded.manifest.version}, "
            f"mode {mode}. Ctrl-C ends it."
        )
        if other is not None:
            typer.echo(f"Candidate {other.manifest.agent} {other.manifest.version}; see `minesim bridge rollout`.")
        plan = plan_for(site, Design(design), seed)
        asyncio.run(run_bridge(site, loaded, rules(), settings, candidate=other, plan=plan))

    @app.command()
    def top(state: StateOption = None) -> None:
        """Watch the running bridge in the terminal."""
        from minesim.bridge.service import SNAPSHOT
        from minesim.bridge.telling.top import watch

        watch(_state(state) / SNAPSHOT)

    @app.command()
    def status(state: StateOption = None) -> None:
        """Show what the bridge saw and did last."""
        from rich.console import Console

        from minesim.bridge.service import SNAPSHOT
        from minesim.bridge.telling.snapshot import read_snapshot
        from minesim.bridge.telling.top import Screen

        Console().print(Screen(read_snapshot(_state(state) / SNAPSHOT), time.time()))

    @app.command()
    def why(
        miner: Annotated[str, typer.Argument(help="address of a miner")],
        state: StateOption = None,
        count: Annotated[int, typer.Option(min=1, help="how many entries of the audit")] = 20,
    ) -> None:
        """Explain what a miner does: the last decision, what limited it, and every write with its reasons."""
        from rich.console import Console

        from minesim.bridge.writing.explain import explain_miner

        with _reader(state) as reader:
            explain_miner(reader, miner, count, Console(), time.time())

    @app.command()
    def outcomes(state: StateOption = None) -> None:
        """Show what was realised against what was predicted, after 10 min, 1 h and 24 h."""
        from rich.console import Console

        from minesim.bridge.writing.explain import tell_outcomes

        with _reader(state) as reader:
            tell_outcomes(reader, Console())

    @app.command()
    def proposals(state: StateOption = None) -> None:
        """List what the bridge would do and waits to be told (advise mode)."""
        from rich.console import Console

        from minesim.bridge.writing.explain import list_proposals

        with _reader(state) as reader:
            list_proposals(reader, Console(), time.time())

    @app.command()
    def approve(
        numbers: Annotated[list[int], typer.Argument(help="numbers of proposals")],
        reason: ReasonOption = "",
        state: StateOption = None,
    ) -> None:
        """Let the bridge carry out proposals, as far as its guard still allows them."""
        _decide(state, numbers, reason, approve=True)

    @app.command()
    def reject(
        numbers: Annotated[list[int], typer.Argument(help="numbers of proposals")],
        reason: ReasonOption = "",
        state: StateOption = None,
    ) -> None:
        """Refuse proposals."""
        _decide(state, numbers, reason, approve=False)

    @app.command()
    def pause(
        miner: Annotated[str, typer.Argument(help="address of a miner; without one the whole site")] = "",
        reason: ReasonOption = "",
        state: StateOption = None,
    ) -> None:
        """Have the bridge leave a miner, or the whole site, alone."""
        with _desk(state) as desk:
            desk.pause(miner, actor=_person(), reason=reason, at_s=time.time())
        typer.echo(f"Paused: {miner or 'the whole site'}. What is under way is finished; nothing new is written.")

    @app.command()
    def resume(
        miner: Annotated[str, typer.Argument(help="address of a miner; without one the whole site")] = "",
        reason: ReasonOption = "",
        state: StateOption = None,
    ) -> None:
        """End a pause, and release a miner that was changed by hand or exchanged; its present setting is accepted."""
        with _desk(state) as desk:
            desk.resume(miner, actor=_person(), reason=reason, at_s=time.time())
        typer.echo(f"Resumed: {miner or 'the whole site'}.")

    @app.command()
    def restore(inventory: InventoryOption, state: StateOption = None) -> None:
        """Put back every setting that the bridge wrote; the bridge must not run. Exits with 3 if something is left."""
        from minesim.bridge.clock import SystemClock
        from minesim.bridge.service import JOURNAL, open_ports
        from minesim.bridge.settings.inventory import load_inventory
        from minesim.bridge.writing.journal import Journal
        from minesim.bridge.writing.restore import Restored
        from minesim.bridge.writing.restore import restore as put_back

        site, clock = load_inventory(inventory), SystemClock()

        def told(one: Restored) -> None:
            typer.echo(f"{one.miner}: {'back' if one.complete else 'NOT back'} {one.detail}".rstrip())

        async def run_it() -> bool:
            with Journal.open(_state(state) / JOURNAL) as journal:
                async with open_ports(site, clock) as ports:
                    done = await put_back(journal, ports, clock, actor=_person(), told=told)
            return all(one.complete for one in done)

        if not asyncio.run(run_it()):
            raise typer.Exit(INCOMPLETE)

    @app.command()
    def rollout(
        word: Annotated[str, typer.Argument(help="show, back (all to the incumbent), or anew")] = "show",
        reason: ReasonOption = "",
        state: StateOption = None,
    ) -> None:
        """Show the rollout of a candidate with its evidence, turn it back, or start it anew."""
        from rich.console import Console

        from minesim.bridge.rollouts.rollout_view import show
        from minesim.bridge.rollouts.trial import GO_ANEW, GO_BACK

        words = {"back": GO_BACK, "anew": GO_ANEW}
        if word not in {"show", *words}:
            raise ParamsError(explain(f"no such word: {word!r}", allowed="show, back, anew"))
        if word == "show":
            with _reader(state) as reader:
                show(reader, Console())
            return
        with _desk(state) as desk:
            desk.note(words[word], at_s=time.time(), actor=_person(), reason=reason)
        typer.echo("The bridge takes it up in its next cycle; look with `minesim bridge rollout`.")

    @app.command("rules")
    def rules_for_prometheus() -> None:
        """Print the alert rules for Prometheus."""
        from minesim.bridge.telling.alerts import prometheus_rules

        typer.echo(prometheus_rules())

    @app.command()
    def unit() -> None:
        """Print the systemd unit."""
        from minesim.bridge.telling.watchdog import unit_text

        typer.echo(unit_text())

    @app.command()
    def discover(
        network: Annotated[str, typer.Argument(help="e.g. 10.0.1.0/24")],
        port: Annotated[int, typer.Option(min=1, max=65535)] = 80,
        confirm: Annotated[bool, typer.Option("--confirm", help="ask a large or public range")] = False,
    ) -> None:
        """Look for VNish miners in an address range; nothing is written."""
        from minesim.bridge.clock import SystemClock
        from minesim.bridge.miners.discovery import discover as look
        from minesim.bridge.miners.discovery import parse_range

        async def run_it() -> int:
            found = 0
            async for one in look(parse_range(network, confirmed=confirm), SystemClock(), port=port):
                found += 1
                who = one.identity
                told = one.problem if who is None else f"{who.model}, VNish {'.'.join(map(str, who.firmware_version))}"
                typer.echo(f"{one.address}: {told}")
            return found

        typer.echo(f"{asyncio.run(run_it())} miners.")

    return app


def _state(given: Path | None) -> Path:
    return given or Path(os.environ.get("STATE_DIRECTORY", "bridge-state"))


def _reader(state: Path | None) -> Reader:
    from minesim.bridge.service import JOURNAL
    from minesim.bridge.writing.journal import Reader

    return Reader.open(_state(state) / JOURNAL)


def _desk(state: Path | None) -> Desk:
    from minesim.bridge.service import JOURNAL
    from minesim.bridge.writing.journal import Desk

    return Desk.open(_state(state) / JOURNAL)


def _decide(state: Path | None, numbers: list[int], reason: str, *, approve: bool) -> None:
    with _desk(state) as desk:
        for number in numbers:
            done = desk.decide(number, approve=approve, actor=_person(), note=reason, at_s=time.time())
            typer.echo(f"{number}: {done.state.value} ({done.miner})")


def _person() -> str:
    """Who gives a command, for the audit."""
    return os.environ.get("SUDO_USER") or getpass.getuser()


def _channels(
    webhook: str, host: str, sender: str, recipients: list[str], user: str, password: str
) -> tuple[Channel, ...]:
    from minesim.bridge.settings.secret import read_secret
    from minesim.bridge.telling.notify import Email, Webhook

    found: list[Channel] = []
    if webhook:
        found.append(Webhook(read_secret(webhook)))
    if host:
        login: dict[str, Any] = {"username": user, "password": read_secret(password)} if user else {}
        found.append(Email(host, sender, recipients, **login))
    return tuple(found)


def _log_plainly() -> None:
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
