"""Torch modules of architectures.  Imports torch and diffusers only when something is built."""

from archsearch.models.factory import build, example_inputs

__all__ = ["build", "example_inputs"]
