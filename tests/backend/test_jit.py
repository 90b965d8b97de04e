"""Machine code: made, loaded, refused, unloaded."""

from __future__ import annotations

import ctypes
import gc
import threading
from pathlib import Path

import pytest

from graphc.errors import CompileError
from graphc_llvm.jit import _LIBRARIES, Code, engine, provide
from graphc_llvm.target import host

ADD = "define i64 @add(i64 %a, i64 %b) {\n  %c = add i64 %a, %b\n  ret i64 %c\n}"


def call(code: Code, name: str, *args: int) -> int:
    kinds = [ctypes.c_int64] * (len(args) + 1)
    return int(ctypes.CFUNCTYPE(*kinds)(code.symbols[name])(*args))


def test_compiled_function_runs() -> None:
    code = engine().compile(ADD, verify=True)
    assert call(code, "add", 20, 22) == 42
    assert "add:" in code.asm
    assert code.ir == ADD


def test_internal_functions_are_not_exported() -> None:
    text = ADD + "\ndefine internal void @hidden() {\n  ret void\n}"
    assert list(engine().compile(text).symbols) == ["add"]


def test_constants_and_library_functions_are_found() -> None:
    text = """
@table = internal constant [3 x i64] [i64 7, i64 8, i64 9]
declare i64 @labs(i64)
define i64 @f(i64 %i) {
  %p = getelementptr i64, ptr @table, i64 %i
  %v = load i64, ptr %p
  %m = sub i64 0, %v
  %r = call i64 @labs(i64 %m)
  ret i64 %r
}"""
    assert call(engine().compile(text), "f", 2) == 9


def test_object_is_loaded_again() -> None:
    code = engine().compile(ADD)
    again = engine().load(code.object, ["add"])
    assert again.symbols["add"] != code.symbols["add"]
    assert call(again, "add", 1, 2) == 3


def test_provided_function_is_called() -> None:
    callback = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(lambda x: x + 5)
    provide("test_provided", ctypes.cast(callback, ctypes.c_void_p).value or 0)
    text = """
declare i64 @test_provided(i64)
define i64 @f(i64 %x) {
  %r = call i64 @test_provided(i64 %x)
  ret i64 %r
}"""
    assert call(engine().compile(text), "f", 3) == 8


def test_missing_externals_are_named() -> None:
    text = "declare void @no_such()\ndefine void @f() {\n  call void @no_such()\n  ret void\n}"
    with pytest.raises(CompileError, match="no_such"):
        engine().compile(text)
    code = engine().compile(text.replace("no_such", "abort"))
    obj = code.object.replace(b"abort", b"abxrt")
    with pytest.raises(CompileError, match="could not be loaded"):
        engine().load(obj, ["f"])


def test_malformed_text_is_refused() -> None:
    with pytest.raises(CompileError, match="invalid LLVM text"):
        engine().compile("define i64 @f( {")


def test_one_engine_per_target() -> None:
    assert engine() is engine(host())


def test_lower_targets_have_engines_of_their_own() -> None:
    assert engine(host("sse2")) is not engine(host("avx2"))
    code = engine(host("sse2")).compile(ADD)
    assert call(code, "add", 2, 3) == 5


def test_threads_compile_at_once() -> None:
    results: list[int] = []

    def work(k: int) -> None:
        code = engine().compile(ADD.replace("%a, %b", f"%a, {k}"))
        results.append(call(code, "add", 100, 0) - k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [100] * 8


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_unloaded_code_frees_its_memory() -> None:
    obj = engine().compile(ADD).object

    def load(count: int) -> int:
        for _ in range(count):
            engine().load(obj, ["add"])
        gc.collect()
        return resident_bytes()

    before = load(2 * _LIBRARIES)
    assert load(8 * _LIBRARIES) - before < 4_000_000
