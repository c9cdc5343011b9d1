"""Files that agents name by an https address: downloaded from public machines only, bounded in bytes and in time."""

from __future__ import annotations

import asyncio
from pathlib import PurePosixPath

import httpx
import safehttpx
from disk import Disk
from gradio_client.utils import strip_invalid_filename_characters
from visitors import MAX_FILE_BYTES, download_path, refusal

REDIRECTS = 3
DOWNLOAD_S = 30


async def download(url: str, disk: Disk) -> str:
    """Download a file into gradio's folder, and return its path.

    Raises:
        gradio.Error: If the address is not public, does not answer with a file in time, the file is too large, or
            the disk has no room for it.
    """
    if not await asyncio.to_thread(disk.make_room, MAX_FILE_BYTES):
        raise refusal("The app has no room for files now; please try again in a minute.")
    try:
        return await asyncio.wait_for(_download(url), DOWNLOAD_S)
    # ValueError and UnicodeError are what malformed and private addresses raise.
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, OSError, asyncio.TimeoutError) as error:
        raise refusal(f"{url[:200]} cannot be downloaded; it must be the https address of a public file.") from error


async def _download(url: str) -> str:
    for _ in range(REDIRECTS + 1):
        address = httpx.URL(url)
        if address.scheme != "https":
            raise ValueError(f"an address must be https, got {address.scheme}")
        # The connection goes to the address that was checked, whatever its name means a moment later.
        transport = safehttpx.AsyncSecureTransport(await safehttpx.async_validate_url(address.host))
        async with httpx.AsyncClient(transport=transport) as client, client.stream("GET", address) as response:
            if response.has_redirect_location:
                url = str(address.join(response.headers["location"]))
                continue
            response.raise_for_status()
            name = strip_invalid_filename_characters(PurePosixPath(address.path).name)[-100:] or "file"
            path, size = download_path(name), 0
            with path.open("wb") as file:
                async for chunk in response.aiter_bytes():
                    size += len(chunk)
                    if size > MAX_FILE_BYTES:
                        raise refusal(f"A file may have at most {MAX_FILE_BYTES >> 20} MB, {name} has more.")
                    file.write(chunk)
            return str(path)
    raise ValueError(f"an address may be redirected {REDIRECTS} times")
