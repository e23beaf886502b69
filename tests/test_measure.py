"""Measuring files: protocols, and the networks of LPIPS, rFID and rFVD against other code with the same weights."""

import hashlib
import math
import pickle
import threading
import urllib.error
import warnings
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from cosmotok.contestants import Source
from cosmotok.errors import CheckpointError, InputError
from cosmotok.evaluation import measure
from cosmotok.evaluation.measure import FileMeasure, JudgeOptions, Judges, load_judges
from cosmotok.evaluation.protocols import DEFAULT, PROTOCOLS, find_protocol
from cosmotok.evaluation.results import FIGURES
from cosmotok.metrics.quality import RunningQuality, RunningTemporal
from cosmotok.metrics.sharpness import RunningSharpness
from cosmotok.perceptual import i3d, inception
from cosmotok.perceptual.i3d import I3D
from cosmotok.perceptual.inception import Inception

PLAIN = Judges(frozenset({"psnr", "ssim", "temporal", "sharpness"}), torch.device("cpu"))


def source_of(frames, kind="video"):
    return Source(kind, len(frames), frames.shape[1], frames.shape[2])


def measured(protocol, clip, judges=PLAIN, kind="video"):
    outcome = FileMeasure(protocol, judges, source_of(clip[0], kind))
    for pair in zip(*clip, strict=True):
        outcome.update(*pair)
    return outcome


def noise(frames, height=16, width=20, seed=0):
    """Original and reconstruction, uint8 (2, T, H, W, 3); the error varies from frame to frame."""
    rng = np.random.default_rng(seed)
    original = rng.integers(0, 256, (frames, height, width, 3))
    error = rng.normal(0, 1, original.shape) * rng.uniform(2, 60, (frames, 1, 1, 1))
    return np.stack((original, (original + error).clip(0, 255))).astype(np.uint8)


def direct(original, result):
    error = original.astype(np.float64) - result
    return 20 * math.log10(255 / math.sqrt((error**2).mean()))


# Protocols ------------------------------------------------------------------------------------------------------


def test_protocols_have_names_and_say_what_they_do():
    assert list(PROTOCOLS) == ["tokenbench", "per-frame", "without-first", "pooled", "wrapped"]
    for name, protocol in PROTOCOLS.items():
        assert protocol.name == name
        assert find_protocol(name) is protocol
        assert pickle.loads(pickle.dumps(protocol)) == protocol
        assert 80 < len(protocol.text) < 300
    assert "mistake" in PROTOCOLS["wrapped"].text


@pytest.mark.parametrize(
    ("name", "near"), [("token-bench", "tokenbench"), ("perframe", "per-frame"), ("pool", "pooled")]
)
def test_the_nearest_protocol_is_named(name, near):
    with pytest.raises(InputError, match=f"did you mean .*{near}") as caught:
        find_protocol(name)
    assert "\n" not in str(caught.value)


@given(st.integers(2, 6), st.integers(0, 999))
def test_what_each_protocol_does(frames, seed):
    original, result = clip = noise(frames, seed=seed)
    of = {name: measured(protocol, clip) for name, protocol in PROTOCOLS.items()}
    got = {name: outcome.figures() for name, outcome in of.items()}
    close = {"abs": 1e-9}
    assert got["tokenbench"]["psnr"] == pytest.approx(direct(original, result), **close)
    assert got["pooled"] == got["tokenbench"]
    each = [direct(o, r) for o, r in zip(original, result, strict=True)]
    assert got["per-frame"] == got["tokenbench"] | {"psnr": pytest.approx(np.mean(each), **close)}
    assert got["without-first"] == measured(DEFAULT, clip[:, 1:]).figures()
    assert of["without-first"].whole.frames == frames - 1
    wrapped = ((original - result) ** 2).mean()
    assert got["wrapped"] == got["tokenbench"] | {
        "psnr": pytest.approx(20 * math.log10(255 / math.sqrt(wrapped)), **close)
    }
    assert of["wrapped"].whole.squared_error / of["wrapped"].whole.values == pytest.approx(wrapped)


