"""``minesim promote``: judge an agent of a benchmark and, if it passes every gate, write a signed bundle."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from minesim.errors import ParamsError, explain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from minesim.control.bundle import Bundle
    from minesim.promote.gates import Gate
    from minesim.promote.promotion import Verdict
    from minesim.promote.run import Run
    from minesim.promote.source import PolicySource

REFUSED = 2
"""Exit code where a gate is not passed."""
HOME = Path("~/.minesim")
VALID_DAYS = 90
"""How long a bundle is valid: about the time in which difficulty and prices make a benchmark stale (assumed)."""

KeyOption = Annotated[Path, typer.Option("--key", help="private key that signs")]
KeysOption = Annotated[Path, typer.Option("--keys", help="list of trusted keys")]
StoreOption = Annotated[Path, typer.Option("--out", help="folder of bundles")]
KEY, KEYS, STORE = HOME / "signing_key.pem", HOME / "trusted_keys.json", Path("bundles")


class RunFirst(TyperGroup):
    """``promote RUN ...`` is ``promote run RUN ...``; a folder named like a command is given as ``./keygen``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put ``run`` in front of what is no command."""
        if args and args[0] not in self.commands and args[0] != "--help":
            args = ["run", *args]
        return super().parse_args(ctx, args)


def promote_app(source: Callable[[], PolicySource]) -> typer.Typer:
    """Make the command with its sub-commands.

    Args:
        source: gives what makes policies; called when it is needed, so that the rest starts without it.

    Returns:
        The app to register as ``promote``.
    """
    app = typer.Typer(
        cls=RunFirst, no_args_is_help=True, help="Judge an agent of a benchmark, sign it, and keep its versions."
    )

    @app.command("run")
    def run(
        folder: Annotated[Path, typer.Argument(metavar="RUN", help="folder of a benchmark, e.g. outputs/latest")],
        suite: Annotated[str, typer.Option(help="suite that the benchmark must be of, e.g. hashrate_v1")],
        agent: Annotated[str, typer.Option(help="who shall be promoted")],
        incumbent: Annotated[
            str, typer.Option(help="what it is measured against; default: the current bundle's, else always_stock")
        ] = "",
        scenario: Annotated[str, typer.Option(help="scenario that is like the site, where the run has several")] = "",
        gain: Annotated[
            float | None, typer.Option(help="share of the incumbent's profit that must surely be gained, e.g. 0.05")
        ] = None,
        int8: Annotated[bool, typer.Option("--int8", help="weights in 8 bits; the loss is shown")] = False,
        training_seed: Annotated[int, typer.Option(help="which of several trained policies, from 0")] = 0,
        weights: Annotated[
            Path | None, typer.Option(help="folder of the trained policy, where it is not in RUN/../train")
        ] = None,
        days: Annotated[int, typer.Option(help="days until the bundle expires")] = VALID_DAYS,
        key: KeyOption = KEY,
        out: StoreOption = STORE,
    ) -> None:
        """Judge AGENT and, if every gate is passed, write its signed bundle. Exits with 2 where one is not."""
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        from minesim.promote.keys import read_private_key
        from minesim.promote.promotion import Request, judge, promote
        from minesim.promote.run import read_run

        if days < 1:
            raise ParamsError(explain(f"--days is {days}", allowed="1 or more"))
        console = Console()
        chosen = incumbent or _incumbent(read_run(folder, suite), out, agent)
        request = Request(folder, suite, agent, chosen, scenario, gain, int8, training_seed, weights)
        private = read_private_key(key.expanduser())
        with Progress(TextColumn("rehearsing"), BarColumn(), TimeRemainingColumn(), console=console) as progress:
            bar = progress.add_task("steps", total=None)
            verdict = judge(request, source(), lambda step, total: progress.update(bar, completed=step, total=total))
        _show(verdict, console)
        failed = [gate for gate in verdict.gates if not gate.passed]
        if failed:
            _refuse(failed, agent)
            raise typer.Exit(REFUSED)
        made = promote(verdict, out, private, int(time.time()), days)
        typer.echo(f"Bundle: {made}\nIt is the current one: {out / 'current'}")

    @app.command()
    def keygen(
        key: KeyOption = KEY,
        keys: KeysOption = KEYS,
        comment: Annotated[str, typer.Option(help="whose key it is")] = "",
    ) -> None:
        """Make a key pair; MINESIM_KEY_PASSPHRASE in the environment encrypts the private key."""
        from minesim.promote.keys import keygen as make

        number = make(key.expanduser(), keys.expanduser(), comment)
        typer.echo(f"Key {number}\nPrivate key, keep it here: {key}\nPublic key, for the bridge: {keys}")

    @app.command()
    def verify(
        bundle: Annotated[Path, typer.Argument(help="folder of a bundle, or bundles/current")],
        keys: KeysOption = KEYS,
    ) -> None:
        """Check a bundle as a bridge does, and tell what it is."""
        from minesim.control.bundle import read_bundle
        from minesim.control.trust import read_trusted_keys

        _tell(read_bundle(bundle, read_trusted_keys(keys.expanduser()), time.time()))

    @app.command()
    def history(out: StoreOption = STORE) -> None:
        """List which bundle was current when."""
        from minesim.promote.history import ROLLED_BACK, current, events

        present, changes = current(out), events(out)
        for number, change in enumerate(changes):
            mark = "*" if change.version == present and number == len(changes) - 1 else " "
            what = "back to" if change.event == ROLLED_BACK else change.event
            before = f", before {change.before}" if change.before else ""
            reason = f": {change.reason}" if change.reason else ""
            typer.echo(f"{mark} {change.at}  {what:8s}  {change.version}{before}{reason}")
        if changes and changes[-1].version != present:
            typer.echo(f"The current bundle is {present or 'none'}: the last change was interrupted; repeat it.")

    @app.command()
    def rollback(
        version: Annotated[str, typer.Argument(help="which; default: the one that was current before")] = "",
        reason: Annotated[str, typer.Option(help="why, for the history")] = "",
        keys: KeysOption = KEYS,
        out: StoreOption = STORE,
    ) -> None:
        """Make an earlier bundle the current one; a bridge takes it at its next start."""
        from minesim.control.trust import read_trusted_keys
        from minesim.promote.history import rollback as go_back

        change = go_back(out, version, read_trusted_keys(keys.expanduser()), time.time(), reason)
        typer.echo(f"Current: {change.version} (before: {change.before})")

    return app


def _incumbent(run: Run, store: Path, agent: str) -> str:
    """The agent of the current bundle if the run has it and it is another one, else always-stock."""
    from minesim.control.bundle import MANIFEST
    from minesim.control.manifest import decode
    from minesim.promote.gates import STOCK
    from minesim.promote.history import CURRENT

    path = store / CURRENT / MANIFEST
    if not path.exists():
        return STOCK
    found = decode(path.read_bytes()).agent
    return found if found in run.record["agents"] and found != agent else STOCK


def _show(verdict: Verdict, console: Console) -> None:
    from rich.table import Table

    request = verdict.request
    table = Table(
        title=f"{request.agent} over {request.incumbent} on {verdict.chosen.scenario}, suite {request.suite}",
        title_justify="left",
    )
    for column in ("gate", "what", "value", "bar", ""):
        table.add_column(column, justify="right" if column in ("value", "bar") else "left")
    for gate in verdict.gates:
        what = f"{gate.what}\n[dim]{gate.note}[/dim]" if gate.note else gate.what
        table.add_row(
            gate.name, what, value_text(gate), bar_text(gate), "passed" if gate.passed else "[red]FAILED[/red]"
        )
    console.print(table)
    held = {name: share for name, share in verdict.rehearsed[request.agent].held_back.items() if share}
    shares = ", ".join(f"{name} {share:.1%}" for name, share in held.items()) or "never"
    console.print(f"Held back by the envelope in the rehearsal, share of steps: {shares}.", highlight=False)
    for name, figure in verdict.part.figures.items():
        console.print(f"Export, {name}: {figure:.3g} in units of the action.", highlight=False)


def value_text(gate: Gate) -> str:
    """The number of a gate, with its unit."""
    if gate.value != gate.value:
        return "n/a"
    return f"{gate.value:,.4g}" + ("" if gate.unit == "1" else f" {gate.unit}")


def bar_text(gate: Gate) -> str:
    """The bar of a gate, with its sense.

    >>> from minesim.promote.gates import Gate
    >>> bar_text(Gate("closed", "", 0.3, 0.25, True, "1"))
    '≥ 0.25'
    """
    sense = (">" if gate.strict else "≥") if gate.at_least else ("<" if gate.strict else "≤")
    return f"{sense} {gate.bar:g}"


def _refuse(failed: Sequence[Gate], agent: str) -> None:
    typer.echo(f"{agent} is not promoted; nothing was written. Gates that failed:", err=True)
    for gate in failed:
        note = f" ({gate.note})" if gate.note else ""
        typer.echo(f"  {gate.name}: {gate.what} is {value_text(gate)}, needs {bar_text(gate)}{note}", err=True)


def _tell(bundle: Bundle) -> None:
    from minesim.control.manifest import RulePolicy, time_text

    manifest = bundle.manifest
    policy = manifest.policy
    if isinstance(policy, RulePolicy):
        params = ", ".join(f"{name} {value:g}" for name, value in policy.params.items())
        what = f"rule {policy.rule}" + (f" ({params})" if params else "")
    else:
        base = f" on top of rule {policy.base.rule}" if policy.base is not None else ""
        what = f"network, {policy.precision}, decides every {policy.hold_steps} steps{base}"
    miners = sum(cohort.count for cohort in manifest.cohorts)
    typer.echo(f"Valid, signed with key {bundle.key_id}")
    for name, text in {
        "version": manifest.version,
        "policy": what,
        "judged on": manifest.scenario,
        "fleet": f"{miners} miners in {len(manifest.cohorts)} cohorts",
        "limits": manifest.limits.name,
        "control step": f"{manifest.dt_ctrl_s:g} s",
        "made": time_text(manifest.created_at_s),
        "expires": time_text(manifest.expires_at_s),
    }.items():
        typer.echo(f"  {name:13s}{text}")
