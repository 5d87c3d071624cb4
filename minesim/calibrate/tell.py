"""What a calibration found, for people and for other programs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from minesim.calibrate.fit import UNDETERMINED, Calibration, Finding
from minesim.calibrate.next_sensor import NextSensor
from minesim.calibrate.telemetry import RoomTelemetry
from minesim.files import write_json

TITLES: Final = {
    "gap": "gaps of rows",
    "leak": "leaks of the walls",
    "eddy": "eddy diffusivity",
    "structure_j": "heat capacity of the structure",
    "structure_w": "air to structure",
    "envelope_w": "structure to outdoors",
    "heat": "heat over reported power",
    "fan": "room fans at full speed",
    "damper": "dampers fully open",
    "group": "miners' fans at full speed",
    "free": "openings",
    "bias": "sensors read too much by",
}
FAULT_SHARE: Final = 0.9
FAULT_K: Final = 0.5
"""A flow or opening surely below this share of nominal, or a bias that is more than this, is told as a fault."""
ALIKE: Final = 0.8
"""Unknowns of a greater posterior correlation are told as a pair that the data do not tell apart."""


def is_fault(finding: Finding) -> bool:
    """Whether a flow or opening is surely low (its whole 90 % interval), or a bias surely there and large."""
    unknown = finding.unknown
    if unknown.kind in ("fan", "group", "free"):
        return finding.high < FAULT_SHARE * unknown.nominal
    return unknown.kind == "bias" and finding.low * finding.high > 0.0 and abs(finding.value) > FAULT_K


def tell(found: Calibration, telemetry: RoomTelemetry, console: Console) -> None:
    """Print the unknowns, the suspected faults, what is not determined, and how well the readings fit."""
    table = Table(title=f"{found.plan.name}: what the sensors say", title_justify="left", title_style="bold")
    for column in ("", "nominal", "found", "90 % interval", "of prior"):
        table.add_column(column, justify="left" if column == "" else "right")
    findings = found.values()
    kind = ""
    for finding in findings:
        unknown = finding.unknown
        if unknown.kind != kind:
            kind = unknown.kind
            table.add_section()
            table.add_row(f"[bold]{TITLES[kind]}, {unknown.prior.unit}[/bold]")
        table.add_row(
            "  " + escape(unknown.name),
            f"{unknown.nominal:.3g}",
            f"{finding.value:.3g}",
            f"{finding.low:.3g} to {finding.high:.3g}",
            f"{100.0 * finding.sd_share:.0f} %",
            style="bold red" if is_fault(finding) else ("" if finding.determined else "dim"),
        )
    console.print(table)
    _list("Suspected faults", [f for f in findings if is_fault(f)], console)
    _list(
        f"Not determined (more than {100 * UNDETERMINED:.0f} % of the prior's spread is left)",
        [f for f in findings if not f.determined],
        console,
    )
    rows, sensors = telemetry.readings_c.shape
    console.print(
        f"{rows} rows of {sensors} sensors miss the nominal room by {found.rms_before_k:.2f} K RMS, "
        f"the fitted one by {found.rms_after_k:.2f} K.",
        highlight=False,
    )


def tell_next(more: Sequence[NextSensor], console: Console) -> None:
    """Print where more sensors belong."""
    for place in more:
        console.print(
            f"Next sensor: x = {place.x_m:.1f} m, y = {place.y_m:.1f} m; the air is known least there (sd "
            f"{place.sd_k:.1f} K).",
            highlight=False,
        )


def _list(title: str, findings: Sequence[Finding], console: Console) -> None:
    by_kind: dict[str, list[str]] = {}
    for finding in findings:
        by_kind.setdefault(finding.unknown.kind, []).append(f"{finding.unknown.name} ({finding.value:.3g})")
    told = "; ".join(f"{TITLES[kind]}: {', '.join(names)}" for kind, names in by_kind.items())
    console.print(f"{title}: {told or 'none'}.", highlight=False, markup=False)


def write_result(path: Path, found: Calibration, telemetry: RoomTelemetry, more: Sequence[NextSensor]) -> None:
    """Write all numbers as JSON: a list of unknowns, pairs not told apart, errors at the sensors, the next sensors."""
    sd = found.sd
    correlation = found.covariance / np.outer(sd, sd)
    first, second = np.nonzero(np.triu(np.abs(correlation), k=1) > ALIKE)
    pairs = [
        {"first": found.unknowns[i].title, "second": found.unknowns[j].title, "correlation": correlation[i, j]}
        for i, j in zip(first, second, strict=True)
    ]
    content: dict[str, Any] = {
        "layout": found.plan.name,
        "from": telemetry.time[0],
        "to": telemetry.time[-1],
        "unknowns": [
            {
                "kind": f.unknown.kind,
                "name": f.unknown.name,
                "unit": f.unknown.prior.unit,
                "nominal": f.unknown.nominal,
                "found": f.value,
                "low": f.low,
                "high": f.high,
                "sd_over_prior": f.sd_share,
                "determined": f.determined,
                "suspected_fault": is_fault(f),
                "prior_source": f.unknown.prior.source,
            }
            for f in found.values()
        ],
        "not_told_apart": pairs,
        "rms_before_k": found.rms_before_k,
        "rms_after_k": found.rms_after_k,
        "next_sensors": [place._asdict() for place in more],
    }
    write_json(path, content)
