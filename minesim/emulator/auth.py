"""Who may do what: passwords, sessions and API keys of a miner."""

from __future__ import annotations

import hmac

from minesim.emulator.http import EMPTY, Reply, Request, error, json_reply
from minesim.emulator.miner import EmulatedMiner

WRONG_PASSWORDS = 5
"""Wrong passwords in a row before the miner asks to wait (assumed)."""
UNLOCK_TIMEOUT_S = 60.0
"""How long it then waits (assumed)."""
SESSION_S = 3600.0
"""Life of an unused session (assumed)."""
KEY_LENGTH = 32


def unlock(miner: EmulatedMiner, password: object) -> Reply:
    """``POST /unlock``: a token for the right password, 403 for a wrong one, 429 after too many."""
    now_s = miner.twin.elapsed_s
    if now_s < miner.locked_until_s:
        return json_reply({"unlock_timeout": int(miner.locked_until_s - now_s)}, 429)
    if not isinstance(password, str) or not hmac.compare_digest(password.encode(), miner.password.encode()):
        miner.wrong_passwords += 1
        if miner.wrong_passwords >= WRONG_PASSWORDS:
            miner.wrong_passwords = 0
            miner.locked_until_s = now_s + UNLOCK_TIMEOUT_S
            return json_reply({"unlock_timeout": int(UNLOCK_TIMEOUT_S)}, 429)
        return json_reply({"unlock_timeout": None}, 403)
    miner.wrong_passwords = 0
    miner.tokens_given += 1
    token = miner.digest("token", miner.tokens_given)[:KEY_LENGTH]
    live = {old: used_s for old, used_s in miner.tokens.items() if now_s - used_s <= SESSION_S}
    miner.tokens = live | {token: now_s}
    return json_reply({"token": token})


def token_of(request: Request) -> str | None:
    """The session's token that a request carries, with ``Bearer`` or bare, as fleet tools send it."""
    given = request.headers.get("authorization", "")
    return (given[7:].strip() if given[:7].lower() == "bearer " else given) or None


def has_session(miner: EmulatedMiner, request: Request) -> bool:
    """Whether a request carries the token of a live session; using it keeps the session alive."""
    token = token_of(request)
    used_s = None if token is None else miner.tokens.get(token)
    if token is None or used_s is None:
        return False
    now_s = miner.twin.elapsed_s
    if now_s - used_s > SESSION_S:
        del miner.tokens[token]
        return False
    miner.tokens[token] = now_s
    return True


def has_key(miner: EmulatedMiner, request: Request) -> bool:
    """Whether a request carries one of the miner's API keys."""
    return request.headers.get("x-api-key", "") in miner.api_keys


def lock(miner: EmulatedMiner, request: Request) -> Reply:
    """``POST /lock``: end the own session."""
    miner.tokens.pop(token_of(request) or "", None)
    return EMPTY


def lock_others(miner: EmulatedMiner, request: Request) -> Reply:
    """``POST /lock/others``: end all other sessions; needs the password again."""
    if request.record().get("pw") != miner.password:
        return error("Wrong password", 400)
    own = token_of(request) or ""
    miner.tokens = {own: miner.tokens[own]}
    return EMPTY
