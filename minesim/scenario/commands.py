"""``minesim data``: what data there are, what they hold, and whether a user's file is good."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer
import xarray as xr
from rich.console import Console
from rich.table import Table

from minesim.catalog.card import fidelity_card, plot_card, render_text
from minesim.catalog.models import canonical_name
from minesim.data import (
    TraceFile,
    known,
    load_btc,
    load_carbon,
    load_coincident_peaks,
    load_power,
    load_weather,
    registry,
)
from minesim.data.registry import require
from minesim.errors import CatalogError, DataFileError, explain, nearest
from minesim.scenario.figures import plot_traces
from minesim.scenario.files import read_traces
from minesim.scenario.names import scenario, scenario_names
from minesim.scenario.validate import validate

app = typer.Typer(no_args_is_help=True, help="Traces, scenarios and hardware models.")


@app.command("list")
def list_data() -> None:
    """List packaged traces and ready-made scenarios."""
    table = Table(title="Packaged traces")
    for heading in ("name", "kind", "licence", "in wheel", "here", "terms"):
        table.add_column(heading, overflow="fold")
    for row in registry():
        here = "yes" if row.path.is_file() else "no"
        table.add_row(row.name, row.kind, row.licence, "yes" if row.in_wheel else "no", here, row.terms)
    console = Console()
    console.print(table)
    console.print(f"Scenarios: {', '.join(scenario_names())} (with a tariff: ercot/4cp)")


@app.command("describe")
def describe(
    name: Annotated[str, typer.Argument(help="trace, scenario (see `minesim data list`) or hardware model")],
    plot: Annotated[Path | None, typer.Option(help="also draw it into this file (.png, .svg, .pdf)")] = None,
) -> None:
    """Show a trace or scenario (variables, units, when known, period, missing values, licence) or a hardware model."""
    traces_by_name = {row.name: row for row in registry()}
    if name in traces_by_name:
        _describe_dataset(name, _load(traces_by_name[name]), plot)
    elif name.partition("/")[0] in scenario_names():
        chosen = scenario(name)
        _describe_dataset(name, chosen.traces, plot)
        console = Console()
        console.print(f"tariff: {chosen.tariff.name} ({chosen.tariff.source})")
        for split, (begin, end) in chosen.splits.items():
            console.print(f"split {split}: {begin} to {end} UTC")
    else:
        _describe_hardware(name, plot, (*traces_by_name, *scenario_names()))


def _describe_hardware(name: str, plot: Path | None, other_names: tuple[str, ...]) -> None:
    try:
        canonical_name(name)
    except CatalogError as error:
        close = nearest(name, other_names)
        if not close.startswith("Did you mean"):
            raise
        raise DataFileError(explain(f"nothing called {name!r}", fix=close, origin="minesim data")) from error
    card = fidelity_card(name)
    typer.echo(render_text(card))
    if plot is not None:
        typer.echo(f"drawn into {plot_card(card, plot)}")


@app.command("validate")
def validate_file(
    file: Annotated[Path, typer.Argument(help="csv, parquet, nc or zarr with your traces")],
    site_timezone: Annotated[str | None, typer.Option(help="IANA name, e.g. America/Chicago")] = None,
) -> None:
    """Check a trace file; exit code 1 and one line a fault when it is not good."""
    traces = read_traces(file, site_timezone=site_timezone)
    validate(traces)
    _describe_dataset(file.name, traces, None)
    Console().print(f"{file.name} is good.")


def _load(row: TraceFile) -> xr.Dataset:
    key = row.name.removeprefix(f"{row.kind}_")
    loaders = {"power": load_power, "weather": load_weather, "carbon": load_carbon}
    if row.kind in loaders:
        return loaders[row.kind](key)
    if row.kind == "btc":
        return load_btc()
    if row.kind == "peaks":
        return load_coincident_peaks()
    frame = pd.read_parquet(require(row.name))
    return xr.Dataset.from_dataframe(frame).assign_attrs(licence=row.licence, origin=row.origin, terms=row.terms)


def _describe_dataset(title: str, data: xr.Dataset, plot: Path | None) -> None:
    console = Console()
    table = Table(title=title)
    for heading in ("variable", "unit", "known", "missing", "lowest", "highest"):
        table.add_column(heading, overflow="fold")
    for name, variable in data.data_vars.items():
        values = variable.to_numpy()
        is_number = values.dtype.kind in "fiu"
        rule = str(variable.attrs.get("known", ""))
        table.add_row(
            str(name),
            str(variable.attrs.get("units", "")),
            rule,
            str(int(pd.isna(values).sum())),
            f"{np.nanmin(values):g}" if is_number and values.size else "",
            f"{np.nanmax(values):g}" if is_number and values.size else "",
        )
    console.print(table)
    for rule in sorted(
        {str(variable.attrs.get("known", "")) for variable in data.data_vars.values()} & set(known.RULES)
    ):
        console.print(f"{rule}: {known.RULES[rule]}")
    if "time" in data.coords:
        time = data["time"].to_numpy()
        console.print(f"period: {pd.Timestamp(time[0])} to {pd.Timestamp(time[-1])} UTC, {len(time)} rows")
    if "is_missing" in data:
        console.print(f"rows missing in the source: {int(data['is_missing'].sum())}")
    for key, value in data.attrs.items():
        console.print(f"{key}: {value}")
    for name, variable in data.data_vars.items():
        if "fill" in variable.attrs:
            console.print(f"fill of {name}: {variable.attrs['fill']}")
    if plot is not None:
        console.print(f"drawn into {plot_traces(data, plot, title=title)}")
