"""MindSpore as a runtime: device, mode, seed, and the processes that train together."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import mindspore as ms
from mindspore import Parameter, Tensor, communication, nn, ops

from maam.core.environment import keep_memory, limit_onednn
from maam.core.errors import MaamError
from maam.core.frameworks import Device
from maam.mindspore.ops.chain import Chain


def set_device(device: str, mode: str = "auto") -> Device:
    """Choose a device, and graph or eager mode, for all that follows.

    The mode counts even for a step compiled with ``ms.jit``: under MindSpore's default, eager,
    idle threads spin beside the compiled graph and a step takes 1.8 times as long on two cores
    (results/step_speed.json: plain, default mode against plain).

    Args:
        device: ``CPU``, ``Ascend``, or ``auto``, which is CPU.
        mode: ``graph``, ``eager``, or ``auto``, which is graph.

    Raises:
        MaamError: the device is not there.
    """
    limit_onednn(True)
    keep_memory()
    ms.set_context(mode=ms.PYNATIVE_MODE if mode == "eager" else ms.GRAPH_MODE)
    if device == "CUDA":
        raise MaamError("`device=CUDA` needs `framework=torch`: MindSpore's wheels have no CUDA")
    device = "CPU" if device == "auto" else device
    if ms.get_context("device_target") == device:
        return Device(device)  # once it has computed, it refuses even the device that it has
    try:
        ms.set_device(device)
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise MaamError(f"`device={device}` is not available here: {reason}") from None
    return Device(device)


def set_seed(seed: int) -> None:
    """Seed MindSpore's initialisers and NumPy's global generator, which MindSpore draws from."""
    ms.set_seed(seed)


def join_ranks(device: str, mode: str = "auto") -> None:
    """Meet the processes that ``msrun`` has started with this one; nothing where it has not.

    Args:
        device, mode: as for ``set_device``.

    Raises:
        MaamError: the device is not there.
    """
    if "MS_WORKER_NUM" in os.environ and not communication.GlobalComm.INITED:
        set_device(device, mode)
        communication.init()
        ms.set_auto_parallel_context(
            parallel_mode=ms.ParallelMode.DATA_PARALLEL,
            gradients_mean=True,
            device_num=world_size(),
        )


def leave_ranks() -> None:
    """Part from the processes that ``join_ranks`` has met."""
    if communication.GlobalComm.INITED:
        communication.release()


def rank() -> int:
    """The number of this process among those that train together; 0 alone."""
    return communication.get_rank() if communication.GlobalComm.INITED else 0


def world_size() -> int:
    """How many processes train together; 1 alone."""
    return communication.get_group_size() if communication.GlobalComm.INITED else 1


def sum_over_ranks(values: Sequence[float]) -> list[float]:
    """Each value, summed over all processes that train together."""
    if world_size() == 1:
        return list(values)
    summed = ops.AllReduce(ops.ReduceOp.SUM)(Tensor(list(values), ms.float32))
    return summed.asnumpy().tolist()


def take_from_first(parameters: Iterable[Parameter]) -> None:
    """Give each parameter the values that it has in process 0 of those that train together."""
    if world_size() > 1:
        broadcast = ops.Broadcast(0)
        for parameter in parameters:
            ops.assign(parameter, broadcast((parameter.value(),))[0])


def average_over_ranks(parameters: Iterable[Parameter]) -> None:
    """Give each parameter its mean over all processes that train together."""
    if world_size() > 1:
        reduce = ops.AllReduce(ops.ReduceOp.SUM)
        for parameter in parameters:
            ops.assign(parameter, reduce(parameter) / world_size())


@contextmanager
def inferring(net: nn.Cell) -> Iterator[None]:
    """Inference mode; afterwards each cell has the mode again that it had."""
    modes = [(cell, cell.training) for _, cell in net.cells_and_names()]
    net.set_train(False)
    try:
        yield
    finally:
        net.set_train(modes[0][1])
        for cell, training in modes:
            if cell.training != training:
                cell.add_flags(training=training)


def mixed(net: nn.Cell) -> nn.Cell:
    """A copy of a network that trains the network's own parameters in float16; the norms compute
    in float32. Our operators, which don't take float16, are off in it.

    MindSpore alters the network that it is given, for good: so it gets the copy.
    """
    twin = copy.deepcopy(net, {id(each): each for each in net.get_parameters()})
    for _, cell in twin.cells_and_names():
        if getattr(cell, "native", False):
            cell.native = False
    twin.set_train(True)
    return ms.amp.auto_mixed_precision(twin, "O2")


def native_operators(net: nn.Cell) -> bool:
    """Whether training this network uses operators of ours."""
    return any(_is_native(cell) for _, cell in net.cells_and_names())


def _is_native(cell: nn.Cell) -> bool:
    """Whether a cell, as it is now, has an operator of ours. A chain serves its network alone."""
    native = getattr(cell, "native", False) and not isinstance(cell, Chain)
    return native and (not hasattr(cell, "chains") or cell.chains())
