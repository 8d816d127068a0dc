"""Text in columns."""

from __future__ import annotations

from socketkit.cli.columns import columns


def test_columns() -> None:
    assert columns(("name", "count", "remark"), [("a", "1", ""), ("longer", "1,000", "late")], left=(0, 2)) == [
        "name    count  remark",
        "a           1",
        "longer  1,000  late",
    ]


def test_header_alone() -> None:
    assert columns(("a", "b"), []) == ["a  b"]