def test_figures_are_those_of_the_running_metrics():
    clip = noise(3)
    quality, temporal, detail = RunningQuality(), RunningTemporal(), RunningSharpness()
    for pair in zip(*clip, strict=True):
        for running in (quality, temporal, detail):
            running.update(*pair)
    outcome = measured(DEFAULT, clip)
    assert tuple(outcome.figures()) == FIGURES
    expected = {"psnr": quality.psnr, "ssim": quality.ssim, "lpips": None, "temporal": temporal.temporal}
    expected["sharpness"] = detail.sharpness
    assert outcome.figures() == expected
    assert outcome.features() == {}
    image = measured(DEFAULT, clip[:, :1], kind="image").figures()
    assert image["temporal"] is None


def test_psnr_by_place_goes_by_the_frames_of_the_clip_in_every_protocol():
    clip = noise(19)
    for name, protocol in PROTOCOLS.items():
        found = measured(protocol, clip).places()
        for place, part in {"1": slice(1), "2-17": slice(1, 17), "18-33": slice(17, 33)}.items():
            if (name, place) == ("without-first", "1"):
                assert place not in found
            else:
                alone = replace(protocol, without_first=False)
                expected = measured(alone, [side[part] for side in clip]).figures()["psnr"]
                assert found.pop(place) == pytest.approx(expected, abs=1e-9)
        assert not found
    assert measured(DEFAULT, noise(1), kind="image").places() == {}
    assert measured(DEFAULT, clip, load_judges(JudgeOptions(wanted=("ssim",)))[0]).places() == {}


def test_images_keep_their_only_frame_without_the_first():
    clip = noise(1)
    protocol = PROTOCOLS["without-first"]
    assert measured(protocol, clip, kind="image").figures() == measured(DEFAULT, clip, kind="image").figures()
    assert set(measured(protocol, clip).figures().values()) == {None}  # a clip of one frame has nothing left


def test_files_pool_by_their_squared_errors():
    first, second = noise(2, 8, 9, seed=1), noise(3, 12, 7, seed=2)
    parts = [measured(PROTOCOLS["pooled"], clip) for clip in (first, second)]
    error = np.concatenate([(clip[0].astype(float) - clip[1]).ravel() for clip in (first, second)])
    assert sum(part.whole.squared_error for part in parts) == (error**2).sum()
    assert sum(part.whole.values for part in parts) == error.size


def test_only_what_is_wanted_is_measured():
    judges, missing = load_judges(JudgeOptions(wanted=("ssim",)))
    assert missing == {}
    figures = measured(DEFAULT, noise(2), judges).figures()
    assert [name for name, value in figures.items() if value is not None] == ["ssim"]
    with pytest.raises(InputError, match="did you mean lpips"):
        load_judges(JudgeOptions(wanted=("psnr", "lpisp")))


def test_frames_of_another_size_are_refused_rather_than_broadcast():
    outcome = FileMeasure(DEFAULT, PLAIN, Source("video", 2, 16, 20))
    good = np.zeros((16, 20, 3), np.uint8)
    for wrong in (good[:1], good[..., :1], good.astype(np.float32)):
        with pytest.raises(InputError, match="expected frames uint8"):
            outcome.update(good, wrong)


