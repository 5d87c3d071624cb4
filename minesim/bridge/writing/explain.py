"""Why a miner does what it does, and what waits for a person, from the journal alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from minesim.bridge.deciding.guard import Why
from minesim.bridge.loop import DECISION_KEY, in_words
from minesim.bridge.telling.outcomes import HORIZONS_S, calibrate, from_journal
from minesim.bridge.writing.journal import WHOLE_SITE, Reader
from minesim.bridge.writing.journal_records import ApprovalState
from minesim.errors import ParamsError, explain, nearest

if TYPE_CHECKING:
    from rich.console import Console


def explain_miner(reader: Reader, miner: str, count: int, console: Console, now_s: float) -> None:
    """Print the last decision on a miner, what holds it, and its latest writes.

    Raises:
        ParamsError: the bridge never decided on such a miner (nearest addresses suggested).
    """
    decision: Mapping[str, Any] | None = reader.recall().get(DECISION_KEY)
    if not decision:
        raise ParamsError(explain("the bridge has not decided anything yet", fix="Wait for its next control step."))
    miners = {entry["address"]: entry for entry in decision["miners"]}
    if miner not in miners:
        raise ParamsError(explain(f"no miner {miner!r} in the last decision", fix=nearest(miner, miners)))
    mine, told = miners[miner], decision["observation"]
    console.print(f"[bold]{miner}[/bold], decided {_ago(decision['at_s'], now_s)}")
    console.print(f"  price      {told['price_last_usd_per_mwh']:.2f} USD/MWh")
    console.print(f"  a TH/s     {told['hash_revenue_usd_per_ths_day']:.5f} USD a day")
    for label, key in (("it did", "before"), ("asked for", "asked"), ("allowed", "bounded")):
        console.print(f"  {label:<10} {_command(mine[key])}")
    console.print(f"  because    {Why(mine['why']).sentence}")
    held, pauses = reader.owned(miner), reader.pauses()
    if held.held is not None:
        console.print(f"  [yellow]held       {held.held.value}: {held.held_detail}; release it with resume[/yellow]")
    for name in (miner, WHOLE_SITE):
        if name in pauses:
            pause = pauses[name]
            console.print(f"  [yellow]paused     by {pause.actor} {_ago(pause.at_s, now_s)}: {pause.reason}[/yellow]")
    intents = reader.intents(miner, limit=count)
    console.print(f"\nlatest writes ({len(intents)}):")
    for intent in intents:
        reasons = "; ".join(intent.reasons)
        console.print(
            f"  {_ago(intent.at_s, now_s):>14}  {in_words(intent.write):<16} {intent.state.value:<8} {reasons}"
        )
        if intent.detail:
            console.print(f"  {'':>14}  {intent.detail}", style="dim")


def list_proposals(reader: Reader, console: Console, now_s: float) -> None:
    """Print the open proposals of the advise mode."""
    from rich.table import Table

    found = [entry for entry in reader.approvals(ApprovalState.PROPOSED) if entry.expires_at_s > now_s]
    table = Table("number", "miner", "write", "since", "expires", "why")
    for entry in found:
        table.add_row(
            str(entry.id),
            entry.miner,
            ", ".join(in_words(write) for write in entry.writes),
            _ago(entry.at_s, now_s),
            f"in {entry.expires_at_s - now_s:.0f} s",
            "; ".join(entry.reasons),
        )
    console.print(table if found else "Nothing waits for an answer.")


TOLD: Final = (("power_w", 1e-3, "kW"), ("hashrate_ths", 1e-3, "PH/s"), ("profit_usd_per_h", 1.0, "USD/h"))
"""Quantities of the report, their factor and unit."""
TOLERANCE: Final = 0.02
"""A bias within this counts as right: the twin's fit is within 3 % in power (assumed)."""


def tell_outcomes(reader: Reader, console: Console) -> None:
    """Print what was realised against what was predicted, by horizon."""
    from rich.table import Table

    found = from_journal(reader.outcomes())
    table = Table(
        "horizon", "what", "outcomes", "predicted", "realised", "difference", "bias, 95 % at every look", "twin"
    )
    for horizon_s in HORIZONS_S:
        for quantity, factor, unit in TOLD:
            pairs = [
                (expected, real)
                for one in found
                if one.horizon_s == horizon_s
                and (expected := one.predicted.get(quantity)) is not None
                and (real := one.measured.get(quantity)) is not None
            ]
            if not pairs:
                continue
            expected, real = (factor * float(np.mean(side)) for side in zip(*pairs, strict=True))
            told = calibrate(found, quantity, horizon_s)
            table.add_row(
                f"{horizon_s / 60.0:.0f} min" if horizon_s < 3600.0 else f"{horizon_s / 3600.0:.0f} h",
                f"{quantity.split('_', maxsplit=1)[0]}, {unit}",
                str(len(pairs)),
                f"{expected:,.2f}",
                f"{real:,.2f}",
                f"{100.0 * (real - expected) / abs(expected):+.2f} %" if expected else "",
                f"{100.0 * told.bias.low:+.1f} to {100.0 * told.bias.high:+.1f} %",
                told.verdict(TOLERANCE),
            )
    console.print(table if table.row_count else "No horizon is over yet.")


def _command(command: Mapping[str, Any]) -> str:
    if not command["run"]:
        return "stand still"
    return f"preset {command['preset']} at {100.0 * command['throttle']:.0f} %, {command['power_w']:.0f} W"


def _ago(at_s: float, now_s: float) -> str:
    age_s = max(now_s - at_s, 0.0)
    if age_s < 120.0:
        return f"{age_s:.0f} s ago"
    if age_s < 7200.0:
        return f"{age_s / 60.0:.0f} min ago"
    return str(np.datetime64(int(at_s), "s")) + " UTC"
