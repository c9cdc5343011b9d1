"""Choice between float32 and bfloat16 on a device; on a CPU both are timed once."""

from __future__ import annotations

import time
from functools import lru_cache

import torch
from accelerate.utils import parse_flag_from_env
from torch import Tensor
from torch.nn import functional as F

# bfloat16 has to be clearly faster: two processes, or a run and its resume, must not choose differently by chance.
_CLEAR_GAIN = 1.25
_REPEATS = 9


def autocast_dtype(device: torch.device | str) -> torch.dtype | None:
    """The dtype to give to `torch.autocast` on a device, or None to stay in float32.

    On a CPU this is bfloat16 if a convolution runs at least 1.25 times faster in it, forward and backward; this is
    measured once per process and takes about 0.1 s. On a CUDA device it is bfloat16 if the hardware supports it. On
    other devices it is None.
    """
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else None
    return torch.bfloat16 if kind == "cpu" and cpu_bf16_gain() >= _CLEAR_GAIN else None


def accelerate_precision(setting: str) -> str:
    """Value of accelerate's `mixed_precision` for the flag --mixed-precision, whose "auto" chooses "bf16" or "no"."""
    if setting != "auto":
        return setting
    # Not accelerate's own device: reading it would initialise accelerate before its precision is set.
    on_cpu = parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.cuda.is_available()
    return "bf16" if autocast_dtype("cpu" if on_cpu else "cuda") == torch.bfloat16 else "no"


@lru_cache(maxsize=1)
def cpu_bf16_gain() -> float:
    """Speed of a convolution, forward and backward, under bfloat16 autocast on one core, divided by that in float32."""
    # Its own generator: the choice of a precision must not change the random numbers of the training.
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(16, 64, 16, 16, generator=generator).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(64, 64, 3, 3, generator=generator).contiguous(memory_format=torch.channels_last)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # on a busy machine, several threads would mostly measure how long they wait
    try:
        pairs = [(_pass_s(image, weight, bf16=False), _pass_s(image, weight, bf16=True)) for _ in range(_REPEATS)]
    finally:
        torch.set_num_threads(threads)
    # The fastest repeat shows the hardware; slower ones also show what else the machine was doing.
    float32_s, bf16_s = (min(seconds) for seconds in zip(*pairs, strict=True))
    return float32_s / bf16_s


@torch.enable_grad()
def _pass_s(image: Tensor, weight: Tensor, *, bf16: bool) -> float:
    image, weight = image.clone().requires_grad_(), weight.clone().requires_grad_()
    start = time.thread_time()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        F.conv2d(image, weight, padding=1).relu().sum().backward()
    return time.thread_time() - start