# LPIPS ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def vgg(tmp_path_factory):
    """The lpips package on a random VGG-16, and a file with the weights of that."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it names torchvision's weights in an old way
        import lpips

        torch.manual_seed(0)
        package = lpips.LPIPS(net="vgg", pnet_rand=True, verbose=False)
    trunk = {key.split(".", 1)[1]: value for key, value in package.net.state_dict().items()}
    path = tmp_path_factory.mktemp("vgg") / "vgg16.pth"
    torch.save({f"features.{key}": value for key, value in trunk.items()}, path)
    return package, str(path)


def test_lpips_is_that_of_the_package_frame_by_frame(vgg, monkeypatch):
    package, path = vgg
    monkeypatch.setattr(measure, "PIXELS", 3 * 24 * 32)  # so that seven frames come as 3 + 3 + 1
    judges, missing = load_judges(JudgeOptions(lpips_weights=path, wanted=("lpips",)))
    assert missing == {}
    clip = noise(7, 24, 32)
    pairs = torch.from_numpy(2 * (clip / 255.0 - 0.5)).float().permute(1, 0, 4, 2, 3)
    with torch.no_grad():
        each = [package(original[None], result[None]).item() for original, result in pairs]
    outcome = measured(DEFAULT, clip, judges)
    assert outcome.figures()["lpips"] == pytest.approx(np.mean(each), rel=1e-5)
    assert outcome.figures() == outcome.figures()
    assert measured(DEFAULT, noise(2, 15, 40), judges).figures()["lpips"] is None  # below VGG's least size


# rFID: Inception ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def random_inception(tmp_path_factory):
    """Torchvision's own network with 1,008 logits, random but lively, and a file with its weights as the port has
    them: without counts of batches."""
    from torchvision.models.inception import Inception3

    torch.manual_seed(1)
    network = Inception3(1008, aux_logits=False, init_weights=False).eval()
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.running_mean, module.bias.data):
                tensor.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    tensors = {key: value for key, value in network.state_dict().items() if "num_batches" not in key}
    path = tmp_path_factory.mktemp("inception") / "weights.pth"
    torch.save(tensors, path)
    return network, str(path), tensors


def test_inception_is_torchvisions_with_other_pools(random_inception, monkeypatch):
    """Torchvision's forward pass, whose pooling calls are redirected: all averages leave out the padding, and the
    ninth and last of them is a maximum."""
    network, path, _ = random_inception
    calls = []

    class Redirected:
        def __getattr__(self, name):
            return getattr(F, name)

        def avg_pool2d(self, x, kernel_size, stride, padding):
            calls.append(tuple(x.shape[1:]))
            inside = F.avg_pool2d(torch.ones_like(x), kernel_size, stride, padding)
            average = F.avg_pool2d(x, kernel_size, stride, padding) / inside
            return F.max_pool2d(x, kernel_size, stride, padding) if len(calls) == 9 else average

    images = torch.rand(2, 3, 299, 299)
    ours = Inception(path)
    with torch.no_grad():
        features = ours(images)
        network.fc, logits = nn.Identity(), network.fc
        monkeypatch.setattr("torchvision.models.inception.F", Redirected())
        expected = network(images * 2 - 1)
        network.fc = logits
    assert calls[-2:] == [(1280, 8, 8), (2048, 8, 8)]
    assert features.shape == (2, 2048)
    assert features.std() > 0.1
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-5)


def test_images_are_resized_bilinearly_without_antialiasing(random_inception):
    network = Inception(random_inception[1])
    image = torch.rand(1, 3, 21, 500)
    with torch.no_grad():
        features = network(image)
        resized = torch.from_numpy(bilinear(image[0].numpy(), 299, 299)).float()[None]
        torch.testing.assert_close(features, network(resized), rtol=1e-3, atol=1e-4)


def bilinear(image, height, width):
    """(3, H, W) in another size: sampled at the centres of the new pixels, in float64."""
    corners = []
    for old, new in zip(image.shape[1:], (height, width), strict=True):
        at = ((np.arange(new) + 0.5) * old / new - 0.5).clip(0, old - 1)
        low = np.floor(at).astype(int)
        corners.append((low, np.minimum(low + 1, old - 1), at - low))
    (top, bottom, down), (left, right, across) = corners
    rows = image[:, top] * (1 - down)[:, None] + image[:, bottom] * down[:, None]
    return rows[..., left] * (1 - across) + rows[..., right] * across


def test_features_of_images(random_inception):
    judges, _ = load_judges(JudgeOptions(inception_weights=random_inception[1], wanted=("psnr", "rfid")))
    clip = noise(1, 40, 30)
    seen = measured(DEFAULT, clip, judges, kind="image").features()["inception"]
    assert seen.shape == (2, 1, 2048)
    images = torch.from_numpy(clip[:, 0]).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        assert np.array_equal(seen[:, 0], judges.inception(images).numpy())
    assert measured(DEFAULT, noise(2, 40, 30), judges).features() == {}  # clips are for I3D


def test_other_inceptions_are_refused(random_inception, tmp_path):
    tensors = random_inception[2]
    torch.save(tensors | {"fc.weight": torch.zeros(1000, 2048), "fc.bias": torch.zeros(1000)}, tmp_path / "tv.pth")
    with pytest.raises(CheckpointError, match="expected pytorch-fid's weights of Inception-v3"):
        Inception(str(tmp_path / "tv.pth"))


# rFVD: I3D ------------------------------------------------------------------------------------------------------


class StandIn(nn.Module):
    """A network with the signature of StyleGAN-V's, that depends on every pixel and on how it is called."""

    def __init__(self, features=400):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.register_buffer("mixing", torch.randn(features, 3 * 2 * 16 * 16, generator=generator))

    def forward(self, x: torch.Tensor, rescale: bool = False, resize: bool = False, return_features: bool = False):
        if rescale:
            x = 2 * x / 255 - 1
        if resize:
            x = x[:, :, :, :112]
        features = F.adaptive_avg_pool3d(x, (2, 16, 16)).flatten(1) @ self.mixing.t()
        return features if return_features else features.softmax(1)


