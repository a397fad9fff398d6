"""Everything about PyTorch as a runtime: device, layout, memory and seed."""

from __future__ import annotations

import torch
from torch import nn

from maam.backend import keep_memory
from maam.errors import MaamError

_device = torch.device("cpu")


def set_device(device: str, mode: str = "auto") -> str:
    """Choose a device for all that follows.

    On CUDA float32 means float32 (no TF32), and cuDNN chooses its fastest kernels, so that runs
    repeat closely, but not to the last bit as on a CPU.

    Args:
        device: ``CPU``, ``CUDA``, or ``auto``: CUDA where there is one.
        mode: for the training step alone, which reads it from the options.

    Returns:
        The device's name.

    Raises:
        MaamError: the device is not there.
    """
    global _device
    if device == "Ascend":
        raise MaamError("--device Ascend needs --framework mindspore")
    found = torch.cuda.is_available()
    if device == "CUDA" and not found:
        raise MaamError("--device CUDA: PyTorch finds no CUDA device here; use --device CPU")
    _device = torch.device("cuda" if found and device != "CPU" else "cpu")
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True  # shapes stay the same from step to step
    if _device.type == "cpu":
        keep_memory()
    return f"CUDA ({torch.cuda.get_device_name()})" if _device.type == "cuda" else "CPU"


def current_device() -> torch.device:
    """What ``set_device`` has chosen; the CPU at first."""
    return _device


def place(net: nn.Module) -> nn.Module:
    """Move a network to the device, in the channels-last layout, which both devices prefer."""
    return net.to(_device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def set_seed(seed: int) -> None:
    """Seed PyTorch's initialisers."""
    torch.manual_seed(seed)
