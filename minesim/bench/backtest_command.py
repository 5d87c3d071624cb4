"""``minesim backtest SITE.csv``: what each rule would have earned on an operator's own prices."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from minesim.errors import ParamsError, explain

if TYPE_CHECKING:
    from rich.console import Console

    from minesim.bench.backtest import Backtest, RuleBuilder


def backtest_command(rules: Callable[[], RuleBuilder]) -> Callable[..., None]:
    """Make the command.

    Args:
        rules: gives a :data:`minesim.bench.backtest.RuleBuilder`; called when the command runs, so that the rest of
            the command line starts without them.

    Returns:
        The function to register with typer.
    """

    def backtest(
        site: Annotated[Path, typer.Argument(help="CSV: timestamps, prices, and hashrate and power if there are any")],
        miners: Annotated[
            list[str] | None, typer.Option("--miners", "-m", help="MODEL:COUNT, e.g. 'S19j Pro:200'; repeat for more")
        ] = None,
        hashprice: Annotated[
            float | None, typer.Option(help="gross revenue, USD per PH/s and day, as pools show it")
        ] = None,
        coin_price: Annotated[float | None, typer.Option(help="Bitcoin price, USD (with --difficulty)")] = None,
        difficulty: Annotated[float | None, typer.Option(help="Bitcoin difficulty (with --coin-price)")] = None,
        timezone: Annotated[str, typer.Option(help="zone of timestamps that have none, e.g. America/Chicago")] = "UTC",
        known: Annotated[
            str, typer.Option(help="when you know a price: day_ahead or after_interval (real time)")
        ] = "after_interval",
        adder: Annotated[float, typer.Option(help="USD/MWh on top of the file's price")] = 0.0,
        demand: Annotated[float, typer.Option(help="monthly demand charge, USD/kW")] = 0.0,
        weather: Annotated[str, typer.Option(help="packaged weather of a city, 2020-2023, e.g. dallas_tx")] = "",
        temp_c: Annotated[float, typer.Option(help="outside temperature where nothing else is known, C")] = 20.0,
        limits: Annotated[str, typer.Option(help="what the hardware may do: bridge, seed or free")] = "bridge",
        price_unit: Annotated[str, typer.Option(help="unit of prices where the header has none")] = "",
        hashrate_unit: Annotated[str, typer.Option(help="unit of hashrates where the header has none")] = "",
        power_unit: Annotated[str, typer.Option(help="unit of powers where the header has none")] = "",
        fill_gaps: Annotated[bool, typer.Option(help="hold the last known price over missing intervals")] = False,
        out: Annotated[Path, typer.Option(help="folder for the table and the plot")] = Path("outputs/backtest"),
    ) -> None:
        """What would each rule have earned on my own site? Reads a CSV, touches no hardware."""
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        from minesim.bench.backtest import Assumed, save
        from minesim.bench.backtest import backtest as run_backtest
        from minesim.bench.site_csv import read_site_csv
        from minesim.envs.core import EnvConfig

        record = read_site_csv(
            site,
            timezone=timezone,
            price_unit=price_unit,
            hashrate_unit=hashrate_unit,
            power_unit=power_unit,
            fill_gaps=fill_gaps,
        )
        assumed = Assumed(
            miners=[parse_miners(text) for text in miners or []],
            hashprice_usd_per_phs_day=hashprice,
            coin_price_usd=coin_price,
            difficulty=difficulty,
            adder_usd_per_mwh=adder,
            demand_usd_per_kw=demand,
            price_known=known,
            timezone=timezone,
            weather=weather,
            temp_amb_c=temp_c,
            limits=limits,
        )
        steps = int(len(record.time_utc) * record.step_s // EnvConfig().dt_ctrl_s)
        console = Console()
        with Progress(TextColumn("simulating"), BarColumn(), TimeRemainingColumn(), console=console) as progress:
            bar = progress.add_task("steps", total=steps)
            result = run_backtest(record, rules(), assumed, on_step=lambda done: progress.update(bar, completed=done))
        json_path, png_path = save(result, record, out)
        _show(result, console)
        typer.echo(f"Table: {json_path}\nPlot:  {png_path}")

    return backtest


def parse_miners(text: str) -> tuple[str, int]:
    """``'S19j Pro:200'`` -> model and count.

    Raises:
        ParamsError: not of that form.
    """
    model, separator, count = text.rpartition(":")
    if not separator or not model.strip() or not count.strip().isdigit():
        raise ParamsError(explain(f"{text!r} is not MODEL:COUNT", allowed="like 'S19j Pro:200'", origin="--miners"))
    return model.strip(), int(count)


def _show(result: Backtest, console: Console) -> None:
    from rich import box
    from rich.table import Table

    from minesim.bench.report import usd

    span = f"{result.start.astype('datetime64[m]')} to {result.end.astype('datetime64[m]')} UTC"
    table = Table(
        title=f"{span} ({result.days:.1f} days)",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        caption=f"gain: against {result.baseline}",
        caption_justify="left",
    )
    for heading in ("rule", "net profit", "gain", "revenue", "energy", "load"):
        table.add_column(heading, justify="left" if heading == "rule" else "right", no_wrap=True)
    for row in result.rows():
        table.add_row(
            row["agent"],
            usd(row["profit_usd"]),
            usd(row["gain_usd"], signed=True),
            usd(row["revenue_usd"]),
            usd(row["energy_usd"]),
            f"{row['load_factor'] * 100.0:.0f} %",
        )
    console.print(table)
    for note in result.notes:
        console.print(f"- {note}", markup=False, highlight=False)
    console.print(
        "One period is one draw: the next month can turn out otherwise. Simulated, no hardware was touched.",
        highlight=False,
    )
