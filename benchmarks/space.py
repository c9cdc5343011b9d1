"""Cost of the Space over HTTP: its start, one image, twenty visitors at once, and memory.

    python benchmarks/space.py [--output JSON] [--visitors 20] [--starts 3] [--images 5] [--threads 2] ...

Both pipelines have full size and random weights: a spectrogram pipeline with a preset of the training scripts,
256x256 by default, and the default depth autoencoder. The app runs in its own process. Its start lasts until the
first page, with its examples, is answered; the first start, which may have to read files from disk, is listed
separately. The JSON file has processor seconds beside wall-clock seconds, because other processes lengthen only the
latter.
"""

from __future__ import annotations

import os
import re
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import tyro
from gradio_client import Client
from record import print_tables, write_results
from tables import RESULTS, Table, cell
from untrained import noise_data, untrained_pipeline

from echoform import DepthAutoencoder, DepthAutoencoderPipeline
from echoform_train.commands.space import space_files

ANSWER_S = 600


@dataclass(frozen=True, kw_only=True)
class Config:
    """What to measure."""

    output: Path = RESULTS / "space.json"
    """JSON file to write."""
    preset: str = "256"
    """Preset of the training scripts: the size of the spectrogram models."""
    resolution: int = 256
    """Side of the spectrograms, in pixels."""
    starts: int = 3
    """Number of starts of the app."""
    images: int = 5
    """Timings of one image, after one that warms up."""
    visitors: int = 20
    """Requests for one image each, sent together."""
    steps: int = 8
    """Sampling steps."""
    threads: int = 2
    """Threads of torch in the app."""


@dataclass(frozen=True)
class App:
    """The running app."""

    process: subprocess.Popen[bytes]
    url: str

    def cpu_s(self) -> float:
        """Processor seconds used so far, of all threads."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def mib(self, name: str) -> float:
        """Memory of the process in MiB: VmRSS is what it uses now, VmHWM its peak."""
        lines = dict(line.split(":", 1) for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines())
        return int(lines[name].split()[0]) / 1024


def main(config: Config) -> None:
    torch.set_num_threads(config.threads)
    with TemporaryDirectory(prefix="echoform-space-") as folder:
        environment = export(config, Path(folder))
        starts = [time_start(environment) for _ in range(config.starts)]
        with running(environment) as app:
            facts = measure(app, config)
    first, *others = starts
    start = {"first": first, "others": others, "median_wall_s": statistics.median(one["wall_s"] for one in starts)}
    tables = {"space": table(starts, facts)}
    write_results(config, {"start": start, **facts}, tables)
    print_tables(tables)


def table(starts: list[dict[str, float]], facts: dict[str, Any]) -> Table:
    """Seconds by the clock, and memory."""
    visitors, again = facts["visitors"]
    memory = [facts["memory_mib"][name] for name in facts["memory_mib"] if not name.startswith("peak")]
    walls = [one["wall_s"] for one in starts]
    rows = [
        ["start until the first page with its examples", cell(", ".join(["{:.1f}"] * len(walls)) + " s", *walls)],
        *([f"one image, {name}", cell("{:.2f} s", one["wall_s"])] for name, one in facts["image"].items()),
        [
            f"{visitors['asked']} visitors at once",
            cell(
                "{} answered, the last after {:.1f} s; {} more, {:.1f} s",
                *(visitors["answered"], visitors["last_answer_s"], again["answered"], again["last_answer_s"]),
            ),
        ],
        [
            f"resident memory after start, one visitor, {visitors['asked']}, {2 * visitors['asked']}",
            cell(", ".join(["{:,.0f}"] * len(memory)) + " MiB", *memory),
        ],
    ]
    return {"columns": ["", ""], "rows": rows}


def export(config: Config, folder: Path) -> dict[str, str]:
    """Write both pipelines, and return the environment that tells the app where they are."""
    torch.manual_seed(0)
    doppler = untrained_pipeline(config.preset, noise_data(config.resolution, users=31, train_images=1))
    doppler.save_pretrained(folder / "doppler")
    depth = DepthAutoencoderPipeline(DepthAutoencoder().eval(), depth_range_mm={"min": 300.0, "max": 5000.0})
    depth.save_pretrained(folder / "depth")
    return {
        **os.environ,
        "ECHOFORM_DOPPLER_REPO": str(folder / "doppler"),
        "ECHOFORM_DEPTH_REPO": str(folder / "depth"),
        "OMP_NUM_THREADS": str(config.threads),
        "GRADIO_ANALYTICS_ENABLED": "False",
        "GRADIO_TEMP_DIR": str(folder / "gradio"),
    }


@contextmanager
def running(environment: dict[str, str]) -> Iterator[App]:
    """Start the app, and yield it once it has answered its first request.

    Raises:
        RuntimeError: If the app ends before that.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (script,) = (path for path in space_files() if path.name == "app.py")
    process = subprocess.Popen(
        [sys.executable, str(script)],
        env=environment | {"GRADIO_SERVER_PORT": str(port)},
        stdout=subprocess.DEVNULL,
    )
    app = App(process, f"http://127.0.0.1:{port}")
    try:
        while not answers(app.url):
            if process.poll() is not None:
                raise RuntimeError(f"the app ended with status {process.returncode} before it answered")
            time.sleep(0.05)
        yield app
    finally:
        process.terminate()
        process.wait()


