"""The layers in other people's code: converted, differentiated, watched and rewritten.

Every layer is compared with ``Stock``, the same modules called one by one, by PyTorch's own
operators.
"""

from __future__ import annotations

import copy
import pickle
from unittest.mock import Mock

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad
from torch.func import functional_call, grad, hessian, jvp, vmap
from torch.nn import functional as F
from torch.nn.modules.module import register_module_forward_hook
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

import maam.torch
from maam.models.registry import list_models
from maam.models.variants import AGENTS
from maam.native import build
from maam.torch.layers import ConvNorm
from maam.torch.models.maamnet import AgentLayer, Block

READY, REASON = build.library("torch", "normalization")
needs_operator = pytest.mark.skipif(not READY, reason=REASON)
# PyTorch's own, when forward-mode differentiation is first used.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:FutureWarning")

NORM, DEPTHWISE = "_NormBackward", "_DepthwiseBackward"

# What builds a layer of 6 channels, and which gradients of ours it has in training.
LAYERS = {
    "conv-norm": (lambda: ConvNorm(6, 8), {NORM}),
    "relu6": (lambda: ConvNorm(6, 8, activation="relu6"), {NORM}),
    "linear": (lambda: ConvNorm(6, 8, 1, activation=None), {NORM}),
    "depthwise": (lambda: ConvNorm(6, 6, 3, 2, groups=6), {NORM, DEPTHWISE}),
    "agent-layer": (lambda: AgentLayer(6, AGENTS, 2), {NORM, DEPTHWISE}),
    "block": (lambda: Block(6, 6, AGENTS), {NORM, DEPTHWISE}),
    "maam": (lambda: maam.torch.MAAM(6, 8, (3, 3, 5)), {NORM}),
}


