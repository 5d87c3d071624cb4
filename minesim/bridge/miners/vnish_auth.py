"""What opens a VNish miner: credentials that never show themselves, and how long not to ask again."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from minesim.errors import ParamsError, explain

API_KEY_LENGTH = 32
BACK_OFF_S = 60.0
"""Pause after "too many tries" where the miner does not say how long (assumed)."""
BACK_OFF_MAX_S = 86_400.0
"""Longest pause (assumed)."""
WRONG_PASSWORD_S = 900.0
"""Pause after a wrong password, doubled each time, so that a miner is neither locked nor lost for good (assumed)."""
MASK = "***"


@dataclass(frozen=True)
class Credentials:
    """An API key, or the web password; an API key does not expire and does not close a person's session.

    Attributes:
        api_key: 32 characters, or None.
        password: web password, or None. Give one of the two.

    Raises:
        ParamsError: none or both, or an API key that cannot be one.
    """

    api_key: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if (self.api_key is None) == (self.password is None):
            raise ParamsError(explain("credentials hold none or two secrets", allowed="an API key or a password"))
        if self.api_key is not None and (
            len(self.api_key) != API_KEY_LENGTH or not self.api_key.isascii() or not self.api_key.isprintable()
        ):
            raise ParamsError(
                explain(
                    f"an API key of {len(self.api_key)} characters",
                    allowed=f"{API_KEY_LENGTH} plain characters",
                    fix="Copy it from the miner's page; a web password goes into the field password.",
                )
            )
        if self.password == "":
            raise ParamsError(explain("the password is empty"))

    def __str__(self) -> str:
        return repr(self)

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never be shown."""
        return tuple(secret for secret in (self.api_key, self.password) if secret)


def masked(text: str, secrets: Iterable[str], longest: int = 200) -> str:
    """Text of a miner made fit for messages: secrets masked, one line, not endless.

    >>> masked("wrong password\\nhunter2", ["hunter2"])
    'wrong password ***'
    """
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, MASK)
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= longest else text[:longest] + "..."


@dataclass
class Gate:
    """Whether a miner may be asked again; closed by refusals, opened by time.

    Attributes:
        closed_until_s: steady clock, s.
        reason: why it is closed.
    """

    closed_until_s: float = -math.inf
    reason: str = ""

    def close(self, until_s: float, reason: str) -> None:
        """Do not ask before ``until_s``."""
        self.closed_until_s = until_s
        self.reason = reason

    def closed(self, now_s: float) -> bool:
        """Whether it is closed at ``now_s``."""
        return now_s < self.closed_until_s


def wrong_password_wait_s(count: int, told_s: float | None) -> float:
    """How long not to unlock after so many wrong passwords in a row.

    >>> [wrong_password_wait_s(count, None) for count in (1, 2, 3, 50)]
    [900.0, 1800.0, 3600.0, 86400.0]
    """
    doubled_s = WRONG_PASSWORD_S * 2.0 ** min(count - 1, 20)
    return min(max(doubled_s, told_s or 0.0), BACK_OFF_MAX_S)


def back_off_s(told_s: float | None) -> float:
    """How long to wait after "too many tries": what the miner tells, within bounds, else one minute.

    >>> back_off_s(None), back_off_s(300.0), back_off_s(1e12)
    (60.0, 300.0, 86400.0)
    """
    return BACK_OFF_S if told_s is None else min(told_s, BACK_OFF_MAX_S)
