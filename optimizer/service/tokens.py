"""Access tokens: names, hashes and caps."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from pipelines.files.yaml_text import read_text, read_yaml

_NAME = r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}"


class Token(BaseModel):
    """One user of the service."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=rf"^{_NAME}$")]
    """Whose searches these are; also the name of the folder of cached answers."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """Of the token itself, in hexadecimal."""
    usd: Annotated[float | None, Field(ge=0, allow_inf_nan=False)] = None
    """Most dollars of all its searches; None does not limit."""
    calls: Annotated[int | None, Field(ge=0)] = None
    """Most calls of all its searches; None does not limit."""


def token_of(name: str, secret: str) -> Token:
    """A token without caps."""
    return Token(name=name, sha256=_hash(secret))


def read_tokens(path: str | Path) -> list[Token]:
    """The tokens that a YAML file lists, each with `name`, `sha256` and, if capped, `usd`, `calls`.

    Raises:
        ValueError: it holds something else, no token, or two of one name.
        OSError: it can't be read.
    """
    data, _ = read_yaml(read_text(path), str(path))
    try:
        tokens = TypeAdapter(list[Token]).validate_python(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        # not quoted: it may be a token that stands where its hash should
        raise ValueError(f"{path}: {where}: {first['msg']}") from None
    names = [token.name for token in tokens]
    if not tokens or len(set(names)) < len(names):
        raise ValueError(f"{path} must list at least one token, each with a name of its own")
    return tokens


def find_token(tokens: Sequence[Token], authorization: str) -> Token | None:
    """The token of an `Authorization: Bearer ...` header, found in constant time."""
    scheme, _, secret = authorization.partition(" ")
    given = _hash(secret.strip()) if re.fullmatch("(?i)bearer", scheme) else ""
    matches = [token for token in tokens if hmac.compare_digest(token.sha256, given)]
    return matches[0] if matches else None


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