def save_script(network, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is on its way out; the published file stays
        torch.jit.script(network).save(str(path))
    return str(path)


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    return save_script(StandIn(), tmp_path_factory.mktemp("i3d") / "i3d.pt")


@pytest.mark.parametrize(("height", "width"), [(24, 41), (37, 20), (224, 224), (30, 30), (260, 500)])
def test_clips_are_resized_by_their_short_side_and_cropped_to_the_centre(script, height, width):
    frame = np.random.default_rng(0).random((3, height, width))
    size = [math.ceil(side * 224 / min(height, width)) for side in (height, width)]
    top, left = ((side - 224) // 2 for side in size)
    expected = 2 * bilinear(frame, *size)[:, top : top + 224, left : left + 224] - 1
    prepared = I3D.prepare(torch.from_numpy(frame).float())
    np.testing.assert_allclose(prepared.numpy(), expected, atol=1e-4)


def test_features_of_clips(script):
    judges, _ = load_judges(JudgeOptions(i3d_weights=script, wanted=("rfvd",)))
    clip = noise(11, 18, 32)
    seen = measured(DEFAULT, clip, judges).features()["i3d"]
    assert seen.shape == (2, 1, 400)
    for side, frames in zip(seen, clip, strict=True):
        prepared = [I3D.prepare(torch.from_numpy(frame).permute(2, 0, 1) / 255) for frame in frames]
        expected = StandIn()(torch.stack(prepared, dim=1)[None], return_features=True)
        np.testing.assert_allclose(side, expected.numpy(), rtol=1e-4, atol=1e-4)
    assert measured(DEFAULT, noise(9), judges).features() == {}
    assert measured(PROTOCOLS["without-first"], noise(10), judges).features() == {}
    assert measured(DEFAULT, noise(10)[:, :1], judges, kind="image").features() == {}


def test_i3d_sees_the_first_frames_of_long_clips(script, monkeypatch):
    monkeypatch.setattr(i3d, "MAXIMUM_FRAMES", 12)
    judges, _ = load_judges(JudgeOptions(i3d_weights=script, wanted=("rfvd", "psnr")))
    clip = noise(14)
    long, short = measured(DEFAULT, clip, judges), measured(DEFAULT, clip[:, :12], judges)
    assert np.array_equal(long.features()["i3d"], short.features()["i3d"])
    assert long.figures()["psnr"] != short.figures()["psnr"]


def test_other_scripts_are_refused(tmp_path):
    class Plain(nn.Module):
        def forward(self, x: torch.Tensor):
            return x

    (tmp_path / "text.pt").write_text("<html>")
    torch.save({"a": torch.zeros(1)}, tmp_path / "tensors.pt")
    for path, message in [
        (tmp_path / "none.pt", "no such file"),
        (tmp_path / "text.pt", "not a TorchScript network"),
        (tmp_path / "tensors.pt", "not a TorchScript network"),
        (save_script(Plain(), tmp_path / "plain.pt"), "expected StyleGAN-V's I3D network"),
    ]:
        with pytest.raises(CheckpointError, match=message) as caught:
            I3D(str(path), "--i3d-weights")
        assert f"--i3d-weights={path}" in str(caught.value)
        assert "\n" not in str(caught.value)
    network = I3D(save_script(StandIn(7), tmp_path / "seven.pt"))
    with pytest.raises(CheckpointError, match=r"expected 400 features per clip, got \(1, 7\)"):
        network(torch.zeros(3, 10, 224, 224))
    with pytest.raises(InputError, match="9 frames: I3D needs 10"):
        network(torch.zeros(3, 9, 224, 224))


# Where weights come from ----------------------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, and no proxies between this machine and itself."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("NO_PROXY", "*")
    return tmp_path / "torch" / "hub" / "checkpoints"


@pytest.fixture
def server(script):
    """Serves files by name; counts what is asked for."""
    files = {"/i3d.pt": Path(script).read_bytes(), "/page.pt": b"<html>sign in to the network</html>"}
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            path = self.path.partition("?")[0]
            asked.append(path)
            self.send_response(200 if path in files else 404)
            self.end_headers()
            self.wfile.write(files.get(path, b"nothing here"))

        def log_message(self, *_):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{http.server_port}", asked, hashlib.sha256(files["/i3d.pt"]).hexdigest()
    http.shutdown()
    http.server_close()


def from_server(monkeypatch, url, digest):
    monkeypatch.setattr(i3d, "WEIGHTS", replace(i3d.WEIGHTS, url=url, digest=digest))


def test_weights_asked_for_by_name_are_downloaded_once(server, cache, monkeypatch):
    address, asked, digest = server
    from_server(monkeypatch, f"{address}/i3d.pt?dl=1", digest)
    for _ in range(2):
        judges, missing = load_judges(JudgeOptions(wanted=("rfvd",)))
        assert missing == {}
        assert "i3d" in measured(DEFAULT, noise(10), judges).features()
    assert asked == ["/i3d.pt"]
    assert [file.name for file in cache.iterdir()] == ["i3d.pt"]
    judges, missing = load_judges(JudgeOptions())  # and is taken without asking, once it is here
    assert judges.metrics == {"psnr", "ssim", "temporal", "sharpness", "rfvd"}
    assert set(missing) == {"lpips", "rfid"}
    assert asked == ["/i3d.pt"]


@pytest.mark.parametrize("page", ["page.pt", "none.pt"])
def test_error_pages_are_not_kept(page, server, cache, monkeypatch):
    address, asked, digest = server
    from_server(monkeypatch, f"{address}/{page}", digest)
    judges, missing = load_judges(JudgeOptions(wanted=("rfvd", "psnr")))
    assert asked == [f"/{page}"]
    assert judges.metrics == {"psnr"}
    assert "could not be downloaded" in missing["rfvd"]
    assert list(cache.iterdir()) == []


def test_nothing_is_downloaded_unasked(cache, monkeypatch):
    asked = []
    monkeypatch.setattr(torch.hub, "urlopen", lambda *_: asked.append(1))
    judges, missing = load_judges(JudgeOptions())
    assert asked == []
    assert judges.metrics == {"psnr", "ssim", "temporal", "sharpness"}
    for name, option, url in [
        ("lpips", "--lpips-weights=FILE", "https://download.pytorch.org/models/vgg16-397923af.pth"),
        ("rfid", "--inception-weights=FILE", inception.WEIGHTS.url),
        ("rfvd", "--i3d-weights=FILE", i3d.WEIGHTS.url),
    ]:
        assert option in missing[name]
        assert url in missing[name]
        assert "\n" not in missing[name]


def test_without_network_the_rest_is_measured(cache, monkeypatch):
    def no_network(*_, **__):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(torch.hub, "urlopen", no_network)
    judges, missing = load_judges(JudgeOptions(wanted=("psnr", "lpips", "rfid", "rfvd")))
    assert judges.metrics == {"psnr"}
    assert set(missing) == {"lpips", "rfid", "rfvd"}
    for line in missing.values():
        assert "no route to host" in line
        assert "https://" in line
        assert str(cache) in line
        assert "\n" not in line
    assert measured(DEFAULT, noise(2), judges).figures()["psnr"] is not None


def test_files_that_were_named_must_be_there(tmp_path):
    for option in ("lpips_weights", "inception_weights", "i3d_weights"):
        with pytest.raises(CheckpointError, match="no such file"):
            load_judges(JudgeOptions(**{option: str(tmp_path / "none.pt")}))


def test_the_published_files_are_known_by_their_hashes():
    assert inception.WEIGHTS.digest in inception.WEIGHTS.file.name
    assert i3d.WEIGHTS.file.name == "i3d_torchscript.pt"
    assert len(i3d.WEIGHTS.digest) == 64


def test_options_travel_to_other_processes():
    options = JudgeOptions(lpips_weights="random", wanted=("lpips",))
    assert pickle.loads(pickle.dumps(options)) == options
