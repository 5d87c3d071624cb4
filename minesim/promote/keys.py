"""Keys that sign bundles: a private key that stays with whoever promotes, a public one in ``trusted_keys.json``."""

from __future__ import annotations

import base64
import json
import os
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING

from minesim.bench.files import write_json
from minesim.control.manifest import time_text
from minesim.control.trust import FORMAT, BundleError, key_id_of, no_cryptography, public_der, read_trusted_keys
from minesim.errors import DataFileError, explain

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

PASSPHRASE = "MINESIM_KEY_PASSPHRASE"
"""Environment variable with the passphrase of the private key; unset or empty for none."""


def passphrase() -> bytes | None:
    """The passphrase of the environment, None for none."""
    return os.environ.get(PASSPHRASE, "").encode() or None


def keygen(key_path: Path, trusted_path: Path, comment: str = "") -> str:
    """Make a key pair: the private key in a new file of mode 0600, the public one in the list of trusted keys.

    Args:
        key_path: of the private key, PEM (PKCS8), encrypted where the environment has a passphrase; must not exist.
        trusted_path: list of trusted keys; made if missing.
        comment: whose key it is, for people.

    Returns:
        Number of the key.

    Raises:
        DataFileError: the file of the private key exists already, or a file cannot be written; no key is left then.
        BundleError: the list of trusted keys is not readable.
        MissingExtraError: the package cryptography is not installed.
    """
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    except ImportError as error:
        raise no_cryptography(error) from error
    if trusted_path.exists():
        read_trusted_keys(trusted_path)
    key, secret = Ed25519PrivateKey.generate(), passphrase()
    lock = serialization.BestAvailableEncryption(secret) if secret else serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock)
    try:
        key_path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(key_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise DataFileError(
            explain(
                f"there is a file {str(key_path)!r} already",
                fix="Name another file: a private key that is overwritten is lost.",
            )
        ) from error
    except OSError as error:
        raise DataFileError(explain(f"{str(key_path)!r} cannot be written ({error.strerror})")) from error
    with os.fdopen(handle, "wb") as file:
        file.write(pem)
    key_id = key_id_of(key.public_key())
    entry = {
        "key_id": key_id,
        "public_key": base64.b64encode(public_der(key.public_key())).decode(),
        "added_at": time_text(time.time()),
        "comment": comment,
    }
    content = json.loads(trusted_path.read_text(encoding="utf-8")) if trusted_path.exists() else {"keys": []}
    try:
        write_json(trusted_path, {"format": FORMAT, "keys": [*content["keys"], entry]})
    except OSError as error:
        key_path.unlink()
        raise DataFileError(explain(f"{str(trusted_path)!r} cannot be written ({error.strerror})")) from error
    return key_id


def read_private_key(path: Path) -> Ed25519PrivateKey:
    """Read a private key.

    Raises:
        BundleError: missing, readable by others, of another kind, or the passphrase of the environment is wrong.
        MissingExtraError: the package cryptography is not installed.
    """
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    except ImportError as error:
        raise no_cryptography(error) from error
    try:
        mode = path.stat().st_mode
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise BundleError(
                explain(
                    f"the private key {str(path)!r} has mode {stat.S_IMODE(mode):04o}",
                    allowed="0600, for its owner alone",
                    fix=f"Run: chmod 600 {str(path)!r}",
                )
            )
        key = load_pem_private_key(path.read_bytes(), passphrase())
    except OSError as error:
        raise BundleError(
            explain(f"there is no private key {str(path)!r} ({error.strerror})", fix="Make one: minesim promote keygen")
        ) from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        # What cryptography says may quote the file; the class alone is told.
        raise BundleError(
            explain(
                f"{str(path)!r} cannot be used as a private key ({type(error).__name__})",
                fix=f"Is it a PEM file, and does {PASSPHRASE} hold its passphrase?",
            )
        ) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise BundleError(explain(f"{str(path)!r} is a {type(key).__name__}", allowed="an Ed25519 key"))
    return key
