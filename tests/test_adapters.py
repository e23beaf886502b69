"""Drop-ins: the real diffusers pipelines with our `vae`, and the calls of the published classes."""

from __future__ import annotations

import importlib
import importlib.machinery
import sys
import types
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small import CONFIGS, clip, fresh, pixels, randomise, small
from test_reference_files import half, narrow
from torchscript import save_jit

from cosmotok import Tokenizer
from cosmotok.adapters import CausalVideoTokenizer, CosmotokVAE, ImageTokenizer
from cosmotok.checkpoint.contents import half_of
from cosmotok.checkpoint.diffusers import config_to_diffusers
from cosmotok.errors import CheckpointError, ConfigError, InputError, UnknownModelError

CONFIG = replace(CONFIGS["cv8x8x8"], z_channels=4)
STATISTICS = ([0.1, -0.2, 0.0, 0.4], [0.5, 1.5, 1.0, 2.0])
FRAMES, STEPS, SIDE = 17, 3, 16


@pytest.fixture(scope="module")
def real_vae():
    """A small random `AutoencoderKLCosmos`, with statistics for each latent frame."""
    model = pytest.importorskip("diffusers").AutoencoderKLCosmos
    values = {k: v for k, v in config_to_diffusers(CONFIG).items() if not k.startswith("_")}
    per_frame = [[x + 0.01 * t for x in values for t in range(STEPS + 2)] for values in STATISTICS]
    vae = model(**values | {"latents_mean": per_frame[0], "latents_std": per_frame[1]}).eval()
    randomise(vae, 0)
    return vae


# The vae of a pipeline ------------------------------------------------------------------------------------------------


def pipeline_class(name):
    """The real pipeline class, also where transformers, whose text encoder no test uses, is not installed."""
    module = f"diffusers.pipelines.cosmos.pipeline_cosmos_{name}"
    try:
        return importlib.import_module(module)
    except ImportError:
        stand_in = types.ModuleType("transformers")
        stand_in.__spec__ = importlib.machinery.ModuleSpec("transformers", None)
        stand_in.T5EncoderModel = stand_in.T5TokenizerFast = type("Unused", (), {})
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(sys.modules, "transformers", stand_in)
            return importlib.import_module(module)


class NoGuard:
    """A safety checker that lets everything pass."""

    def to(self, device):
        return self

    def check_video_safety(self, video):
        return video


def pipeline(name, vae):
    """A pipeline with a small random transformer."""
    from diffusers import CosmosTransformer3DModel, EDMEulerScheduler

    condition = name == "video2world"
    torch.manual_seed(0)
    transformer = CosmosTransformer3DModel(
        in_channels=4 + condition,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=16,
        num_layers=1,
        mlp_ratio=2,
        text_embed_dim=8,
        adaln_lora_dim=4,
        max_size=(8, 8, 8),
        patch_size=(1, 2, 2),
        concat_padding_mask=True,
    )
    module = pipeline_class(name)
    cls = {"text2world": "CosmosTextToWorldPipeline", "video2world": "CosmosVideoToWorldPipeline"}[name]
    return getattr(module, cls)(
        text_encoder=None,
        tokenizer=None,
        transformer=transformer.eval(),
        vae=vae,
        scheduler=EDMEulerScheduler(sigma_min=0.002, sigma_max=80, sigma_data=0.5),
        safety_checker=NoGuard(),
    )


def run(pipe, **inputs):
    pipe.set_progress_bar_config(disable=True)
    embeds = torch.randn(1, 4, 8, generator=torch.Generator().manual_seed(1)).to(pipe.transformer.dtype)
    return pipe(
        prompt_embeds=embeds,
        negative_prompt_embeds=-embeds,
        height=SIDE,
        width=SIDE,
        num_frames=FRAMES,
        num_inference_steps=2,
        generator=torch.Generator().manual_seed(2),
        output_type="np",
        **inputs,
    ).frames


def conditioning():
    return {"video": list(pixels(9, SIDE, SIDE, seed=3)[0].permute(1, 2, 3, 0).numpy() / 255)}


