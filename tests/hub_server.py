"""A Hub over real HTTP on loopback, as small as the tests need: repositories, commits, large files, faults to order.

It speaks as much of the Hub's interface as huggingface_hub, diffusers, datasets and the `hf` command line use to push,
list and load. Everything lies in memory.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any, Literal
from urllib.parse import parse_qs, unquote

import yaml

# What the Hub's own .gitattributes sends to large file storage.
LARGE = (".safetensors", ".bin", ".pt", ".pkl", ".parquet", ".arrow", ".npy", ".npz", ".png", ".jpg", ".tif", ".tiff")
TOKENS = {"hf_local": "write", "hf_read": "read"}
USER = "tester"


class Refusal(Exception):
    """An answer that is not 2xx; `code` is what huggingface_hub makes its errors from."""

    def __init__(self, status: int, message: str, code: str | None = None, **headers: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message
        self.headers = {
            "X-Error-Message": message,
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        if code is not None:
            self.headers["X-Error-Code"] = code


@dataclass(frozen=True)
class File:
    """One file of a commit."""

    content: bytes
    large: bool

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def blob_id(self) -> str:
        """Git's name of the blob; of a large file, of its pointer."""
        blob = self.content
        if self.large:
            blob = f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {len(blob)}\n".encode()
        return hashlib.sha1(b"blob %d\0" % len(blob) + blob).hexdigest()

    @property
    def etag(self) -> str:
        return self.sha256 if self.large else self.blob_id

    def described(self, path: str) -> dict[str, Any]:
        entry: dict[str, Any] = {"type": "file", "path": path, "size": len(self.content), "oid": self.blob_id}
        if self.large:
            entry["lfs"] = {"oid": self.sha256, "size": len(self.content), "pointerSize": 134}
        return entry


@dataclass(frozen=True)
class Commit:
    """All files after one change."""

    sha: str
    title: str
    files: dict[str, File]
    parent: str | None
    date: str


@dataclass
class Repository:
    """Commits, and the branches and tags that name them."""

    id: str
    kind: str
    private: bool
    sdk: str | None = None
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def commit(self, branch: str, files: dict[str, File], title: str) -> Commit:
        parent = self.branches.get(branch)
        sha = hashlib.sha1(f"{self.kind} {self.id} {len(self.commits)} {parent} {title}".encode()).hexdigest()
        date = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        self.commits[sha] = Commit(sha, title, files, parent, date)
        self.branches[branch] = sha
        return self.commits[sha]

    def at(self, revision: str) -> Commit:
        sha = self.branches.get(revision) or self.tags.get(revision) or revision
        if sha not in self.commits:
            raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return self.commits[sha]

    def history(self, revision: str) -> list[Commit]:
        commits, sha = [], self.at(revision).sha
        while sha is not None:
            commits.append(self.commits[sha])
            sha = self.commits[sha].parent
        return commits


@dataclass
class Fault:
    """What goes wrong with the next `times` requests that match."""

    where: str
    method: str | None
    times: int
    status: int | None
    message: str
    drop: Literal["upload", "answer"] | None
    delay_s: float


