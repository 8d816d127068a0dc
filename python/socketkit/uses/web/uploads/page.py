"""What the page of a folder shows where files may be uploaded: a form that works without scripts, better with them."""

from __future__ import annotations

from html import escape

__all__ = ["ASSETS", "fragment"]

ASSETS = ("upload.css", "upload.js")
"""What of the package's `page` folder it asks for."""


def fragment(assets: str) -> str:
    """HTML for the page of a folder; `assets` is the address that its `ASSETS` are below, with a slash behind it.

    The page's policy is to allow its own scripts, styles, forms and requests ('self').
    """
    return FRAGMENT.replace("{assets}", escape(assets))


FRAGMENT = """<link rel="stylesheet" href="{assets}upload.css">
<section class="upload" aria-label="Upload">
<form id="upload" method="post" enctype="multipart/form-data">
<label>Upload files <input type="file" name="file" multiple required></label>
<button>Upload</button>
<span class="hint" hidden>or drop them onto this page</span>
</form>
<ul id="uploads" aria-label="Uploads"></ul>
</section>
<script src="{assets}upload.js" defer></script>
"""
