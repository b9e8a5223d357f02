"""What the coordinator and its workers say to each other: frames, and who is who."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import pickle
import secrets
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

GREETING_S = 10.0
"""How long each waits for the other's part of the greeting."""
BEAT_S, SILENT_S = 5.0, 30.0
"""A worker says something at least so often, and is lost after so long a silence."""
GATHER_S = 0.002
"""What is written within that time goes out as one frame."""
_MOST_BYTES = 2**30

BROKEN_CONNECTION = (OSError, EOFError, TimeoutError, asyncio.IncompleteReadError)


class Refused(Exception):
    """One end does not accept the other."""


@cache
def version() -> str:
    """The version of this library, with a hash of the sources that decide how calls are made."""
    try:
        number = metadata.version("compound-optimizer")
    except metadata.PackageNotFoundError:
        number = "unknown"
    folder = Path(__file__).parents[1]
    hashed = hashlib.sha256()
    for part in ("gateway", "providers", "workers"):
        for path in sorted((folder / part).rglob("*.py")):
            hashed.update(path.read_bytes())
    return f"{number} ({hashed.hexdigest()[:8]})"


class Frames:
    """Sends and receives batches of messages over one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._unsent: list[Any] = []

    def post(self, message: Any) -> None:
        """Send it with what else is posted in the next moment."""
        if not self._unsent:
            asyncio.get_running_loop().call_later(GATHER_S, self.flush)
        self._unsent.append(message)

    def flush(self) -> None:
        """Send what was posted; nothing is an empty frame, which shows that this end lives."""
        unsent, self._unsent = self._unsent, []
        frame = pickle.dumps(unsent, pickle.HIGHEST_PROTOCOL)
        if not self._writer.is_closing():
            self._writer.write(len(frame).to_bytes(4, "big") + frame)

    async def batch(self) -> list[Any]:
        """The next messages.

        Raises:
            BROKEN_CONNECTION: the other end is gone.
        """
        size = int.from_bytes(await self._reader.readexactly(4), "big")
        if size > _MOST_BYTES:
            raise OSError(f"a frame of {size} bytes")
        received: list[Any] = pickle.loads(await self._reader.readexactly(size))
        return received

    def close(self) -> None:
        """Close the connection."""
        self._writer.close()

    async def receive_line(self) -> dict[str, str]:
        """One line of the greeting: nothing is unpickled before both ends have proved the key."""
        async with asyncio.timeout(GREETING_S):
            line = await self._reader.readline()
        heard = json.loads(line) if line else None
        if not isinstance(heard, dict):
            raise Refused("the other end does not greet")
        return {str(name): str(value) for name, value in heard.items()}

    def send_line(self, line: Mapping[str, str]) -> None:
        """One line of the greeting."""
        self._writer.write(json.dumps(dict(line)).encode() + b"\n")


def proof(key: bytes, role: str, nonce: str) -> str:
    """What only a holder of the key can answer to a nonce."""
    return hmac.new(key, f"{role} {nonce}".encode(), hashlib.sha256).hexdigest()


def check_proof(key: bytes, role: str, nonce: str, given: str | None) -> None:
    """Raise `Refused` unless it is right."""
    if given is None or not hmac.compare_digest(proof(key, role, nonce).encode(), given.encode()):
        raise Refused(f"the {role} does not know this search's key")


def new_nonce() -> str:
    """A number used once."""
    return secrets.token_hex(16)
