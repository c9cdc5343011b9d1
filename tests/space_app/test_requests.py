"""What a visitor with bad intent, or a program with a mistake, sends to the running app over HTTP."""

from __future__ import annotations

import json
import os
import re
import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

JSON = {"content-type": "application/json"}
GENERATE = {"users": ["ID_1"], "num_images_per_user": 1, "conditions": [], "steps": 1, "guidance": 1.5, "seed": 0}


def png(width: int, height: int, depth: int = 8) -> bytes:
    """A black grey PNG that is small in the file, whatever its size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer, row = zlib.compressobj(9), bytes(1 + width * depth // 8)
    packed = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def file_at(path: str) -> dict[str, Any]:
    return {"path": path, "meta": {"_type": "gradio.FileData"}}


def told(response: httpx.Response) -> str:
    """The sentence of a refusal."""
    return response.json()["error"]


def call(address: str, endpoint: str, values: Any) -> str:
    """What an endpoint answers: the sentence of an error, or the whole answer."""
    joined = httpx.post(f"{address}/gradio_api/call/{endpoint}", content=json.dumps({"data": values}), headers=JSON)
    if joined.status_code != 200:
        return told(joined)
    answer = httpx.get(f"{address}/gradio_api/call/{endpoint}/{joined.json()['event_id']}", timeout=120).text
    if "event: error" not in answer:
        return answer
    return json.loads(answer.rpartition("event: error\ndata: ")[2])["error"]


def generate_with(**changed: Any) -> list[Any]:
    return list((GENERATE | changed).values())


@pytest.fixture(autouse=True)
def no_traceback(log: Path) -> Iterator[None]:
    """None of what is here is a fault of the app."""
    yield
    assert "Traceback" not in log.read_text()


@pytest.mark.parametrize(
    ("endpoint", "values", "sentence"),
    [
        ("generate", [], "generate takes users, num_images_per_user, conditions, steps, guidance, seed, got 0 values"),
        ("generate", [*generate_with(), 1], "got 7 values"),
        ("generate", generate_with(users="ID_1"), "users must be a list of at most 64 texts, got 'ID_1'"),
        ("generate", generate_with(users=None), "users must be a list .*, got nothing"),
        ("generate", generate_with(users=[["ID_1"]]), r"users: \['ID_1'\] is none of ID_1, ID_2, ID_10"),
        ("generate", generate_with(users=[{"a": 1}]), "users: {'a': 1} is none of"),
        ("generate", generate_with(users=["<img src=x>"]), "users: '&lt;img src=x&gt;' is none of"),
        ("generate", generate_with(users=["ID_1"] * 65), "users must be a list of at most 64 texts"),
        ("generate", generate_with(conditions=None), "conditions must be a list .*, got nothing"),
        ("generate", generate_with(conditions="condition=normal"), "conditions must be a list"),
        ("generate", generate_with(num_images_per_user="1"), "num_images_per_user must be a whole number, got '1'"),
        ("generate", generate_with(num_images_per_user=True), "num_images_per_user must be a whole number, got True"),
        ("generate", generate_with(num_images_per_user=1.5), "num_images_per_user must be a whole number, got 1.5"),
        ("generate", generate_with(num_images_per_user=[]), r"num_images_per_user must be a whole number, got \[\]"),
        ("generate", generate_with(steps=float("nan")), "Numbers must be finite, got NaN"),
        ("generate", generate_with(guidance=float("inf")), "Numbers must be finite, got Infinity"),
        ("generate", generate_with(seed=10**400), "seed must be in 0 to 4294967295, got 1000"),
        ("generate", generate_with(steps=1e300), r"steps must be in 1 to 50, got 1e\+300"),
        ("generate", generate_with(users=["x" * 5000]), "A text may have at most 4000 characters, got 5000"),
        ("generate", generate_with(users=["\ud800"]), "A text must be valid Unicode"),
        ("reconstruct", ["x"], "file must be a file like .*, got 'x'"),
        ("reconstruct", [{"path": 1}], "file must be a file like"),
        ("reconstruct", [file_at("/etc/passwd")], "A file must be uploaded to /gradio_api/upload first"),
        ("reconstruct", [file_at("../../etc/passwd")], "A file must be uploaded to /gradio_api/upload first"),
        ("reconstruct", [file_at("http://127.0.0.1:1/x.png")], "must be the https address of a public file"),
        ("reconstruct", [file_at("https://localhost/x.png")], "must be the https address of a public file"),
        ("vary", [None, 1, 1, 0.5, 1, 1.5, 0], "user: 1 is none of"),
        ("interpolate", ["ID_1", "nobody", 2, 1, 1.5, 0], "user_b: 'nobody' is none of"),
        ("embed", [[file_at("x.png")] * 17], "At most 16 files at once, got 17"),
        ("embed", [file_at("x.png")], "files must be a list of files"),
        ("interpolate_depth", [None, None, "2"], "steps must be a whole number, got '2'"),
        ("report", [1], "report takes no values, got 1 values"),
        ("random_seed", [], "There is no endpoint 'random_seed'"),
        ("nothing", [], "There is no endpoint 'nothing'"),
    ],
)
def test_a_value_of_a_wrong_type_gets_a_sentence(address: str, endpoint: str, values: Any, sentence: str):
    assert re.search(sentence, call(address, endpoint, values))


@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    [
        (b"{", 400, "not valid JSON"),
        (b"", 400, "not valid JSON"),
        (b'{"data":' + b"[" * 50_000 + b"]" * 50_000 + b"}", 422, "nested 16 levels deep"),
        (b'{"data":[' + b"[]," * 5000 + b"1]}", 422, "hold 2000 values"),
        (b'{"data":["\xff"]}', 400, "not valid JSON in UTF-8"),
        (b"[]", 422, "must be a JSON object"),
        (b'{"data":"x"}', 422, "data: Input should be a valid list"),
        (b'{"data":[],"batched":true}', 422, "takes batches"),
        (b'{"data":[],"fn_index":999}', 422, "fn_index must be in 0.."),
        (b'{"data":[],"session_hash":5}', 422, "session_hash must be a text"),
    ],
)
def test_a_body_that_is_no_call_gets_a_sentence(address: str, body: bytes, status: int, sentence: str):
    answer = httpx.post(f"{address}/gradio_api/call/generate", content=body, headers=JSON)
    assert answer.status_code == status and sentence in told(answer)


def test_a_mistake_in_a_direct_call_is_the_visitors_and_not_a_fault_of_the_server(address: str):
    report = f"{address}/gradio_api/run/report"
    assert httpx.post(report, json={"data": []}).status_code == 200
    for data in ([1], [None], [[]], ["x"] * 3):
        answer = httpx.post(report, json={"data": data})
        assert answer.status_code == 422 and answer.json()["error"].startswith("report takes no values, got ")
    # The seed of the page is no endpoint, and the address alone names what is called.
    answer = httpx.post(report, json={"data": [], "fn_index": 0})
    assert answer.status_code == 422 and "takes no fn_index" in told(answer)
    # By number, as the page does, functions of the queue cannot be called past it.
    by_number = f"{address}/gradio_api/run/predict"
    assert {httpx.post(by_number, json={"data": [], "fn_index": n}).status_code for n in range(12)} <= {200, 404, 422}
    assert httpx.post(by_number, json={"data": []}).status_code == 404
    assert httpx.post(by_number, json={"data": [], "fn_index": 999}).status_code == 422


def test_only_json_is_read_as_json(address: str):
    for kind in ("text/plain", "application/xml", "multipart/form-data"):
        answer = httpx.post(
            f"{address}/gradio_api/call/generate", content=b'{"data":[]}', headers={"content-type": kind}
        )
        assert answer.status_code == 415 and "content type application/json" in told(answer)


def test_a_call_by_name_with_an_unknown_argument_is_told_the_known_ones(address: str):
    answer = httpx.post(f"{address}/gradio_api/call/v2/generate", json={"user": "ID_1"})
    assert answer.status_code == 422 and told(answer).startswith("generate takes users, num_images_per_user")


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/call/generate", "/gradio_api/queue/join", "/gradio_api/cancel", "/gradio_api/run/report",
        "/gradio_api/call/v2/generate", "/gradio_api/mcp/",
    ],
)  # fmt: skip
def test_a_large_body_is_refused_whether_it_says_its_length_or_not(
    address: str, path: str, memory_mb: Callable[[], float]
):
    before_mb = memory_mb()

    def chunks() -> Iterator[bytes]:
        yield b'{"data":["'
        for _ in range(60):
            yield bytes(2**20)

    for body in (b'{"data":["' + b"x" * (60 * 2**20) + b'"]}', chunks()):
        answer = httpx.post(f"{address}{path}", content=body, headers=JSON, timeout=60)
        assert answer.status_code == 413 and told(answer) == "A request to this address may have at most 256 KB."
    assert memory_mb() - before_mb < 50


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/component_server", "/gradio_api/process_recording", "/gradio_api/vibe-code", "/login",
        "/gradio_api/run-history/connect", "/gradio_api/stream/x",
    ],
)  # fmt: skip
def test_what_gradio_could_do_and_this_app_does_not_is_refused(address: str, path: str):
    answer = httpx.post(f"{address}{path}", json={})
    assert answer.status_code in (404, 405) and told(answer)


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd", "/gradio_api/file=..%2f..%2f..%2fetc/passwd", "/gradio_api/file=app.py",
        "/gradio_api/file=/proc/self/environ", "/gradio_api/file=a%00b", "/gradio_api/file=http://127.0.0.1/",
        "/gradio_api/proxy=http://127.0.0.1/", "/gradio_api/deep_link?session_hash=x", "/monitoring",
        "/static/..%2f..%2froutes.py", "/static/" + "x" * 300, "/assets/" + "x/" * 3000,
    ],
)  # fmt: skip
def test_no_file_of_the_machine_and_no_other_machine_is_read(address: str, path: str):
    assert httpx.get(f"{address}{path}").status_code in (403, 404, 414)


def test_a_stream_of_an_unknown_session_ends(address: str, log: Path):
    answer = httpx.get(f"{address}/gradio_api/queue/data?session_hash=nobody", timeout=20)
    assert "unexpected_error" in answer.text
    assert "there is no such session" in log.read_text()


def test_a_refusal_is_one_line_of_the_log_whatever_the_visitor_typed(address: str, log: Path):
    before = log.read_text()
    call(address, "generate", generate_with(users=["ID_1\nrefused: a line of mine\x1b[2J"]))
    (line,) = log.read_text()[len(before) :].splitlines()
    assert line.startswith("refused generate: users: ") and "\x1b" not in line


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (png(13_000, 13_000), "An image may have 4,194,304 pixels, it.png has 13000 x 13000"),
        (b"", "it.png is damaged, or not an image"),
        (b"\x89PNG\r\n\x1a\n", "it.png is damaged, or not an image"),
        (b"PK\x03\x04" + bytes(100), "it.png is damaged, or not an image"),
        (png(40, 40)[:45], "it.png is damaged, or not an image"),
    ],
)
def test_an_upload_that_is_no_usable_image_gets_a_sentence(address: str, content: bytes, sentence: str):
    (path,) = httpx.post(f"{address}/gradio_api/upload", files={"files": ("it.png", content)}).json()
    assert sentence in call(address, "embed", [[file_at(path)]])
    assert sentence in call(address, "interpolate_depth", [file_at(path), file_at(path), 2])
    assert sentence in call(address, "reconstruct", [file_at(path)])
    assert sentence in call(address, "classify", [[file_at(path)]])


def test_an_upload_stays_in_the_folder_for_uploads(address: str, stranger: dict[str, str]):
    folder = Path(stranger["GRADIO_TEMP_DIR"])
    for name in ("../../../evil.png", "/etc/evil.png", "a/../../evil.png"):
        (path,) = httpx.post(f"{address}/gradio_api/upload", files={"files": (name, b"x")}).json()
        assert folder.resolve() in Path(path).resolve().parents


@pytest.mark.parametrize(
    "form",
    [
        {"files": [("files", (f"{index}.png", b"x")) for index in range(17)]},
        {"files": {"other": ("a.png", b"x")}},
        {"content": b"junk", "headers": {"content-type": "multipart/form-data; boundary=B"}},
        {
            "content": b'--B\r\nContent-Disposition: form-data; name="files"\r\n\r\n' + bytes(2**20) + b"\r\n--B--\r\n",
            "headers": {"content-type": "multipart/form-data; boundary=B"},
        },
    ],
)
def test_a_form_that_is_not_of_files_is_refused(address: str, form: dict[str, Any]):
    answer = httpx.post(f"{address}/gradio_api/upload", **form)
    assert answer.status_code == 400 and "each called files and with a file name" in told(answer)


def test_a_large_file_is_refused_in_a_sentence(address: str):
    answer = httpx.post(f"{address}/gradio_api/upload", files={"files": ("a.png", bytes(21 * 2**20))}, timeout=60)
    assert answer.status_code == 413 and "maximum allowed size of 20971520 bytes" in answer.text


def test_half_sent_requests_and_junk_do_not_stop_others(address: str):
    host, port = address.removeprefix("http://").split(":")
    started = (
        b"POST /gradio_api/call/generate HTTP/1.1\r\nHost: x\r\nX-",
        b"POST /gradio_api/call/generate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Content-Length: 99\r\n\r\n{",
        b"POST /gradio_api/upload HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=B\r\n"
        b'Content-Length: 9999\r\n\r\n--B\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\nx',
        b"GET /gradio_api/queue/join HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n" + os.urandom(999),
        os.urandom(999) + b"\r\n\r\n",
    )
    waiting = []
    for begin in started * 8:
        connection = socket.create_connection((host, int(port)))
        connection.sendall(begin)
        waiting.append(connection)
    assert "again" not in call(address, "generate", generate_with())
    for connection in waiting:
        connection.close()
    time.sleep(0.5)
    assert httpx.get(f"{address}/config", timeout=10).status_code == 200


@pytest.mark.slow
def test_two_hundred_requests_at_once_are_answered_or_refused(address: str, memory_mb: Callable[[], float]):
    before_mb, answers = memory_mb(), []

    def ask(number: int) -> None:
        body = {"data": generate_with(seed=number), "session_hash": f"crowd{number}"}
        joined = httpx.post(f"{address}/gradio_api/call/generate", json=body, timeout=120)
        answers.append(joined.status_code)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 200 and set(answers) == {200, 503}
    # It still answers, as soon as the queue has room.
    report = f"{address}/gradio_api/call/report"
    while httpx.post(report, json={"data": []}, timeout=120).status_code == 503:
        time.sleep(1)
    assert memory_mb() - before_mb < 300
