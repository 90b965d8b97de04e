"""The cache of object files: what is kept, what is refused, who may look."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphc as gr
from graphc import graph, pipeline
from graphc.errors import CompileError
from graphc.rewrite.engine import rule
from graphc.types import Guard, symbol
from graphc_llvm import cache, functions, source
from graphc_llvm.cache import Record
from graphc_llvm.jit import engine
from graphc_llvm.target import host

POSIX = pytest.mark.skipif(not hasattr(os, "getuid"), reason="needs owners of files")
ROOT = hasattr(os, "getuid") and os.getuid() == 0

NAME, OTHER = "a" * 64, "b" * 64
RECORD = Record(b"\0object\n" * 20, ("f", "f_sizes"), (("vmath.sin", "c" * 64),))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of the cache, not made yet."""
    path = tmp_path / "under" / "cache"
    monkeypatch.setenv("GRAPHC_CACHE", str(path))
    monkeypatch.delenv("GRAPHC_CACHE_SIZE", raising=False)
    return path


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def permissions(path: Path) -> int:
    return path.stat().st_mode & 0o777


# Records --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "record",
    [RECORD, Record(b"", ("f",)), Record(b"\n\n \n=", ("f", "g"), outline='["\\n"]')],
    ids=str,
)
def test_what_was_written_is_read(record: Record) -> None:
    assert cache.read(NAME) is None
    cache.write(NAME, record)
    assert cache.read(NAME) == record
    assert cache.read(OTHER) is None


@POSIX
def test_only_the_user_can_look(folder: Path) -> None:
    before = os.umask(0)
    try:
        cache.write(NAME, RECORD)
    finally:
        os.umask(before)
    assert permissions(folder) == 0o700
    assert names(folder) == [".key", NAME]
    assert {permissions(p) for p in folder.iterdir()} == {0o600}


def test_names_tell_apart_what_objects_are_made_of(monkeypatch: pytest.MonkeyPatch) -> None:
    target = host()
    found = {cache.key(target), cache.key(replace(target, features=""))}
    found |= {cache.key(target, *parts) for parts in [("",), ("ab",), ("a", "b"), ("1:a",)]}
    monkeypatch.setattr(cache.llvmlite, "__version__", "0.0")
    found.add(cache.key(target))
    monkeypatch.setattr(cache, "_FORMAT", "another")
    found.add(cache.key(target))
    assert len(found) == 8
    assert all(len(name) == 64 for name in found)


def test_source_changes_with_any_file(tmp_path: Path) -> None:
    package, other = tmp_path / "package", tmp_path / "other"
    (package / "native").mkdir(parents=True)
    other.mkdir()
    files = package / "a.py", package / "native" / "b.ll", package / "c.txt", other / "a.py"
    for path in files:
        path.write_text("1")

    def source(loaded: int = 1 << 63) -> str:
        return cache._source(loaded, str(package), str(other))

    found = [source()]
    (package / "c.txt").write_text("other")
    assert source() == found[0]
    for path in (package / "native" / "b.ll", other / "a.py"):
        path.write_text("12")
        found.append(source())
    (package / "new.py").write_text("")
    found.append(source())
    assert len(set(found)) == 4
    last = max(path.stat().st_mtime_ns for path in (*files, package / "new.py"))
    assert source(last) == found[-1]
    assert source(last - 1) != source(last - 1)  # other code may be running


# Damage and attacks ---------------------------------------------------------------------------


def content_of(folder: Path) -> bytes:
    cache.write(NAME, RECORD)
    return (folder / NAME).read_bytes()


@pytest.mark.parametrize("place", [0, 17, 31, 32, 40, 100, 150, -1])
def test_each_changed_byte_is_noticed(place: int, folder: Path) -> None:
    content = bytearray(content_of(folder))
    content[place] ^= 1
    (folder / NAME).write_bytes(content)
    assert cache.read(NAME) is None
    cache.write(NAME, RECORD)
    assert cache.read(NAME) == RECORD