class Stock(nn.Module):
    """A layer's modules, called one by one."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return stock(self.layer, x)


def stock(layer, x):
    if isinstance(layer, ConvNorm):
        conv = layer.conv
        maps = F.conv2d(x, conv.weight, None, conv.stride, conv.padding, 1, conv.groups)
        return layer.activation(layer.norm(maps))
    if isinstance(layer, AgentLayer):
        linear = layer.agents
        kernel, padding = linear.kernel(), linear.side // 2
        maps = F.conv2d(x, kernel, None, linear.stride, padding, 1, linear.channels)
        return layer.activation(layer.norm(maps))
    if isinstance(layer, Block):
        return x + stock(layer.reduce, stock(layer.layer, x))
    maps = torch.cat([agent.layers(x) for agent in layer.agents], 1)
    agents = maps.unflatten(1, (layer.spec.agents, -1))
    return stock(layer.reduce, (agents * layer.fusion.weights()[:, None, None, None]).sum(1))


@pytest.fixture(params=LAYERS)
def layer(request):
    """A layer in training, with odd weights."""
    torch.manual_seed(1)
    layer = LAYERS[request.param][0]()
    for parameter in layer.parameters():
        if parameter.ndim == 1:
            nn.init.normal_(parameter, 0.5)
    return layer.to(memory_format=torch.channels_last).train()


@pytest.fixture
def x():
    torch.manual_seed(2)
    return torch.randn(3, 6, 8, 8).to(memory_format=torch.channels_last)


def nodes(y):
    """The names of all steps of the backward pass."""
    found, waiting = set(), [y.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in found:
            found.add(node)
            waiting += [before for before, _ in node.next_functions]
    return {type(node).__name__ for node in found}


def ours(y):
    return nodes(y) & {NORM, DEPTHWISE}


def call(layer, x, parameters=None):
    """The layer as a function of its parameters; its statistics stay."""
    buffers = {name: buffer.clone() for name, buffer in layer.named_buffers()}
    return functional_call(layer, ({**(parameters or {}), **buffers}), (x,))


def live(layer):
    return {name: parameter.detach() for name, parameter in layer.named_parameters()}


def loss(layer, x, parameters=None):
    """A number that treats every output differently."""
    y = call(layer, x, parameters)
    return (y.sin() * torch.linspace(-1, 2, y.numel(), dtype=y.dtype).view_as(y)).sum()


def double(layer):
    """``Stock`` of a copy in float64."""
    return Stock(copy.deepcopy(layer)).double()


def assert_near(found, expected, tolerance=1e-4):
    """Each of the tensors within ``tolerance`` of the largest value of its counterpart."""
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        assert other.abs().max() > 0
        assert (one - other).abs().max() <= tolerance * max(1, other.abs().max())


@needs_operator
@pytest.mark.parametrize("name", LAYERS)
def test_training_has_our_gradients_and_inference_pytorchs(name, x):
    make, expected = LAYERS[name]
    layer = make().train()
    assert ours(layer(x)) == expected
    assert ours(layer.eval()(x)) == set()
    assert ours(Stock(layer.train())(x)) == set()


def test_plain_gradients_are_those_of_stock_modules(layer, x):
    reference, far = double(layer), x.double().requires_grad_()
    loss(reference, far).backward()
    x.requires_grad_()
    loss(layer, x).backward()
    found = [x.grad, *(p.grad for p in layer.parameters())]
    assert_near(found, [far.grad, *(p.grad for p in reference.parameters())])


def test_torch_func_grad_gives_the_plain_gradients(layer, x):
    to_parameters, to_x = grad(lambda p, x: loss(layer, x, p), (0, 1))(live(layer), x)
    x.requires_grad_()
    loss(layer, x).backward()
    expected = {name: p.grad for name, p in layer.named_parameters()}
    assert to_parameters.keys() == expected.keys()
    assert_near([to_x, *to_parameters.values()], [x.grad, *expected.values()])


@pytest.mark.parametrize("learned", ["all", "input", "parameters"])
def test_gradients_have_gradients(layer, x, learned):
    """As a gradient penalty has them, in float64 with stock modules for comparison."""
    found = []
    for net, images in ((layer, x), (double(layer), x.double())):
        net.requires_grad_(learned != "input")
        images = images.clone().requires_grad_(learned != "parameters")
        inputs = [t for t in (images, *net.parameters()) if t.requires_grad]
        firsts = torch.autograd.grad(loss(net, images), inputs, create_graph=True)
        penalty = torch.stack([first.pow(2).sum() for first in firsts]).sum()
        found.append([*firsts, *torch.autograd.grad(penalty, inputs)])
    assert_near(*found, tolerance=1e-3)


def test_forward_mode_gives_the_slope(layer, x):
    """By ``torch.func`` and by dual numbers, against differences in float64."""
    parameters, slope = live(layer), torch.randn_like(x)
    slopes = {name: torch.randn_like(parameter) for name, parameter in parameters.items()}
    inputs, directions = (x, parameters), (slope, slopes)
    y, along, *_ = jvp(lambda x, parameters: call(layer, x, parameters), inputs, directions)
    assert_near([y], [call(layer, x)])

    with forward_ad.dual_level():
        duals = {name: forward_ad.make_dual(p, slopes[name]) for name, p in parameters.items()}
        dual = call(layer, forward_ad.make_dual(x, slope), duals)
        tangent = forward_ad.unpack_dual(dual).tangent
    assert tangent is not None
    assert_near([tangent], [along])

    reference, step, ends = double(layer), 1e-6, []
    for way in (step, -step):
        moved = {f"layer.{n}": p.double() + way * slopes[n].double() for n, p in parameters.items()}
        ends.append(call(reference, x.double() + way * slope.double(), moved))
    assert_near([along], [(ends[0] - ends[1]) / (2 * step)], tolerance=1e-3)


def test_forward_over_reverse_gives_second_derivatives(layer, x):
    """The Hessian of the loss in one parameter: ``torch.func`` composes both ways."""
    name, parameter = next((n, p) for n, p in live(layer).items() if p.ndim == 1)
    found = hessian(lambda p: loss(layer, x, {name: p}))(parameter)
    reference = double(layer)
    far = {f"layer.{name}": parameter.double()}

    def first(p):
        return torch.autograd.functional.jacobian(
            lambda p: loss(reference, x.double(), {f"layer.{name}": p}), p, create_graph=True
        )

    expected = torch.autograd.functional.jacobian(first, far[f"layer.{name}"])
    assert_near([found], [expected], tolerance=1e-3)


def test_vmap_maps_images_and_gradients_of_single_images(layer, x):
    layer.eval()
    alone = vmap(lambda image: call(layer, image[None])[0])(x)
    assert_near([alone], [layer(x)])
    each = vmap(grad(lambda p, image: loss(layer, image[None], p)), (None, 0))(live(layer), x)
    for number, image in enumerate(x):
        layer.zero_grad()
        loss(layer, image[None]).backward()
        expected = [parameter.grad for parameter in layer.parameters()]
        assert_near([gradients[number] for gradients in each.values()], expected)


def watched(layer):
    """The norms and activations, in the order of the layer."""
    kinds = (nn.BatchNorm2d, nn.ReLU, nn.ReLU6)
    return [module for module in layer.modules() if isinstance(module, kinds)]


def test_forward_hooks_see_and_change_norms_and_activations(layer, x):
    plain = layer(x)
    for count in range(len(watched(layer))):
        nets = copy.deepcopy(layer), Stock(copy.deepcopy(layer))
        modules = [watched(net)[count] for net in nets]
        before, after = Mock(return_value=None), Mock(side_effect=lambda module, inputs, y: 1 - y)
        for module in modules:
            module.register_forward_pre_hook(before)
            module.register_forward_hook(after)
        found, expected = (net(x) for net in nets)
        for hook in (before, after):
            assert [call.args[0] for call in hook.call_args_list] == modules
        assert_near([found], [expected])
        assert not torch.allclose(found, plain)


def test_backward_hooks_see_norms_and_activations(layer, x):
    seen = []
    for module in watched(layer):
        module.register_full_backward_hook(lambda module, to_x, to_y: seen.append(module))
    layer(x.requires_grad_()).sum().backward()
    assert set(seen) == set(watched(layer))


def test_hooks_on_all_modules_see_norms_and_activations(layer, x):
    seen = set()
    handle = register_module_forward_hook(lambda module, inputs, y: seen.add(module))
    try:
        layer(x)
    finally:
        handle.remove()
    assert set(watched(layer)) <= seen


def test_a_forward_that_somebody_has_replaced_is_called(layer, x):
    for count in range(len(watched(layer))):
        nets = copy.deepcopy(layer), Stock(copy.deepcopy(layer))
        for net in nets:
            watched(net)[count].forward = lambda input: input.abs() + 1
        found, expected = (net(x) for net in nets)
        assert_near([found], [expected])


def test_checkpointing_gives_the_same_gradients(layer, x):
    other = copy.deepcopy(layer)
    layer(x).sin().sum().backward()
    checkpoint(other, x, use_reentrant=False).sin().sum().backward()
    for one, two in zip(layer.parameters(), other.parameters(), strict=True):
        assert torch.equal(one.grad, two.grad)


def test_a_pickled_layer_is_the_layer(layer, x):
    again = pickle.loads(pickle.dumps(layer))
    assert torch.equal(again(x), layer(x))


@pytest.mark.filterwarnings("ignore")  # of PyTorch about itself
def test_torch_compile_takes_the_whole_layer(layer, x):
    compiled = torch.compile(copy.deepcopy(layer), backend="eager", fullgraph=True)
    assert_near([compiled(x)], [layer(x)])


@pytest.mark.filterwarnings("ignore")
def test_a_trace_of_training_can_be_saved(layer, x, tmp_path):
    expected = copy.deepcopy(layer)(x)
    torch.jit.save(torch.jit.trace(layer, x, check_trace=False), tmp_path / "layer.pt")
    assert_near([torch.jit.load(tmp_path / "layer.pt")(x)], [expected])


@pytest.mark.parametrize("layer", [name for name in LAYERS if name != "maam"], indirect=True)
def test_torch_fx_rewrites_a_layer_in_training(layer, x):
    traced = torch.fx.symbolic_trace(copy.deepcopy(layer))
    called = {node.target for node in traced.graph.nodes if node.op == "call_module"}
    names = {name for name, module in layer.named_modules() if module in watched(layer)}
    assert names <= called
    assert_near([traced(x)], [layer(x)])


def test_tensors_without_numbers_are_left_to_pytorch(layer):
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode(allow_non_fake_inputs=True):
        x = torch.empty(3, 6, 8, 8).to(memory_format=torch.channels_last)
        y = layer(x)
        assert ours(y) == set()  # which would read memory that is not there
        y.sum().backward()
    assert y.shape[0] == 3


def test_operations_are_counted_backward_too(layer, x):
    counts = []
    for net in (layer, Stock(layer)):
        with FlopCounterMode(display=False) as counter:
            net(x.clone().requires_grad_()).sum().backward()
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] > 0


@pytest.mark.parametrize("name", list_models())
def test_norms_are_pytorchs_own_and_nothing_else(name):
    norms = [
        module
        for module in maam.torch.create_model(name).modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
    ]
    assert all(type(norm) is nn.BatchNorm2d for norm in norms)
    assert norms or name in ("cnn", "mlp", "rnn")


def test_a_network_converted_for_many_processes_keeps_its_activations():
    net, _ = maam.torch.load_model("maamnet-tiny")
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(net)).eval()
    kinds = [[type(module) for module in each.modules()] for each in (net, converted)]
    assert kinds[0].count(nn.ReLU) == kinds[1].count(nn.ReLU) == 14
    assert kinds[1] == [nn.SyncBatchNorm if k is nn.BatchNorm2d else k for k in kinds[0]]
    assert nn.SyncBatchNorm in kinds[1]
    torch.manual_seed(0)
    images = torch.randn(4, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(converted(images), net(images))
