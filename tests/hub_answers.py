"""What the tests' Hub answers: as much of the Hub's interface as our clients use to push, list and load."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import yaml

from hub_repositories import LARGE, Commit, File, Hub, Refusal, Repository

TOKENS = {"hf_local": "write", "hf_read": "read"}


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
