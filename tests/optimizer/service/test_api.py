"""The service over HTTP: tokens, what is refused, limits, and watching."""

from __future__ import annotations

import base64
import io
import json
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import httpx
import pyarrow
import pytest
from pyarrow import parquet

import optimizer.service.client
from optimizer import Budget, Module, Objective, Pipeline, SearchSpace
from optimizer.errors import ServiceError
from optimizer.service import queue
from optimizer.service.client import RemoteSearch, SearchService
from optimizer.service.materials import MOST_ROWS
from optimizer.service.queue import Ending, WorkerFacts, listing
from optimizer.service.tokens import find_token, read_tokens, token_of
from optimizer.version import library_version
from pipelines.gateway.model import Model
from pipelines.patterns import locate_solve
from pipelines.providers.simulated import simulated_dataset
from tests.optimizer.service.served import SECRET, Served

ROWS = simulated_dataset("locate_solve", 12, rows=3)
MODELS = ["sim/alder", "sim/birch"]
LIMIT = 60_000
WORKER = WorkerFacts("w1", library_version(), "here", [])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("outside") / "mine"
    folder.mkdir()
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (folder / "big.jsonl").write_text("".join(json.dumps(row) + "\n" for row in 100 * ROWS))
    (folder / "code_of_the_folder.py").write_text(
        "from os import getcwd\n"
        "from optimizer import Module, Pipeline, locate_solve\n"
        "def shout(task): return task.upper()\n"
        "pipeline = locate_solve()\n"
    )
    (folder / "named.yaml").write_text(
        "name: named\nmodules:\n"
        "- {name: locate, signature: 'table, question -> task'}\n"
        "- {name: shout, signature: 'task -> loud', function: 'code_of_the_folder:shout'}\n"
        "- {name: solve, signature: 'loud -> answer'}\n"
    )
    (folder.parent / "secret.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (folder / "link.jsonl").symlink_to(folder.parent / "secret.jsonl")
    (folder / "links").symlink_to(folder.parent)
    return folder


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Iterator[Served]:
    ana = token_of("ana", SECRET).model_copy(update={"usd": 100.0})
    path = tmp_path_factory.mktemp("served") / "service.db"
    own = Model("openai/own", "own", "http://127.0.0.1:9/v1", input_usd_per_million=1.0,
                output_usd_per_million=1.0)  # fmt: skip
    running = Served(f"sqlite:///{path}?timeout=0.2", {"own": own}, [ana, token_of("ben", "ben's")],
                     {"mine": folder}, most_bytes=LIMIT)  # fmt: skip
    yield running
    running.stop()


@pytest.fixture
def client(served: Served) -> SearchService:
    return served.client


def submit(
    client: SearchService, pipeline: Any = None, dataset: Any = ROWS, **arguments: Any
) -> Any:
    arguments = {"models": MODELS, "budget": Budget(usd=0.01), **arguments}
    return client.submit(pipeline or locate_solve(), dataset, **arguments)


def post(served: Served, **body: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {SECRET}"}
    return httpx.post(f"{served.address}/api/searches", headers=headers, **body)


def test_what_is_submitted_is_checked_estimated_and_queued(client: SearchService) -> None:
    search = submit(client, seed=3, objective=Objective(within=0.01), stages=["allocation"],
                    search_space=SearchSpace(width=(1, 3)))  # fmt: skip
    status = search.status()
    assert (status["name"], status["state"]) == ("locate-solve", "queued")
    assert status["waits_for"] == "a worker: none is running"
    assert status["budget"] == {"usd": 0.01, "calls": None, "seconds": None}
    assert search.known["estimate"]["search_examples"] == 8
    assert "Totals are capped by the budget: $0.0100" in search.known["estimate_text"]
    assert client.searches()[0].id == search.id


def test_without_a_budget_it_is_that_of_the_estimate(client: SearchService) -> None:
    search = submit(client, budget=None)
    assert search.status()["budget"]["usd"] == search.known["estimate"]["default"]["usd"] <= 5
    search.stop()


def test_an_estimate_queues_nothing(client: SearchService) -> None:
    before = len(client.searches())
    estimate = client.estimate(locate_solve(), ROWS, MODELS)
    assert estimate["estimate"]["models"] == 2
    assert len(client.searches()) == before


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer wrong", f"Basic {SECRET}"])
def test_without_a_valid_token_nothing_is_read(served: Served, authorization: str) -> None:
    for path in ("service", "searches", "searches/x", "searches/x/events"):
        answer = httpx.get(f"{served.address}/api/{path}", headers={"Authorization": authorization})
        assert answer.status_code == 401
    with socket.create_connection(("127.0.0.1", served.port)) as raw:  # the body is never sent
        raw.sendall(b"POST /api/searches HTTP/1.1\r\nHost: x\r\nContent-Length: 50000\r\n\r\n")
        assert b" 401 " in raw.recv(100)


def test_a_token_sees_only_its_own_searches(served: Served, client: SearchService) -> None:
    search = submit(client)
    ben = SearchService(served.address, "ben's")
    assert ben.searches() == []
    for path in ("", "/events", "/artifacts/config.yaml", f"/compare/{search.id}"):
        with pytest.raises(ServiceError, match=f"there is no search '{search.id}'"):
            ben._ask("GET", f"/api/searches/{search.id}{path}")
    for action in ("stop", "resume"):
        with pytest.raises(ServiceError, match="there is no search"):
            ben._ask("POST", f"/api/searches/{search.id}/{action}")


def test_a_budget_above_what_is_left_is_refused_with_numbers(client: SearchService) -> None:
    with pytest.raises(ServiceError, match=r"\$200.00 exceeds what token .ana. has left: \$9"):
        submit(client, budget=Budget(usd=200.0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"models": ["sim/oldest"]}, "sim/oldest"),
        ({"metric": "exact"}, "nearest: 'exact_match'"),
        ({"stages": ["alocation"]}, "nearest: 'allocation'"),
        ({"objective": "speed"}, "objective"),
        ({"holdout": 1.5}, "`0 <= holdout < 1` must hold"),
        ({"seed": -1}, "seed"),
        ({"concurrency": 1000}, "concurrency: Input should be less than or equal to 256"),
        ({"budget": {"dollars": 1}}, "usd=..."),
        ({"budget": {"usd": -1}}, "above 0"),
        ({"strategy": "best"}, "strategy"),
        ({"search_space": {"witdh": [1]}}, "width"),
        ({"temperature": 1}, "temperature: Extra inputs are not permitted"),
        ({"folder": "ours"}, "allows no folder 'ours'; nearest: 'mine'|allows no folder 'ours'"),
    ],
)
def test_arguments_are_refused_in_the_words_of_optimize(
    client: SearchService, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        submit(client, **change)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rows.jsonl", b'{"table": "a", "question": "b"}\n' * 9, "add one of labels"),
        ("rows.jsonl", b'{"table": "a"}\n{"tabel": "b"}', "row 2 of 'rows.jsonl' lacks the column"),
        (
            "rows.csv",
            b"table,question,answer\n1,2\n",
            "'rows.csv', line 2: 2 cells, but",
        ),
        ("rows.parquet", b"PAR1 and no more", "'rows.parquet' cannot be read as parquet"),
        ("rows.exe", b"MZ", "'rows.exe' is of no known kind"),
        ("rows.jsonl", b"", "at least 2 examples are needed"),
    ],
)
def test_a_dataset_that_is_not_what_it_says_is_refused_by_its_own_name(
    served: Served, name: str, content: bytes, message: str
) -> None:
    upload = {"name": name, "content": base64.b64encode(content).decode()}
    body = {"pipeline": locate_solve().to_yaml(), "dataset": upload, "models": MODELS}
    answer = post(served, json=body)
    assert answer.status_code == 422
    assert message in answer.json()["detail"]
    assert "/tmp" not in answer.json()["detail"]


