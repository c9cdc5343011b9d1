"""The Space as an agent meets it: a server of the Model Context Protocol whose tools are the endpoints."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

pytest.importorskip("mcp", reason="the mcp extra of gradio is not installed: pip install 'gradio[mcp]'")

from mcp import ClientSession  # pyright: ignore[reportMissingImports]
from mcp.client.streamable_http import streamable_http_client  # pyright: ignore[reportMissingImports]

TOOLS = {"generate", "reconstruct", "vary", "interpolate", "report", "embed", "interpolate_depth", "classify"}


def ask(address: str, *calls: tuple[str, dict[str, Any]]) -> tuple[list[Any], list[Any]]:
    """The tools that the app offers, and what it answers to each call of one."""

    async def talk() -> tuple[list[Any], list[Any]]:
        async with (
            streamable_http_client(f"{address}/gradio_api/mcp/") as (read, write, *_),
            ClientSession(read, write) as session,
        ):
            await session.initialize()
            return (await session.list_tools()).tools, [await session.call_tool(*call) for call in calls]

    return asyncio.run(talk())


def test_every_endpoint_is_a_tool_whose_arguments_are_explained(address: str):
    tools, _ = ask(address)
    assert {tool.name for tool in tools} == TOOLS
    for tool in tools:
        assert tool.description and all(one["description"] for one in tool.inputSchema["properties"].values())


def test_an_agent_reads_the_report_draws_a_picture_and_embeds_an_image(address: str, tmp_path: Path):
    asked = {"users": ["ID_2"], "num_images_per_user": 1, "conditions": [], "steps": 2, "guidance": 1.5, "seed": 3}
    Image.fromarray(np.full((32, 32), 1000, np.uint16)).save(tmp_path / "mine.png")
    with (tmp_path / "mine.png").open("rb") as file:
        (path,) = httpx.post(f"{address}/gradio_api/upload", files={"files": file}).json()
    mine = {"path": path, "meta": {"_type": "gradio.FileData"}}
    calls = [("report", {}), ("generate", asked), ("generate", asked | {"users": ["Somebody"]})]
    _, answers = ask(address, *calls, ("embed", {"files": [mine]}), ("classify", {"files": [mine]}))
    report, drawn, refused, embedded, classified = answers
    assert classified.isError and "mine.png: pictures must be grey or RGB of 8 bits" in classified.content[0].text
    assert not embedded.isError and "mine.png" in embedded.content[0].text, embedded.content
    assert report.content[0].text.startswith("## Did it help?\n\nGenerated images help: +3.0 points.")
    assert not drawn.isError and "ID_2, seed 3" in drawn.content[0].text
    assert refused.isError and "Somebody" in refused.content[0].text
