"""`CausalVideoTokenizer` and `ImageTokenizer` as NVIDIA's Cosmos-Tokenizer has them; a script changes its import.

```python
from cosmotok.adapters.published import CausalVideoTokenizer  # was: from cosmos_tokenizer.video_lib import ...

encoder = CausalVideoTokenizer(checkpoint_enc="pretrained_ckpts/Cosmos-0.1-Tokenizer-CV8x8x8/encoder.jit")
(latent,) = encoder.encode(video)
decoder = CausalVideoTokenizer(checkpoint_dec="pretrained_ckpts/Cosmos-0.1-Tokenizer-CV8x8x8/decoder.jit")
video = decoder.decode(latent)
```

The same arguments, shapes and return values. Different, because the original has it wrong or cannot do it:

- `forward` does not cut a video into independent windows of 17 frames, with a seam at each. It is one stream, and
  `temporal_window` says how many frames are in memory at a time; the result does not depend on it.
- The first frame is really first. The original repeats frames at both ends and puts the picture in the middle of black
  borders; here the last frame, the bottom rows and the right-hand columns are repeated as far as needed. Clips of
  1 + 8 n frames whose sides 16 divides give what they gave.
- `encode` and `autoencode` take any number of frames and any size. Values must lie in [-1, 1], as was documented: the
  random normal numbers of old examples do not.
- Without a GPU it runs on the CPU, and there in float32; a whole model (`checkpoint`) can also `encode` and `decode`.
- Any model that `Tokenizer.from_pretrained` finds will do: a folder, a safetensors file, or a name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from cosmotok.config import TokenizerConfig
from cosmotok.defaults import DTYPES
from cosmotok.errors import InputError
from cosmotok.tokenizer import Tokenizer

__all__ = ["CausalVideoTokenizer", "ImageTokenizer"]


class PublishedTokenizer(nn.Module):
    """What both classes share.

    Args:
        checkpoint: a whole model: `autoencoder.jit`, or anything else that `Tokenizer.from_pretrained` takes.
        checkpoint_enc, checkpoint_dec: encoder and decoder by themselves, such as `encoder.jit` and `decoder.jit`, or
            a whole model again. Where these are given along with `checkpoint`, `encode` and `decode` use these, and
            `autoencode` and `forward` use that.
        tokenizer_config: one of the published `TokenizerConfigs`; tells what the files hold where they do not. Only
            "name", "spatial_compression" and "temporal_compression" matter: the rest is read from the weights.
        device: such as "cuda" or "cpu"; None: the GPU if there is one.
        dtype: "bfloat16", "float16" or "float32"; None: bfloat16 on a GPU, float32 on the CPU.
        attention_context: latent frames that temporal attention looks back on; None (as published) keeps all of them.

    Raises:
        InputError: where no checkpoint is given, or one of the wrong kind; for another device or dtype.
        CheckpointError, UnknownModelError: as `Tokenizer.from_pretrained`.
    """

    kind: ClassVar[str]

    def __init__(
        self,
        checkpoint: str | None = None,
        checkpoint_enc: str | None = None,
        checkpoint_dec: str | None = None,
        tokenizer_config: Mapping[str, Any] | None = None,
        device: str | torch.device | None = None,
        dtype: str | None = None,
        *,
        attention_context: int | None = None,
    ) -> None:
        super().__init__()
        if checkpoint is None and checkpoint_enc is None and checkpoint_dec is None:
            raise InputError("checkpoint: expected a model, here or as checkpoint_enc or checkpoint_dec")
        place = device or ("cuda" if torch.cuda.is_available() else "cpu")
        precision = dtype_of(dtype or ("float32" if str(place).startswith("cpu") else "bfloat16"))
        variant = None if tokenizer_config is None else variant_of(tokenizer_config)
        models: dict[str, Tokenizer] = {}

        def load(path: str | None) -> Tokenizer | None:
            if path is None:
                return None
            if path not in models:
                models[path] = Tokenizer.from_pretrained(path, variant=variant, device=place, dtype=precision)
                check_kind(models[path].config, self.kind, path)
            return models[path]

        whole, encoder, decoder = load(checkpoint), load(checkpoint_enc), load(checkpoint_dec)
        # The reconstruction's halves, then those that work alone.
        self._both = (whole or encoder, whole or decoder)
        self._encoder, self._decoder = encoder or whole, decoder or whole
        if self._both[0] is not None and self._both[1] is not None:
            check_pair(self._both[0].config, self._both[1].config)
        self._attention_context = attention_context
        self.networks = nn.ModuleList(tokenizer.network for tokenizer in models.values())  # for `to`, `parameters`

    def _half(self, tokenizer: Tokenizer | None, half: str) -> Tokenizer:
        if tokenizer is None:
            raise InputError(f"checkpoint_{half[:3]}: expected the {half} to have been loaded; name its file there")
        tokenizer.require(half)
        return tokenizer

    def encode(self, input_tensor: Tensor) -> tuple[Tensor, ...]:
        """Latents of clips or images.

        Args:
            input_tensor: (B, 3, T, H, W), or (B, 3, H, W) for images, in [-1, 1].

        Returns:
            `(latents,)`, (B, C, T', H', W'); of a discrete tokenizer `(indices, codes)`, int32 (B, T', H', W') and
            (B, 6, T', H', W') in [-1, 1]. Without T' for images.

        Raises:
            InputError: for a wrong rank, dtype or range.
        """
        tokenizer = self._half(self._encoder, "encoder")
        self._check_rank(input_tensor)
        tokens = tokenizer.encode(input_tensor, attention_context=self._attention_context)
        quantizer = tokenizer.network.quantizer
        if quantizer is None:
            return (tokens,)
        return tokens, quantizer.indices_to_codes(tokens).movedim(-1, 1).to(tokenizer.dtype)

    def decode(self, input_latent: Tensor) -> Tensor:
        """Clips or images of latents, or of the indices of a discrete tokenizer.

        Args:
            input_latent: the first of what `encode` returns.

        Returns:
            (B, 3, 1 + (T' - 1) * s_T, H' * s, W' * s), or without T; in about [-1, 1].

        Raises:
            InputError: for a wrong rank, dtype or range.
        """
        return self._half(self._decoder, "decoder").decode(input_latent, attention_context=self._attention_context)

    def autoencode(self, input_tensor: Tensor) -> Tensor:
        """Reconstruction of clips or images, of the same shape; as `encode` and `decode`."""
        encoder, decoder = self._half(self._both[0], "encoder"), self._half(self._both[1], "decoder")
        self._check_rank(input_tensor)
        tokens = encoder.encode(input_tensor, attention_context=self._attention_context)
        video = decoder.decode(tokens, attention_context=self._attention_context)
        for axis in range(2, input_tensor.ndim):
            video = video.narrow(axis, 0, input_tensor.shape[axis])
        return video

    def _check_rank(self, tensor: Tensor) -> None:
        rank, layout = (5, "(B, 3, T, H, W)") if self.kind == "video" else (4, "(B, 3, H, W)")
        if tensor.ndim != rank:
            raise InputError(f"input_tensor: expected shape {layout}, got {tuple(tensor.shape)}")


class CausalVideoTokenizer(PublishedTokenizer):
    """A video tokenizer; see the module for what differs from the original, and `PublishedTokenizer` for arguments."""

    kind = "video"

    def forward(self, video: np.ndarray, temporal_window: int = 17) -> np.ndarray:
        """Reconstruction of a video of any length.

        Args:
            video: uint8 (B, T, H, W, 3), 0..255.
            temporal_window: frames that are handled at a time; it changes memory, not the result.

        Returns:
            uint8 of the same shape.

        Raises:
            InputError: for another rank or dtype, no frames, or a window below 1.
        """
        check_pixels("video", video, 5)
        if temporal_window < 1 or video.shape[1] == 0:
            raise InputError(f"temporal_window={temporal_window}, {video.shape[1]} frames: expected 1 or more of each")
        encoder = self._half(self._both[0], "encoder").stream_encoder(attention_context=self._attention_context)
        decoder = self._half(self._both[1], "decoder").stream_decoder(
            attention_context=self._attention_context, size=video.shape[2:4]
        )
        parts = []
        for start in range(0, video.shape[1], temporal_window):
            frames = to_tensor(video[:, start : start + temporal_window])
            parts.append(to_pixels(decoder.push(encoder.push(frames))))
        parts += [to_pixels(decoder.push(encoder.flush())), to_pixels(decoder.flush())]
        return np.concatenate(parts, axis=1)[:, : video.shape[1]]


class ImageTokenizer(PublishedTokenizer):
    """An image tokenizer; see the module for what differs from the original, and `PublishedTokenizer` for arguments."""

    kind = "image"

    def forward(self, image: np.ndarray) -> np.ndarray:
        """Reconstruction of images: uint8 (B, H, W, 3), 0..255, to the same.

        Raises:
            InputError: for another rank or dtype.
        """
        check_pixels("image", image, 4)
        return to_pixels(self.autoencode(to_tensor(image)))


def dtype_of(name: str) -> torch.dtype:
    """The torch dtype called `name`."""
    if name not in DTYPES:
        raise InputError(f"dtype={name!r}: expected one of {', '.join(DTYPES)}")
    return getattr(torch, name)


def variant_of(config: Mapping[str, Any]) -> str:
    """The published variant that one of NVIDIA's `TokenizerConfigs` describes, such as "CV8x16x16"."""
    try:
        name, space = str(config["name"]).removeprefix("Causal"), config["spatial_compression"]
        time = f"{config['temporal_compression']}x" if name.endswith("V") else ""
    except KeyError as error:
        raise InputError(
            f"tokenizer_config: no {error}; expected name, spatial_compression and, for video, temporal_compression"
        ) from None
    return f"{name}{time}{space}x{space}"


def check_kind(config: TokenizerConfig, kind: str, path: str) -> None:
    """Raises InputError for an image model in the video class, or the other way round."""
    if config.kind != kind:
        use = "ImageTokenizer" if config.kind == "image" else "CausalVideoTokenizer"
        raise InputError(f"{path}: holds {config.variant}, an {config.kind} tokenizer; use {use}")


def check_pair(encoder: TokenizerConfig, decoder: TokenizerConfig) -> None:
    """Raises InputError where the decoder is not the encoder's own by its shape."""
    for field in ("spatial_factor", "temporal_factor", "latent_channels", "levels"):
        if getattr(encoder, field) != getattr(decoder, field):
            raise InputError(
                f"checkpoint_dec: holds the decoder of {decoder.variant}, checkpoint_enc the encoder of "
                f"{encoder.variant}; expected two halves of one model"
            )


def check_pixels(argument: str, pixels: np.ndarray, rank: int) -> None:
    """Raises InputError unless `pixels` is uint8 of that rank, with the three colours last."""
    if pixels.ndim != rank or pixels.shape[-1] != 3 or pixels.dtype != np.uint8:
        layout = "(B, T, H, W, 3)" if rank == 5 else "(B, H, W, 3)"
        raise InputError(f"{argument}: expected uint8 {layout}, got {pixels.dtype} {pixels.shape}")


def to_tensor(pixels: np.ndarray) -> Tensor:
    """uint8 (B, ..., 3) to (B, 3, ...)."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(pixels, -1, 1)))


def to_pixels(video: Tensor) -> np.ndarray:
    """(B, 3, ...) in [-1, 1] to uint8 (B, ..., 3)."""
    return video.float().clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8).movedim(1, -1).cpu().numpy()
