"""Each reconstruction loss in value and gradient against an independent formula, its schedule, and its weights."""

import math
import subprocess
import sys
import urllib.error
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from small import clip
from torch import nn
from torchvision.models import optical_flow, vgg
from torchvision.models.feature_extraction import create_feature_extractor

from cosmotok.errors import CheckpointError, ConfigError, CosmotokError, InputError
from cosmotok.perceptual.vgg import LPIPS, VGG, unit
from cosmotok.training.losses import PUBLISHED, LossOptions, ReconstructionLoss, charbonnier, weight_at
from cosmotok.training.losses.features import gram_loss, gram_matrix, perceptual_loss
from cosmotok.training.losses.flow import FlowLoss

LAYER_WEIGHTS = [1 / 2.6, 1 / 4.8, 1 / 3.7, 1 / 5.6, 10 / 1.5]
VGG_NODES = {"vgg16": [3, 8, 15, 22, 29], "vgg19": [3, 8, 17, 26, 35]}  # the last ReLU of each block, in torchvision


def pair(frames=2, size=16, batch=2, dtype=torch.float64):
    """A reconstruction that takes gradients, and its source."""
    source = clip(frames, size, size, batch, seed=1).to(dtype)
    reconstruction = (0.7 * source + 0.3 * clip(frames, size, size, batch, seed=2).to(dtype)).requires_grad_()
    return reconstruction, source


def gradient(loss, at):
    return torch.autograd.grad(loss, at, retain_graph=True)[0]


def slope(function, at, step=1e-6):
    """A random direction, and the function's central difference along it."""
    direction = torch.randn(at.shape, generator=torch.Generator().manual_seed(3), dtype=at.dtype)
    with torch.no_grad():
        return direction, float(function(at + step * direction) - function(at - step * direction)) / (2 * step)


# Pixels ---------------------------------------------------------------------------------------------------------


@given(
    seed=st.integers(0, 99),
    weights=st.lists(st.floats(0.01, 10), min_size=3, max_size=3),
    shape=st.tuples(*[st.integers(1, 3)] * 4),
)
def test_pixel_losses_equal_their_formulas_and_derivatives(seed, weights, shape):
    batch, *rest = shape
    y, x = np.random.default_rng(seed).uniform(-1, 1, (2, batch, 3, *rest))
    options = LossOptions(l1=weights[0], l2=weights[1], charbonnier=weights[2], charbonnier_epsilon=0.1)
    reconstruction = torch.tensor(y, requires_grad=True)
    losses = ReconstructionLoss(options)(reconstruction, torch.tensor(x), step=0)
    d, root = y - x, np.sqrt((y - x) ** 2 + 0.01)
    expected = {
        "l1": (np.abs(d).mean(), np.sign(d)),
        "l2": ((d**2).mean(), 2 * d),
        "charbonnier": (root.mean() - 0.1, d / root),
    }
    assert losses.keys() == expected.keys()
    for (name, (value, slopes)), weight in zip(expected.items(), weights, strict=True):
        assert losses[name].item() == pytest.approx(weight * value, rel=1e-12)
        np.testing.assert_allclose(gradient(losses[name], reconstruction), weight * slopes / d.size, atol=1e-14)


def test_half_precision_is_averaged_in_float32():
    reconstruction, source = (x.detach().bfloat16() for x in pair(5, 32, dtype=torch.float32))
    losses = ReconstructionLoss(LossOptions(l1=1.0, l2=1.0))(reconstruction, source, 0)
    assert {loss.dtype for loss in losses.values()} == {torch.float32}
    assert losses["l1"] == (reconstruction.float() - source.float()).abs().mean()


# VGG ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["vgg16", "vgg19"])
def torchvision_vgg(request, tmp_path_factory):
    """A network's name, torchvision's own module for it, and its weights in a file."""
    torch.manual_seed(0)
    layers = vgg.make_layers(vgg.cfgs["D" if request.param == "vgg16" else "E"])
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.normal_(layer.bias, std=0.1)
    path = tmp_path_factory.mktemp("weights") / f"{request.param}.pth"
    state = {f"features.{key}": value for key, value in layers.state_dict().items()}
    torch.save(state | {"classifier.0.bias": torch.zeros(1)}, path)
    return request.param, layers.double().eval().requires_grad_(False), path