@dataclass(frozen=True)
class Request:
    """One HTTP request, its body read; `groups` are the named parts of the path, unquoted."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes
    groups: dict[str, str]

    @property
    def kind(self) -> str:
        return self.groups["kind"] or "models"

    def json(self) -> Any:
        return json.loads(self.body or b"{}")

    def asks(self, name: str) -> bool:
        return self.query.get(name, [""])[0].lower() in ("1", "true")


@dataclass(frozen=True)
class Answer:
    """Status, body and headers; a dict or list is sent as JSON."""

    body: Any = field(default_factory=dict)
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


class Hub:
    """What the tests see of the server: look into it, change it behind the client's back, make it fail."""

    def __init__(self, url: str) -> None:
        self.url, self.user = url, USER
        self.requests: list[tuple[str, str]] = []
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.blobs: dict[str, bytes] = {}
        self.lock = threading.RLock()
        self._faults: list[Fault] = []
        self._numbers = count(1)

    def reset(self) -> None:
        """Forget faults and the log of requests; repositories stay."""
        self._faults.clear()
        self.requests.clear()

    def repo_id(self, name: str) -> str:
        """A repository that nobody has used yet."""
        return f"{self.user}/{name}-{next(self._numbers)}"

    def repository(self, repo_id: str, kind: str = "models") -> Repository:
        if (kind, repo_id) not in self.repositories:
            raise Refusal(404, "Repository not found", "RepoNotFound")
        return self.repositories[kind, repo_id]

    def files(self, repo_id: str, revision: str = "main", kind: str = "models") -> dict[str, bytes]:
        """Contents by path, without the .gitattributes that the Hub itself puts there."""
        files = self.repository(repo_id, kind).at(revision).files
        return {path: file.content for path, file in files.items() if path != ".gitattributes"}

    def commits(self, repo_id: str, revision: str = "main", kind: str = "models") -> list[Commit]:
        """Newest first; the last one is the Hub's own initial commit."""
        return self.repository(repo_id, kind).history(revision)

    def write(
        self, repo_id: str, path: str, content: bytes | None, kind: str = "models", revision: str = "main"
    ) -> None:
        """A commit that was not pushed by us; None deletes the file. Makes the repository where there is none."""
        with self.lock:
            repository = self.repositories.get((kind, repo_id)) or self.create(repo_id, kind, private=False)
            files = dict(repository.at(revision).files)
            files.pop(path, None)
            if content is not None:
                files[path] = File(content, path.endswith(LARGE))
            repository.commit(revision, files, f"Edit {path}")

    def create(self, repo_id: str, kind: str, private: bool, sdk: str | None = None) -> Repository:
        repository = self.repositories[kind, repo_id] = Repository(repo_id, kind, private, sdk)
        repository.commit("main", {".gitattributes": File(b"*.safetensors filter=lfs\n", False)}, "initial commit")
        return repository

    def fail(
        self,
        where: str,
        *,
        method: str | None = None,
        times: int = 1,
        status: int | None = None,
        message: str = "made to fail by the test",
        drop: Literal["upload", "answer"] | None = None,
        delay_s: float = 0.0,
    ) -> None:
        """Make the next `times` requests whose path holds `where` fail.

        Args:
            where: Part of the path, such as "/api/repos/create", "/preupload/", "/_lfs/", "/commit/", "/resolve/".
            method: Only requests of this method.
            times: How many requests.
            status: Answer with this status and `message`, and do nothing.
            message: What the answer says.
            drop: Close the connection in the middle of the upload, or do what was asked and close before the answer.
            delay_s: Seconds to wait first; alone, the request then goes through.
        """
        self._faults.append(Fault(where, method, times, status, message, drop, delay_s))

    def fault_of(self, method: str, path: str) -> Fault | None:
        with self.lock:
            self.requests.append((method, path))
            for fault in self._faults:
                if fault.times > 0 and fault.where in path and fault.method in (None, method):
                    fault.times -= 1
                    return fault
        return None


# What the Hub answers ------------------------------------------------------------------------------------------


def authorise(request: Request, *, write: bool) -> bool:
    """Whether somebody is known to ask; refuses a wrong token, and writing without the right to."""
    token = request.headers.get("authorization", "").removeprefix("Bearer ")
    if token and token not in TOKENS:
        raise Refusal(401, "Invalid credentials in Authorization header")
    if write and not token:
        raise Refusal(401, "Invalid username or password.")
    if write and TOKENS[token] != "write":
        raise Refusal(403, "this token has no right to write")
    return bool(token)


def readable(hub: Hub, request: Request) -> Repository:
    known = authorise(request, write=False)
    repository = hub.repository(request.groups["repo"], request.kind)
    if repository.private and not known:
        raise Refusal(401, "Repository not found", "RepoNotFound")
    return repository


def writable(hub: Hub, request: Request) -> Repository:
    authorise(request, write=True)
    return hub.repository(request.groups["repo"], request.kind)


def whoami(hub: Hub, request: Request) -> Answer:
    if not authorise(request, write=False):
        raise Refusal(401, "Invalid username or password.")
    token = request.headers["authorization"].removeprefix("Bearer ")
    access = {"type": "access_token", "accessToken": {"displayName": "tests", "role": TOKENS[token]}}
    return Answer({"type": "user", "id": "0" * 24, "name": hub.user, "fullname": hub.user, "orgs": [], "auth": access})


