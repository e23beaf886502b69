"""Speed and memory of our tokenizers and of diffusers' autoencoders, side by side."""

from cosmotok.benchmark.findings import Agreement, Half, Machine, Report, Result
from cosmotok.benchmark.run import MODELS, benchmark
from cosmotok.families.diffusers.peers import PEERS
from cosmotok.interface import Clip

__all__ = ["MODELS", "PEERS", "Agreement", "Clip", "Half", "Machine", "Report", "Result", "benchmark"]
