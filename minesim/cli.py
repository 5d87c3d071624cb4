"""The ``minesim`` command; each sub-command's body lives beside the code it shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup

from agents.offline.command import rollouts
from minesim.bench.backtest_command import backtest_command
from minesim.envs.commands import app as envs_app
from minesim.errors import MinesimError
from minesim.scenario.commands import app as data_app

if TYPE_CHECKING:
    from minesim.bench.backtest import RuleBuilder


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


def _rules() -> RuleBuilder:
    from agents.baselines import tuned_rules

    return tuned_rules


data_app.command("rollouts")(rollouts)
app.command("backtest")(backtest_command(_rules))


@app.callback()
def main() -> None:
    """Digital twin of a crypto-mining site."""


if __name__ == "__main__":
    app()
