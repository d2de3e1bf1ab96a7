"""The processor that a figure was measured on."""

from __future__ import annotations

import platform
from pathlib import Path

# What decides how fast products of integers and of half precision are, and how it is called.
_FEATURES = {
    "amx_int8": "AMX",
    "avx512_vnni": "AVX-512 VNNI",
    "avx_vnni": "AVX VNNI",
    "avx2": "AVX2",
}


def name_processor() -> str:
    """Return the model, its best instructions for integer products, and the number of cores.

    Source: /proc/cpuinfo on Linux; elsewhere what Python's platform module knows.
    """
    from ecomintent_batch.inference.engines import count_cores

    cores = f"{count_cores()} cores"
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return f"{platform.processor() or platform.machine()}, {cores}"
    lines = (line.partition(":") for line in text.splitlines())
    fields = {name.strip(): value.strip() for name, _, value in lines}
    flags = fields.get("flags", "").split()
    best = next(
        (name for flag, name in _FEATURES.items() if flag in flags), "no vector instructions"
    )
    family = f"family {fields['cpu family']}" if "cpu family" in fields else platform.machine()
    return f"{fields.get('model name', platform.machine())} ({family}, {best}), {cores}"
