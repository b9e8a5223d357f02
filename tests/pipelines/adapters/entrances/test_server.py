"""What the server takes from whoever reaches its port: little, until a token is known."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pipelines.adapters.entrances import server
from pipelines.adapters.entrances.askers import register
from pipelines.adapters.entrances.chat_request import ChatRequest
from pipelines.adapters.entrances.server import MOST_BYTES, ServerLease
from pipelines.gateway.call import LMReply
from tests.pipelines.scripted_session import reply

Connect = Callable[[], socket.socket]
CHAT = json.dumps({"messages": [{"role": "user", "content": "why?"}]})


class Answering:
    """An asker that always says the same."""

    def ask(self, module: str, request: ChatRequest) -> list[LMReply]:
        return [reply("because")]

    def base_url(self, module: str) -> str:
        raise NotImplementedError


@pytest.fixture
def connect() -> Iterator[Connect]:
    lease = ServerLease()
    address = ("127.0.0.1", int(lease.address.rpartition(":")[2]))
    opened = []

    def connect() -> socket.socket:
        opened.append(socket.create_connection(address, timeout=20))
        return opened[-1]

    yield connect
    for each in opened:
        each.close()
    del lease


def head(token: str, length: Any) -> bytes:
    path = f"/{token}/solve/v1/chat/completions"
    return f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode()


def read(connection: socket.socket) -> str:
    received = b""
    while part := connection.recv(1 << 16):
        received += part
    return received.decode()


def test_a_token_is_checked_before_any_of_the_body_arrives(connect: Connect) -> None:
    connection = connect()
    connection.sendall(head("unknown", 400 << 20))
    assert "HTTP/1.0 400" in connection.recv(1 << 16).decode()


@pytest.mark.parametrize(
    ("length", "status", "message"),
    [
        (MOST_BYTES + 1, 413, "at most 33,554,432 bytes, but this one 33,554,433"),
        (-1, 400, "Content-Length must be a whole number, but got '-1'"),
        ("many", 400, "but got 'many'"),
        (10**40, 413, "a request has at most"),
    ],
)
def test_a_body_has_a_length_within_bounds(
    length: Any, status: int, message: str, connect: Connect
) -> None:
    asker = Answering()
    connection = connect()
    connection.sendall(head(register(asker), length))
    connection.shutdown(socket.SHUT_WR)
    answered = read(connection)
    assert answered.startswith(f"HTTP/1.0 {status} ")
    assert message in answered


def test_half_open_connections_end_and_others_are_answered(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MOST_CONNECTIONS", 4)
    monkeypatch.setattr(server, "RECEIVE_WHEN_FULL_S", 0.1)
    asker = Answering()
    token = register(asker)
    idle = [connect() for _ in range(4)]
    idle[1].sendall(b"POST /x HTTP/1.1\r\nHost: x\r\n")
    idle[2].sendall(head(token, 1000) + b"{")
    asking = connect()
    asking.sendall(head(token, len(CHAT)) + CHAT.encode())
    assert "because" in read(asking)
    assert any(each.recv(1 << 16) == b"" for each in idle)


def test_a_request_may_not_drip_in_for_ever(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "RECEIVE_S", 0.3)
    asker = Answering()
    connection = connect()
    connection.sendall(head(register(asker), 10**6))
    with pytest.raises(OSError, match=r"reset|[Pp]ipe"):
        drip(connection)


def drip(connection: socket.socket) -> None:
    """Every byte in time, the whole of them not."""
    for _ in range(1000):
        connection.sendall(b"{")
        time.sleep(0.02)


def test_an_answer_may_take_longer_than_a_request(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "RECEIVE_S", 0.1)

    class Slow(Answering):
        def ask(self, module: str, request: ChatRequest) -> list[LMReply]:
            time.sleep(0.5)
            return super().ask(module, request)

    asker = Slow()
    connection = connect()
    connection.sendall(head(register(asker), len(CHAT)) + CHAT.encode())
    assert "because" in read(connection)
