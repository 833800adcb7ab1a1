"""Look at a computation: its ops, equations, shapes and values."""

from .text import graph

__all__ = ["graph"]
