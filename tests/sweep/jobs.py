"""The commands that the sweep kills, at tiny settings. Importing this imports all that they need."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from echoform_train.commands import augment, generate, simulate
from echoform_train.engine.config import RunConfig
from echoform_train.study.config import GeneratorConfig, StudyConfig
from echoform_train.trainers import conv_ae, depth_ae, distill, kl_vae, ldm, vq_vae
from sweep.same import differences
from tiny import tiny_depth_ae, tiny_kl_vae, tiny_ldm, tiny_run, tiny_vq_vae, write_depth_images
from tiny_conv import tiny_conv_ae, write_pictures

STUDY = StudyConfig(
    only_walks=False,
    seeds=2,
    classifier_train_images=64,
    judge_seeds=(0, 1),
    judge_train_images=320,
    keep_share=0.5,
    max_duplicate=1.0,
)


def make_inputs(root: Path) -> None:
    """Data, and finished first and second stages for the commands that need them."""
    data = root / "walkers"
    simulate.main(
        simulate.Config(output_dir=data, users=3, recordings_per_user=4, recording_s=6.0, resolution=32, workers=1)
    )
    write_depth_images(root / "shapes")
    write_pictures(root / "pictures")
    vq_vae.main(tiny_vq_vae(data, root / "first"))
    ldm.main(tiny_ldm(data, root / "first", root / "second"))


def training(out: Path, **settings: Any) -> RunConfig:
    """A run with many checkpoints, which goes on from the newest."""
    often: dict[str, Any] = {"checkpointing_every": 16, "checkpoints_total_limit": 2, "max_train_images": 288}
    return tiny_run(out, **(often | {"resume_from_checkpoint": "latest"} | settings))


def _generate(root: Path, out: Path) -> None:
    settings = generate.Config(pipeline=str(root / "second" / "pipeline"), output_dir=out)
    generate.main(replace(settings, num_images=40, num_inference_steps=4, batch_size=4))


def _distill(root: Path, out: Path) -> None:
    config = replace(distill.PRESETS["cpu"], pipeline=str(root / "second" / "pipeline"), teacher_steps=8, steps=2)
    distill.main(replace(config, run=training(out, max_train_images=96, validation_every=24)))


def _augment(root: Path, out: Path) -> None:
    augment.main(
        augment.Config(
            data=str(root / "walkers"),
            output_dir=out,
            pipeline=str(root / "second" / "pipeline"),
            split_file=root / "first" / "split.json",
            per_user=4,
            workers=1,
            study=STUDY,
            generator=GeneratorConfig(num_inference_steps=2),
        )
    )


JOBS: dict[str, Callable[[Path, Path], Any]] = {
    "vq-vae": lambda root, out: vq_vae.main(tiny_vq_vae(root / "walkers", out, run=training(out))),
    "kl-vae": lambda root, out: kl_vae.main(tiny_kl_vae(root / "walkers", out, run=training(out))),
    "ldm": lambda root, out: ldm.main(tiny_ldm(root / "walkers", root / "first", out, run=training(out))),
    "depth-ae": lambda root, out: depth_ae.main(tiny_depth_ae(root / "shapes", out, run=training(out))),
    "conv-ae": lambda root, out: conv_ae.main(tiny_conv_ae(root / "pictures", out, run=training(out))),
    "distill": _distill,
    "generate": _generate,
    "augment": _augment,
}

SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from sweep.jobs import training
from tiny import tiny_vq_vae
from echoform_train.trainers import vq_vae
root, out, resume = Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]
run = training(out, train_batch_size=4, max_train_images=1600, validation_every=160, logging_every=80)
run = run.__class__(**{**vars(run), "resume_from_checkpoint": resume if resume == "latest" else None})
vq_vae.main(tiny_vq_vae(root / "walkers", out, run=run))
"""


def _launch(root: Path, out: Path, *options: str, resume: str) -> subprocess.Popen[bytes]:
    script = root / "two_processes.py"
    script.write_text(SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", *options]
    arguments = [str(script), str(Path(__file__).parents[1]), str(root), str(out), resume]
    # Into a file: nobody reads a pipe while torchrun reports its restarts, and a full pipe would stop it.
    with _errors(out).open("a") as errors:
        return subprocess.Popen(
            [*command, *arguments],
            # A store of its own per restart: in a shared one, gloo finds the addresses of dead processes and waits.
            env=os.environ | {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"},
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,
        )


def _errors(out: Path) -> Path:
    """What a launch says on stderr."""
    return out.with_name(f"{out.name}-errors.txt")


def _workers(launcher: int) -> list[int]:
    children = subprocess.run(["ps", "-o", "pid=,args=", "--ppid", str(launcher)], capture_output=True, text=True)
    return [int(line.split()[0]) for line in children.stdout.splitlines() if "two_processes.py" in line]


def _kills(launcher: subprocess.Popen[bytes], out: Path, rng: random.Random, count: int) -> Iterator[int]:
    """Kill one of two processes at random moments while they train; yields after each kill."""
    for _ in range(count):
        before = _newest(out)
        # The processes need seconds to begin; a checkpoint shows that they train.
        while launcher.poll() is None and (_newest(out) <= before or len(_workers(launcher.pid)) < 2):
            time.sleep(0.02)
        time.sleep(rng.uniform(0, 0.5))
        workers = _workers(launcher.pid)
        if launcher.poll() is not None or len(workers) < 2:
            return
        os.kill(rng.choice(workers), signal.SIGKILL)
        yield 1


def _newest(out: Path) -> int:
    return max((int(path.name[7:]) for path in (out / "checkpoints").glob("images-*")), default=0)


def _whole(root: Path, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    launcher = _launch(root, folder / "whole", resume="none")
    if launcher.wait() != 0:
        raise RuntimeError(_errors(folder / "whole").read_text()[-2000:])
    return folder / "whole"


def two_processes(root: Path, folder: Path, kills: int, rng: random.Random) -> tuple[int, list[str]]:
    """One of two processes is killed, the launcher gives up, and the next launch goes on."""
    whole, ends, done = _whole(root, folder), 0, 0
    while done < kills:
        launcher = _launch(root, folder / "killed", resume="latest")
        done += sum(_kills(launcher, folder / "killed", rng, 1))
        status = launcher.wait()
        if status == 0:
            ends += 1
            if wrong := differences(whole, folder / "killed"):
                return ends, wrong
            shutil.rmtree(folder / "killed")
    if _launch(root, folder / "killed", resume="latest").wait() != 0:
        return ends, ["the last launch failed"]
    return ends + 1, differences(whole, folder / "killed")


def max_restarts(root: Path, folder: Path, kills: int, rng: random.Random) -> tuple[int, list[str]]:
    """One of two processes is killed, and torchrun starts both again, without any flag to resume."""
    whole, ends, done = _whole(root, folder), 0, 0
    while done < kills:
        shutil.rmtree(folder / "killed", ignore_errors=True)
        # A restart of torchrun may fail and need another one: its processes sometimes try the address of a dead one.
        launcher = _launch(root, folder / "killed", f"--max-restarts={3 * kills}", resume="none")
        done += sum(_kills(launcher, folder / "killed", rng, kills - done))
        if launcher.wait() != 0:
            return ends, [_errors(folder / "killed").read_text()[-2000:]]
        ends += 1
        if wrong := differences(whole, folder / "killed"):
            return ends, wrong
    return ends, []


LAUNCHES = {"two processes": two_processes, "torchrun --max-restarts": max_restarts}
