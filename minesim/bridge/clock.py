"""Time as the bridge sees it: injected everywhere, so that days run in minutes in tests."""

from __future__ import annotations

import asyncio
import time
from typing import Final, Protocol

CLOCK_JUMP_S: Final = 5.0
"""By how much the wall clock may leave the steady one before it has jumped, s (assumed)."""


class Clock(Protocol):
    """What tells the time and waits."""

    def now_s(self) -> float:
        """Wall clock, s since 1970 UTC; may jump."""

    def monotonic_s(self) -> float:
        """Steady clock, s; never jumps."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""


class SystemClock:
    """The machine's clock."""

    def now_s(self) -> float:
        """Wall clock, s since 1970 UTC."""
        return time.time()

    def monotonic_s(self) -> float:
        """Steady clock, s."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)
