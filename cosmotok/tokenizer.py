"""`Tokenizer`: images and videos of any size and length to tokens, and back."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from cosmotok.build import build_network, network_of
from cosmotok.checkpoint import native, reference
from cosmotok.checkpoint.calibration import Calibration
from cosmotok.checkpoint.contents import Checkpoint
from cosmotok.checkpoint.fingerprint import fingerprint, same_weights
from cosmotok.checkpoint.fit import fit, shapes_of
from cosmotok.checkpoint.load import load_checkpoint
from cosmotok.checkpoint.reference_files import Weights
from cosmotok.compiled import CompiledNetwork
from cosmotok.config import TokenizerConfig, find_model
from cosmotok.devices import find_device
from cosmotok.errors import CheckpointError, InputError
from cosmotok.foreign import one_line
from cosmotok.interface import NetworkTokenizer
from cosmotok.network import HALVES, Autoencoder, StreamState
from cosmotok.normalization import denormalize_latents, normalize_latents
from cosmotok.private import contents
from cosmotok.quantization import Precision, calibrate, quantize, restore
from cosmotok.spec import TokenizerSpec

__all__ = ["Tokenizer"]


class Tokenizer(NetworkTokenizer):
    """A Cosmos tokenizer: `encode`, `decode`, `reconstruct`, and the same as streams; see `BaseTokenizer`.

    Nothing tracks gradients here; train through `network`.

    Args:
        config: the shape of the network.
        network: of that shape, with its weights; with fresh ones unless given. See also `from_pretrained`.
    """

    def __init__(self, config: TokenizerConfig, network: Autoencoder | None = None) -> None:
        self.config = config
        self.network: Autoencoder = (build_network(config) if network is None else network).eval()
        self._fingerprint: tuple[Any, str] = None, ""
        self.precision: Precision = "float32"
        self.calibration: Calibration | None = None
        """Ranges for `precision="int8"`; see `calibrate`."""
        self._compiled: CompiledNetwork | None = None

    # Loading and saving ------------------------------------------------------------------------------------------

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str],
        *,
        variant: str | None = None,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
        precision: Precision = "float32",
        weights: Weights = "auto",
        revision: str | None = None,
        token: str | bool | None = None,
    ) -> Tokenizer:
        """Loads a model from wherever it is and whoever wrote it. No code that a file may hold is run.

        Args:
            name: a bundled name such as `"cv4x8x8-tiny"`; a published one such as `"CV8x8x8-720p"`; a Hub id
                `"owner/name"`; or a path: a folder or `.safetensors` that `save_pretrained` wrote, a diffusers
                `AutoencoderKLCosmos` (also as `vae/` of a pipeline), NVIDIA's `encoder.jit` and `decoder.jit`,
                `autoencoder.jit`, `model.pt` or `iter_*.pt`. One of `encoder.jit` and `decoder.jit` alone makes a
                tokenizer that can encode alone, or decode alone.
            variant: the published name of what the files hold, where they do not tell.
            device, dtype: where to and as what; the CPU and float32 unless given.
            precision: "int8" computes in 8-bit integers on the CPU; see `set_precision`.
            weights: of a training checkpoint, the plain ones or their running average; "auto" prefers the average.
            revision, token: passed to the Hub.

        Raises:
            UnknownModelError: where nothing goes by that name; suggests the nearest.
            CheckpointError: where the weights are damaged, unsafe, or do not fit their config; names every tensor.
            InputError: where `precision` is not to be had.
        """
        device = None if device is None else find_device(device)
        check_precision(precision, device, dtype)
        checkpoint = load_checkpoint(name, variant=variant, weights=weights, revision=revision, token=token)
        return cls._of(checkpoint).to(device, dtype).set_precision(precision)

    @classmethod
    def from_reference_state_dict(cls, tensors: Mapping[str, Tensor], variant: str) -> Tokenizer:
        """A tokenizer with the published code's parameters, at any width: widths are read from the tensors.

        Buffers, and weights that the published files hold without using them, are ignored.

        Args:
            tensors: under the published keys, such as `encoder.conv_in.0.conv3d.weight`.
            variant: a published name, such as `"CV8x8x8-720p"`; it says the compression factors.

        Raises:
            UnknownModelError: for another variant.
            CheckpointError: naming every key that is missing or has another shape.
        """
        config = reference.config_from_tensors(tensors, find_model(variant).config)
        keys = reference.fit_reference(tensors, config, "tensors", halves=HALVES, is_unused=lambda key: True)
        shapes = shapes_of(config)
        native_tensors = {name: tensors[key].reshape(shapes[name]) for name, key in keys.items()}
        return cls.from_checkpoint(Checkpoint(config, native_tensors, variant))

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> Tokenizer:
        """The tokenizer of copies of the weights at hand, on the CPU in float32, with the halves that they have.

        Raises:
            CheckpointError: naming every tensor that is missing, unexpected or of another shape.
        """
        return cls._of(replace(checkpoint, tensors={name: t.clone() for name, t in checkpoint.tensors.items()}))

    @classmethod
    def _of(cls, checkpoint: Checkpoint) -> Tokenizer:
        """As `from_checkpoint`, with the weights themselves, which `checkpoint` loses: there is never more than one
        tensor too many."""
        tensors = checkpoint.tensors
        fit(tensors, checkpoint.config, checkpoint.source)
        weights = {name: tensors.pop(name).detach().to("cpu", torch.float32) for name in list(tensors)}
        tokenizer = cls(checkpoint.config, network_of(checkpoint.config, weights))
        tokenizer.calibration = checkpoint.calibration
        return tokenizer

    def to_checkpoint(self) -> Checkpoint:
        """Config, weights (not copied) and calibration, for the writers of `cosmotok.checkpoint`."""
        return Checkpoint(self.config, dict(self.network.state_dict()), self.config.variant, self.calibration)

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Writes `config.json`, `model.safetensors` and, once calibrated, `int8.json`, for `from_pretrained`."""
        native.write_folder(self.to_checkpoint(), folder)

    def push_to_hub(
        self,
        repo: str,
        *,
        token: str | bool | None = None,
        private: bool | None = None,
        revision: str | None = None,
        card: Mapping[str, Any] | None = None,
    ) -> str:
        """Uploads what `save_pretrained` writes, and a model card, to the Hub repository `repo`, made if need be.

        Args:
            repo: `"owner/name"`.
            token, private, revision: passed to the Hub; `revision` is the branch to write to.
            card: what the model card should say beyond the model's shape; see `cosmotok.checkpoint.card.model_card`.

        Returns:
            The repository's address.
        """
        from cosmotok.checkpoint import hub
        from cosmotok.checkpoint.card import CARD_FILE, model_card

        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            text = model_card(
                self.config,
                parameters=self.parameters,
                fingerprint=self.fingerprint,
                facts=card or {},
                repo=repo,
                size=(Path(folder) / native.WEIGHTS_FILE).stat().st_size,
            )
            (Path(folder) / CARD_FILE).write_text(text, encoding="utf-8")
            return hub.publish(Path(folder), repo, token=token, private=private, revision=revision)

    @property
    def spec(self) -> TokenizerSpec:
        return self.config.spec

    # For diffusion models ----------------------------------------------------------------------------------------

    def normalize(self, latents: Tensor) -> Tensor:
        """Latents of mean 0 and deviation 1 per channel, by `config.latents_mean` and `latents_std`.

        Args:
            latents: (B, C, T', H', W'), or of images (B, C, H', W'), as `encode` returns them.

        Raises:
            InputError: where the config has no statistics; `cosmotok stats` measures them.
        """
        return normalize_latents(latents, self.config.latents_mean, self.config.latents_std)

    def denormalize(self, latents: Tensor) -> Tensor:
        """The way back from `normalize`: what a diffusion model generated, ready for `decode`."""
        return denormalize_latents(latents, self.config.latents_mean, self.config.latents_std)

    # Where it is -------------------------------------------------------------------------------------------------

    @property
    def arithmetic(self) -> str:
        if self.precision == "int8":
            return self.precision
        return ("compiled " if self._compiled is not None else "") + super().arithmetic

    @property
    def halves(self) -> frozenset[str]:
        """ "encoder" and "decoder", or the one of them that was loaded."""
        return frozenset(half for half, modules in HALVES.items() if getattr(self.network, modules[0]) is not None)

    def require(self, half: str) -> None:
        """Raises CheckpointError unless the "encoder" or "decoder" is here."""
        if half not in self.halves:
            file = f"{half}.jit"
            raise CheckpointError(
                f"{self.config.variant}: only the {next(iter(self.halves))} was loaded, so this tokenizer cannot "
                f"{half[:-1]}; load the folder that holds {file} too"
            )

    @property
    def fingerprint(self) -> str:
        """16 hex digits of the weights, 8 for each half, to tell whose tokens a file holds. Kept when the dtype becomes
        smaller, and otherwise worked out once for as long as nobody changes the weights; see `private.contents`."""
        state, digits = self._fingerprint
        as_loaded = digits and state is None
        if self.dtype == torch.float32 or not as_loaded:
            state = [contents(parameter) for parameter in self.network.parameters()]
            if self._fingerprint[0] != state:
                self._fingerprint = state, fingerprint(self.network.state_dict())
        return self._fingerprint[1]

    def to(self, device: str | torch.device | None = None, dtype: torch.dtype | None = None) -> Tokenizer:
        """Moves to a device, or to float32, float16 or bfloat16, in place; returns itself."""
        device = None if device is None else find_device(device)
        check_precision(self.precision, device, dtype)
        if dtype is not None and dtype not in (torch.float32, torch.float16, torch.bfloat16):
            raise InputError(f"dtype={dtype}: expected torch.float32, torch.float16 or torch.bfloat16")
        if dtype not in (None, self.dtype):
            self._fingerprint = None, self.fingerprint  # of the weights as loaded
        try:
            self.network.to(device=device, dtype=dtype)
        except RuntimeError as error:  # out of memory
            raise InputError(f"device={device}: cannot move there: {one_line(error, 200)}") from None
        return self

    # Compiled ----------------------------------------------------------------------------------------------------

    def compile(self) -> Tokenizer:
        """Computes through `torch.compile` from now on, which fuses what lies between large operators; returns itself.

        Meant for GPUs, but not yet measured on one; on the CPU it takes the place of `cosmotok.kernels`. No CUDA graphs
        are used.

        Each half compiles when it first runs, which may take minutes: once for the first step of a stream or clip, once
        for all later ones of the same size, and once for a shorter last one. Other sizes are compiled anew; after about
        eight, further ones run as without this. Results differ from uncompiled ones by rounding, and do not depend on
        how frames are pushed. Finish open streams first.

        Raises:
            InputError: for `precision="int8"`; and when it first runs, where PyTorch cannot compile, as without a C++
                compiler (CPU) or Triton (GPU).
        """
        if self.precision != "float32":
            raise InputError(f'compile: goes with precision="float32" alone, not with {self.precision!r}')
        self._compiled = self._compiled or CompiledNetwork(self.network, self.config.temporal_factor)
        return self

    # Integers on the CPU -----------------------------------------------------------------------------------------

    def calibrate(self, videos: Iterable[Tensor]) -> Calibration:
        """Finds the ranges of activations for `precision="int8"`, once and for all, from some typical videos.

        Encodes and decodes them in float32, then goes on in the precision it had. `save_pretrained` writes the ranges
        beside the weights.

        Args:
            videos: a few dozen short clips and photos, as `encode` takes them.

        Returns:
            The ranges, which are in the attribute `calibration` from now on.

        Raises:
            InputError: for no videos, or a tokenizer that is compiled, or not float32 on the CPU.
        """
        check_precision("int8", self.device, self.dtype)
        self._check_not_compiled()
        self.require("encoder")
        precision = self.precision
        self.set_precision("float32")
        try:
            self.calibration = calibrate(self.network, self.fingerprint, self._compute, videos)
        finally:
            self.set_precision(precision)
        return self.calibration

    def _compute(self, video: Tensor) -> None:
        """Lets every layer that is here compute `video`."""
        tokens = self.encode(video)
        if "decoder" in self.halves:
            self.decode(tokens)

    def set_precision(self, precision: Precision) -> Tokenizer:
        """How most layers compute: in `dtype` ("float32"), or in "int8" on a CPU with AVX-512 VNNI; returns itself.

        Weights stay as they are and are rounded anew each time, so call it again after changing them. Finish open
        streams first.

        Raises:
            InputError: for another precision, a tokenizer that is compiled, or not float32 on the CPU, a CPU or PyTorch
                without these instructions, or no calibration for these weights.
        """
        check_precision(precision, self.device, self.dtype)
        if precision == "int8":
            self._check_not_compiled()
            if self.calibration is None or not same_weights(self.calibration.fingerprint, self.fingerprint):
                reason = "none" if self.calibration is None else "one of other weights"
                raise InputError(
                    f'precision="int8": {self.config.variant} needs a calibration and has {reason}; make one with '
                    "`tokenizer.calibrate(videos)` or `cosmotok calibrate MODEL DATA -o FOLDER`"
                )
            quantize(self.network, self.calibration)
        else:
            restore(self.network)
        self.precision = precision
        return self

    def _check_not_compiled(self) -> None:
        if self._compiled is not None:
            raise InputError('precision="int8": not for a compiled tokenizer; load it once more')

    def __repr__(self) -> str:
        return f"Tokenizer({self.config.variant!r}, device={str(self.device)!r}, dtype={self.dtype})"

    # Steps of a stream -------------------------------------------------------------------------------------------

    def encode_step(self, frames: Tensor, state: StreamState) -> Tensor:
        """Frames (B, 3, T, H, W) as the schedule has them, to tokens; updates `state`."""
        z = (self._compiled or self.network).encode(frames, state)
        quantizer = self.network.quantizer
        return z if quantizer is None else quantizer.indices(z.movedim(1, -1))

    def decode_step(self, tokens: Tensor, state: StreamState) -> Tensor:
        """Tokens as the schedule has them, to frames (B, 3, T, H, W); updates `state`."""
        quantizer = self.network.quantizer
        if quantizer is not None:
            tokens = quantizer.indices_to_codes(tokens).movedim(-1, 1).to(self.dtype)
        return (self._compiled or self.network).decode(tokens, state)


def check_precision(precision: str, device: str | torch.device | None, dtype: torch.dtype | None) -> None:
    """Raises InputError unless that precision can be had there; None is the CPU, or float32."""
    if precision not in get_args(Precision):
        raise InputError(f"precision={precision!r}: expected {' or '.join(map(repr, get_args(Precision)))}")
    if precision == "int8" and torch.device(device or "cpu").type != "cpu":
        raise InputError(f'precision="int8": runs on the CPU, not on device={device}; use precision="float32" there')
    if precision == "int8" and dtype not in (None, torch.float32):
        raise InputError(f'precision="int8": needs dtype=torch.float32 for what stays in floating point, got {dtype}')
