"""The door of the app: a request that is too large, malformed or unknown is refused here, in one sentence."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from contextvars import ContextVar
from typing import Any

import anyio
from disk import Disk
from parts import RULE, Parts
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

API = "/gradio_api/"
READ = ("info", "openapi.json", "queue/data", "queue/status", "call/", "heartbeat/", "startup-events", "file=")
READ += ("upload_progress", "app_id", "theme.css", "user", "login_check", "token", "mcp")
WRITE = ("queue/join", "call/", "run/", "api/", "upload", "cancel", "reset", "mcp")
MAX_JSON_BYTES = 256 * 2**10
MAX_UPLOAD_BYTES = 128 * 2**20
"""Bytes of one request with files."""
MAX_VISITOR_BYTES = 256 * 2**20
"""Bytes that one address may upload per hour."""
MAX_ADDRESS = 2000
MAX_NAME_BYTES = 255
MAX_TEXT = 4000
"""Characters of one text inside JSON."""
MAX_DEPTH = 16
MAX_VALUES = 2000
MAX_OPEN = 1000
"""Requests that may be open at the same time, those of waiting browsers included."""
MAX_UPLOADS = 16
"""Uploads that may be open at the same time."""
PAUSE_S = 30
"""Longest pause inside a body."""
JSON_S, UPLOAD_S, DRAIN_S = 30, 300, 10


class Refused(Exception):
    """A request that is answered with a status and one sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.sentence = status, sentence


refusals: ContextVar[list[str] | None] = ContextVar("refusals", default=None)
"""Sentences that the functions of the page told the visitor during the present request."""


def log_refusal(what: str, sentence: str) -> None:
    """Write one line to the log; what visitors typed cannot begin a new one."""
    line = f"refused {what}: {sentence}"
    print(ascii(line[:400])[1:-1], file=sys.stderr, flush=True)