@pytest.fixture(scope="module")
def theirs(torchvision_vgg):
    """The network's name, its weights file, and the features that torchvision has for videos in [-1, 1]."""
    name, layers, path = torchvision_vgg
    extractor = create_feature_extractor(layers, {str(node): str(node) for node in VGG_NODES[name]})

    def features(video):
        frames = torch.cat([video[:, :, t] for t in range(video.shape[2])])
        mean, deviation = (
            torch.tensor(v).double().view(3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
        )
        return list(extractor((frames * 0.5 + 0.5 - mean) / deviation).values())

    return name, str(path), features


def test_perceptual_loss_equals_that_of_torchvision_features(theirs):
    name, path, features = theirs
    reconstruction, source = pair()
    options = LossOptions(l1=0.0, perceptual=0.1, perceptual_network=name, perceptual_weights_path=path)
    criterion = ReconstructionLoss(options).double()
    loss = criterion(reconstruction, source, 0)["perceptual"]
    layers = zip(features(reconstruction), features(source), LAYER_WEIGHTS, strict=True)
    expected = 0.1 * sum(weight * F.l1_loss(r, s) for r, s, weight in layers)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)  # the weights of normalisation are float32
    wanted = gradient(expected, reconstruction)
    torch.testing.assert_close(gradient(loss, reconstruction), wanted, rtol=1e-4, atol=1e-5 * wanted.abs().max().item())
    assert not any(p.requires_grad or p.grad is not None for p in criterion.parameters())


def test_gram_loss_equals_the_formula_over_each_clip(theirs):
    name, path, features = theirs
    reconstruction, source = pair(frames=2, batch=2)
    options = LossOptions(l1=0.0, gram=0.062, perceptual_network=name, perceptual_weights_path=path)
    loss = ReconstructionLoss(options).double()(reconstruction, source, 0)["gram"]
    expected = 0
    for b in range(2):
        layers = zip(features(reconstruction[b : b + 1]), features(source[b : b + 1]), LAYER_WEIGHTS, strict=True)
        for r, s, weight in layers:  # (T, C, H, W)
            positions = r.numel() / r.shape[1]
            difference = torch.einsum("tihw,tjhw->ij", r, r) - torch.einsum("tihw,tjhw->ij", s, s)
            expected += weight * (difference / positions).square().mean() / 2 * 0.062
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    wanted = gradient(expected, reconstruction)
    torch.testing.assert_close(gradient(loss, reconstruction), wanted, rtol=1e-4, atol=1e-5 * wanted.abs().max().item())


@pytest.fixture(scope="module")
def vgg16():
    return VGG("vgg16", "random", "perceptual_weights_path").double()


def test_vgg_losses_have_the_slopes_of_finite_differences(vgg16):
    reconstruction, source = pair(frames=1, batch=1)
    wanted = vgg16(source[:, :, 0])
    for loss in (
        lambda y: perceptual_loss(vgg16(y[:, :, 0]), wanted, LAYER_WEIGHTS),
        lambda y: gram_loss(vgg16(y[:, :, 0]), wanted, LAYER_WEIGHTS, clips=1),
    ):
        direction, expected = slope(loss, reconstruction)
        got = (gradient(loss(reconstruction), reconstruction) * direction).sum().item()
        assert got == pytest.approx(expected, rel=1e-4)


@given(clips=st.integers(1, 3), frames=st.integers(1, 3), seed=st.integers(0, 9))
def test_gram_matrix_is_a_mean_of_outer_products(clips, frames, seed):
    features = torch.tensor(np.random.default_rng(seed).normal(size=(clips * frames, 4, 2, 3)))
    vectors = features.numpy().reshape(clips, frames, 4, 6).transpose(0, 1, 3, 2).reshape(clips, -1, 4)
    expected = [np.mean([np.outer(v, v) for v in clip_vectors], axis=0) for clip_vectors in vectors]
    np.testing.assert_allclose(gram_matrix(features, clips), expected, atol=1e-12)


def test_recomputed_activations_change_neither_loss_nor_gradient():
    reconstruction, source = pair(frames=2, batch=1, dtype=torch.float32)
    options = LossOptions(perceptual=1.0, gram=1.0, perceptual_network="vgg16", perceptual_weights_path="random")
    results = []
    for checkpoint in (False, True):
        total = sum(ReconstructionLoss(replace(options, checkpoint=checkpoint))(reconstruction, source, 0).values())
        results.append((total, gradient(total, reconstruction)))
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=0)


