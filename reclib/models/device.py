"""Where tensors are computed: by argument, by ``$RECLIB_DEVICE``, or the best that is there."""

import os

import torch

from reclib.errors import ReclibError, unknown

DEVICES = ("cuda", "mps", "cpu")


def choose_device(device: str | None = None) -> str:
    """Choose by argument, else by ``$RECLIB_DEVICE``, else the best that is there."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    named = device or os.environ.get("RECLIB_DEVICE")
    if named is None:
        return next((name for name in DEVICES if there.get(name)), "cpu")
    if named not in DEVICES:
        raise unknown("device", named, DEVICES)
    if not there.get(named, True):
        raise ReclibError(f"device {named!r} is not on this machine; use 'cpu'")
    return named


def computes_bfloat16(device: str) -> bool:
    """Whether the hardware has bfloat16 units: emulated, it is slower than float32."""
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    features = torch.cpu.get_capabilities() if device == "cpu" else {}
    return bool(features.get("avx512_bf16") or features.get("amx_bf16"))