@pytest.mark.parametrize("length", [0, 1, 31, 32, 33, 60, -1])
def test_a_file_cut_short_is_noticed(length: int, folder: Path) -> None:
    content = content_of(folder)
    (folder / NAME).write_bytes(content[:length])
    assert cache.read(NAME) is None


def test_a_longer_file_is_noticed(folder: Path) -> None:
    (folder / NAME).write_bytes(content_of(folder) + b"\0")
    assert cache.read(NAME) is None


def test_a_file_under_another_name_is_noticed(folder: Path) -> None:
    (folder / OTHER).write_bytes(content_of(folder))
    assert cache.read(OTHER) is None


def test_files_made_with_another_key_are_refused(folder: Path) -> None:
    content = content_of(folder)
    (folder / ".key").write_bytes(bytes(32))
    assert cache.read(NAME) is None
    cache.write(NAME, RECORD)
    assert cache.read(NAME) == RECORD
    assert (folder / NAME).read_bytes() != content


@pytest.mark.parametrize("damaged", [b"", b"short", bytes(33)], ids=len)
def test_a_damaged_key_is_replaced(damaged: bytes, folder: Path) -> None:
    content_of(folder)
    (folder / ".key").write_bytes(damaged)
    assert cache.read(NAME) is None
    cache.write(NAME, RECORD)
    assert cache.read(NAME) == RECORD
    assert names(folder) == [".key", NAME]


@POSIX
def test_a_key_that_others_can_read_is_replaced(folder: Path) -> None:
    content_of(folder)
    old = (folder / ".key").read_bytes()
    (folder / ".key").chmod(0o644)
    assert cache.read(NAME) is None
    cache.write(NAME, RECORD)
    assert cache.read(NAME) == RECORD
    assert (folder / ".key").read_bytes() != old
    assert permissions(folder / ".key") == 0o600


@POSIX
@pytest.mark.parametrize("mode", [0o777, 0o770, 0o720, 0o702])
def test_a_directory_that_others_can_write_to_is_not_used(mode: int, folder: Path) -> None:
    content_of(folder)
    folder.chmod(mode)
    assert cache.read(NAME) is None
    cache.write(OTHER, RECORD)
    folder.chmod(0o755)
    assert cache.read(NAME) == RECORD
    assert cache.read(OTHER) is None


@pytest.mark.skipif(not ROOT, reason="needs to give files away")
@pytest.mark.parametrize("what", ["", NAME, ".key"])
def test_what_belongs_to_another_user_is_not_used(what: str, folder: Path) -> None:
    content_of(folder)
    os.chown(folder / what, 1, -1)
    assert cache.read(NAME) is None


@POSIX
def test_links_in_the_directory_are_not_followed(folder: Path, tmp_path: Path) -> None:
    content = content_of(folder)
    outside, secret = tmp_path / "outside", tmp_path / "secret"
    outside.write_bytes(content)
    outside.chmod(0o600)
    (folder / ".key").rename(secret)
    for link, to in ((NAME, outside), (".key", secret)):
        (folder / link).unlink(missing_ok=True)
        (folder / link).symlink_to(to)
        assert cache.read(NAME) is None
    kept = secret.read_bytes()
    cache.write(NAME, RECORD)
    assert cache.read(NAME) == RECORD
    assert not (folder / NAME).is_symlink()
    assert not (folder / ".key").is_symlink()
    assert outside.read_bytes() == content
    assert secret.read_bytes() == kept


@POSIX
def test_things_that_are_no_files_are_refused(folder: Path) -> None:
    content_of(folder)
    (folder / NAME).unlink()
    os.mkfifo(folder / NAME)
    assert cache.read(NAME) is None
    cache.write(NAME, RECORD)
    assert cache.read(NAME) == RECORD
    (folder / OTHER).mkdir()
    cache.write(OTHER, RECORD)
    assert cache.read(OTHER) is None
    assert names(folder) == [".key", NAME, OTHER]


# Nowhere to write -----------------------------------------------------------------------------