def test_crops_too_small_for_vgg_are_refused(vgg16):
    with pytest.raises(InputError, match=r"8x12.*16x16 or more"):
        vgg16(torch.zeros(1, 3, 12, 8))


# LPIPS ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def both_lpips(tmp_path_factory):
    """The package's LPIPS on a random VGG-16, and ours with the same weights from a file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it names torchvision's weights in an old way
        import lpips

        torch.manual_seed(0)
        package = lpips.LPIPS(net="vgg", pnet_rand=True, verbose=False)
    trunk = {key.split(".", 1)[1]: value for key, value in package.net.state_dict().items()}
    path = tmp_path_factory.mktemp("lpips") / "vgg16.pth"
    torch.save({f"features.{key}": value for key, value in trunk.items()}, path)
    return package.double(), LPIPS(str(path)).double(), path


def test_lpips_equals_the_package_in_value_and_gradient(both_lpips):
    package, ours, path = both_lpips
    reconstruction, source = pair(frames=2, size=24)
    loss = ours(reconstruction.transpose(1, 2).flatten(0, 1), source.transpose(1, 2).flatten(0, 1))
    expected = torch.stack([package(reconstruction[:, :, t], source[:, :, t]) for t in range(2)]).mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    wanted = gradient(expected, reconstruction)
    torch.testing.assert_close(gradient(loss, reconstruction), wanted, rtol=1e-4, atol=1e-5 * wanted.abs().max().item())
    options = LossOptions(l1=0.0, lpips=0.5, lpips_weights_path=str(path))
    weighted = ReconstructionLoss(options).double()(reconstruction, source, 0)
    assert weighted["lpips"].item() == pytest.approx(loss.item() / 2, rel=1e-12)


def test_lpips_of_black_features_has_a_finite_gradient():
    features = torch.zeros(1, 4, 2, 2, requires_grad=True)
    unit(features.relu()).sum().backward()
    assert features.grad.abs().max() == 0


# Flow -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def raft(tmp_path_factory):
    """torchvision's small RAFT with random weights, and those in a file."""
    torch.manual_seed(0)
    network = optical_flow.raft_small(weights=None).eval().requires_grad_(False)
    path = tmp_path_factory.mktemp("flow") / "raft_small.pth"
    torch.save(network.state_dict(), path)
    return network, str(path)


def flow_by_hand(raft, reconstruction, source, size, updates):
    """Pair by pair: the definition, for resizes to `size` = (h, w)."""
    height, width = source.shape[-2:]
    differences = []
    for y, x in zip(reconstruction, source, strict=True):
        for t in range(x.shape[1] - 1):
            for a, b in ((t, t + 1), (t + 1, t)):
                flows = []
                for video in (y, x):
                    first, second = (F.interpolate(video[None, :, i], size, mode="bilinear") for i in (a, b))
                    flow = raft(first, second, num_flow_updates=updates)[-1]
                    flows.append(torch.stack((flow[:, 0] * (width / size[1]), flow[:, 1] * (height / size[0]))))
                differences.append((flows[0] - flows[1]).abs().mean())
    return torch.stack(differences).mean()


@pytest.mark.parametrize(("height", "width", "scale", "size"), [(32, 48, 0.5, (128, 128)), (64, 72, 2.0, (128, 144))])
def test_flow_loss_equals_the_definition(raft, height, width, scale, size):
    network, path = raft
    source = clip(3, height, width)
    reconstruction = (0.8 * source + 0.2 * clip(3, height, width, seed=5)).requires_grad_()
    loss = FlowLoss("raft_small", path, scale, updates=2)(reconstruction, source)
    expected = flow_by_hand(network, reconstruction, source, size, updates=2)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)
    got, wanted = gradient(loss, reconstruction), gradient(expected, reconstruction)
    assert (got - wanted).norm() < 1e-3 * wanted.norm()
    assert wanted.abs().max() > 0


