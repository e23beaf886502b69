"""The network as torch modules, and nothing else: it imports no other part of cosmotok."""

from cosmotok.network.autoencoder import HALVES, Autoencoder
from cosmotok.network.fsq import FSQ
from cosmotok.network.image import IMAGE
from cosmotok.network.state import StreamState
from cosmotok.network.video import VIDEO
from cosmotok.network.wavelet import HaarTransform, InverseHaarTransform

__all__ = [
    "FSQ",
    "HALVES",
    "IMAGE",
    "VIDEO",
    "Autoencoder",
    "HaarTransform",
    "InverseHaarTransform",
    "StreamState",
]
