"""The forms that ``framework_speed.py`` compares, and how one of them is timed in this process.

A form is a framework, a way to run a model and the environment of its process. MindSpore and
PyTorch have the same models under the same names, so a form works for every model.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Mapping, Sequence
from ctypes.util import find_library
from importlib import metadata
from typing import Any, NamedTuple

import numpy as np

from maam.core.environment import environment

# With glibc's own values PyTorch returns every large array to the kernel, and spends a quarter of
# a training step on getting it back. Each framework gets its best, as `maam train` gives it.
KEEP_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(2**34),
    "MALLOC_TRIM_THRESHOLD_": str(2**34),
}
PLAIN = {**KEEP_MEMORY, "MAAM_NATIVE": "0"}  # without operators of ours
_TCMALLOC = find_library("tcmalloc_minimal")  # Debian's libtcmalloc-minimal4
TCMALLOC = {"LD_PRELOAD": _TCMALLOC} if _TCMALLOC else {}  # PyTorch is faster still with it
WHATS = ("training step", "inference")
MIN_STEPS, MAX_SECONDS = 6, 12.0
WARM_UP_SECONDS = 0.4

Step = Callable[[], Any]


class Form(NamedTuple):
    """One bar of every panel."""

    label: str
    framework: str
    naive: bool = False
    channels_last: bool = False
    compiled: bool = False
    bf16: bool = False
    environment: Mapping[str, str] = PLAIN


SHIPPED = "mindspore"
TORCH_EAGER = ("torch-nchw", "torch-nhwc", "torch-native")
TORCH_COMPILED = ("torch-compile-nchw", "torch-compile-nhwc")
FORMS = {
    SHIPPED: Form("MindSpore, as shipped", "mindspore", environment=KEEP_MEMORY),
    "mindspore-operators": Form("MindSpore, its own operators", "mindspore"),
    "mindspore-bf16": Form(
        "MindSpore bf16, as shipped", "mindspore", bf16=True, environment=KEEP_MEMORY
    ),
    "mindspore-naive": Form("MindSpore, naive", "mindspore", naive=True),
    "torch-nchw": Form("PyTorch eager fp32, NCHW", "torch"),
    "torch-nhwc": Form("PyTorch eager fp32, channels_last", "torch", channels_last=True),
    "torch-malloc": Form(
        "PyTorch eager fp32, NCHW, default malloc", "torch", environment={"MAAM_NATIVE": "0"}
    ),
    "torch-compile-nchw": Form("PyTorch torch.compile fp32, NCHW", "torch", compiled=True),
    "torch-compile-nhwc": Form(
        "PyTorch torch.compile fp32, channels_last", "torch", channels_last=True, compiled=True
    ),
    "torch-bf16": Form("PyTorch eager bf16, channels_last", "torch", channels_last=True, bf16=True),
    "torch-native": Form(
        "PyTorch eager fp32, channels_last, our operators",
        "torch",
        channels_last=True,
        environment=KEEP_MEMORY,
    ),
    "torch-native-bf16": Form(
        "PyTorch eager bf16, channels_last, our operators",
        "torch",
        channels_last=True,
        bf16=True,
        environment=KEEP_MEMORY,
    ),
    "torch-compile-bf16": Form(
        "PyTorch compiled bf16, channels_last",
        "torch",
        channels_last=True,
        compiled=True,
        bf16=True,
    ),
}


# What the claim is about: PyTorch in the layout that is faster for all of these networks. "maam" is
# measured with MindSpore's own operators too, as the paper has it.
CLAIM = (SHIPPED, "torch-nhwc", "torch-native", "torch-compile-nhwc")
CLAIM_OF = {"maam": (*CLAIM, "mindspore-operators")}


def forms_of(device: str, model: str = "") -> list[str]:
    """The forms to measure on ``cpu`` or ``cuda``: there PyTorch's without operators of ours."""
    if device == "cpu":
        return list(CLAIM_OF.get(model, CLAIM))
    return [
        name
        for name, form in FORMS.items()
        if form.framework == "torch" and form.environment is PLAIN
    ]


def measure(
    name: str,
    model: str,
    batch: int,
    device: str,
    seconds: float,
    whats: Sequence[str] = WHATS,
) -> dict[str, Any]:
    """Training step of one form, and inference if it is among ``whats``, one after the other.

    Inference comes first: the peak memory of the process is then its own.

    Returns:
        for each of ``whats`` what ``time_steps`` returns and ``peak_mib``, or ``error``; and
        ``environment``, the facts of this process.
    """
    form = FORMS[name]
    builders = {
        ("mindspore", "inference"): _mindspore_inference,
        ("mindspore", "training step"): _mindspore_training,
        ("torch", "inference"): _torch_inference,
        ("torch", "training step"): _torch_training,
    }
    result: dict[str, Any] = {}
    for what in reversed(whats):
        try:
            if device == "cuda":
                import torch

                torch.cuda.reset_peak_memory_stats()
            step = builders[form.framework, what](form, model, batch, device)
            result[what] = time_steps(step, seconds, device)
            result[what]["peak_mib"] = _peak_mib(device)
        except Exception as error:  # e.g. no compiler: the other measurements go on
            lines = str(error).strip().splitlines() or [""]
            result[what] = {"error": f"{type(error).__name__}: {lines[0][:300]}"}
    version = {form.framework: metadata.version(form.framework)}
    return {**result, "environment": {**environment(), **version}}


