"""Every model: its size, its shapes, one real training step, and its export."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from both_frameworks import COMPARED
from hypothesis import given, settings
from hypothesis import strategies as st
from mindspore import Tensor, ops

from maam import MaamError, create_model, list_models
from maam.core.config import TrainConfig
from maam.mindspore.cost import count_macs, count_parameters
from maam.mindspore.onnx import export_onnx
from maam.mindspore.step import make_optimizer, make_train_step
from maam.models.registry import describe_model

# At 3x32x32 and 10 classes. The paper claims 2.3 M for `maam`; its equation 8 alone has 8.4 M.
PARAMETERS = {
    "maam": 8_635_597,
    "maam-p1": 8_419_213,
    "maam-p3": 8_522_221,
    "maam-k135": 8_702_669,
    "maam-k357": 9_105_101,
    "maam-multires": 8_635_597,
    "maam-a1": 8_483_914,
    "maam-a2": 8_559_756,
    "maam-a4": 8_711_438,
    "maam-a6": 8_863_120,
    "maam-concat": 8_668_362,
    "maam-squeeze": 8_644_909,
    "maam-no-attention": 8_635_594,
    "maam-no-reduce": 8_618_957,
    "maam-cnn": 8_467_274,
    "maam-2.3m": 2_342_029,
    "maam-deep": 2_394_925,
    "cnn": 545_098,
    "mlp": 1_707_274,
    "rnn": 117_002,
    "maamnet-nano": 93_582,
    "maamnet-tiny": 254_798,
    "maamnet-small": 847_098,
    "maamnet-base": 1_613_922,
    "resnet8": 77_946,
    "resnet20": 272_474,
    "mobilenetv2-x0.5": 700_490,
    "mobilenetv2": 2_236_682,
    "shufflenetv2-x0.5": 352_042,
    "separable-resnet": 442_320,
}
# `maam` stands for the other numbers of agents, which share every line with it.
TRAINED = [name for name in COMPARED if name not in ("maam-a2", "maam-a4", "maam-a6")]


@pytest.fixture(autouse=True)
def _seeded():
    ms.set_seed(0)


def test_the_table_of_models_is_complete():
    assert list_models() == list(PARAMETERS)
    assert list_models("maam-k*") == ["maam-k135", "maam-k357"]
    assert list_models("nothing*") == []
    assert all(describe_model(name) for name in list_models())


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameter_counts(name):
    assert count_parameters(create_model(name)) == PARAMETERS[name]


def test_macs_of_the_papers_model_by_hand():
    convolutions = 9 * 3 * 192 * 32 * 32 + 3 * 9 * 64 * 128 * 16 * 16
    fusion = 3 * 128 * 16 * 16
    compression = 128 * 128 * 16 * 16
    dense = 32768 * 256 + 256 * 10
    net = create_model("maam").set_train(True)
    assert count_macs(net, (3, 32, 32)) == convolutions + fusion + compression + dense
    assert net.training  # counting leaves the network as it was


def test_macs_of_the_other_fusions_by_hand():
    macs = {
        name: count_macs(create_model(name), (3, 32, 32))
        for name in ("maam", "maam-squeeze", "maam-concat")
    }
    assert macs["maam-squeeze"] - macs["maam"] == 384 * 24 + 24 * 3
    weighted_sum, wider = 3 * 128 * 16 * 16, (384 - 128) * 128 * 16 * 16
    assert macs["maam-concat"] - macs["maam"] == wider - weighted_sum


QUICK = ("maam", "maamnet-nano", "cnn", "mlp")  # one of each kind


@pytest.mark.parametrize(
    "name",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in TRAINED],
)
def test_a_training_step_learns_and_the_export_computes_the_same(name, tmp_path, rng):
    """Odd, not square, grey, seven classes: nothing may be tied to CIFAR-10."""
    net = create_model(name, num_classes=7, in_channels=1, image_size=(9, 12))
    images = Tensor(rng.random((6, 1, 9, 12), np.float32))
    labels = Tensor(np.arange(6, dtype=np.int32))
    config = TrainConfig(epochs=1, optimizer="sgd", learning_rate=0.02)
    before = {p.name: np.array(p.asnumpy()) for p in net.trainable_params()}
    step = make_train_step(net, make_optimizer(net, config), config)
    net.set_train(True)
    rate, decay = Tensor(0.02, ms.float32), Tensor(0.0, ms.float32)
    losses = [float(step(images, labels, rate, decay)[0].asnumpy()) for _ in range(8)]
    assert losses[0] == pytest.approx(np.log(7), rel=0.4)  # an untrained network guesses
    assert losses[-1] < losses[0]
    unmoved = [
        p.name for p in net.trainable_params() if np.array_equal(p.asnumpy(), before[p.name])
    ]
    assert not unmoved

    net.set_train(False)
    path = tmp_path / "model.onnx"
    assert export_onnx(net, (1, 9, 12), path) < 1e-4
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    batch = rng.random((5, 1, 9, 12), np.float32)
    (found,) = session.run(["logits"], {"image": batch})
    np.testing.assert_allclose(
        np.asarray(found), net(Tensor(batch)).asnumpy(), rtol=1e-3, atol=1e-4
    )


def test_a_network_is_exported_twice(tmp_path):
    net = create_model("maamnet-nano", 3, 1, (16, 16)).set_train(False)
    for name in ("first", "second"):
        assert export_onnx(net, (1, 16, 16), tmp_path / name) < 1e-4
    assert (tmp_path / "first").stat().st_size == (tmp_path / "second").stat().st_size


def test_an_export_that_differs_is_refused_and_leaves_nothing(tmp_path):
    net, other = (create_model("mlp", 3, 1, (4, 4)).set_train(False) for _ in range(2))
    with pytest.raises(MaamError, match="differs from the network"):
        export_onnx(net, (1, 4, 4), tmp_path / "model.onnx", other)
    assert not list(tmp_path.iterdir())


@settings(max_examples=8, deadline=None)
@given(
    height=st.integers(4, 20),
    width=st.integers(4, 20),
    channels=st.sampled_from([1, 3]),
    classes=st.integers(2, 12),
    name=st.sampled_from(["maam-p1", "maam-multires", "cnn", "mlp"]),
)
def test_any_image_size_and_number_of_classes(height, width, channels, classes, name):
    net = create_model(name, classes, channels, (height, width)).set_train(False)
    assert net(ops.ones((2, channels, height, width))).shape == (2, classes)


def test_too_small_images_are_refused():
    with pytest.raises(MaamError, match="too small"):
        create_model("maam", image_size=(1, 32))
    with pytest.raises(MaamError, match="too small"):
        create_model("cnn", image_size=(32, 3))


@pytest.mark.parametrize(("name", "near"), [("mam", "maam"), ("maam-k136", "maam-k135")])
def test_an_unknown_name_suggests_the_nearest(name, near):
    with pytest.raises(MaamError, match=f"did you mean {near}"):
        create_model(name)


def test_a_name_like_no_other_points_to_the_list():
    with pytest.raises(MaamError, match="maam models"):
        create_model("zzzzzz")
