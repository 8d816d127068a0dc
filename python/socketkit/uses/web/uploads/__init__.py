"""Uploads into a folder that is served."""

from __future__ import annotations

from .application import Uploads

__all__ = ["Uploads"]
