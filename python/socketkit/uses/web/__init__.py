"""Use 5, web: a folder, a file or an ASGI application, served to people by one command.

async with serve("pictures", Wanted(lan=True)) as hosted:
    print(hosted.link.url)
    await hosted.wait()
"""

from __future__ import annotations

from .service import Manner, serve

__all__ = ["Manner", "serve"]
