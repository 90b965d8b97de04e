"""Object files kept between processes, found by what they were made from.

They lie in ``$GRAPHC_CACHE``, else in ``graphc`` of the user's cache directory
(``$XDG_CACHE_HOME``, ``~/.cache``). None are kept if ``GRAPHC_CACHE`` is ``off`` or empty, if
the directory cannot be written, or if anybody but the user may write to it. When the files
take more than ``GRAPHC_CACHE_SIZE`` megabytes (256), those used longest ago are removed.

A file is run only if its keyed hash is right; the key, made at random, lies beside the files
and can be read by the user alone. Whatever else is found under a name counts as absent and is
replaced. Files appear and disappear whole, so any number of processes may share a directory.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import random
import re
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import llvmlite
import llvmlite.binding as llvm
import numpy as np

from graphc import backend
from graphc_llvm.target import Target

#: Part of every name: a new one for each change of what the files hold.
_FORMAT = "4"
_DIGEST = 32  # bytes of the keyed hash at the beginning of a file
_SECRET = ".key"
_TEMPORARY = ".new-"
_OURS = re.compile(rf"[0-9a-f]{{64}}|{re.escape(_TEMPORARY)}\w+")
_DEFAULT_MEGABYTES = 256

_OPEN = os.O_RDONLY
for _flag in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"):
    _OPEN |= getattr(os, _flag, 0)


@dataclass(frozen=True)
class Record:
    """An object file with what is needed to load it.

    Attributes
    ----------
    object
        The object file.
    exports
        Names of the functions that it defines for others.
    needs
        Functions of other records that it calls: (name, name of the record).
    outline
        What else those who load it need to know: one line.
    """

    object: bytes
    exports: tuple[str, ...]
    needs: tuple[tuple[str, str], ...] = ()
    outline: str = ""

    def encode(self) -> bytes:
        needs = " ".join(f"{function}={record}" for function, record in self.needs)
        head = f"{' '.join(self.exports)}\n{needs}\n{self.outline}\n"
        return head.encode() + self.object

    @staticmethod
    def decode(content: bytes) -> Record:
        exports, needs, outline, obj = content.split(b"\n", 3)
        pairs = [pair.partition("=") for pair in needs.decode().split()]
        names = tuple(exports.decode().split())
        found = tuple((name, record) for name, _, record in pairs)
        return Record(obj, names, found, outline.decode())


def directory() -> Path | None:
    """Where objects are kept (None: nowhere)."""
    given = os.environ.get("GRAPHC_CACHE")
    if given is not None:
        return None if given in ("", "off") else Path(given)
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return Path(base) / "graphc" if base else Path.home() / ".cache" / "graphc"
    except RuntimeError:  # no home
        return None


def limit() -> int:
    """Bytes that the files may take."""
    given = os.environ.get("GRAPHC_CACHE_SIZE", "")
    return (int(given) if given.isdecimal() else _DEFAULT_MEGABYTES) << 20


def key(target: Target, *parts: str) -> str:
    """The name of what this LLVM makes of ``parts`` for a target."""
    head = (_versions(), target.triple, target.cpu, target.features)
    text = "".join(f"{len(part)}:{part}" for part in (*head, *parts))
    return hashlib.sha256(text.encode()).hexdigest()


def _versions() -> str:
    own = sys.modules["graphc"].__version__
    others = f"{llvmlite.__version__} {llvm.llvm_version_info} {np.__version__}"
    return f"{_FORMAT} {own} {others}"


def _source(loaded: int, *packages: str) -> str:
    """What identifies the source files of packages: a digest of their names, sizes and times.

    If one is newer than ``loaded`` (ns) other code may be running: then nothing does.
    """
    found = []
    for package in packages:
        pending = [package]
        while pending:
            for entry in os.scandir(pending.pop()):
                if entry.name.endswith((".py", ".ll")):
                    s, name = entry.stat(), entry.path[len(os.path.dirname(package)) :]
                    found.append((name, s.st_size, s.st_mtime_ns))
                elif entry.name != "__pycache__" and entry.is_dir():
                    pending.append(entry.path)
    if any(changed > loaded for *_, changed in found):
        return os.urandom(_DIGEST).hex()
    return hashlib.sha256(str(sorted(found)).encode()).hexdigest()


#: Stands for programs and LLVM text in the names of objects, so that these need not be made to
#: know whether they are the same. It is looked up before the modules that write them are
#: imported, lest it be of newer files than they are.
SOURCE = _source(
    backend.LOADED, os.path.dirname(__file__), os.path.dirname(str(backend.__file__))
)


def read(name: str) -> Record | None:
    """What is kept under a name."""
    folder = directory()
    try:
        if folder is None or not _private(folder):
            return None
        content = _content(folder / name)
        body = content[_DIGEST:]
        expected = _hash(_read_secret(folder), name, body)
        if not hmac.compare_digest(expected, content[:_DIGEST]):
            return None
    except OSError:
        return None
    with suppress(OSError):
        os.utime(folder / name)
    return Record.decode(body)


def write(name: str, record: Record) -> None:
    """Keep a record; other processes see all of the file or nothing."""
    folder, room = directory(), limit()
    if folder is None:
        return
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _private(folder):
            return
        body = record.encode()
        content = _hash(_secret(folder), name, body) + body
        with _temporary(folder, content) as file:
            os.replace(file, folder / name)
        # A look at all files, each time the sixty-fourth part of the room was filled or so.
        if random.random() * room < 64 * len(content):
            _evict(folder, room)
    except OSError:
        return


def state() -> str:
    """Where objects are kept, and how much lies there, for `graphc doctor`."""
    folder = directory()
    if folder is None:
        return "off"
    try:
        sizes = [p.stat().st_size for p in folder.iterdir() if p.is_file()]
    except OSError as error:
        return f"{folder}: empty" if not folder.exists() else f"{folder}: {error.strerror}"
    return f"{folder}: {len(sizes)} files, {sum(sizes) / 1e6:.1f} MB"


# Files ----------------------------------------------------------------------------------------


def _private(folder: Path) -> bool:
    """Whether it is a directory of the user's, which nobody else may write to."""
    return _own(folder.stat(), 0o022) and folder.is_dir()


