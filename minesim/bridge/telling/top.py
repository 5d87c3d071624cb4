"""`minesim bridge top`: the site in a terminal, worst things first, whatever the number of miners.

Everything comes from the snapshot that the bridge publishes each cycle, so the dashboard can run beside it, as another
user, and cannot disturb it.
"""

from __future__ import annotations

import datetime
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.layout import Layout
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from minesim.bridge.miners.miner import State
from minesim.bridge.telling.alerts import READING_AGE_MAX_S, TEMP_CHIP_HOT_C
from minesim.bridge.telling.snapshot import ActionView, MinerView, Snapshot, read_snapshot
from minesim.errors import DataFileError

TEMP_CHIP_WARM_C = 80.0
SNAPSHOT_AGE_MAX_S = 60.0
BANDS_C = (60.0, 70.0, TEMP_CHIP_WARM_C, TEMP_CHIP_HOT_C)
MODE_STYLES = {"shadow": "cyan", "advise": "yellow", "auto": "green"}
ACTION_STYLES = {"awaiting approval": "yellow", "blocked": "red", "pending": "cyan"}
"""What a person has to answer comes first."""
WIDE_COLUMNS, WIDE_LINES = 120, 38
LOWER_LINES = 11


def watch(
    path: Path,
    *,
    console: Console | None = None,
    refresh_s: float = 1.0,
    now_s: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Show the published snapshot until interrupted; a snapshot that is missing or broken is told and waited for.

    Args:
        path: file of the snapshot.
        console: where to draw.
        refresh_s: s between looks.
        now_s, sleep: clock; injectable for tests.
    """
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            try:
                live.update(Screen(read_snapshot(path), now_s()), refresh=True)
            except DataFileError as error:
                live.update(Panel(Text(str(error), style="red"), title="minesim bridge"), refresh=True)
            try:
                sleep(refresh_s)
            except KeyboardInterrupt:
                return


@dataclass(frozen=True)
class Screen:
    """A snapshot drawn for a terminal: it fills the height, and tables say how many rows they do not show.

    Attributes:
        snapshot: what the bridge published.
        now_s: s since 1970 UTC, so that an old snapshot is seen to be old.
    """

    snapshot: Snapshot
    now_s: float

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        wide = options.max_width >= WIDE_COLUMNS and console.height >= WIDE_LINES
        yield self._wide(console.height) if wide else self._narrow()

    def _wide(self, lines: int) -> Layout:
        snapshot, whole = self.snapshot, Layout()
        lower = min(lines // 3, max(LOWER_LINES, 3 + len(snapshot.actions)))
        whole.split_column(
            Layout(_header(snapshot, self.now_s), size=3),
            Layout(name="middle"),
            Layout(name="lower", size=lower),
        )
        whole["middle"].split_row(Layout(name="site", size=42), Layout(_miners(snapshot, MINER_COLUMNS)))
        whole["site"].split_column(
            Layout(_power(snapshot), size=8), Layout(_temperatures(snapshot), size=7), Layout(_groups(snapshot))
        )
        whole["lower"].split_row(Layout(_actions(snapshot, self.now_s)), Layout(name="side", size=46))
        whole["side"].split_column(
            Layout(_feeds(snapshot), size=min(8, 3 + max(1, len(snapshot.feeds)))), Layout(_messages(snapshot))
        )
        return whole

    def _narrow(self) -> Layout:
        snapshot, whole = self.snapshot, Layout()
        whole.split_column(
            Layout(_header(snapshot, self.now_s), size=3),
            Layout(_power(snapshot), size=8),
            Layout(_miners(snapshot, ("miner", "state", "W", "chip", "age", "held because")), ratio=2),
            Layout(_actions(snapshot, self.now_s)),
        )
        return whole


# ------------------------------------------------------------------------------------------------------------- worst


def trouble(miner: MinerView) -> tuple[int, float]:
    """How much a miner needs a look: the worst cause first, then the hotter one."""
    temp_c = miner.temp_chip_c or 0.0
    if temp_c > TEMP_CHIP_HOT_C:
        rank = 6
    elif silent(miner):
        rank = 5
    elif miner.state == State.FAILURE:
        rank = 4
    elif idle_though_wanted(miner):
        rank = 3
    elif temp_c > TEMP_CHIP_WARM_C:
        rank = 2
    else:
        rank = 1 if miner.holds else 0
    return rank, temp_c


def silent(miner: MinerView) -> bool:
    """Whether its last reading is missing or too old to act on."""
    return miner.age_s is None or miner.age_s > READING_AGE_MAX_S


def idle_though_wanted(miner: MinerView) -> bool:
    """Whether it should draw power and does not mine."""
    return bool(miner.commanded_power_w) and miner.state != State.MINING


# ------------------------------------------------------------------------------------------------------------- parts


@dataclass(frozen=True)
class _Rows:
    """A table in a panel that shows as many rows as there is room for, and how many it does not."""

    title: str
    columns: Sequence[tuple[str, str]]
    rows: Sequence[Sequence[RenderableType]]
    empty: str = ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        headed = any(name for name, _ in self.columns)
        room = (options.height or options.max_height) - 2 - headed
        shown = self.rows if len(self.rows) <= room else self.rows[: max(0, room - 1)]
        table = Table(
            box=None, expand=True, pad_edge=False, header_style="dim", show_header=headed, padding=(0, 1, 0, 0)
        )
        for name, justify in self.columns:
            table.add_column(
                name,
                justify="right" if justify == "right" else "left",
                no_wrap=True,
                overflow="ellipsis",
                ratio=1 if justify == "fill" else None,
            )
        for row in shown:
            table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))
        missing = len(self.rows) - len(shown)
        if missing:
            table.add_row(Text(f"and {missing} more", style="dim"))
        body: RenderableType = table if self.rows else Text(self.empty, style="dim")
        yield Panel(body, title=self.title, title_align="left", border_style="blue", height=options.height)


def _panel(title: str, body: RenderableType) -> Panel:
    return Panel(body, title=title, title_align="left", border_style="blue")


def _header(snapshot: Snapshot, now_s: float) -> Panel:
    at = datetime.datetime.fromtimestamp(snapshot.at_s, datetime.UTC)
    age_s = now_s - snapshot.at_s
    line = Text()
    if age_s > SNAPSHOT_AGE_MAX_S:
        line.append(f" NO CYCLE FOR {_age(age_s)} ", style="bold reverse red").append("  ")
    line.append(snapshot.site, style="bold").append("  ")
    line.append(f" {snapshot.mode.upper()} ", style=f"reverse {MODE_STYLES.get(snapshot.mode, 'white')}").append("  ")
    if snapshot.paused:
        line.append(" PAUSED ", style="reverse yellow").append("  ")
    policy = snapshot.policy
    line.append(f"policy {policy.name} {policy.version}" if policy else "no policy", style="" if policy else "red")
    if policy and policy.expires_at_s is not None:
        days = (policy.expires_at_s - now_s) / 86400.0
        left = f" (expires in {days:.0f} d)" if days > 0 else " (expired)"
        line.append(left, style="red" if days < 7 else "dim")
    if snapshot.rollout:
        line.append(f"  rollout {snapshot.rollout}", style="magenta")
    line.append(f"  {at:%Y-%m-%d %H:%M:%S} UTC", style="dim")
    return Panel(line, border_style="red" if age_s > SNAPSHOT_AGE_MAX_S else "blue")


def _power(snapshot: Snapshot) -> Panel:
    drawn_w = snapshot.power_estimated_w if snapshot.power_w is None else snapshot.power_w
    source = "reported" if snapshot.power_w is None else "metered"
    grid = Table.grid(padding=(0, 1), expand=True)
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(justify="right", no_wrap=True)
    over = snapshot.cap_w is not None and drawn_w > snapshot.cap_w
    grid.add_row(f"power ({source})", Text(f"{drawn_w / 1e3:,.1f} kW", style="bold red" if over else "bold"))
    if snapshot.cap_w is None:
        grid.add_row("cap", "none")
    else:
        share = drawn_w / snapshot.cap_w if snapshot.cap_w > 0.0 else 0.0
        grid.add_row(
            f"cap {snapshot.cap_w / 1e3:,.0f} kW",
            Text(f"{share:.0%}{' OVER CAP' if over else ''}", style="red" if share > 0.95 else ""),
        )
        style = "red" if share > 0.95 else "yellow" if share > 0.85 else "green"
        bar = ProgressBar(total=1.0, completed=min(1.0, share), width=18, complete_style=style, finished_style=style)
        grid.add_row("", bar)
    efficiency = f"{drawn_w / snapshot.hashrate_ths:.1f} J/TH" if snapshot.hashrate_ths else "-"
    grid.add_row("hashrate", f"{snapshot.hashrate_ths / 1e3:,.2f} PH/s")
    grid.add_row("efficiency", efficiency)
    hashing = sum(miner.state == State.MINING for miner in snapshot.miners)
    grid.add_row("hashing", f"{hashing} of {len(snapshot.miners)}")
    return _panel("site", grid)


def _temperatures(snapshot: Snapshot) -> Panel:
    """How many miners are how hot."""
    temps_c = [miner.temp_chip_c for miner in snapshot.miners if miner.temp_chip_c is not None]
    edges = [float("-inf"), *BANDS_C, float("inf")]
    names = ["to 60", *(f"to {edge:.0f}" for edge in BANDS_C[1:]), f"over {TEMP_CHIP_HOT_C:.0f}"]
    styles = ["green", "green", "green", "yellow", "red"]
    grid = Table.grid(padding=(0, 1), expand=True)
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(no_wrap=True)
    grid.add_column(justify="right", no_wrap=True)
    for name, low, high, style in zip(names, edges, edges[1:], styles, strict=False):
        count = sum(low < temp_c <= high for temp_c in temps_c)
        share = count / len(temps_c) if temps_c else 0.0
        bar = ProgressBar(total=1.0, completed=share, width=20, complete_style=style, finished_style=style)
        grid.add_row(name, bar, Text(str(count), style=style if count else "dim"))
    return _panel("hottest chip, C", grid)


def _groups(snapshot: Snapshot) -> _Rows:
    groups: dict[str, list[MinerView]] = defaultdict(list)
    for miner in snapshot.miners:
        groups[miner.group].append(miner)
    worst_first = sorted(groups.items(), key=lambda item: max(map(trouble, item[1])), reverse=True)
    rows: list[list[RenderableType]] = []
    for name, miners in worst_first:
        hashing = sum(miner.state == State.MINING for miner in miners)
        hottest = max((miner.temp_chip_c for miner in miners if miner.temp_chip_c is not None), default=None)
        rows.append(
            [
                name,
                Text(f"{hashing}/{len(miners)}", style="" if hashing == len(miners) else "yellow"),
                f"{sum(miner.power_w or 0.0 for miner in miners) / 1e3:,.0f}",
                _temp(hottest),
                _count(sum(bool(miner.holds) for miner in miners)),
            ]
        )
    columns = [("group", "fill"), ("hashing", "right"), ("kW", "right"), ("C", "right"), ("held", "right")]
    return _Rows(f"groups ({len(groups)})", columns, rows)


def _miners(snapshot: Snapshot, columns: Iterable[str]) -> _Rows:
    shown = [(name, *MINER_COLUMNS[name]) for name in columns]
    rows = [[cell(miner) for _, _, cell in shown] for miner in sorted(snapshot.miners, key=trouble, reverse=True)]
    title = f"miners, worst first ({len(snapshot.miners)})"
    return _Rows(title, [(name, justify) for name, justify, _ in shown], rows, "no miners in the inventory")


def _state(miner: MinerView) -> Text:
    bad = miner.state in (State.FAILURE, State.UNKNOWN) or idle_though_wanted(miner)
    return Text(miner.state, style="red" if bad else "" if miner.state == State.MINING else "yellow")


def _reading_age(miner: MinerView) -> Text:
    return Text("never" if miner.age_s is None else _age(miner.age_s), style="red" if silent(miner) else "dim")


def _actions(snapshot: Snapshot, now_s: float) -> _Rows:
    rows: list[list[RenderableType]] = [
        [
            action.miner,
            action.what,
            Text(action.status, style=ACTION_STYLES.get(action.status, "")),
            _age(now_s - action.since_s),
            action.reason,
        ]
        for action in sorted(snapshot.actions, key=_urgency)
    ]
    columns = [("miner", "left"), ("action", "left"), ("status", "left"), ("since", "right"), ("reason", "fill")]
    return _Rows(f"actions ({len(rows)})", columns, rows, "nothing pending, nothing blocked")


def _urgency(action: ActionView) -> int:
    known = list(ACTION_STYLES)
    return known.index(action.status) if action.status in known else len(known)


def _feeds(snapshot: Snapshot) -> _Rows:
    stale_first = sorted(snapshot.feeds, key=lambda feed: not feed.stale)
    rows: list[list[RenderableType]] = [
        [
            feed.name,
            Text("never" if feed.age_s is None else _age(feed.age_s), style="red" if feed.stale else "green"),
            _age(feed.age_max_s),
            feed.source,
        ]
        for feed in stale_first
    ]
    columns = [("feed", "left"), ("age", "right"), ("may be", "right"), ("from", "fill")]
    return _Rows("feeds", columns, rows, "no feeds")


def _messages(snapshot: Snapshot) -> _Rows:
    return _Rows("latest", [("", "fill")], [[message] for message in reversed(snapshot.messages)], "nothing yet")


# -------------------------------------------------------------------------------------------------------------- cells


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _count(value: int) -> Text:
    return Text(str(value) if value else "-", style="yellow" if value else "dim")


def _temp(value: float | None) -> Text:
    if value is None:
        return Text("-", style="dim")
    return Text(
        f"{value:.0f}", style="bold red" if value > TEMP_CHIP_HOT_C else "yellow" if value > TEMP_CHIP_WARM_C else ""
    )


def _age(seconds: float) -> str:
    """Short form of a time.

    >>> [_age(s) for s in (4, 90, 7200, 200000)]
    ['4 s', '1 min', '2 h', '2 d']
    """
    steps: Iterable[tuple[float, str]] = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"))
    for size_s, unit in steps:
        if seconds >= size_s:
            return f"{seconds // size_s:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


MINER_COLUMNS: Mapping[str, tuple[str, Callable[[MinerView], RenderableType]]] = {
    "miner": ("left", lambda m: m.name),
    "state": ("left", _state),
    "TH/s": ("right", lambda m: _number(m.hashrate_ths, ".1f")),
    "W": ("right", lambda m: _number(m.power_w, ",.0f")),
    "want W": ("right", lambda m: _number(m.commanded_power_w, ",.0f")),
    "chip": ("right", lambda m: _temp(m.temp_chip_c)),
    "board": ("right", lambda m: _number(m.temp_board_c, ".0f")),
    "thr %": ("right", lambda m: _number(None if m.throttle is None else 100.0 * m.throttle, ".0f")),
    "age": ("right", _reading_age),
    "wave": ("left", lambda m: Text(m.wave, style="dim")),
    "held because": ("fill", lambda m: Text(", ".join(m.holds), style="yellow")),
}