@pytest.mark.parametrize(
    ("rows", "text", "message"),
    [
        (2 * MOST_ROWS, "x", "bomb.parquet has 2,000,000 rows, above 1,000,000"),
        (1000, "x" * 10_000, f"bomb.parquet has more than {4 * LIMIT:,} bytes once it is read"),
    ],
)
def test_parquet_that_expands_is_refused(
    served: Served, rows: int, text: str, message: str
) -> None:
    column = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * rows, "int32"), [text])
    written = io.BytesIO()
    parquet.write_table(pyarrow.table({"table": column}), written, compression="zstd")
    assert len(written.getvalue()) < LIMIT / 2
    upload = {
        "name": "bomb.parquet", "content": base64.b64encode(written.getvalue()).decode()
    }  # fmt: skip
    body = {"pipeline": locate_solve().to_yaml(), "dataset": upload, "models": MODELS}
    answer = post(served, json=body)
    assert (answer.status_code, answer.json()["detail"]) == (422, message)


def test_parquet_of_usual_size_is_taken(client: SearchService, tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)
    search = submit(client, dataset=path)
    assert search.known["state"] == "queued"
    search.stop()


@pytest.mark.parametrize("body", [b"", b"[", b"[]", b'{"pipeline": 1}', b"\xff\xfe"])
def test_what_is_no_request_is_refused(served: Served, body: bytes) -> None:
    assert post(served, content=body).status_code == 422