class Door:
    """ASGI middleware in front of gradio.

    Args:
        app: The app behind the door.
        parameters: {name of an endpoint: names of its arguments}.
        num_functions: Functions of the page have the numbers 0..num_functions - 1.
        disk: Where uploads are written.
    """

    def __init__(self, app: Any, parameters: dict[str, list[str]], num_functions: int, disk: Disk) -> None:
        self.app, self.parameters, self.num_functions, self.disk = app, parameters, num_functions, disk
        self.open = 0
        self.uploading: dict[int, int] = {}  # bytes that each open upload may still write
        self.uploaded: dict[str, deque[tuple[float, int]]] = {}  # per visitor: times and bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "websocket":  # no page of this app opens one
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = ended = False

        async def noted(message: Message) -> None:
            nonlocal started
            started = True
            # gradio answers 500, a fault of the server, also where a function refuses what a visitor sent.
            if message["type"] == "http.response.start" and message["status"] == 500 and told:
                message = {**message, "status": 422}
            await send(message)

        async def body() -> Message:
            nonlocal ended
            message = await receive()
            ended = ended or message["type"] == "http.disconnect" or not message.get("more_body")
            return message

        what = f"{scope['method']} {scope['path']}"
        told: list[str] = []
        refusals.set(told)
        self.open += 1
        try:
            check_address(scope)
            if self.open > MAX_OPEN:
                raise Refused(503, "Too many requests are open; please try again in a minute.")
            if scope["method"] == "POST" and api_path(scope) == "upload":
                await self.upload(scope, body, noted)
            elif scope["method"] == "POST":
                await self.app(scope, await self.checked_json(scope, body), noted)
            else:
                await self.app(scope, body, noted)
        except Refused as refused:
            log_refusal(what, refused.sentence)
            if not started:
                await answer(refused, None if ended else receive, send)
        except ClientDisconnect:
            log_refusal(what, "the visitor left before the end of the request")
        except Exception as error:
            # An unknown session ends a stream of events inside its body.
            if not is_refusal(error):
                raise
            log_refusal(what, "there is no such session, or it is over")
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self.open -= 1

    async def checked_json(self, scope: Scope, receive: Receive) -> Receive:
        """Read and check a JSON body; returns what gives it to the app."""
        kind = header(scope, b"content-type").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise Refused(415, f"A request must be JSON with the content type application/json, got {kind[:80]!r}.")
        check_length(scope, MAX_JSON_BYTES)
        body, end = bytearray(), time.monotonic() + JSON_S
        while True:
            message = await next_message(receive, end)
            body += message.get("body", b"")
            if len(body) > MAX_JSON_BYTES:
                raise Refused(413, too_large(MAX_JSON_BYTES))
            if not message.get("more_body"):
                break
        self.check_call(api_path(scope), read_json(bytes(body)))
        left: list[Message] = [{"type": "http.request", "body": bytes(body), "more_body": False}]

        async def replay() -> Message:
            return left.pop() if left else await receive()

        return replay

    def check_call(self, path: str, value: Any) -> None:
        """Refuse a call of a function that does not exist, and what gradio would stumble over."""
        if path.startswith("mcp"):
            return
        if not isinstance(value, dict):
            raise Refused(422, "A request must be a JSON object.")
        action, _, name = path.rstrip("/").partition("/")
        # The page calls functions that need no queue by their number, at the address run/predict.
        if name == "predict" and type(value.get("fn_index")) is int:
            action = ""
        if action in ("call", "run", "api"):
            is_named = name.startswith("v2/")
            name = name.removeprefix("v2/")
            if name not in self.parameters:
                raise Refused(404, f"There is no endpoint {name[:80]!r}, only {', '.join(sorted(self.parameters))}.")
            if is_named:
                known = self.parameters[name]
                if unknown := [key for key in value if key not in known]:
                    expected = ", ".join(known) or "no arguments"
                    raise Refused(422, f"{name} takes {expected}, got {unknown[0][:80]!r}.")
                return
        index, session = value.get("fn_index"), value.get("session_hash")
        if index is not None and (type(index) is not int or not 0 <= index < self.num_functions):
            raise Refused(422, f"fn_index must be in 0..{self.num_functions - 1}, got {str(index)[:80]}.")
        if index is not None and action in ("call", "run", "api"):
            raise Refused(422, f"The address names the endpoint {name}, so a request to it takes no fn_index.")
        if session is not None and not (isinstance(session, str) and len(session) <= 100):
            raise Refused(422, "session_hash must be a text of at most 100 characters.")
        if value.get("batched"):
            raise Refused(422, "No function of this app takes batches.")

    async def upload(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass files on to gradio, as long as they stay within the limits of request, visitor and disk."""
        check_length(scope, MAX_UPLOAD_BYTES)
        visitor = visitor_of(scope)
        allowed = min(MAX_UPLOAD_BYTES, MAX_VISITOR_BYTES - self.uploaded_bytes(visitor))
        declared = header(scope, b"content-length")
        length = int(declared) if declared else allowed
        hourly = f"An address may upload {MAX_VISITOR_BYTES >> 20} MB per hour; please try again later."
        if length > allowed or allowed <= 0:
            raise Refused(429, hourly)
        if len(self.uploading) >= MAX_UPLOADS:
            raise Refused(503, "Too many uploads at once; please try again in a minute.")
        # Bytes that are promised to other uploads are not free.
        self.uploading[id(scope)] = length
        received, end = 0, time.monotonic() + UPLOAD_S
        parts = Parts(header(scope, b"content-type"))
        try:
            if not await anyio.to_thread.run_sync(self.disk.make_room, sum(self.uploading.values())):
                raise Refused(507, "The app has no room for files now; please try again in a minute.")

            async def counted() -> Message:
                nonlocal received
                message = await next_message(receive, end)
                received += len(message.get("body", b""))
                parts.write(message.get("body", b""))
                if parts.wrong:
                    raise Refused(400, RULE)
                self.uploading[id(scope)] = max(0, length - received)
                if received > allowed:
                    is_whole = allowed == MAX_UPLOAD_BYTES
                    raise Refused(413 if is_whole else 429, too_large(allowed) if is_whole else hourly)
                return message

            await self.app(scope, counted, send)
        finally:
            del self.uploading[id(scope)]
            self.uploaded.setdefault(visitor, deque()).append((time.monotonic(), received))

    def uploaded_bytes(self, visitor: str) -> int:
        """Bytes that a visitor uploaded within the last hour; what is older is forgotten, of every visitor."""
        oldest = time.monotonic() - 3600
        for name, uploads in list(self.uploaded.items()):
            while uploads and uploads[0][0] < oldest:
                uploads.popleft()
            if not uploads:
                del self.uploaded[name]
        return sum(size for _, size in self.uploaded.get(visitor, ()))


def header(scope: Scope, name: bytes) -> str:
    """A header as text; "" where the request has none."""
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")


def api_path(scope: Scope) -> str:
    """The path below /gradio_api/, without a slash at its end; "" for other pages."""
    path = scope["path"]
    return path[len(API) :].rstrip("/") if path.startswith(API) else ""


def visitor_of(scope: Scope) -> str:
    """The address that a request comes from; on the Hub, as its proxy reports it."""
    reported = header(scope, b"x-forwarded-for") if "SPACE_ID" in os.environ else ""
    return reported[:100] or str((scope.get("client") or ("",))[0])


def check_address(scope: Scope) -> None:
    """Refuse methods and addresses that this app has no use for.

    Raises:
        Refused: If gradio would not know the address, or would do with it what this app does not offer, such as
            fetching pages of other machines.
    """
    path, method = scope["path"], scope["method"]
    if len(path) > MAX_ADDRESS or len(scope["query_string"]) > MAX_ADDRESS:
        raise Refused(414, f"An address may have at most {MAX_ADDRESS} characters.")
    if any(len(name.encode("utf-8", "surrogatepass")) > MAX_NAME_BYTES for name in path.split("/")):
        raise Refused(414, f"A name in an address may have at most {MAX_NAME_BYTES} bytes.")
    below = path[len(API) :] if path.startswith(API) else None
    is_known = not path.startswith("/monitoring") if below is None else below.startswith(READ + WRITE)
    if not is_known or (below or "").startswith(("file=http:", "file=https:")):
        raise Refused(404, "This app has no such address.")
    is_read = method in ("GET", "HEAD", "OPTIONS")
    is_written = below is not None and ((method == "POST" and below.startswith(WRITE)) or below.startswith("mcp"))
    if not is_read and not is_written:
        raise Refused(405, f"This address does not take {method[:20]}.")


def check_length(scope: Scope, limit: int) -> None:
    """Refuse a body that says of itself that it is too large.

    Raises:
        Refused: If it does.
    """
    declared = header(scope, b"content-length")
    if declared and (not declared.isdecimal() or int(declared[:20]) > limit):
        raise Refused(413, too_large(limit))


def too_large(limit: int) -> str:
    """The sentence for a body above a limit in bytes."""
    shown = f"{limit >> 20} MB" if limit >= 2**20 else f"{limit >> 10} KB"
    return f"A request to this address may have at most {shown}."


async def next_message(receive: Receive, end: float) -> Message:
    """The next part of a body.

    Raises:
        Refused: If it does not come in time.
        ClientDisconnect: If the visitor is gone.
    """
    try:
        message = await asyncio.wait_for(receive(), max(0.001, min(PAUSE_S, end - time.monotonic())))
    except asyncio.TimeoutError:
        raise Refused(408, "The request did not arrive in time.") from None
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    return message


def read_json(body: bytes) -> Any:
    """Parse a body, and bound depth, number and length of its values.

    Raises:
        Refused: If it is no JSON, or breaks a limit.
    """

    def refuse_constant(name: str) -> None:
        raise Refused(422, f"Numbers must be finite, got {name}.")

    try:
        value = json.loads(body.decode("utf-8"), parse_constant=refuse_constant)
    except RecursionError:
        raise Refused(422, f"JSON may be nested {MAX_DEPTH} levels deep.") from None
    except ValueError:  # UnicodeDecodeError, JSONDecodeError, and integers of thousands of digits
        raise Refused(400, "The request is not valid JSON in UTF-8.") from None
    # A list of work instead of recursion, and it ends at the first limit.
    count, waiting = 0, [(value, 0)]
    while waiting:
        one, depth = waiting.pop()
        count += 1
        if depth > MAX_DEPTH or count + len(waiting) > MAX_VALUES:
            raise Refused(422, f"JSON may be nested {MAX_DEPTH} levels deep and hold {MAX_VALUES} values.")
        if isinstance(one, str):
            check_text(one)
        elif isinstance(one, dict):
            waiting += [(key, depth + 1) for key in one] + [(inner, depth + 1) for inner in one.values()]
        elif isinstance(one, list):
            waiting += [(inner, depth + 1) for inner in one[: MAX_VALUES + 1]]
        elif isinstance(one, float) and one in (float("inf"), float("-inf")):
            raise Refused(422, "Numbers must be finite, got one that is too large.")
    return value


def check_text(text: str) -> None:
    """Refuse a text that is too long, or half a character.

    Raises:
        Refused: If it is.
    """
    if len(text) > MAX_TEXT:
        raise Refused(422, f"A text may have at most {MAX_TEXT} characters, got {len(text)}.")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise Refused(422, "A text must be valid Unicode.")


def is_refusal(error: BaseException) -> bool:
    """Whether an exception is an answer of gradio to the visitor that came too late to set the status."""
    return isinstance(error, HTTPException) or isinstance(error.__cause__, HTTPException)


async def answer(refused: Refused, receive: Receive | None, send: Send) -> None:
    """Send status and sentence, and read what the visitor still sends, so that the answer is not lost."""
    body = json.dumps({"error": refused.sentence, "detail": refused.sentence}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": receive is not None})
    if receive is None:  # the body was read to its end
        return
    end = time.monotonic() + DRAIN_S
    while time.monotonic() < end:
        try:
            message = await asyncio.wait_for(receive(), 1)
        except asyncio.TimeoutError:
            break
        if message["type"] == "http.disconnect" or not message.get("more_body"):
            break
    await send({"type": "http.response.body", "body": b"", "more_body": False})
