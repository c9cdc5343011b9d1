"""What the tests' Hub holds: repositories with their commits and files, in memory, and the faults ordered by tests."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, field
from datetime import datetime, timezone
from itertools import count
from typing import Any, Literal

# What the Hub's own .gitattributes sends to large file storage.
LARGE = (".safetensors", ".bin", ".pt", ".pkl", ".parquet", ".arrow", ".npy", ".npz", ".png", ".jpg", ".tif", ".tiff")
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