def _own(found: os.stat_result, denied: int) -> bool:
    """Whether the user owns a file, and others have none of the permissions ``denied``."""
    return not hasattr(os, "getuid") or (
        found.st_uid == os.getuid() and not found.st_mode & denied
    )


def _content(path: Path, denied: int = 0o022) -> bytes:
    """The bytes of a regular file that is the user's own (OSError if it is anything else)."""
    with open(os.open(path, _OPEN), "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode) or not _own(found, denied):
            raise PermissionError(f"{path} is not a file of this user")
        return file.read()


@contextmanager
def _temporary(folder: Path, content: bytes) -> Iterator[str]:
    """A file with the given content, for the user alone; removed unless it was moved."""
    handle, path = tempfile.mkstemp(prefix=_TEMPORARY, dir=folder)
    try:
        with open(handle, "wb") as file:
            file.write(content)
        yield path
    finally:
        with suppress(OSError):
            os.unlink(path)


def _hash(secret: bytes, name: str, body: bytes) -> bytes:
    return hmac.digest(secret, name.encode() + body, "sha256")


def _read_secret(folder: Path) -> bytes:
    """The key of the hashes (OSError if there is none)."""
    secret = _content(folder / _SECRET, denied=0o077)
    if len(secret) != _DIGEST:
        raise OSError("the key of the cache is damaged")
    return secret


def _secret(folder: Path) -> bytes:
    """The key of the hashes, made if there is none. Of many who make one, the first wins."""
    with suppress(OSError):
        return _read_secret(folder)
    path = folder / _SECRET
    with _temporary(folder, os.urandom(_DIGEST)) as made:
        with suppress(OSError):
            os.link(made, path)
        with suppress(OSError):
            return _read_secret(folder)
        os.replace(made, path)
    return _read_secret(folder)


def _evict(folder: Path, room: int) -> None:
    """Remove files, those used longest ago first, if all take more than ``room`` bytes."""
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if _OURS.fullmatch(entry.name):
                with suppress(OSError):
                    s = entry.stat(follow_symlinks=False)
                    found.append((s.st_mtime_ns, s.st_size, entry.path))
    excess = sum(size for _, size, _ in found) - room
    if excess > 0:
        excess += room // 8  # so that the next look is not at once
    for _, size, path in sorted(found):
        if excess <= 0:
            break
        with suppress(OSError):
            os.unlink(path)
        excess -= size