def training_step(name: str, model: str, batch: int) -> Step:
    """A step of a form on this CPU, by its name."""
    builders = {"mindspore": _mindspore_training, "torch": _torch_training}
    return builders[FORMS[name].framework](FORMS[name], model, batch, "cpu")


def time_steps(step: Step, seconds: float, device: str = "cpu") -> dict[str, Any]:
    """The time of a step, warmed up.

    Measures ``MIN_STEPS`` steps and ``seconds`` at least, but no more than ``MAX_SECONDS``. On
    CUDA ten steps are one measurement: waiting for each would cost what it takes to start them.

    Returns:
        ``ms``, the median; ``steps``, how many; ``first_s``, the first step, which compiles.
    """
    group = 10 if device == "cuda" else 1

    def run(count: int) -> float:
        start = time.perf_counter()
        for _ in range(count):
            step()
        if device == "cuda":
            import torch

            torch.cuda.synchronize()
        return (time.perf_counter() - start) / count

    first = run(1)
    start = time.perf_counter()
    run(group)
    while time.perf_counter() - start < min(WARM_UP_SECONDS, seconds):
        run(group)
    times: list[float] = []
    start = time.perf_counter()
    while (spent := time.perf_counter() - start) < MAX_SECONDS:
        if len(times) >= MIN_STEPS and spent >= seconds:
            break
        times.append(run(group))
    return {
        "ms": round(1000 * float(np.median(times)), 3),
        "steps": group * len(times),
        "first_s": round(first, 2),
    }


def _peak_mib(device: str) -> float:
    """Most memory that the process has held so far; on CUDA, that its tensors have."""
    if device == "cuda":
        import torch

        return round(torch.cuda.max_memory_allocated() / 2**20, 1)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def _arrays(batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Images (batch, 3, 32, 32) from 0 to 1, and labels (batch,)."""
    rng = np.random.default_rng(0)
    return rng.random((batch, 3, 32, 32), np.float32), rng.integers(0, 10, batch)


def _mindspore_net(form: Form, model: str) -> Any:
    """The model; naive ones run in MindSpore's default mode, and ``maam`` as Figure 1 draws it."""
    from maam.mindspore import runtime

    if form.naive and model == "maam":
        from classifier_forms import plain

        return plain()
    if not form.naive:
        runtime.set_device("CPU", "graph")
    from maam.mindspore.models import create_model

    return create_model(model)


def _mindspore_inference(form: Form, model: str, batch: int, device: str) -> Step:
    if form.bf16:
        raise ValueError(f"{form.label} is for training, not for inference")
    net = _mindspore_net(form, model)
    from mindspore import Tensor

    from maam.mindspore.step import Answers

    answers = net if form.naive else Answers(net)
    answers.set_train(False)
    images = Tensor(_arrays(batch)[0])
    return lambda: answers(images).asnumpy()


def _mindspore_training(form: Form, model: str, batch: int, device: str) -> Step:
    net = _mindspore_net(form, model)
    from mindspore import Tensor

    from maam.core.config import TrainConfig
    from maam.mindspore.step import halve, make_optimizer, make_train_step

    # A compiled step, in whatever mode the process is.
    config = TrainConfig(epochs=1, precision="amp" if form.bf16 else "fp32")
    step = make_train_step(net, make_optimizer(net, config), config)
    if form.bf16 and not halve(net, True):
        raise ValueError(f"{form.label} is for MAAMNet, not for {model}")
    net.set_train(True)
    images, labels = _arrays(batch)
    arguments = Tensor(images), Tensor(labels.astype(np.int32)), Tensor(1e-3), Tensor(0.0)
    return lambda: step(*arguments)[0].asnumpy()


def _torch_net(form: Form, model: str, batch: int, device: str) -> tuple[Any, Any, Any]:
    """The model, images and labels on the device, in the form's layout."""
    import torch

    from maam.torch.models import create_model
    from maam.torch.runtime import set_device

    if device == "cuda":  # on a CPU, how malloc keeps its memory is the form's choice
        set_device("CUDA")
    layout = torch.channels_last if form.channels_last else torch.contiguous_format
    images, labels = (torch.from_numpy(array).to(device) for array in _arrays(batch))
    net: Any = create_model(model)
    return net.to(device, memory_format=layout), images.contiguous(memory_format=layout), labels


def _torch_inference(form: Form, model: str, batch: int, device: str) -> Step:
    import torch

    net, images, _ = _torch_net(form, model, batch, device)
    net.eval()
    forward = torch.compile(net) if form.compiled else net

    def step() -> None:
        with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=form.bf16):
            forward(images)

    return step


def _torch_training(form: Form, model: str, batch: int, device: str) -> Step:
    net, images, labels = _torch_net(form, model, batch, device)
    from maam.core.config import TrainConfig
    from maam.torch.step import make_optimizer, make_train_step

    config = TrainConfig(
        epochs=1,
        framework="torch",
        precision="amp" if form.bf16 else "fp32",
        mode="graph" if form.compiled else "eager",
    )
    step = make_train_step(net, make_optimizer(net, config), config)
    net.train()
    return lambda: step(images, labels, 1e-3)