def answers(url: str) -> bool:
    """Whether the app answers with its first page."""
    try:
        return urllib.request.urlopen(url, timeout=ANSWER_S).status == 200
    except ConnectionError:
        return False
    except urllib.error.URLError as error:
        if isinstance(error.reason, ConnectionError):
            return False
        raise


def time_start(environment: dict[str, str]) -> dict[str, float]:
    """Start the app, wait for its first page, stop it, and return what the start took."""
    begin = time.perf_counter()
    with running(environment) as app:
        return {"wall_s": time.perf_counter() - begin, "cpu_s": app.cpu_s(), "rss_mib": app.mib("VmRSS")}


def measure(app: App, config: Config) -> dict[str, Any]:
    """Time one image with and without guidance, then visitors together, with the memory before and after."""
    client = Client(app.url, verbose=False, analytics_enabled=False)
    memory = {"before": app.mib("VmRSS")}
    images = {f"guidance {guidance:g}": time_images(app, client, config, guidance) for guidance in (1.0, 1.5)}
    memory["after one visitor"] = app.mib("VmRSS")
    visitors = crowd(app, client, config)
    memory |= {f"after {config.visitors} visitors": app.mib("VmRSS"), "peak": app.mib("VmHWM")}
    again = crowd(app, client, config)
    memory |= {f"after {2 * config.visitors} visitors": app.mib("VmRSS"), "peak in the end": app.mib("VmHWM")}
    return {"steps": config.steps, "image": images, "visitors": [visitors, again], "memory_mib": memory}


def arguments(config: Config, guidance: float, seed: int) -> list[Any]:
    """Arguments of the endpoint /generate for one image."""
    return [["ID_1"], 1, [], config.steps, guidance, seed]


def time_images(app: App, client: Client, config: Config, guidance: float) -> dict[str, Any]:
    """Medians of the seconds from a request to its image."""
    client.predict(*arguments(config, guidance, 0), api_name="/generate")
    wall_s, cpu_s = [], []
    for seed in range(config.images):
        begin, before = time.perf_counter(), app.cpu_s()
        client.predict(*arguments(config, guidance, seed), api_name="/generate")
        wall_s.append(time.perf_counter() - begin)
        cpu_s.append(app.cpu_s() - before)
    return {"wall_s": statistics.median(wall_s), "cpu_s": statistics.median(cpu_s), "wall_s_each": wall_s}


def crowd(app: App, client: Client, config: Config) -> dict[str, Any]:
    """Send one request per visitor at the same moment; count those that get an image and those told to come again."""
    begin, before = time.perf_counter(), app.cpu_s()
    # The client sends each request from a thread of its own.
    jobs = [client.submit(*arguments(config, 1.5, seed), api_name="/generate") for seed in range(config.visitors)]
    answered = told = 0
    last_s = []
    for job in jobs:
        try:
            shown, *_ = job.result(timeout=ANSWER_S)
        except Exception as error:  # the client has no exception type for a full queue
            if not re.search("queue", str(error), re.IGNORECASE):
                raise
            told += 1
        else:
            answered += len(shown) == 1
            last_s.append(time.perf_counter() - begin)
    return {
        "asked": config.visitors,
        "answered": answered,
        "told_to_wait": told,
        "last_answer_s": max(last_s),
        "cpu_s": app.cpu_s() - before,
    }


if __name__ == "__main__":
    main(tyro.cli(Config))