def create(hub: Hub, request: Request) -> Answer:
    authorise(request, write=True)
    asked = request.json()
    namespace, kind = asked.get("organization") or hub.user, asked.get("type", "model") + "s"
    if namespace != hub.user:
        raise Refusal(403, f'You don\'t have the rights to create a model under the namespace "{namespace}"')
    repo_id = f"{namespace}/{asked['name']}"
    status = 409 if (kind, repo_id) in hub.repositories else 200
    if status == 200:
        hub.create(repo_id, kind, asked.get("visibility") == "private", asked.get("sdk"))
    return Answer({"url": page(hub, kind, repo_id), "name": repo_id, "id": repo_id}, status)


def delete(hub: Hub, request: Request) -> Answer:
    authorise(request, write=True)
    asked = request.json()
    kind, repo_id = asked.get("type", "model") + "s", f"{asked.get('organization') or hub.user}/{asked['name']}"
    hub.repository(repo_id, kind)
    del hub.repositories[kind, repo_id]
    return Answer()


def validate_yaml(hub: Hub, request: Request) -> Answer:
    try:
        metadata = front_matter(request.json()["content"])
    except yaml.YAMLError as error:
        return Answer({"errors": [{"message": str(error)}], "warnings": []}, 400)
    wrong = [name for name in ("tags", "datasets", "model-index") if not isinstance(metadata.get(name, []), list)]
    errors = [{"message": f'"{name}" must be an array'} for name in wrong]
    return Answer({"errors": errors, "warnings": []}, 400 if errors else 200)


def list_repositories(hub: Hub, request: Request) -> Answer:
    known = authorise(request, write=False)
    rows = [info(one, one.at("main")) for (kind, _), one in hub.repositories.items() if kind == request.kind]
    rows = [row for row in rows if known or not row["private"]]
    for author in request.query.get("author", []):
        rows = [row for row in rows if row["author"] == author]
    for search in request.query.get("search", []):
        rows = [row for row in rows if search.lower() in row["id"].lower()]
    for tag in request.query.get("filter", []):
        rows = [row for row in rows if tag in row["tags"]]
    return Answer(rows)


def repository_info(hub: Hub, request: Request) -> Answer:
    repository = readable(hub, request)
    return Answer(info(repository, repository.at(request.groups.get("rev") or "main"), blobs=request.asks("blobs")))


def tree(hub: Hub, request: Request) -> Answer:
    files = readable(hub, request).at(request.groups["rev"]).files
    base = (request.groups.get("path") or "").strip("/")
    prefix = f"{base}/" if base else ""
    rows: dict[str, dict[str, Any]] = {}
    for path in sorted(path for path in files if path.startswith(prefix)):
        parts = path.removeprefix(prefix).split("/")
        for depth in range(1, len(parts)):
            if depth == 1 or request.asks("recursive"):
                folder = prefix + "/".join(parts[:depth])
                rows[folder] = folder_entry(folder)
        if len(parts) == 1 or request.asks("recursive"):
            rows[path] = files[path].described(path)
    if base and not rows:
        raise Refusal(404, f"{base} does not exist", "EntryNotFound")
    return Answer(list(rows.values()))


def paths_info(hub: Hub, request: Request) -> Answer:
    files = readable(hub, request).at(request.groups["rev"]).files
    form = "json" not in request.headers.get("content-type", "")
    rows = []
    for path in parse_qs(request.body.decode()).get("paths", []) if form else request.json()["paths"]:
        if path in files:
            rows.append(files[path].described(path))
        elif any(file.startswith(f"{path.rstrip('/')}/") for file in files):
            rows.append(folder_entry(path))
    return Answer(rows)


def refs(hub: Hub, request: Request) -> Answer:
    repository = readable(hub, request)

    def rows(space: str, names: dict[str, str]) -> list[dict[str, str]]:
        return [{"name": name, "ref": f"refs/{space}/{name}", "targetCommit": sha} for name, sha in names.items()]

    own = {name: sha for name, sha in repository.branches.items() if not name.startswith("refs/")}
    requests = [
        {"name": name, "ref": name, "targetCommit": sha} for name, sha in (repository.branches.items() - own.items())
    ]
    return Answer(
        {
            "branches": rows("heads", own),
            "tags": rows("tags", repository.tags),
            "converts": [],
            "pullRequests": requests,
        }
    )


