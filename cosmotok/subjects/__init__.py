"""Whatever turns video into tokens and back: our tokenizers, also in the published layout, and diffusers' autoencoders
behind one small interface."""

from cosmotok.subjects.autoencoders import PeerModel
from cosmotok.subjects.find import find_subjects
from cosmotok.subjects.interface import Clip, Codec, Subject
from cosmotok.subjects.ours import OurModel
from cosmotok.subjects.peers import PEERS
from cosmotok.subjects.published import PublishedModel

__all__ = ["PEERS", "Clip", "Codec", "OurModel", "PeerModel", "PublishedModel", "Subject", "find_subjects"]
