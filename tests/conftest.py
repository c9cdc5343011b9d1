"""What every test shares: a Hub of its own and no other network, few threads, and no progress bars in the output."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from typing import Any

import pytest

import hub_server
from hub_server import Hub

_PORT = hub_server.reserve()
_HOME = tempfile.TemporaryDirectory(prefix="hf-home-")

# Read by huggingface_hub when it is imported, and inherited by the processes that tests start.
os.environ |= {
    "HF_ENDPOINT": hub_server.endpoint(_PORT),
    "HF_TOKEN": "hf_local",
    "HF_HOME": _HOME.name,
    "HF_HUB_DISABLE_XET": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_UPDATE_DOWNLOAD_COUNTS": "0",
    "ORT_DISABLE_TELEMETRY": "1",  # onnxruntime writes a folder of its own into the home otherwise
    "TQDM_DISABLE": "1",
    # Two processes run tests at a time, on two cores.
    "OMP_NUM_THREADS": "1",
}
for _name in ("HF_HUB_OFFLINE", "HF_HUB_CACHE", "HF_MODULES_CACHE", "HF_DATASETS_CACHE", "HF_TOKEN_PATH"):
    os.environ.pop(_name, None)

import huggingface_hub  # noqa: E402  (after its environment)
from huggingface_hub import repocard  # noqa: E402
from huggingface_hub.utils import get_session  # noqa: E402


class _OurHub:
    """Where huggingface_hub 1 asks https://huggingface.co whatever HF_ENDPOINT says: to validate a card."""

    def post(self, url: str, **request: Any) -> Any:
        return get_session().post(url.replace("https://huggingface.co", hub_server.endpoint(_PORT)), **request)


if int(huggingface_hub.__version__.partition(".")[0]) < 2:
    repocard.get_session = _OurHub  # pyright: ignore[reportAttributeAccessIssue]


def pytest_configure(config: pytest.Config) -> None:
    # How huggingface_hub 2 itself uploads large files, and how diffusers 0.42 asks it for models.
    config.addinivalue_line("filterwarnings", "ignore:Use 'content=<...>' to upload raw bytes:DeprecationWarning")
    config.addinivalue_line("filterwarnings", "ignore:The `local_dir_use_symlinks` argument is deprecated:UserWarning")


@pytest.fixture(scope="session")
def hub_of_the_session() -> Iterator[Hub]:
    """The Hub at HF_ENDPOINT, for fixtures that push once; until it is asked for, connections are refused."""
    with hub_server.running(_PORT) as hub:
        yield hub


@pytest.fixture
def hub(hub_of_the_session: Hub) -> Iterator[Hub]:
    """The Hub at HF_ENDPOINT without the faults and the log of other tests; take a fresh `hub.repo_id(name)`."""
    hub_of_the_session.reset()
    yield hub_of_the_session
    hub_of_the_session.reset()
