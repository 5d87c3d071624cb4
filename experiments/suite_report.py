"""What the entry points of frozen suites keep of a summary: the report as printed, and its numbers."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from minesim.bench.files import write_json, write_text


def tell_and_keep(
    folder: Path, tell: Callable[[Console], None], settings: Any, summary: Any, console: Console, width: int
) -> None:
    """Print a summary; write it as ``report.txt`` and, with the settings, as ``summary.json``.

    Args:
        folder: of the suite.
        tell: prints the summary.
        settings: a dataclass.
        summary: dataclasses and plain values, in mappings or by themselves.
        console: to print on.
        width: characters of a line of the report.
    """
    tell(console)
    report = io.StringIO()
    tell(Console(file=report, width=width))
    write_text(folder / "report.txt", report.getvalue())
    write_json(folder / "summary.json", {"settings": settings, "summary": summary})
