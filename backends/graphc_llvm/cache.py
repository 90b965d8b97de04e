"""Object files kept between processes, found by what they were compiled from.

They lie in ``$GRAPHC_CACHE``, else in ``graphc`` of the user's cache directory; if
``GRAPHC_CACHE`` is set to nothing, none are kept. A file that another user owns or whose
checksum is wrong is ignored, and so is a directory that cannot be written.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

import llvmlite
import llvmlite.binding as llvm

from graphc_llvm.target import Target

_DIGEST = 32  # bytes of the checksum at the beginning of a file


def directory() -> Path | None:
    """Where objects are kept (None: nowhere)."""
    given = os.environ.get("GRAPHC_CACHE")
    if given is not None:
        return Path(given) if given else None
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return Path(base) / "graphc" if base else Path.home() / ".cache" / "graphc"
    except RuntimeError:  # no home
        return None


def key(text: str, target: Target) -> str:
    """A name for the object that this LLVM makes of a module."""
    versions = f"{llvmlite.__version__} {llvm.llvm_version_info}"
    parts = [versions, target.triple, target.cpu, target.features, text]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def read(name: str) -> bytes | None:
    """The object kept under a key."""
    folder = directory()
    if folder is None:
        return None
    path = folder / name
    try:
        if hasattr(os, "getuid") and path.stat().st_uid != os.getuid():
            return None
        content = path.read_bytes()
    except OSError:
        return None
    digest, obj = content[:_DIGEST], content[_DIGEST:]
    return obj if hashlib.sha256(obj).digest() == digest else None


def write(name: str, obj: bytes) -> None:
    """Keep an object; other processes see all of the file or nothing."""
    folder = directory()
    if folder is None:
        return
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
            file.write(hashlib.sha256(obj).digest() + obj)
        os.replace(file.name, folder / name)
    except OSError:
        return