def commits(hub: Hub, request: Request) -> Answer:
    history = readable(hub, request).history(request.groups["rev"])
    authors = [{"user": hub.user}]
    return Answer([{"id": c.sha, "title": c.title, "message": "", "date": c.date, "authors": authors} for c in history])


def resolve(hub: Hub, request: Request) -> Answer:
    commit = readable(hub, request).at(request.groups["rev"])
    path = request.groups["path"]
    if path not in commit.files:
        raise Refusal(404, "Entry not found", "EntryNotFound", X_Repo_Commit=commit.sha)
    file = commit.files[path]
    size = len(file.content)
    headers = {
        "X-Repo-Commit": commit.sha,
        "ETag": f'"{file.etag}"',
        "X-Linked-Etag": f'"{file.etag}"',
        "X-Linked-Size": str(size),
        "Accept-Ranges": "bytes",
        "Content-Disposition": f'inline; filename="{path.rpartition("/")[2]}";',
    }
    wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
    if wanted is None:
        return Answer(file.content, 200, headers)
    first, last = int(wanted[1]), min(int(wanted[2] or size), size - 1)
    if first > last:
        raise Refusal(416, "Range not satisfiable", Content_Range=f"bytes */{size}")
    return Answer(file.content[first : last + 1], 206, headers | {"Content-Range": f"bytes {first}-{last}/{size}"})


def preupload(hub: Hub, request: Request) -> Answer:
    files = writable(hub, request).at(request.groups["rev"]).files
    rows = []
    for asked in request.json()["files"]:
        path = asked["path"]
        large = path.endswith(LARGE) or b"\0" in base64.b64decode(asked.get("sample", ""))
        oid = files[path].etag if path in files else None
        rows.append({"path": path, "uploadMode": "lfs" if large else "regular", "shouldIgnore": False, "oid": oid})
    return Answer({"files": rows})


def large_files(hub: Hub, request: Request) -> Answer:
    writable(hub, request)
    rows = []
    for asked in request.json()["objects"]:
        row: dict[str, Any] = {"oid": asked["oid"], "size": asked["size"]}
        if asked["oid"] not in hub.blobs:
            row["actions"] = {"upload": {"href": f"{hub.url}/_lfs/{asked['oid']}", "header": {}}}
        rows.append(row)
    return Answer({"transfer": "basic", "objects": rows})


def put_large_file(hub: Hub, request: Request) -> Answer:
    oid = hashlib.sha256(request.body).hexdigest()
    if oid != request.groups["oid"]:
        raise Refusal(400, "sha256 of the body does not match the oid")
    hub.blobs[oid] = request.body
    return Answer(headers={"ETag": f'"{oid}"'})


def commit(hub: Hub, request: Request) -> Answer:
    repository = writable(hub, request)
    branch = request.groups["rev"]
    head = repository.at(branch)
    files, title = dict(head.files), ""
    for line in request.body.splitlines():
        entry = json.loads(line)
        key, value = entry["key"], entry["value"]
        if key == "header":
            title = value["summary"]
            if value.get("parentCommit") not in (None, head.sha):
                raise Refusal(412, "A commit has happened since. Please refresh and try again.")
        elif key == "file":
            files[value["path"]] = File(base64.b64decode(value["content"]), large=False)
        elif key == "lfsFile":
            if value["oid"] not in hub.blobs:
                raise Refusal(400, f"LFS object {value['oid']} was not uploaded")
            files[value["path"]] = File(hub.blobs[value["oid"]], large=True)
        elif key == "deletedFile":
            if files.pop(value["path"], None) is None:
                raise Refusal(404, "A file with this name doesn't exist", "EntryNotFound")
        elif key == "deletedFolder":
            files = {path: file for path, file in files.items() if not path.startswith(value["path"].rstrip("/") + "/")}
        else:
            raise Refusal(400, f"unknown operation {key}")
    url = page(hub, request.kind, repository.id)
    answer: dict[str, Any] = {"success": True}
    if request.asks("create_pr"):
        number = 1 + sum(name.startswith("refs/pr/") for name in repository.branches)
        branch = f"refs/pr/{number}"
        repository.branches[branch] = head.sha
        answer["pullRequestUrl"] = f"{url}/discussions/{number}"
    sha = repository.commit(branch, files, title).sha
    return Answer(answer | {"commitOid": sha, "commitUrl": f"{url}/commit/{sha}"})


