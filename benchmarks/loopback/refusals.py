"""Requests that the loopback server refuses."""

from __future__ import annotations

from typing import Any


class RefusedRequest(Exception):
    """A request that is answered by an error object in OpenAI's form."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code

    @property
    def body(self) -> dict[str, Any]:
        """OpenAI's error object."""
        return {"error": {"message": str(self), "type": self.code, "code": self.code}}
