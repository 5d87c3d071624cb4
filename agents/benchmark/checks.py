"""What every frozen suite checks of its settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minesim.errors import ParamsError, explain


def at_least_one(**counts: int) -> None:
    """Refuse counts below one.

    Raises:
        ParamsError: naming the count.
    """
    for name, count in counts.items():
        if count < 1:
            raise ParamsError(explain(f"{name} is {count}", allowed="1 or more"))


def each_once(**lists: Sequence[Any]) -> None:
    """Refuse empty lists, and lists that name something twice.

    Raises:
        ParamsError: naming the list.
    """
    for name, listed in lists.items():
        if not listed or len(set(listed)) < len(listed):
            raise ParamsError(explain(f"{name} is {listed}", allowed="one or more, each once"))
