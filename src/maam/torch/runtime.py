"""Everything about PyTorch as a runtime: device, layout, memory and seed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, distributed, nn

from maam.core.environment import keep_memory
from maam.core.errors import MaamError
from maam.core.frameworks import Device
from maam.native import build

_device = torch.device("cpu")


def set_device(device: str, mode: str = "auto") -> Device:
    """Choose a device for all that follows.

    On CUDA float32 means float32 (no TF32), and cuDNN chooses its fastest kernels, so that runs
    repeat closely, but not to the last bit as on a CPU.

    Args:
        device: ``CPU``, ``CUDA``, or ``auto``: CUDA where there is one.
        mode: for the training step alone, which reads it from the options.

    Raises:
        MaamError: the device is not there.
    """
    global _device
    if device == "Ascend":
        raise MaamError("`device=Ascend` needs `framework=mindspore`")
    available = torch.cuda.is_available()
    if device == "CUDA" and not available:
        raise MaamError("`device=CUDA`: PyTorch finds no CUDA device here; use `device=CPU`")
    _device = torch.device("cuda" if available and device != "CPU" else "cpu")
    if _device.type == "cuda" and "LOCAL_RANK" in os.environ:  # of torchrun
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True  # few shapes come in a training
    if _device.type == "cpu":
        keep_memory()
    return Device("CUDA", torch.cuda.get_device_name()) if _device.type == "cuda" else Device("CPU")


def current_device() -> torch.device:
    """What ``set_device`` has chosen; the CPU at first."""
    return _device


def place(net: nn.Module) -> nn.Module:
    """Move a network to the device, in the channels-last layout, which both devices prefer."""
    return channels_last(net.to(_device))


def channels_last(net: nn.Module) -> nn.Module:
    """A network with its kernels of two dimensions in the channels-last layout."""
    for tensor in (*net.parameters(), *net.buffers()):
        if tensor.ndim == 4:
            tensor.data = tensor.data.contiguous(memory_format=torch.channels_last)
    return net


@contextmanager
def inferring(net: nn.Module) -> Iterator[None]:
    """Inference mode; afterwards each module has the mode again that it had."""
    modes = [(module, module.training) for module in net.modules()]
    net.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def set_seed(seed: int) -> None:
    """Seed PyTorch's initialisers."""
    torch.manual_seed(seed)


def join_ranks(device: str, mode: str = "auto") -> None:
    """Meet the processes that ``torchrun`` has started with this one; nothing where it has not.

    They speak over gloo, and on CUDA over NCCL.

    Args:
        device, mode: as for ``set_device``.

    Raises:
        MaamError: the device is not there, or not for so many processes.
    """
    if not all(name in os.environ for name in ("WORLD_SIZE", "RANK", "MASTER_ADDR")) or _together():
        return
    local = int(os.environ.get("LOCAL_RANK", 0))
    cards = torch.cuda.device_count()
    if device != "CPU" and 0 < cards <= local:
        raise MaamError(f"there are {cards} CUDA devices for {local + 1} workers: start {cards}")
    on_cuda = set_device(device, mode).kind == "CUDA"
    distributed.init_process_group("cpu:gloo,cuda:nccl" if on_cuda else "gloo")


def leave_ranks() -> None:
    """Part from the processes that ``join_ranks`` has met."""
    if _together():
        distributed.destroy_process_group()


def rank() -> int:
    """The number of this process among those that train together; 0 alone."""
    return distributed.get_rank() if _together() else 0


def world_size() -> int:
    """How many processes train together; 1 alone."""
    return distributed.get_world_size() if _together() else 1


def sum_over_ranks(values: Sequence[float]) -> list[float]:
    """Each value, summed over all processes that train together."""
    if world_size() == 1:
        return list(values)
    summed = torch.tensor(list(values), dtype=torch.float64)  # on the CPU: no wait for the device
    distributed.all_reduce(summed)
    return summed.tolist()


def take_from_first(tensors: Iterable[Tensor]) -> None:
    """Give each tensor the values that it has in process 0 of those that train together."""
    if world_size() > 1:
        for tensor in tensors:
            distributed.broadcast(tensor.detach(), 0)


def average_over_ranks(tensors: Iterable[Tensor]) -> None:
    """Give each tensor of floats its mean over all processes that train together."""
    if world_size() > 1:
        for tensor in tensors:
            if tensor.is_floating_point():
                distributed.all_reduce(tensor)
                tensor /= world_size()


def _together() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def native_operators(net: nn.Module) -> bool:
    """Whether training this network has used operators of ours: on a CPU, once they were built."""
    ours = any(getattr(module, "native", False) for module in net.modules())
    return ours and next(net.parameters()).device.type == "cpu" and build.loaded("torch")