@pytest.mark.parametrize(("name", "inputs"), [("text2world", dict), ("video2world", conditioning)])
def test_real_pipelines_give_the_same_frames(real_vae, name, inputs):
    expected = run(pipeline(name, real_vae), **inputs())
    pipe = pipeline(name, real_vae)
    pipe.vae = CosmotokVAE.from_diffusers(pipe.vae)
    frames = run(pipe, **inputs())
    assert frames.shape == (1, FRAMES, SIDE, SIDE, 3)
    assert expected.std() > 0.05
    assert np.abs(frames - expected).max() <= 1 / 255 + 1e-6  # the safety checker sees 8 bits
    assert np.abs(frames - expected).mean() < 1e-4
    made = run(pipeline(name, CosmotokVAE.from_diffusers(real_vae)), **inputs())
    assert np.array_equal(made, frames)


def test_pipelines_work_without_statistics_and_with_one_per_channel(real_vae):
    tokenizer = CosmotokVAE.from_diffusers(real_vae).tokenizer
    per_channel = CosmotokVAE(tokenizer, latents_mean=STATISTICS[0], latents_std=STATISTICS[1])
    tokenizer.config = replace(tokenizer.config, latents_mean=(), latents_std=())
    without = run(pipeline("text2world", CosmotokVAE(tokenizer)))
    assert np.isfinite(without).all()
    assert not np.allclose(run(pipeline("text2world", per_channel)), without)


def test_a_pipeline_moves_its_vae(real_vae):
    pipe = pipeline("text2world", CosmotokVAE.from_diffusers(real_vae))
    pipe.to(torch.bfloat16)
    assert pipe.vae.dtype == pipe.vae.tokenizer.dtype == torch.bfloat16
    assert pipe.device == pipe.vae.device == torch.device("cpu")
    assert np.isfinite(run(pipe)).all()


def test_dtype_of_the_original_is_kept(real_vae):
    import copy

    adapter = CosmotokVAE.from_diffusers(copy.deepcopy(real_vae).to(torch.bfloat16))
    assert adapter.dtype == torch.bfloat16
    assert adapter.decode(torch.zeros(1, 4, 1, 2, 2)).sample.dtype == torch.bfloat16


def test_outputs_are_those_of_the_original(real_vae):
    adapter, video = CosmotokVAE.from_diffusers(real_vae), clip(FRAMES, batch=2)
    with torch.no_grad():
        latents = real_vae.encode(video).latent_dist.mode()
        decoded = real_vae.decode(latents).sample
        whole = real_vae(video).sample
    for point in (adapter.encode(video).latent_dist, adapter.encode(video, return_dict=False)[0]):
        for ours in (point.mode(), point.sample(torch.Generator()), point.mean):
            assert_close(ours, latents)
    for ours in (adapter.decode(latents).sample, adapter.decode(latents, return_dict=False)[0]):
        assert_close(ours, decoded)
    assert_close(adapter(video).sample, whole)
    assert_close(adapter(video, sample_posterior=True, return_dict=False)[0], whole)


def assert_close(actual, expected):
    assert actual.shape == expected.shape
    assert (actual - expected).abs().max() < 1e-5 * (expected.max() - expected.min())


def test_config_says_what_the_original_says(real_vae):
    adapter = CosmotokVAE.from_diffusers(real_vae)
    for key, value in adapter.config.items():
        expected = real_vae.config[key]
        assert value == (list(expected) if isinstance(expected, tuple) else expected)
        assert getattr(adapter.config, key) == value
    assert adapter.config.get("force_upcast") is None
    with pytest.raises(AttributeError, match="force_upcast"):
        adapter.config.force_upcast  # noqa: B018


def test_slicing_encodes_one_clip_at_a_time():
    adapter, video, sizes = CosmotokVAE(fresh("cv8x8x8")), clip(9, batch=3), []
    expected = adapter.encode(video).latent_dist.mode()
    adapter.network.quant_conv.register_forward_hook(lambda _, __, z: sizes.append(len(z)))
    for enable, batch in ((adapter.enable_slicing, 1), (adapter.disable_slicing, 3)):
        enable()
        sizes.clear()
        torch.testing.assert_close(adapter.encode(video).latent_dist.mode(), expected)
        assert set(sizes) == {batch}
    adapter.enable_slicing()
    assert adapter.decode(expected).sample.shape == video.shape


