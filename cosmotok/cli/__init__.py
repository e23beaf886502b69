"""The `cosmotok` command: one thin function per verb.

Nothing heavy is imported until a verb runs, so that help comes at once.
"""

from cosmotok.cli import benchmark, calibrate, dataset, demo, evaluation, media, models, training
from cosmotok.cli.app import app, main

__all__ = ["app", "benchmark", "calibrate", "dataset", "demo", "evaluation", "main", "media", "models", "training"]
