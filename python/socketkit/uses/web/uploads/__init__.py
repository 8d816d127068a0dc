"""Uploads into a folder that is served."""

from __future__ import annotations

from .application import Uploads
from .page import fragment

__all__ = ["Uploads", "fragment"]
