"""A running service for tests: its HTTP server in a thread, which can be restarted."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI

from optimizer.service.api import Service, create_app
from optimizer.service.client import SearchService
from optimizer.service.database import Database
from optimizer.service.tokens import Token, token_of
from pipelines.gateway.model import Model

SECRET = "a-token-of-the-tests"


class Served:
    """The service on a port of 127.0.0.1."""

    def __init__(
        self, url: str, models: Mapping[str, Model] | None = None,
        tokens: list[Token] | None = None, folders: Mapping[str, Path] | None = None,
        routes: Callable[[FastAPI], None] = lambda app: None, **options: Any,
    ) -> None:  # fmt: skip
        self.database_url = url
        self._routes = routes
        self._options = {
            "models": models or {}, "folders": folders or {}, **options,
            "tokens": tokens or [token_of("ana", SECRET)],
        }  # fmt: skip
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def client(self) -> SearchService:
        return SearchService(self.address, SECRET)

    def start(self) -> None:
        self.database = Database(self.database_url)
        app = create_app(Service(self.database, **self._options))
        self._routes(app)
        config = uvicorn.Config(app, "127.0.0.1", self.port, log_level="error",
                                timeout_graceful_shutdown=1)  # fmt: skip
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run)
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive(), "the server did not start"
            time.sleep(0.01)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join()
        self.database.close()
