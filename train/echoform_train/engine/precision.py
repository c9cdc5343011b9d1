"""Choice between float32 and bfloat16 on a device, from what its hardware computes."""

from __future__ import annotations

import os

import torch
from accelerate.utils import parse_flag_from_env

_ISA_WITHOUT_BF16 = frozenset({"SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI"})
"""Values of ONEDNN_MAX_CPU_ISA with which oneDNN, torch's library of convolutions, does not use bfloat16 instructions
of AVX-512 or AMX."""


def autocast_dtype(device: torch.device | str) -> torch.dtype | None:
    """The dtype to give to `torch.autocast` on a device, or None to stay in float32.

    It is bfloat16 where the hardware computes in it, see `cpu_computes_bf16` for CPUs. On devices other than CPU and
    CUDA it is None.
    """
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else None
    return torch.bfloat16 if kind == "cpu" and cpu_computes_bf16() else None


def accelerate_precision(setting: str) -> str:
    """Value of accelerate's `mixed_precision` for the flag --mixed-precision, whose "auto" chooses "bf16" or "no"."""
    if setting != "auto":
        return setting
    # Not accelerate's own device: reading it would initialise accelerate before its precision is set.
    on_cpu = parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.cuda.is_available()
    return "bf16" if autocast_dtype("cpu" if on_cpu else "cuda") == torch.bfloat16 else "no"


def cpu_computes_bf16() -> bool:
    """Whether this CPU has instructions for bfloat16 (AMX or AVX512_BF16) that torch and oneDNN may use.

    The variables ATEN_CPU_CAPABILITY and ONEDNN_MAX_CPU_ISA can forbid them. Nothing is timed, so that two processes,
    or a run and its resume, cannot choose differently. Without these instructions bfloat16 is emulated, and half as
    fast as float32.
    """
    if not torch.backends.cpu.get_cpu_capability().startswith("AVX512"):
        return False
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", os.environ.get("DNNL_MAX_CPU_ISA", "DEFAULT"))
    if limit.upper() in _ISA_WITHOUT_BF16:
        return False
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
