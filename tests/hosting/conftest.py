"""`network(*names)`: hosts that are namespaces, for one test."""

from __future__ import annotations

from tests.threats.conftest import network

__all__ = ["network"]
