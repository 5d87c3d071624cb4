"""What entry points share: typed settings from a Hydra configuration, and a stop that loses nothing."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Protocol, TypeVar, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from minesim.errors import MinesimError, ParamsError, explain

FAILED, STOPPED = 1, 130
"""Exit codes."""


@contextmanager
def telling_errors(kept: str) -> Iterator[None]:
    """Tell an error in a line and exit with ``FAILED``; on Ctrl-C say what is kept and exit with ``STOPPED``."""
    try:
        yield
    except MinesimError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(FAILED)
    except KeyboardInterrupt:
        print(f"\nStopped. {kept}", file=sys.stderr)
        sys.exit(STOPPED)


class Checked(Protocol):
    """Settings that check themselves."""

    def check(self) -> None:
        """Raise ParamsError where a value is not possible."""
        ...


Settings = TypeVar("Settings", bound=Checked)


def read_settings(kind: type[Settings], raw: DictConfig) -> Settings:
    """The configuration as typed, checked values.

    Raises:
        ParamsError: a key that does not exist, or a value of the wrong type or range.
    """
    plain = {key: value for key, value in raw.items() if key != "hydra"}
    try:
        settings = cast(Settings, OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(kind), plain)))
    except OmegaConfBaseException as error:
        raise ParamsError(explain(str(error).splitlines()[0], origin="configuration")) from error
    settings.check()
    return settings


class StopSign:
    """Asks for a stop at the next rest on the first Ctrl-C, stops at once on the second."""

    def __init__(self) -> None:
        self.raised = False

    def __call__(self) -> bool:
        return self.raised

    def handle(self, number: int, frame: FrameType | None) -> None:
        if self.raised:
            raise KeyboardInterrupt
        self.raised = True
        print("\nStopping after this iteration; once more to stop at once.", file=sys.stderr)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take Ctrl-C and termination as a request to stop."""
        before = {number: signal.signal(number, self.handle) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
