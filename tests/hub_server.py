"""A Hub over real HTTP on loopback, as small as the tests need: repositories, commits, large files, faults to order.

It speaks as much of the Hub's interface as huggingface_hub, diffusers, datasets and the `hf` command line use to push,
list and load: see hub_answers. Everything lies in memory: see hub_repositories.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote

from hub_answers import ROUTES, Answer, Request
from hub_repositories import Hub, Refusal


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body go out in two writes
    server: Server  # pyright: ignore[reportIncompatibleVariableOverride]

    def answer(self) -> None:
        hub = self.server.hub
        path, _, query = self.path.partition("?")
        fault = hub.fault_of(self.command, path)
        if fault is not None:
            time.sleep(fault.delay_s)
            if fault.drop == "upload":
                self.rfile.read(int(self.headers.get("Content-Length", 0)) // 2)
                self.hang_up()
                return
        body = self.read_body()
        try:
            if fault is not None and fault.status is not None:
                raise Refusal(fault.status, fault.message)
            answer = self.handle_request(path, query, body)
        except Refusal as refusal:
            answer = Answer({"error": refusal.message}, refusal.status, refusal.headers)
        if fault is not None and fault.drop == "answer":
            self.hang_up()
        else:
            self.send(answer)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = answer

    def handle_request(self, path: str, query: str, body: bytes) -> Answer:
        hub = self.server.hub
        headers = {name.lower(): value for name, value in self.headers.items()}
        for methods, pattern, handler in ROUTES:
            match = pattern.fullmatch(path)
            if match is not None and self.command in methods.split():
                groups = {name: unquote(value or "") for name, value in match.groupdict().items()}
                with hub.lock:
                    return handler(hub, Request(self.command, path, parse_qs(query), headers, body, groups))
        raise Refusal(404, f"the tests' Hub does not know {self.command} {path}")

    def read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def send(self, answer: Answer) -> None:
        body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *args: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    """Listens on a socket that was bound before, so that its address could be told before anything listened."""

    def __init__(self, bound: socket.socket) -> None:
        super().__init__(bound.getsockname(), Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = bound
        self.hub = Hub(endpoint(bound))

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no error of the server."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def reserve() -> socket.socket:
    """A loopback port of our own, on which nobody listens yet: connections are refused at once."""
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    return bound


def endpoint(bound: socket.socket) -> str:
    """The address of a Hub on that port."""
    return f"http://127.0.0.1:{bound.getsockname()[1]}"


@contextmanager
def running(bound: socket.socket) -> Iterator[Hub]:
    """Serve in a thread."""
    server = Server(bound)
    server.server_activate()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield server.hub
    server.shutdown()
    server.server_close()
