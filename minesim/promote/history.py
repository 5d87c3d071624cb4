"""Which bundle is the current one, and which were before: an append-only ``history.jsonl`` and the link ``current``."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from minesim.control.bundle import read_bundle
from minesim.control.manifest import SAFE_NAME, time_text
from minesim.control.trust import BundleError, TrustedKeys
from minesim.errors import DataFileError, explain, nearest

HISTORY, CURRENT = "history.jsonl", "current"
PROMOTED, ROLLED_BACK = "promoted", "rolled_back"


@dataclass(frozen=True)
class Event:
    """A change of the current bundle.

    Attributes:
        at: UTC.
        event: ``promoted`` or ``rolled_back``.
        version: current from then on.
        before: current until then, empty for none.
        reason: for people.
    """

    at: str
    event: str
    version: str
    before: str
    reason: str


def events(store: Path) -> list[Event]:
    """All changes, oldest first.

    Raises:
        DataFileError: a line is damaged.
    """
    path = store / HISTORY
    if not path.exists():
        return []
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            found.append(Event(**json.loads(line)))
        except (ValueError, TypeError) as error:
            raise DataFileError(
                explain(
                    f"line {number} of {str(path)!r} is damaged",
                    fix="Restore the file from a backup, or delete that line; bundles are not affected.",
                )
            ) from error
    return found


def current(store: Path) -> str:
    """Version of the current bundle, empty for none."""
    link = store / CURRENT
    return os.readlink(link) if link.is_symlink() else ""


def make_current(store: Path, version: str, event: str, now_s: float, reason: str = "") -> Event:
    """Record that a bundle becomes the current one, then make it so; readers of ``current`` see one or the other.

    Raises:
        DataFileError: there is no such bundle, or the store cannot be written to.
    """
    if not SAFE_NAME.fullmatch(version) or not (store / version).is_dir():
        raise DataFileError(explain(f"there is no bundle {version!r}", fix=nearest(version, versions(store))))
    change = Event(time_text(now_s), event, version, current(store), reason)
    try:
        with (store / HISTORY).open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(change)) + "\n")
            file.flush()
            os.fsync(file.fileno())
        # A link cannot be replaced in place: a new one is made beside and moved over it.
        with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=store) as beside:
            os.symlink(version, Path(beside) / CURRENT)
            os.replace(Path(beside) / CURRENT, store / CURRENT)
    except OSError as error:
        raise DataFileError(explain(f"{str(store)!r} cannot be written to ({error.strerror})")) from error
    return change


def versions(store: Path) -> list[str]:
    """Versions of all bundles in a store."""
    return sorted(entry.name for entry in store.glob("[!.]*") if entry.is_dir() and not entry.is_symlink())


def before_current(changes: Sequence[Event], present: str) -> str:
    """The version that was current before the present one.

    Raises:
        BundleError: there was none.
    """
    for change in reversed(changes):
        if change.version == present and change.event == PROMOTED and change.before:
            return change.before
    raise BundleError(
        explain(f"no bundle was current before {present!r}", fix="Name a version of `minesim promote history`.")
    )


def rollback(store: Path, version: str, keys: TrustedKeys, now_s: float, reason: str = "") -> Event:
    """Make an earlier bundle the current one, after checking it as a bridge would.

    Args:
        store: folder of bundles.
        version: which; empty for the one that was current before.
        keys: who is trusted.
        now_s: present time, s since 1970 UTC.
        reason: for people.

    Raises:
        BundleError: there is none to go back to, or it would be refused (changed, expired, unknown key).
        DataFileError: there is no such bundle.
    """
    present = current(store)
    chosen = version or before_current(events(store), present)
    if not SAFE_NAME.fullmatch(chosen) or chosen not in versions(store):
        raise DataFileError(explain(f"there is no bundle {chosen!r}", fix=nearest(chosen, versions(store))))
    if chosen == present:
        raise BundleError(explain(f"{chosen!r} is the current bundle already"))
    read_bundle(store / chosen, keys, now_s)
    return make_current(store, chosen, ROLLED_BACK, now_s, reason)
