from __future__ import annotations

import pytest

from socketkit.uses.web.kinds import kind_of


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (b"index.html", "text/html; charset=utf-8"),
        (b"script.JS", "text/javascript; charset=utf-8"),
        (b"picture.jpeg", "image/jpeg"),
        (b"film.mp4", "video/mp4"),
        (b"film.mkv", "video/x-matroska"),
        (b"song.flac", "audio/flac"),
        (b"data.json", "application/json; charset=utf-8"),
        (b"drawing.svg", "image/svg+xml; charset=utf-8"),
        (b"all.tar.gz", "application/gzip"),
        (b"no ending", "application/octet-stream"),
        (b"\xff.txt", "text/plain; charset=utf-8"),
    ],
)
def test_kinds(name: bytes, kind: str) -> None:
    assert kind_of([b"folder", name]) == kind


def test_nothing_is_no_kind() -> None:
    assert kind_of([]) == "application/octet-stream"
