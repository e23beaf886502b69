"""Who runs workers: this process, processes of this machine, or a Ray cluster. Their results are the same."""

from cosmotok.dataset.engines.base import Engine
from cosmotok.dataset.engines.cluster import RayEngine
from cosmotok.dataset.engines.here import InProcess
from cosmotok.dataset.engines.local import Processes

__all__ = ["Engine", "InProcess", "Processes", "RayEngine"]