def test_attention_context_bounds_what_is_kept():
    tokenizer, video = fresh("cv8x8x8"), clip(65)
    bounded, exact = CosmotokVAE(tokenizer, attention_context=2), CosmotokVAE(tokenizer)
    stream = tokenizer.stream_encoder(attention_context=2)
    expected = torch.cat([stream.push(video), stream.flush()], dim=2)
    assert torch.equal(bounded.encode(video).latent_dist.mode(), expected)
    assert torch.equal(exact.encode(video).latent_dist.mode(), tokenizer.encode(video))
    assert not torch.equal(expected, tokenizer.encode(video))
    decoder = tokenizer.stream_decoder(attention_context=2)
    frames = torch.cat([decoder.push(expected), decoder.flush()], dim=2)
    assert torch.equal(bounded.decode(expected).sample, frames)
    assert not torch.equal(frames, exact.decode(expected).sample)


def test_offloading_hooks_run_before_encode_and_decode():
    hooks = pytest.importorskip("accelerate.hooks")
    calls = []

    class Hook(hooks.ModelHook):
        def pre_forward(self, module, *args, **kwargs):
            calls.append(module)
            return args, kwargs

    adapter = CosmotokVAE(fresh("cv4x8x8"))
    hooks.add_hook_to_module(adapter, Hook())
    adapter.decode(adapter.encode(clip(5)).latent_dist.mode())
    assert calls == [adapter, adapter]


def test_images_and_any_size_pass(real_vae):
    adapter = CosmotokVAE(small("ci8x8"))
    picture = clip(1, 13, 21)[:, :, 0]
    latents = adapter.encode(picture).latent_dist.mode()
    assert torch.equal(latents, small("ci8x8").encode(picture))
    assert adapter.decode(latents).sample.shape == (1, 3, 16, 24)
    assert CosmotokVAE(small("cv8x8x8")).encode(clip(4, 9, 9)).latent_dist.mode().shape == (1, 4, 2, 2, 2)


def test_module_interface():
    adapter = CosmotokVAE(fresh("cv4x8x8"))
    assert adapter.eval() is adapter
    assert not any(p.requires_grad for p in adapter.requires_grad_(False).parameters())
    assert adapter.to(torch.float16) is adapter
    assert adapter.tokenizer.dtype == torch.float16
    assert sum(p.numel() for p in adapter.parameters()) == adapter.tokenizer.parameters


def test_scripts_may_ask_for_tiles():
    adapter, video = CosmotokVAE(fresh("cv4x8x8")), clip(5)
    expected = adapter.encode(video).latent_dist.mode()
    with pytest.warns(UserWarning, match="attention_context=N bounds"):
        adapter.enable_tiling(512, tile_sample_stride_height=448)
    adapter.disable_tiling()
    assert torch.equal(adapter.encode(video).latent_dist.mode(), expected)


def test_normalised_latents_have_the_statistics_that_pipelines_use(real_vae):
    adapter, latents = CosmotokVAE.from_diffusers(real_vae), torch.randn(2, 4, STEPS, 2, 2)
    mean, std = (
        torch.tensor(real_vae.config[name]).view(1, 4, -1, 1, 1)[:, :, :STEPS]
        for name in ("latents_mean", "latents_std")
    )
    torch.testing.assert_close(adapter.normalize(latents), (latents - mean) / std)
    torch.testing.assert_close(adapter.denormalize(adapter.normalize(latents)), latents)
    with pytest.raises(InputError, match="latent frames, got 20 means"):
        adapter.normalize(torch.randn(1, 4, STEPS + 3, 2, 2))

    tokenizer = fresh("cv8x8x8")
    with pytest.raises(InputError, match="cosmotok stats DATA"):
        tokenizer.normalize(latents)
    tokenizer.config = replace(tokenizer.config, latents_mean=tuple(STATISTICS[0]), latents_std=tuple(STATISTICS[1]))
    for some in (latents, latents[:, :, 0], torch.randn(1, 4, 50, 1, 1)):
        scale = torch.tensor(STATISTICS[1]).view(1, 4, *[1] * (some.ndim - 2))
        torch.testing.assert_close(tokenizer.normalize(some) * scale, some - tokenizer.denormalize(some * 0))
        torch.testing.assert_close(tokenizer.denormalize(tokenizer.normalize(some)), some)
    for wrong in (latents[:, :3], latents[0, 0], latents.int()):
        with pytest.raises(InputError, match="latents: expected"):
            tokenizer.normalize(wrong)


