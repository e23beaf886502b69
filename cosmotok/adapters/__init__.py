"""cosmotok behind other projects' interfaces, so that their users change one line.

- `cosmotok.adapters.diffusers_vae.CosmotokVAE`: the `vae` of a diffusers pipeline.
- `cosmotok.adapters.published.CausalVideoTokenizer` and `ImageTokenizer`: the classes of NVIDIA's own code.
"""

from cosmotok.adapters.diffusers_vae import CosmotokVAE
from cosmotok.adapters.published import CausalVideoTokenizer, ImageTokenizer

__all__ = ["CausalVideoTokenizer", "CosmotokVAE", "ImageTokenizer"]