def test_flow_counts_clips_equally_and_images_have_none(raft):
    options = LossOptions(
        l1=1.0, flow=0.5, flow_network="raft_small", flow_weights_path=raft[1], flow_updates=1, checkpoint=True
    )
    criterion = ReconstructionLoss(options)
    reconstruction, source = pair(frames=2, size=16, batch=2, dtype=torch.float32)
    whole = criterion(reconstruction, source, 0)["flow"]
    halves = [criterion(reconstruction[i : i + 1], source[i : i + 1], 0)["flow"] for i in range(2)]
    assert whole.item() == pytest.approx(sum(halves).item() / 2, rel=1e-4)
    torch.testing.assert_close(
        gradient(whole, reconstruction), gradient(sum(halves) / 2, reconstruction), rtol=1e-2, atol=1e-7
    )
    assert criterion(reconstruction[:, :, :1], source[:, :, :1], 0).keys() == {"l1"}


def test_equal_videos_have_equal_flow(raft):
    source = clip(2)
    assert FlowLoss("raft_small", raft[1], updates=1)(source.clone(), source) == 0


# Schedules and options ------------------------------------------------------------------------------------------


@given(
    schedule=st.dictionaries(st.integers(0, 50), st.floats(0, 10), min_size=1, max_size=5),
    step=st.integers(0, 60),
)
def test_a_schedule_holds_each_weight_from_its_step_on(schedule, step):
    expected = 0.0
    for at in range(step + 1):
        expected = schedule.get(at, expected)
    assert weight_at(schedule, step) == expected
    checked = LossOptions(perceptual=schedule).perceptual
    assert weight_at(checked, step) == expected


@given(weight=st.floats(0, 1e6), step=st.integers(0, 10**9))
def test_a_number_holds_always(weight, step):
    assert weight_at(weight, step) == weight


def test_only_active_terms_are_computed_and_only_networks_ever_needed_are_built():
    options = LossOptions(l1={0: 1, 10: 0}, l2={5: 2.0}, perceptual={0: 0.0})
    criterion = ReconstructionLoss(options)
    assert not list(criterion.parameters())
    reconstruction, source = pair()
    assert [set(criterion(reconstruction, source, step)) for step in (0, 4, 5, 9, 10)] == [
        {"l1"},
        {"l1"},
        {"l1", "l2"},
        {"l1", "l2"},
        {"l2"},
    ]


def test_keys_of_a_schedule_may_be_text():
    assert LossOptions(gram={"500000": 0.062}).gram == {500000: 0.062}


def test_published_weights():
    """Those of the released configuration, at the steps where they change."""
    at = {
        step: [weight_at(getattr(PUBLISHED, name), step) for name in ("l1", "perceptual", "gram", "flow")]
        for step in (0, 249_999, 250_000, 499_999, 500_000)
    }
    assert at == {
        0: [1, 0.1, 0, 0],
        249_999: [1, 0.1, 0, 0],
        250_000: [1, 0.1, 0, 0.01],
        499_999: [1, 0.1, 0, 0.01],
        500_000: [1, 0.073, 0.062, 0.01],
    }
    assert PUBLISHED.perceptual_layer_weights == pytest.approx(LAYER_WEIGHTS)
    assert not PUBLISHED.is_adversarial


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"l1": -1.0}, "l1=-1.0: expected a weight of 0 or more"),
        ({"l1": math.nan}, "l1=nan"),
        ({"l1": True}, "l1=True"),
        ({"gram": "strong"}, "gram='strong'"),
        ({"gram": {}}, "gram={}"),
        ({"flow": {-1: 0.1}}, "flow={-1: 0.1}"),
        ({"flow": {"soon": 0.1}}, "flow={'soon': 0.1}"),
        ({"perceptual_network": "vgg11"}, "perceptual_network='vgg11': expected vgg19 or vgg16"),
        ({"perceptual_layer_weights": [1.0]}, "five numbers"),
        ({"flow_network": "pwc"}, "raft_large or raft_small"),
        ({"flow_scale": 0}, "flow_scale=0"),
        ({"flow_scale": "half"}, "flow_scale='half'"),
        ({"charbonnier_epsilon": 0.0}, "charbonnier_epsilon=0.0"),
        ({"adversarial_loss": "wgan"}, "hinge or non-saturating"),
        ({"discriminators": ["4d"]}, r"discriminators=\['4d'\]: expected 2d, 3d or both"),
        ({"discriminators": ["2d", "2d"]}, "expected 2d, 3d or both"),
        ({"adversarial": 0.1, "discriminators": []}, "without discriminators"),
        ({"lecam_decay": 1.5}, "lecam_decay=1.5"),
    ],
)
def test_options_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message.replace("{", r"\{").replace("}", r"\}")):
        LossOptions(**changes)