def name_revision(hub: Hub, request: Request) -> Answer:
    repository = writable(hub, request)
    name, asked = request.groups["name"], request.json()
    if request.groups["what"] == "tag":
        names, name, start = repository.tags, asked.get("tag", name), name
    else:
        names, start = repository.branches, asked.get("startingPoint", "main")
    if request.method == "DELETE":
        names.pop(name, None)
    elif name in names:
        raise Refusal(409, "Reference already exists")
    else:
        names[name] = repository.at(start).sha
    return Answer()


def info(repository: Repository, commit: Commit, blobs: bool = False) -> dict[str, Any]:
    siblings: list[dict[str, Any]] = [{"rfilename": path} for path in sorted(commit.files)]
    if blobs:
        for row in siblings:
            file = commit.files[row["rfilename"]]
            row |= {"size": len(file.content), "blobId": file.blob_id}
            row |= {"lfs": {"sha256": file.sha256, "size": row["size"], "pointerSize": 134}} if file.large else {}
    card = commit.files.get("README.md")
    metadata = {} if card is None else front_matter(card.content.decode())
    return {
        "_id": hashlib.sha1(repository.id.encode()).hexdigest()[:24],
        "id": repository.id,
        "author": repository.id.partition("/")[0],
        "sha": commit.sha,
        "createdAt": repository.history("main")[-1].date,
        "lastModified": commit.date,
        "private": repository.private,
        "gated": False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": metadata.get("tags") or [],
        "library_name": metadata.get("library_name"),
        "pipeline_tag": metadata.get("pipeline_tag"),
        "cardData": metadata,
        "siblings": siblings,
        "sdk": repository.sdk,
    }


def folder_entry(path: str) -> dict[str, Any]:
    return {"type": "directory", "path": path, "size": 0, "oid": hashlib.sha1(path.encode()).hexdigest()}


def front_matter(text: str) -> dict[str, Any]:
    block = re.match(r"---\s*\n(.*?)\n---", text, re.DOTALL)
    metadata = yaml.safe_load(block[1]) if block else {}
    if not isinstance(metadata, dict):
        raise yaml.YAMLError("the metadata must be a mapping")
    return json.loads(json.dumps(metadata, default=str))


def page(hub: Hub, kind: str, repo_id: str) -> str:
    return f"{hub.url}/{'' if kind == 'models' else kind + '/'}{repo_id}"


# Paths are matched as they are quoted: refs%2Fpr%2F1 is one segment.
_KIND, _ID, _REV = r"(?P<kind>models|datasets|spaces)", r"(?P<repo>[^/]+/[^/]+)", r"(?P<rev>refs/[^/]+/[^/]+|[^/]+)"
_API, _GIT = f"/api/{_KIND}/{_ID}", f"/(?:(?P<kind>datasets|spaces)/)?{_ID}"
ROUTES: list[tuple[str, re.Pattern[str], Callable[[Hub, Request], Answer]]] = [
    (methods, re.compile(pattern), handler)
    for methods, pattern, handler in (
        ("GET", "/api/whoami-v2", whoami),
        ("POST", "/api/repos/create", create),
        ("DELETE", "/api/repos/delete", delete),
        ("POST", "/api/validate-yaml", validate_yaml),
        ("GET", f"/api/{_KIND}", list_repositories),
        ("GET", f"{_API}(?:/revision/{_REV})?", repository_info),
        ("GET", f"{_API}/tree/{_REV}(?:/(?P<path>.*))?", tree),
        ("POST", f"{_API}/paths-info/{_REV}", paths_info),
        ("GET", f"{_API}/refs", refs),
        ("GET", f"{_API}/commits/{_REV}", commits),
        ("POST", f"{_API}/preupload/{_REV}", preupload),
        ("POST", f"{_API}/commit/{_REV}", commit),
        ("POST DELETE", f"{_API}/(?P<what>branch|tag)/(?P<name>.+)", name_revision),
        ("POST", rf"{_GIT}\.git/info/lfs/objects/batch", large_files),
        ("PUT", "/_lfs/(?P<oid>[0-9a-f]{64})", put_large_file),
        ("GET HEAD", f"{_GIT}/resolve/{_REV}/(?P<path>.+)", resolve),
    )
]


# The wire ------------------------------------------------------------------------------------------------------


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
