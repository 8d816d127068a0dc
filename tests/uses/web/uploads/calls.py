"""Uploads as clients ask for them, and what is left of them."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

from tests.uses.web.asking import Answer, ask

TUS = {"Tus-Resumable": "1.0.0"}

PATCH = {**TUS, "Content-Type": "application/offset+octet-stream"}


def meta(name: str) -> dict[str, str]:
    return {"Upload-Metadata": f"filename {base64.b64encode(name.encode()).decode()}"}


def begun(files: Any, name: str, length: int, folder: str = "/") -> str:
    got = ask(files, folder, method="POST", headers={**TUS, **meta(name), "Upload-Length": str(length)})
    assert got.status == 201, got
    return got.headers["location"]


def patch(files: Any, where: str, offset: int, *chunks: bytes, **more: Any) -> Answer:
    headers = {**PATCH, "Upload-Offset": str(offset), **more.pop("headers", {})}
    return ask(files, where, method="PATCH", headers=headers, body=chunks or (b"",), **more)


def offset_of(files: Any, where: str) -> int:
    return int(ask(files, where, method="HEAD", headers=TUS).headers["upload-offset"])


def parts_in(root: Path) -> list[str]:
    return [name for _, _, names in os.walk(root) for name in names if name.startswith(".")]