def module_line(**fields: Any) -> str:
    parts = {"name": "a", "signature": "table, question -> answer", **fields}
    return f"name: x\nmodules:\n- {json.dumps(parts)}\n"


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        (module_line(function="os:system"), "names code that would be imported.*os:system"),
        (module_line(model="sim/alder, sim/birch -> os:system"), "os:system"),
        ("name: x\nprogram: os:getcwd\n", "os:getcwd"),
        ("name: x\nfactory: os:getcwd\nmodules: [a]\n", "os:getcwd"),
        (module_line() + "models: [{name: openai/gpt-4o, api_base: 'http://there/v1'}]\n",
         "may not set 'api_base'"),
        (module_line() + "models: [{name: openai/gpt-4o, api_key_env: PGPASSWORD}]\n",
         "may not set 'api_key_env'"),
        (module_line() + "models: [{name: openai/gpt-4o, input_usd_per_million: 0.0}]\n",
         "may not set 'input_usd_per_million'"),
        (module_line() + "models: [{name: openai/x, params: {extra_headers: {a: b}}}]\n",
         "may not set 'extra_headers'"),
        (module_line(model="huggingface/http://there/v1"), "may hold no address"),
        (module_line() + "config: {a: {members: [{model: huggingface/http://there/v1}]}}\n",
         "may hold no address"),
        (module_line() + "config: {a: {members: ['huggingface/http://there/v1', sim/alder],"
         " aggregator: majority_vote}}\n", "may hold no address"),
        (module_line(model="2x sim/alder + 1x huggingface/http://there/v1 -> majority_vote"),
         "may hold no address"),
        (module_line() + "models: [{name: huggingface/http://there/v1, label: x}]\n",
         "may hold no address"),
        ("a: &a [x, x]\nb: &b [*a, *a]\nmodules: " + "[*b, " * 70, "bad YAML"),
    ],
)  # fmt: skip
def test_an_upload_may_name_no_code_no_address_and_no_key(
    client: SearchService, yaml: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        submit(client, yaml)


@pytest.mark.parametrize(
    "arguments",
    [
        {"search_space": {"aggregator": ["os:system"], "width": [3]}},
        {"search_space": {"network": ["sim/alder, sim/birch, sim/alder -> os:system"]}},
        {"metric": "os:system"},
        {"models": ["huggingface/http://there/v1"]},
        {"search_space": {"models": {"solve": ["huggingface/http://there/v1"]}}},
        {
            "search_space": {
                "network": ['2x sim/alder + 1x "huggingface:\\u002f/there" -> majority_vote']
            }
        },
        {"search_space": {"network": ["2x sim/alder + 1x a://there -> majority_vote"]}},
        {"search_space": {"aggregator": ["judge(a://there)"], "width": [3]}},
        {"diagnoser": "huggingface/http://there/v1"},
    ],
)
def test_nor_may_the_other_arguments(client: SearchService, arguments: dict[str, Any]) -> None:
    for pipeline in ({}, {"pipeline": "named.yaml", "folder": "mine"}):
        with pytest.raises(
            ValueError, match=r"may name no code, but got .*os:system|metric|may hold no address"
        ):
            submit(client, **pipeline, **arguments)


@pytest.mark.parametrize(
    "path",
    ["../secret.jsonl", "link.jsonl", "links/secret.jsonl", "/etc/passwd", "", ".", "a\0b", "none"],
)
def test_paths_stay_within_the_folder(served: Served, path: str) -> None:
    for body in ({"pipeline": locate_solve().to_yaml()}, {"pipeline": path, "folder": "mine"}):
        answer = post(served, json={**body, "dataset": path, "models": MODELS})
        assert answer.status_code == 422
        assert "there is no file" in answer.json()["detail"]


@pytest.mark.parametrize("target", ["os:getcwd", "optimizer:locate_solve", "tests.launching:main"])
def test_code_comes_from_the_folder_alone(client: SearchService, target: str) -> None:
    with pytest.raises(ValueError, match="must be a file of the folder 'mine'"):
        submit(client, target, folder="mine")


def test_code_of_an_allowed_folder_is_taken(client: SearchService) -> None:
    for pipeline in ("code_of_the_folder:pipeline", "named.yaml"):
        submit(client, pipeline, "rows.jsonl", folder="mine").stop()
    with pytest.raises(ValueError, match="must be a Pipeline"):
        submit(client, "code_of_the_folder:getcwd", folder="mine")
    with pytest.raises(ValueError, match="no 'pipline'; nearest: 'pipeline'"):
        submit(client, "code_of_the_folder:pipline", folder="mine")


def test_a_label_stands_for_a_model_of_the_operators(client: SearchService) -> None:
    search = submit(client, models=["own"])
    assert search.status()["models"] == ["own"]
    pipeline = Pipeline("x", [Module("a", "table, question -> answer", model="own")])
    submit(client, pipeline, models=["own", "sim/alder"]).stop()
    search.stop()


def test_too_large_a_request_is_refused_while_it_is_read(served: Served, client: Any) -> None:
    assert post(served, content=b" " * (LIMIT + 1)).status_code == 413
    with pytest.raises(ValueError, match=f"big.jsonl has more than {LIMIT:,} bytes"):
        submit(client, dataset="big.jsonl")
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while True:
            sent += 10_000
            yield b" " * 10_000

    with suppress(httpx.NetworkError):  # it hangs up
        assert post(served, content=endless()).status_code == 413
    assert sent < 500 * LIMIT


def test_a_client_that_leaves_midway_leaves_nothing_behind(
    served: Served, client: SearchService
) -> None:
    before = len(client.searches())
    head = f"POST /api/searches HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {SECRET}\r\n"
    with socket.create_connection(("127.0.0.1", served.port)) as raw:
        raw.sendall(f'{head}Content-Length: 5000\r\n\r\n{{"pipeline": '.encode())
    search = submit(client)
    with client._client() as http, http.stream("GET", f"/api/searches/{search.id}/events"):
        pass  # leaves a stream that has not ended
    assert len(client.searches()) == before + 1
    search.stop()


def test_a_locked_database_is_reported_and_serves_again(
    served: Served, client: SearchService
) -> None:
    search = submit(client)
    path = served.database_url.removeprefix("sqlite:///").partition("?")[0]
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(ServiceError, match=r"can't be used now \(database is locked\)"):
            search.stop()
        assert search.status()["state"] == "queued", "reading goes on"
        other.execute("ROLLBACK")
    search.stop()
    assert search.status()["state"] == "stopped"


def test_events_come_in_order_and_go_on_after_a_restart(
    served: Served, client: SearchService
) -> None:
    search = submit(client)
    events = search.watch()
    seen = [next(events), next(events)]
    served.stop()
    served.start()
    search.stop()
    seen += list(events)
    assert [event["kind"] for event in seen if "number" in event] == ["queued", "stopped"]
    assert seen[-1]["data"]["state"] == "stopped"
    assert [e["kind"] for e in search.watch(after=1) if "number" in e] == ["stopped"]
    with pytest.raises(ServiceError, match=f"search {search.id} has no result, it is stopped"):
        search.result()


def test_what_is_no_number_of_an_event_is_no_error_of_the_service(
    served: Served, client: SearchService
) -> None:
    search = submit(client)
    search.stop()
    url = f"{served.address}/api/searches/{search.id}/events"
    headers = {"Authorization": f"Bearer {SECRET}"}
    for last in ("x", "-1", "9" * 40, ""):
        answer = httpx.get(url, headers={**headers, "Last-Event-ID": last})
        assert "event: queued" in answer.text
    assert "event: queued" not in httpx.get(url, headers={**headers, "Last-Event-ID": "1"}).text
    assert httpx.get(f"{url}?after={'9' * 40}", headers=headers).status_code == 422


def test_only_the_page_is_open(served: Served) -> None:
    assert httpx.get(served.address).status_code == 200
    for path in ("openapi.json", "docs", "redoc"):
        assert httpx.get(f"{served.address}/{path}").status_code == 404


def test_a_single_model_and_stage_may_be_plain_text(client: SearchService) -> None:
    search = submit(client, models="sim/alder", stages="allocation")
    assert search.status()["models"] == ["sim/alder"]
    search.stop()


def test_the_list_has_the_newest_searches(
    client: SearchService, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = (submit(client) for _ in range(3))
    monkeypatch.setattr(listing, "MOST_LISTED", 2)
    assert [search.id for search in client.searches()] == [third.id, second.id]
    assert client.search(first.id).status()["id"] == first.id
    for search in (first, second, third):
        search.stop()


def finish(served: Served, search: Any, config: dict[str, str], scores: list[float]) -> None:
    while (leased := queue.lease(served.database, WORKER, 60.0)) and leased.id != search.id:
        queue.end(served.database, leased, Ending("stopped", 0.0, 0))
    assert leased is not None
    table = {"columns": ["row", "tuned_score"], "data": list(map(list, enumerate(scores)))}
    figures = {"config": config, "holdout_digest": "same"}
    files = {"examples.json": json.dumps(table).encode()}
    queue.end(served.database, leased, Ending("done", 0.0, 0, figures, None, files))


def test_two_searches_are_compared_on_the_same_examples(
    served: Served, client: SearchService
) -> None:
    first, second = submit(client), submit(client)
    with pytest.raises(ServiceError, match="not done"):
        first.compare(second)
    finish(served, first, {"a.model": "x", "b.model": "z"}, [0.0, 1.0, 0.0, 1.0])
    finish(served, second, {"a.model": "y", "b.model": "z"}, [1.0, 1.0, 1.0, 1.0])
    compared = first.compare(second)
    assert compared["config"] == {"a.model": ["x", "y"]}
    assert (compared["difference"]["mean"], compared["difference"]["examples"]) == (0.5, 4)
    assert second.compare(first)["difference"]["mean"] == -0.5


def test_tokens_are_read_from_a_file_and_found_by_their_hash(tmp_path: Path) -> None:
    ana = token_of("ana", SECRET)
    (tmp_path / "tokens.yaml").write_text(f"- {{name: ana, sha256: {ana.sha256}, usd: 5}}\n")
    [read] = read_tokens(tmp_path / "tokens.yaml")
    assert find_token([token_of("ben", "b"), read], f"Bearer {SECRET}") == read
    assert (read.usd, read.calls) == (5.0, None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- {name: ana, sha256: sk-very-secret}", "0.sha256: String should match pattern"),
        ("- {name: ../ana, sha256: " + "0" * 64 + "}", "0.name: String should match"),
        ("[]", "must list at least one token"),
        ("- {name: a, sha256: &h " + "'" + "0" * 64 + "'}\n- {name: a, sha256: *h}", "of its own"),
    ],
)
def test_a_bad_file_of_tokens_is_refused_without_quoting_it(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "tokens.yaml").write_text(text)
    with pytest.raises(ValueError, match=message) as refused:
        read_tokens(tmp_path / "tokens.yaml")
    assert "sk-very-secret" not in str(refused.value)


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_watch_outlasts_a_proxy_without_its_service(
    status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(optimizer.service.client, "_RECONNECT_S", 0.0)
    ended = 'event: search\ndata: {"state": "stopped", "error": null}\n\n'
    answers = [httpx.Response(status, text="no upstream"), httpx.Response(200, text=ended)]
    transport = httpx.MockTransport(lambda _: answers.pop(0))
    monkeypatch.setattr(
        SearchService, "_client", lambda _: httpx.Client(base_url="http://s", transport=transport)
    )
    [event] = RemoteSearch(SearchService(), "x", {}).watch()
    assert event["data"]["state"] == "stopped"
    assert not answers
