"""The rollout in the terminal: where it stands, who runs what, and the evidence so far."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from minesim.bridge.loop import ROLLOUT_KEY
from minesim.bridge.rollouts.rollout import Rollout, Status, baseline_scatter, evidence
from minesim.bridge.rollouts.sequential import Anytime
from minesim.bridge.rollouts.trial import TrialState, phase_name, read_state
from minesim.bridge.rollouts.waves import HOLDBACK, Design
from minesim.errors import ParamsError, explain

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from minesim.bridge.writing.journal import Reader

STYLES = {
    Status.RUNNING: "green",
    Status.COMPLETE: "bold green",
    Status.HELD: "yellow",
    Status.ROLLED_BACK: "bold red",
}
MOVES_SHOWN = 20


def show(reader: Reader, console: Console) -> None:
    """Print state, waves, evidence and moves of the rollout in the journal.

    Raises:
        ParamsError: there is none.
        DataFileError: it cannot be read.
    """
    kept = reader.recall().get(ROLLOUT_KEY)
    if kept is None:
        raise ParamsError(explain("there is no rollout", fix="Start the bridge with --candidate BUNDLE."))
    state = read_state(kept, str(reader.path))
    rollout = state.rollout
    style = STYLES[rollout.status]
    console.print(f"[bold]{state.candidate}[/bold] beside {state.incumbent}")
    console.print(f"{phase_name(rollout)}, [{style}]{rollout.status.value}[/{style}]: {rollout.reason}")
    console.print(_periods(state))
    console.print(_phases(rollout))
    console.print(_evidence(rollout))
    moves = [entry for entry in reader.audit(limit=10**5) if entry.action.startswith("rollout")][:MOVES_SHOWN]
    for move in reversed(moves):
        console.print(f"{_utc(move.at_s)}  {move.action:<20} {move.actor}: {move.reason}", style="dim")


def _periods(state: TrialState) -> str:
    rollout, plan = state.rollout, state.rollout.plan
    valid = sum(period.valid for period in rollout.periods)
    told = f"{len(rollout.periods)} periods of {plan.period_s / 3600.0:g} h since the beginning, {valid} of them valid"
    scatter = baseline_scatter(rollout)
    if math.isfinite(scatter):
        told += f"; scatter in the baseline {scatter:.2%} of rated revenue"
    return f"{told}; the open one began {_utc(state.day.start_s)}"


def _phases(rollout: Rollout) -> Table:
    """One row a phase: how many miners it adds, and whether it has come."""
    from rich.table import Table

    table = Table("phase", "runs the candidate", "miners it adds", "")
    counts = Counter(rollout.waves.values())
    switchback = rollout.plan.design is Design.SWITCHBACK
    for phase in range(len(rollout.plan.shares)):
        what = "of all periods" if switchback else "of all miners"
        now = "runs" if phase == rollout.phase else "done" if phase < rollout.phase else ""
        if rollout.status is Status.ROLLED_BACK:
            now = "turned back" if phase == rollout.phase else now
        added = "" if switchback else str(counts[str(phase)])
        table.add_row(str(phase + 1), f"{rollout.plan.candidate_share(phase):.0%} {what}", added, now)
    if not switchback:
        table.add_row("", "never", str(counts[HOLDBACK]), HOLDBACK)
    return table


def _evidence(rollout: Rollout) -> Table | str:
    from rich.table import Table

    if rollout.phase < 0:
        valid = sum(period.valid for period in rollout.periods)
        return f"Baseline: {valid} of {rollout.plan.baseline_periods} valid periods."
    found = evidence(rollout)
    table = Table("question", "difference", "interval", "periods", "decides when", title="share of rated revenue")
    for question, interval, rule in (
        ("may it go forward?", found.advance, f"lower bound above -{rollout.plan.margin:.1%}"),
        ("does it lose?", found.loss, "upper bound below 0"),
    ):
        table.add_row(question, *_bounds(interval), str(interval.count), rule)
    margin = rollout.plan.peak_margin
    rule = "not watched" if margin is None else f"held above {1.0 + margin:.2f}"
    ratio = f"{found.peak_ratio:.3f}" if math.isfinite(found.peak_ratio) else "not known"
    table.add_row("its peak over the control's", ratio, "", "", rule)
    if found.left_out:
        table.add_row("power without a control", f"{found.left_out:.0%}", "", "", "not compared")
    return table


def _bounds(found: Anytime) -> tuple[str, str]:
    if not math.isfinite(found.estimate):
        return "not known", ""
    if not math.isfinite(found.low):
        return f"{found.estimate:+.2%}", "needs more periods"
    return f"{found.estimate:+.2%}", f"{found.low:+.2%} to {found.high:+.2%}"


def _utc(at_s: float) -> str:
    return str(np.datetime64(int(at_s), "s")).replace("T", " ") + " UTC"