def test_saved_vaes_load_again(real_vae, tmp_path):
    adapter, video = CosmotokVAE.from_diffusers(real_vae), clip(FRAMES)
    expected = adapter.encode(video).latent_dist.mode()
    adapter.save_pretrained(tmp_path / "none", is_main_process=False)
    assert not (tmp_path / "none").exists()
    adapter.save_pretrained(str(tmp_path / "vae"), safe_serialization=True)
    again = type(real_vae).from_pretrained(tmp_path / "vae")
    assert list(again.config.latents_mean) == list(real_vae.config.latents_mean)
    assert_close(again.eval().encode(video).latent_dist.mode().detach(), expected)
    assert torch.equal(Tokenizer.from_pretrained(tmp_path / "vae").encode(video), expected)

    ours = fresh("cv8x8x8-shortcut")
    with pytest.warns(UserWarning, match="linear_shortcut.* in cosmotok's format"):
        CosmotokVAE(ours).save_pretrained(tmp_path / "ours")
    assert torch.equal(Tokenizer.from_pretrained(tmp_path / "ours").encode(video), ours.encode(video))


def test_a_whole_pipeline_is_saved_without_failing(real_vae, tmp_path):
    pipe = pipeline("text2world", CosmotokVAE.from_diffusers(real_vae))
    pipe.save_pretrained(tmp_path)
    assert (tmp_path / "transformer" / "config.json").is_file()


def test_refusals(real_vae):
    with pytest.raises(InputError, match="is discrete"):
        CosmotokVAE(small("dv4x8x8"))
    for mean, std in (([0.0] * 3, [1.0] * 3), ([0.0] * 4, [1.0] * 8), ([0.0] * 4, [])):
        with pytest.raises(InputError, match="a multiple of 4 channels"):
            CosmotokVAE(small("cv4x8x8"), latents_mean=mean, latents_std=std)
    with pytest.raises(InputError, match="expected values in"):
        CosmotokVAE(small("cv4x8x8")).encode(clip(5) * 9)
    with pytest.raises(InputError, match=r"expected a torch\.Tensor"):
        CosmotokVAE(small("cv4x8x8")).encode(clip(5).numpy())
    from diffusers import AutoencoderKLCosmos

    other = AutoencoderKLCosmos(**{**real_vae.config, "patch_type": "rearrange"})
    with pytest.raises(ConfigError, match="patch_type"):
        CosmotokVAE.from_diffusers(other)


# The published classes ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Paths of saved models by kind, whole and as halves."""
    folder, paths = tmp_path_factory.mktemp("models"), {}
    for kind in ("cv4x8x8", "cv8x8x8", "dv4x8x8", "ci8x8", "di8x8"):
        checkpoint = fresh(kind).to_checkpoint()
        for part in ("encoder", "decoder", None):
            tensors = {name: t for name, t in checkpoint.tensors.items() if part in (None, half_of(name))}
            path = folder / f"{kind}-{part or 'whole'}"
            Tokenizer.from_checkpoint(replace(checkpoint, tensors=tensors)).save_pretrained(path)
            paths[kind, part] = str(path)
    return paths


def video_class(saved, kind, **options):
    return CausalVideoTokenizer(
        checkpoint_enc=saved[kind, "encoder"], checkpoint_dec=saved[kind, "decoder"], device="cpu", **options
    )


def test_continuous_video_as_in_the_published_examples(saved):
    video = clip(9)
    encoder = CausalVideoTokenizer(checkpoint_enc=saved["cv4x8x8", "encoder"], device="cpu", dtype="float32")
    decoder = CausalVideoTokenizer(checkpoint_dec=saved["cv4x8x8", "decoder"], device="cpu", dtype="float32")
    (latent,) = encoder.encode(video)
    assert torch.equal(latent, small("cv4x8x8").encode(video))
    assert torch.equal(decoder.decode(latent), small("cv4x8x8").decode(latent))
    assert torch.equal(video_class(saved, "cv4x8x8").autoencode(video), small("cv4x8x8").reconstruct(video))


