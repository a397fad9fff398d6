import pytest
import torch
from torch import nn

from maam.core.config import TrainConfig
from maam.core.errors import MaamError
from maam.torch.graphs import recorded, records
from maam.torch.loop import set_training
from maam.torch.step import make_optimizer, make_train_step

CUDA = torch.device("cuda")
IMAGES = torch.rand(8, 3, 8, 8)


def small_net():
    torch.manual_seed(0)
    body = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)
    return nn.Sequential(*body)


@pytest.mark.parametrize(
    ("options", "device", "expected"),
    [
        ({"model": "maamnet-nano"}, CUDA, True),
        ({"model": "maamnet-nano", "mode": "eager"}, CUDA, False),
        ({"model": "mine"}, CUDA, False),
        ({"model": "mine", "mode": "graph"}, CUDA, True),
        ({"model": "maamnet-nano", "mode": "graph"}, torch.device("cpu"), False),
    ],
)
def test_what_is_recorded(options, device, expected):
    assert records(TrainConfig(**options), device) is expected


def test_recording_leaves_the_running_statistics_as_they_were(monkeypatch):
    def record(module, images):
        for _ in range(3):
            module(*images)
        return module

    monkeypatch.setattr(torch.cuda, "make_graphed_callables", record)
    net, same = small_net(), small_net()
    torch.testing.assert_close(recorded(net)(IMAGES), same(IMAGES), rtol=0, atol=0)
    for buffer, other in zip(net.buffers(), same.buffers(), strict=True):
        torch.testing.assert_close(buffer, other, rtol=0, atol=0)


def test_what_cannot_be_recorded_is_one_line(monkeypatch):
    def record(module, images):
        raise RuntimeError("operation not permitted\nwhen stream is capturing")

    monkeypatch.setattr(torch.cuda, "make_graphed_callables", record)
    with pytest.raises(MaamError, match=r"use `mode=eager` \(operation not permitted when stream"):
        recorded(small_net())(IMAGES)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("precision", ["fp32", "amp"])
def test_recorded_steps_are_the_eager_steps(precision):
    labels = torch.arange(8, device=CUDA) % 3
    losses = []
    for mode in ("eager", "graph"):
        config = TrainConfig(model="mine", mode=mode, optimizer="sgd", precision=precision)
        net = small_net().to(CUDA)
        set_training(net)
        step = make_train_step(net, make_optimizer(net, config), config)
        losses.append([step(IMAGES.to(CUDA), labels, 0.1)[0].item() for _ in range(5)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
