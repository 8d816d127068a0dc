"""What the virtual machine boots: Debian's kernel, and an initial file system with the modules that the tests need."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
KERNEL = ROOT / "build" / "vm" / "kernel"

MODULES = (
    "crc32c_generic",  # SCTP's checksum; nothing in the modules themselves says that they need it
    *("virtio_pci", "9p", "9pnet_virtio", "overlay"),
    *("sctp", "vsock", "vsock_loopback"),
    *("tcp_diag", "udp_diag", "unix_diag", "raw_diag", "netlink_diag"),
)


def missing() -> str | None:
    """What this machine lacks to boot one, with its remedy; None if nothing."""
    for name, package in (("qemu-system-x86_64", "qemu-system-x86"), ("busybox", "busybox-static")):
        if shutil.which(name) is None:
            return f"{name} is not installed: apt install {package}"
    return None if KERNEL.is_dir() else "no kernel to boot: tools/vm-kernel.sh"


def image() -> Path:
    (found,) = (KERNEL / "boot").glob("vmlinuz-*")
    return found


def initial_files() -> bytes:
    """A cpio archive, as the kernel unpacks it (Documentation/driver-api/early-userspace/buffer-format.rst)."""
    folders = ("dev", "proc", "modules", "below", "above", "root")
    entries = [_entry(name, FOLDER) for name in folders]
    for number, module in enumerate(in_order(MODULES, available())):
        entries.append(_entry(f"modules/{number:02}-{module.name}", FILE, module.read_bytes()))
    entries.append(_entry("busybox", PROGRAM, Path(shutil.which("busybox") or "busybox").read_bytes()))
    entries.append(_entry("init", PROGRAM, (HERE / "init").read_bytes()))
    return b"".join((*entries, _entry("TRAILER!!!", 0)))


def available() -> dict[str, Path]:
    return {module.stem.replace("-", "_"): module for module in (KERNEL / "lib" / "modules").rglob("*.ko")}


def in_order(names: Iterable[str], modules: dict[str, Path]) -> list[Path]:
    """The files of these modules and of what they need, each behind what it needs. What has none is in the kernel."""
    found: dict[str, Path] = {}

    def add(name: str) -> None:
        if name in modules and name not in found:
            for needed in needs(modules[name].read_bytes()):
                add(needed)
            found[name] = modules[name]

    for name in names:
        add(name)
    return list(found.values())


def needs(module: bytes) -> Iterator[str]:
    """The names in a module's section .modinfo, which is made of strings that end with a zero."""
    if found := re.search(rb"\0depends=([^\0]*)\0", module):
        yield from (name.decode().replace("-", "_") for name in found[1].split(b",") if name)


def _entry(name: str, mode: int, data: bytes = b"") -> bytes:
    written = name.encode() + b"\0"
    numbers = (0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(written), 0)
    header = b"070701" + b"".join(b"%08x" % number for number in numbers) + written
    return _padded(header) + _padded(data)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


FOLDER, FILE, PROGRAM = 0o40755, 0o100644, 0o100755