@pytest.mark.parametrize("variant", ["CV8x8x8-720p", "DV4x8x8"])
def test_real_torchscript_files_load_as_in_the_published_examples(tmp_path, variant):
    tensors, folder = narrow(variant), tmp_path / f"Cosmos-Tokenizer-{variant}"
    folder.mkdir()
    for name in ("encoder", "decoder"):
        save_jit(half(tensors, name), folder / f"{name}.jit")
    expected, video = Tokenizer.from_reference_state_dict(tensors, variant), clip(9)
    encoder = CausalVideoTokenizer(checkpoint_enc=f"{folder}/encoder.jit", device="cpu")
    decoder = CausalVideoTokenizer(checkpoint_dec=f"{folder}/decoder.jit", device="cpu")
    tokens = encoder.encode(video)[0]
    assert torch.equal(tokens, expected.encode(video))
    assert torch.equal(decoder.decode(tokens), expected.decode(tokens))


def test_discrete_video_gives_indices_and_codes(saved):
    tokenizer, video = small("dv4x8x8"), clip(9)
    adapter = video_class(saved, "dv4x8x8")
    indices, codes = adapter.encode(video)
    assert torch.equal(indices, tokenizer.encode(video))
    assert indices.dtype == torch.int32
    assert codes.shape == (1, 6, *indices.shape[1:])
    assert torch.equal(tokenizer.network.quantizer.codes_to_indices(codes.movedim(1, -1)), indices)
    assert torch.equal(adapter.decode(indices), tokenizer.decode(indices))


@pytest.mark.parametrize("kind", ["ci8x8", "di8x8"])
def test_images(saved, kind):
    tokenizer, picture = small(kind), clip(1, 13, 21)[:, :, 0]
    adapter = ImageTokenizer(saved[kind, None], device="cpu")
    tokens = adapter.encode(picture)
    assert len(tokens) == (2 if tokenizer.config.is_discrete else 1)
    assert torch.equal(tokens[0], tokenizer.encode(picture))
    assert torch.equal(adapter.decode(tokens[0]), tokenizer.decode(tokens[0]))
    assert torch.equal(adapter.autoencode(picture), tokenizer.reconstruct(picture))
    array = pixels(1, 13, 21, batch=2)[:, :, 0].permute(0, 2, 3, 1).numpy()
    assert_pixels(adapter(array), tokenizer.reconstruct(torch.from_numpy(array).permute(0, 3, 1, 2)))


def assert_pixels(array, expected):
    expected = ((expected.double().clamp(-1, 1) + 1) / 2 * 255).movedim(1, -1).numpy()
    assert array.dtype == np.uint8
    assert array.shape == expected.shape
    assert np.abs(array - expected).max() < 0.501


@pytest.fixture(scope="module")
def loaded(saved):
    return {kind: CausalVideoTokenizer(checkpoint=saved[kind, None], device="cpu") for kind in ("cv4x8x8", "dv4x8x8")}


@settings(max_examples=6)
@given(
    frames=st.integers(1, 14),
    window=st.integers(1, 20),
    height=st.integers(1, 12),
    kind=st.sampled_from(["cv4x8x8", "dv4x8x8"]),
)
def test_forward_is_one_stream_whatever_the_window(loaded, frames, window, height, kind):
    video = pixels(frames, height, 9, seed=frames)
    array = video.permute(0, 2, 3, 4, 1).numpy()
    whole = loaded[kind](array)
    assert_pixels(whole, small(kind).reconstruct(video))
    assert np.array_equal(loaded[kind](array, temporal_window=window), whole)


def test_every_dtype_and_the_default_on_the_cpu(saved):
    path = saved["cv4x8x8", None]
    assert video_class(saved, "cv4x8x8").encode(clip(1))[0].dtype == torch.float32
    adapter = CausalVideoTokenizer(path, device="cpu", dtype="bfloat16")
    assert adapter.encode(clip(1))[0].dtype == torch.bfloat16
    assert adapter(np.zeros((1, 2, 8, 8, 3), np.uint8)).dtype == np.uint8
    adapter.to(torch.float32)
    assert adapter.encode(clip(1))[0].dtype == torch.float32
    assert sum(p.numel() for p in adapter.parameters()) == small("cv4x8x8").parameters