ADD = "define i64 @add(i64 %a, i64 %b) {\n  %c = add i64 %a, %b\n  ret i64 %c\n}"


def test_off_means_no_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for value in ("", "off"):
        monkeypatch.setenv("GRAPHC_CACHE", value)
        assert cache.directory() is None
        engine().compile(ADD, keep=True)
    assert not names(tmp_path)


def test_the_directory_is_found_as_other_programs_find_theirs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("GRAPHC_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.directory() == tmp_path / "graphc"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.directory() == tmp_path / ".cache" / "graphc"


@pytest.mark.parametrize("place", ["file", "file/under", "/proc/graphc", "/dev/null"])
def test_where_nothing_can_be_written_all_is_compiled(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("GRAPHC_CACHE", str(tmp_path / place))
    for _ in range(2):
        assert list(engine().compile(ADD, keep=True).symbols) == ["add"]
    assert names(tmp_path) == ["file"]


@pytest.mark.skipif(ROOT or not hasattr(os, "getuid"), reason="root may write anywhere")
def test_a_read_only_directory_is_read(folder: Path) -> None:
    cache.write(NAME, RECORD)
    folder.chmod(0o500)
    cache.write(OTHER, RECORD)
    assert cache.read(NAME) == RECORD
    folder.chmod(0o700)
    assert names(folder) == [".key", NAME]


def script(text: str, *args: str) -> str:
    """What a process of its own prints."""
    paths = [str(Path(__file__).parent), *sys.path]
    head = f"import sys; sys.path[:0] = {paths!r}\n"
    done = subprocess.run(
        [sys.executable, "-c", head + text, *args],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@POSIX
@pytest.mark.parametrize("room", [0, 32, 100])
def test_a_full_disk_means_no_cache(room: int, folder: Path) -> None:
    """Writing stops in the middle of a file, as on a disk that is full."""
    out = script(f"""
import resource
from graphc_llvm.jit import engine
from test_cache import ADD
resource.setrlimit(resource.RLIMIT_FSIZE, ({room}, {room}))
print(*engine().compile(ADD, keep=True).symbols)
""")
    assert out == "add\n"
    assert names(folder) == ([".key"] if room else [])


# Size -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "megabytes"), [(None, 256), ("10", 10), ("0", 0), ("much", 256), ("-1", 256)]
)
def test_limit(given: str | None, megabytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if given is not None:
        monkeypatch.setenv("GRAPHC_CACHE_SIZE", given)
    assert cache.limit() == megabytes << 20


def test_what_was_used_longest_ago_is_removed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [f"{i:064x}" for i in range(20)]
    for i, name in enumerate(found):
        cache.write(name, Record(bytes(1000), ("f",)))
        os.utime(folder / name, (i, i))
    for name in ("notes.txt", "a" * 63, ".new-crashed"):
        (folder / name).write_bytes(bytes(1000))
        os.utime(folder / name, (0, 0))
    assert cache.read(found[2]) is not None  # now used last
    monkeypatch.setattr(cache, "limit", lambda: 12_000)
    cache.write(OTHER, Record(bytes(1000), ("f",)))
    left = set(names(folder))
    assert {"notes.txt", "a" * 63, ".key", found[2], OTHER, found[-1]} <= left
    assert ".new-crashed" not in left
    kept = [name for name in found if name in left]
    assert kept == [found[2], *found[-len(kept) + 1 :]]
    assert 8 <= len(kept) < 12


def test_nothing_is_removed_while_there_is_room(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "limit", lambda: 100_000)
    for i in range(80):
        cache.write(f"{i:064x}", Record(bytes(1000), ("f",)))
    assert len(names(folder)) == 81


# Many processes -------------------------------------------------------------------------------

RACE = """
import os, sys
from graphc_llvm.jit import engine
from graphc_llvm import cache
from test_cache import ADD
from test_jit import call
ready, go = os.pipe()
children = []
for k in range(32):
    child = os.fork()
    if child == 0:
        try:
            os.close(go)
            os.read(ready, 1)  # all start at once
            for i in range(4):
                text = ADD.replace("%a, %b", f"%a, {i}")
                assert call(engine().compile(text, keep=True), "add", 100, 0) == 100 + i
            os._exit(0)
        except BaseException as error:
            print(error, file=sys.stderr, flush=True)
            os._exit(1)
    children.append(child)
os.close(go)
failed = [c for c in children if os.waitpid(c, 0)[1]]
print(len(failed))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("megabytes", ["256", "0"])
def test_32_processes_race(
    megabytes: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAPHC_CACHE_SIZE", megabytes)
    assert script(RACE) == "0\n"
    found = [name for name in names(folder) if name != ".key"]
    if megabytes == "0":
        assert not found
    else:
        assert len(found) == 4
        assert all(cache.read(name) for name in found)


# Programs -------------------------------------------------------------------------------------


def compiled(monkeypatch: pytest.MonkeyPatch, **options: Any) -> tuple[Any, str]:
    """A training step of a small layer, and whether its code was kept from another time."""
    monkeypatch.setattr(functions, "_loaded", {})
    x = gr.tensor("x", ("n", 3), "float64")
    w = gr.parameter("w", np.linspace(-1, 1, 6).reshape(3, 2))
    y = gr.tanh(x @ w) * np.array([0.5, 2.0]) + gr.sin(gr.sum(x))
    step = gr.compile([x], y, {w: w - 0.1 * gr.grad(gr.sum(y), w)}, **options)
    return step, step._executable.notes["object"]


def test_programs_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    first, how = compiled(monkeypatch)
    assert how == "compiled"
    monkeypatch.setattr(engine(), "_compile", lambda *_: pytest.fail("was compiled again"))
    again, how = compiled(monkeypatch)
    assert how == "from the cache"
    assert "from the cache" in str(again.report())
    x = np.random.default_rng(0).standard_normal((5, 3))
    for _ in range(2):
        assert first(x).tobytes() == again(x).tobytes()
    assert again.object_code == first.object_code
    assert again.llvm_ir == first.llvm_ir
    assert "define i32 @f(" in again.llvm_ir
    assert again.asm == first.asm


@pytest.mark.parametrize(
    "options",
    [{"math": "fast"}, {"math": "strict"}, {"target": "sse2"}, {"name": "g"}, {"skip": "fuse"}],
    ids=str,
)
def test_options_make_other_programs(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    if "target" in options and host(options["target"]) == host():
        pytest.skip("this machine has no more")
    compiled(monkeypatch)
    for how in ("compiled", "from the cache"):
        assert compiled(monkeypatch, **options)[1] == how


def test_a_kept_program_without_its_formulas_is_compiled(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled(monkeypatch)
    needs = [r.needs for n in names(folder)[1:] if (r := cache.read(n)) and r.needs]
    ((function, record), *_), *more = needs
    assert not more
    assert function.startswith("vmath.")
    (folder / record).unlink()
    assert compiled(monkeypatch)[1] == "compiled"
    assert compiled(monkeypatch)[1] == "from the cache"


def test_a_damaged_program_is_compiled_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled(monkeypatch)
    for name in names(folder)[1:]:
        content = bytearray((folder / name).read_bytes())
        content[len(content) // 2] ^= 0x40
        (folder / name).write_bytes(content)
    assert compiled(monkeypatch)[1] == "compiled"
    assert compiled(monkeypatch)[1] == "from the cache"


def scaled(value: Any) -> Any:
    x = gr.tensor("x", (2,), "float64")
    return gr.compile([x], x * gr.constant(np.array(value)))


def nan(bits: int) -> float:
    return float(np.array(bits, np.uint64).view(np.float64)[()])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1.5, 2.5),
        ([1.0, 2.0], [1.0, 3.0]),
        (0.0, -0.0),
        (nan(0x7FF8 << 48), nan(0xFFF8 << 48)),
        (nan(0x7FF8 << 48), nan((0x7FF8 << 48) + 5)),
        ([math.nan, 1.0], [-math.nan, 1.0]),
    ],
    ids=str,
)
def test_constants_make_other_programs(one: Any, other: Any) -> None:
    kinds = [scaled(value).report().notes["object"] for value in (one, other, one, other)]
    assert kinds == ["compiled"] * 2 + ["from the cache"] * 2
    ones = np.ones(2)
    np.testing.assert_array_equal(scaled(one)(ones), ones * np.array(one))
    np.testing.assert_array_equal(scaled(other)(ones), ones * np.array(other))


def test_another_process_finds_the_program() -> None:
    text = """
import numpy as np
import pytest
from test_cache import compiled
with pytest.MonkeyPatch.context() as patch:
    f, how = compiled(patch)
print(how, f(np.ones((2, 3))).tobytes().hex(), "graphc_llvm.lower" in sys.modules)
"""
    first, second = script(text).split(), script(text).split()
    assert first[0] == "compiled"
    assert second[:3] == ["from", "the", "cache"]
    assert second[3] == first[1]
    assert first[-1] == "True"
    assert second[-1] == "False"  # the modules that write text are not even loaded


def test_a_kept_program_is_not_planned_again(monkeypatch: pytest.MonkeyPatch) -> None:
    first, how = compiled(monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "run_stages", lambda *_: pytest.fail("was planned again"))
        again, how = compiled(patch)
        assert how == "from the cache"
        x = np.random.default_rng(0).standard_normal((5, 3))
        assert first(x).tobytes() == again(x).tobytes()
        assert first.bind(x)().tobytes() == again.bind(x)().tobytes()
    assert "loops" not in again.timings
    assert repr(again.program) == repr(first.program)
    assert again.program is again.program
    for one, other in zip(first.snapshots, again.snapshots, strict=True):
        assert (one.stage, one.nodes, one.fired) == (other.stage, other.nodes, other.fired)
    both = [{**f.report().to_dict(), "stages": 0, "notes": 0} for f in (first, again)]
    assert both[0] == both[1]


def test_what_is_told_is_kept_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the graph, or by the program if stages must be run."""
    compiled(monkeypatch)
    before = names(folder)
    for how in ("compiled", "from the cache"):
        assert compiled(monkeypatch, verify=True)[1] == how
    (name,) = set(names(folder)) - set(before)
    others = [record for n in before[1:] if (record := cache.read(n)) and record.outline]
    assert others == [cache.read(name)]


B, C = symbol("b"), symbol("c_1")


@pytest.mark.parametrize("size", [0, 7, B, 2 * B * B * C - 3 * B + 4, (B - 1) // 2,
                                  (B * C) // (C + 1) * B + 5 * ((B // 3) // C), B // C - 1],
                         ids=str)  # fmt: skip
def test_outlines_survive(size: Any) -> None:
    guards = (Guard(size, 1, "a mean over 'b'\nneeds elements"),)
    outline = source.Outline(size, guards, ("w", "a b"), ("float32", "float64"))
    assert "\n" not in outline.encode()
    assert source.Outline.decode(outline.encode()) == outline


def test_what_cannot_be_told_is_planned_anew() -> None:
    x = gr.tensor("x", (4,), "float64")
    y = gr.checkpoint(lambda v: gr.sin(gr.exp(v)))(x)
    for options in ({"verify": True}, {"memory_limit": 10_000}):
        assert gr.compile(x, gr.sin(x), **options)._content() is None
    assert gr.compile(x, y)._content() is None
    f = gr.compile(x, gr.sin(x))
    assert f._content() is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("graphc.rewrite.engine.RULES", {})
        patch.setattr("graphc.graph.foreign_rules", set())
        patch.setattr("graphc.rewrite.engine.foreign_rules", graph.foreign_rules)
        rule("sin", "exact")(lambda node, x: None)
        assert f._content() is None


def test_errors_of_a_kept_program_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled(monkeypatch)
    step, _ = compiled(monkeypatch)
    with pytest.raises(CompileError, match="generates no c_source"):
        step._executable.text("c_source")
