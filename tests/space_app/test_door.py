"""Limits of uploads per address and on the disk, at a door with a stand-in for gradio behind it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest


async def reads_all(scope: Any, receive: Any, send: Any) -> None:
    """Reads a body to its end, and answers 200."""
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"[]"})


def upload(door: Any, size: int, address: str = "1.2.3.4") -> httpx.Response:
    async def post() -> httpx.Response:
        transport = httpx.ASGITransport(door, client=(address, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
            return await client.post("/gradio_api/upload", files={"files": ("a.png", bytes(size))})

    return asyncio.run(post())


@pytest.fixture
def door(module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """At most 5,000 bytes per request and 10,000 per address, on a disk of 20,000."""
    loaded, disk = module("door"), module("disk")
    for owner, name, value in (
        (loaded, "MAX_UPLOAD_BYTES", 5000), (loaded, "MAX_VISITOR_BYTES", 10_000), (disk, "MAX_BYTES", 20_000)
    ):  # fmt: skip
        monkeypatch.setattr(owner, name, value)
    return loaded.Door(reads_all, {}, 0, disk.Disk(tmp_path))


def test_an_address_may_upload_so_much_an_hour_and_others_still_may(door: Any):
    assert [upload(door, 3000).status_code for _ in range(5)] == [200, 200, 200, 429, 429]
    assert upload(door, 3000, "5.6.7.8").status_code == 200


def test_a_request_with_files_has_a_limit(door: Any):
    refused = upload(door, 6000)
    assert refused.status_code == 413 and "may have at most" in refused.json()["error"]


def test_a_full_disk_is_told(door: Any, tmp_path: Path):
    (tmp_path / "young").write_bytes(bytes(19_000))
    refused = upload(door, 3000)
    assert refused.status_code == 507 and refused.json()["error"].startswith("The app has no room for files now")
