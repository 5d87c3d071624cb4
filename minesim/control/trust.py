"""Which signatures are trusted: Ed25519 keys by number, and the form of a signature file.

The list of trusted keys is the root of trust of a bridge; keep it where only its operator may write.
"""

from __future__ import annotations

import base64
import hashlib
import json
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from minesim.errors import MinesimError, MissingExtraError, explain

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

ALGORITHM = "ed25519"
KEY_ID_DIGITS = 16
SIGNATURE_BYTES = 64
SIGNATURE_FILE_MAX = 1024
TRUSTED_KEYS = "trusted_keys.json"
FORMAT = 1

TrustedKeys = Mapping[str, "Ed25519PublicKey"]
"""Key number -> public key."""


class BundleError(MinesimError):
    """A bundle, its signature or its place in the world is not what it has to be; nothing of it may run."""


def no_cryptography(error: ImportError) -> MissingExtraError:
    """What to say where the package is missing."""
    return MissingExtraError(
        explain(f"signatures need the package cryptography ({error})", fix="Run: pip install 'minesim[bridge]'")
    )


def public_der(key: Ed25519PublicKey) -> bytes:
    """A public key as DER (SubjectPublicKeyInfo), as openssl reads it."""
    from cryptography.hazmat.primitives import serialization

    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def key_id_of(key: Ed25519PublicKey) -> str:
    """Number of a key: the first 16 hexadecimal digits of the SHA-256 of its DER form."""
    return hashlib.sha256(public_der(key)).hexdigest()[:KEY_ID_DIGITS]


def read_trusted_keys(path: Path) -> TrustedKeys:
    """Read ``trusted_keys.json``.

    Returns:
        Key number -> public key.

    Raises:
        BundleError: missing, unreadable, writable by everybody, or an entry that is not the Ed25519 key of its number.
        MissingExtraError: the package cryptography is not installed.
    """
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from cryptography.hazmat.primitives.serialization import load_der_public_key
    except ImportError as error:
        raise no_cryptography(error) from error
    try:
        if path.stat().st_mode & stat.S_IWOTH:
            raise BundleError(
                explain(f"{str(path)!r} may be written by everybody", fix=f"Run: chmod o-w {str(path)!r}")
            )
        content = json.loads(path.read_text(encoding="utf-8"))
        entries = content["keys"]
        if content["format"] != FORMAT or not isinstance(entries, list):
            raise BundleError(explain(f"{str(path)!r} has format {content['format']!r}", allowed=str(FORMAT)))
        found: dict[str, Ed25519PublicKey] = {}
        for entry in entries:
            key = load_der_public_key(base64.b64decode(entry["public_key"], validate=True))
            if not isinstance(key, Ed25519PublicKey) or key_id_of(key) != entry["key_id"]:
                raise BundleError(
                    explain(
                        f"key {entry['key_id']!r} in {str(path)!r} is not the Ed25519 key of that number",
                        fix="Remove the entry, or add the key again with `minesim promote keygen`.",
                    )
                )
            found[entry["key_id"]] = key
    except FileNotFoundError as error:
        raise BundleError(
            explain(
                f"there is no list of trusted keys {str(path)!r}",
                fix="Copy trusted_keys.json from where `minesim promote keygen` wrote it.",
            )
        ) from error
    except (OSError, ValueError, KeyError, TypeError, UnsupportedAlgorithm) as error:
        raise BundleError(explain(f"{str(path)!r} is no list of keys ({type(error).__name__}: {error})")) from error
    return found


def signature_file(key_id: str, signature: bytes) -> bytes:
    """Content of ``manifest.sig``; there is exactly one way to write a signature."""
    content = {"algorithm": ALGORITHM, "key_id": key_id, "signature": base64.b64encode(signature).decode()}
    return (json.dumps(content, indent=1, sort_keys=True) + "\n").encode()


def check_signature(message: bytes, file: bytes, keys: TrustedKeys) -> str:
    """Check the signature of exactly these bytes.

    Args:
        message: what was signed.
        file: content of the signature file.
        keys: who is trusted.

    Returns:
        Number of the key.

    Raises:
        BundleError: not a signature file, an unknown key, or a signature of something else.
    """
    from cryptography.exceptions import InvalidSignature

    try:
        content = json.loads(file)
        key_id, signature = str(content["key_id"]), base64.b64decode(content["signature"], validate=True)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BundleError(explain(f"the signature is not readable ({type(error).__name__})")) from error
    # What could be written in two ways could be changed without notice.
    if len(signature) != SIGNATURE_BYTES or signature_file(key_id, signature) != file:
        raise BundleError(explain("the signature is not written as it has to be", fix="Copy the bundle again."))
    if key_id not in keys:
        raise BundleError(
            explain(
                f"the bundle is signed with key {key_id!r}, which is not trusted",
                allowed=", ".join(sorted(keys)) or "no key at all",
                origin=TRUSTED_KEYS,
                fix="Add that key to the list only if you know whose it is.",
            )
        )
    try:
        keys[key_id].verify(signature, message)
    except InvalidSignature as error:
        raise BundleError(
            explain(
                f"the signature of key {key_id!r} does not fit the manifest",
                fix="The bundle was changed after it was signed; take an unchanged copy.",
            )
        ) from error
    return key_id
