"""Secrets by reference: ``env:NAME`` or ``file:PATH``; the file may be read by its owner alone."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from minesim.errors import ParamsError, explain


@dataclass(frozen=True)
class Secret:
    """A text that no repr, log or error shows.

    Attributes:
        origin: where it came from, e.g. ``env:SMTP_PASSWORD``.
    """

    origin: str
    _text: str = field(repr=False)

    def reveal(self) -> str:
        """Give the text away, to whoever sends it."""
        return self._text


def read_secret(reference: str) -> Secret:
    """Read a secret.

    Args:
        reference: ``env:NAME``, or ``file:PATH`` of a file with mode 0600 or stricter; a unit of systemd finds its
            credentials below ``$CREDENTIALS_DIRECTORY``, which may stand in the path.

    Raises:
        ParamsError: no reference, nothing there, or others may read the file; what was given is never repeated, as it
            may be the secret itself.
    """
    kind, _, place = reference.partition(":")
    if kind == "env" and place:
        text = os.environ.get(place, "")
    elif kind == "file" and place:
        text = _private_text(Path(os.path.expandvars(place)).expanduser(), reference)
    else:
        raise ParamsError(
            explain(
                "a secret is given where a reference to one is expected",
                allowed="env:NAME or file:PATH",
                fix="Put the secret into a file with mode 0600 and name that; change it if it was in a shared file.",
            )
        )
    if not text.strip():
        raise ParamsError(
            explain(f"the secret {reference} is empty or not set", fix="Set it before the bridge starts.")
        )
    return Secret(reference, text.strip())


def _private_text(path: Path, reference: str) -> str:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            raise ParamsError(
                explain(
                    f"{path} has mode {mode:04o}",
                    allowed="0600 or stricter",
                    origin=reference,
                    fix=f"chmod 600 {path}",
                )
            )
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ParamsError(explain(f"cannot read the secret: {error.strerror}", origin=reference)) from error