def test_options_need_no_torch():
    code = "import sys; from cosmotok.training.losses import LossOptions; LossOptions(); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


@pytest.mark.parametrize("shapes", [[(1, 3, 2, 16, 16), (1, 3, 1, 16, 16)], [(1, 1, 1, 16, 16)] * 2, [(3, 16, 16)] * 2])
def test_tensors_of_other_shapes_are_refused(shapes):
    reconstruction, source = map(torch.zeros, shapes)
    with pytest.raises(InputError, match=r"expected \(B, 3, T, H, W\)"):
        ReconstructionLoss(LossOptions())(reconstruction, source, 0)


# Batches, modes and weights -------------------------------------------------------------------------------------


def test_the_mean_over_parts_of_a_batch_is_the_loss_of_the_batch(both_lpips):
    path = str(both_lpips[2])
    options = LossOptions(
        charbonnier=1.0,
        l2=1.0,
        perceptual=1.0,
        gram=1.0,
        lpips=1.0,
        perceptual_network="vgg16",
        perceptual_weights_path=path,
        lpips_weights_path=path,
    )
    criterion = ReconstructionLoss(options).double()
    reconstruction, source = pair(frames=2, batch=4)
    whole = criterion(reconstruction, source, 0)
    parts = [criterion(reconstruction[i : i + 2], source[i : i + 2], 0) for i in (0, 2)]
    for name, value in whole.items():
        assert value.item() == pytest.approx((parts[0][name] + parts[1][name]).item() / 2, rel=1e-10)


def test_frozen_networks_stay_in_evaluation_mode_and_take_no_gradients(raft):
    options = LossOptions(
        perceptual=1.0,
        flow=1.0,
        perceptual_network="vgg16",
        perceptual_weights_path="random",
        flow_network="raft_small",
        flow_weights_path=raft[1],
    )
    criterion = ReconstructionLoss(options).train()
    assert not any(p.requires_grad for p in criterion.parameters())
    assert not any(module.training for part in (criterion.vgg, criterion.flow) for module in part.modules())


def test_random_weights_are_equal_every_time_and_leave_the_random_state_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = VGG("vgg16", "random", "perceptual_weights_path").state_dict()
    assert torch.equal(torch.rand(3), expected)
    second = VGG("vgg16", "random", "perceptual_weights_path").state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"perceptual": 0.1}, "perceptual_weights_path"),
        ({"gram": {1000: 0.1}}, "perceptual_weights_path"),
        ({"lpips": 1.0}, "lpips_weights_path"),
        ({"flow": 0.01, "flow_network": "raft_small"}, "flow_weights_path"),
    ],
)
def test_without_network_the_error_names_file_and_option(changes, name, monkeypatch, tmp_path):
    def no_network(*_, **__):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(torch.hub, "urlopen", no_network)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(CosmotokError) as caught:
        ReconstructionLoss(LossOptions(**changes))
    message = str(caught.value)
    assert "\n" not in message
    assert f"pass {name}=FILE" in message
    assert "https://download.pytorch.org/models/" in message
    assert str(tmp_path) in message


def test_weights_files_that_do_not_fit_are_refused(raft, tmp_path):
    damaged, pickled = tmp_path / "damaged.pth", tmp_path / "list.pth"
    damaged.write_bytes(b"not weights")
    torch.save([1, 2], pickled)
    for path, message in [
        (tmp_path / "none.pth", "no such file"),
        (tmp_path, "not a PyTorch weights file"),
        (damaged, "not a PyTorch weights file"),
        (pickled, "expected a state dict"),
        (raft[1], "expected torchvision's weights of vgg16"),
    ]:
        with pytest.raises(CheckpointError, match=message) as caught:
            VGG("vgg16", str(path), "perceptual_weights_path")
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_charbonnier_is_where_it_was():
    assert charbonnier(torch.ones(2), torch.zeros(2), 0.05).item() == pytest.approx(math.hypot(1, 0.05) - 0.05)
