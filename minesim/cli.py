"""The ``minesim`` command; each sub-command's body lives beside the code it shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup

from agents.offline.command import rollouts
from minesim.bench.backtest_command import backtest_command
from minesim.bridge.command import bridge_app
from minesim.calibrate.command import calibrate
from minesim.catalog.layout_commands import app as layout_app
from minesim.emulator.command import emulate
from minesim.envs.commands import app as envs_app
from minesim.errors import MinesimError
from minesim.placement.command import place
from minesim.promote.command import promote_app
from minesim.scenario.commands import app as data_app

if TYPE_CHECKING:
    from minesim.bench.backtest import RuleBuilder
    from minesim.control.bundle import RuleFactory
    from minesim.promote.source import PolicySource


class PlainErrors(TyperGroup):
    """Show errors that minesim raises on purpose as one message and exit code 1, without a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command."""
        try:
            return super().invoke(ctx)
        except MinesimError as error:
            typer.echo(f"{type(error).__name__}: {error}", err=True)
            raise typer.Exit(code=1) from error


app = typer.Typer(
    cls=PlainErrors, no_args_is_help=True, add_completion=False, help="Digital twin of a crypto-mining site."
)
app.add_typer(data_app, name="data")
app.add_typer(envs_app, name="envs")
app.add_typer(layout_app, name="layout")


def _rules() -> RuleBuilder:
    from agents.baselines import tuned_rules

    return tuned_rules


def _named_rules() -> RuleFactory:
    from agents.baselines.named import named_rule

    return named_rule


def _promotable() -> PolicySource:
    from agents.promotable import Promotable

    return Promotable()


data_app.command("rollouts")(rollouts)
app.command("backtest")(backtest_command(_rules))
app.command("calibrate")(calibrate)
app.command("emulate")(emulate)
app.command("place")(place)
app.add_typer(promote_app(_promotable), name="promote")
app.add_typer(bridge_app(_named_rules), name="bridge")


@app.callback()
def main() -> None:
    """Digital twin of a crypto-mining site."""


if __name__ == "__main__":
    app()
