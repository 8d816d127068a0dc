"""The libraries of the extra `web`: which are there, and what to install where one is missing."""

from __future__ import annotations

from importlib.util import find_spec

REMEDY = "pip install 'socketkit[web]'"


def has_http2() -> bool:
    return find_spec("h2") is not None


def has_websocket() -> bool:
    return find_spec("wsproto") is not None