def test_bundled_names_load_and_nothing_is_loaded_twice():
    name = "cv4x8x8-tiny"
    adapter = CausalVideoTokenizer(checkpoint_enc=name, checkpoint_dec=name, device="cpu")
    assert torch.equal(adapter.autoencode(clip(5)), Tokenizer.from_pretrained(name).reconstruct(clip(5)))
    assert len(adapter.networks) == 1


def test_a_tokenizer_config_of_theirs_must_fit(saved):
    theirs = {"name": "CV", "channels": 128, "spatial_compression": 8, "temporal_compression": 4, "patch_size": 4}
    path = saved["cv4x8x8", None]
    CausalVideoTokenizer(path, tokenizer_config=theirs, device="cpu")
    CausalVideoTokenizer(path, tokenizer_config=theirs | {"name": "CausalCV"}, device="cpu")
    ImageTokenizer(saved["ci8x8", None], tokenizer_config={"name": "CI", "spatial_compression": 8}, device="cpu")
    with pytest.raises(ConfigError, match="temporal_factor=4"):
        CausalVideoTokenizer(path, tokenizer_config=theirs | {"temporal_compression": 8}, device="cpu")
    with pytest.raises(InputError, match="no 'spatial_compression'"):
        CausalVideoTokenizer(path, tokenizer_config={"name": "CV"}, device="cpu")


def test_attention_context_reaches_the_streams(saved):
    adapter = CausalVideoTokenizer(saved["cv8x8x8", None], device="cpu", attention_context=2)
    stream, video = small("cv8x8x8").stream_encoder(attention_context=2), clip(41)
    assert torch.equal(adapter.encode(video)[0], torch.cat([stream.push(video), stream.flush()], dim=2))


def test_wrong_uses_say_what_to_do(saved):
    with pytest.raises(InputError, match="expected a model, here or as checkpoint_enc"):
        CausalVideoTokenizer(device="cpu")
    with pytest.raises(UnknownModelError, match=r"encoder\.jit"):
        CausalVideoTokenizer(checkpoint_enc="no/encoder.jit", device="cpu")
    with pytest.raises(InputError, match="use ImageTokenizer"):
        CausalVideoTokenizer(saved["ci8x8", None], device="cpu")
    with pytest.raises(InputError, match="use CausalVideoTokenizer"):
        ImageTokenizer(saved["cv4x8x8", None], device="cpu")
    with pytest.raises(InputError, match="dtype='float8'"):
        CausalVideoTokenizer(saved["cv4x8x8", None], device="cpu", dtype="float8")
    with pytest.raises(InputError, match="device=nowhere"):
        CausalVideoTokenizer(saved["cv4x8x8", None], device="nowhere")
    with pytest.raises(InputError, match="two halves of one model"):
        CausalVideoTokenizer(
            checkpoint_enc=saved["cv4x8x8", "encoder"], checkpoint_dec=saved["cv8x8x8", "decoder"], device="cpu"
        )
    encoder = CausalVideoTokenizer(checkpoint_enc=saved["cv4x8x8", "encoder"], device="cpu")
    with pytest.raises(InputError, match="checkpoint_dec"):
        encoder.decode(torch.zeros(1, 4, 1, 2, 2))
    with pytest.raises(InputError, match="checkpoint_dec"):
        encoder.autoencode(clip(1))
    half = CausalVideoTokenizer(checkpoint=saved["cv4x8x8", "encoder"], device="cpu")
    with pytest.raises(CheckpointError, match="only the encoder"):
        half.decode(torch.zeros(1, 4, 1, 2, 2))
    with pytest.raises(InputError, match=r"\(B, 3, T, H, W\)"):
        encoder.encode(clip(1)[:, :, 0])
    adapter = video_class(saved, "cv4x8x8")
    with pytest.raises(InputError, match="expected uint8"):
        adapter(np.zeros((1, 2, 8, 8, 3), np.float32))
    for window, frames in ((0, 2), (17, 0)):
        with pytest.raises(InputError, match=f"temporal_window={window}, {frames} frames"):
            adapter(np.zeros((1, frames, 8, 8, 3), np.uint8), temporal_window=window)
