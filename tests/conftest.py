"""``--features LEVEL``: all tests as on a machine with no more than these instructions."""

from __future__ import annotations

from collections.abc import Generator

import llvmlite.binding as llvm
import pytest

from graphc.errors import CompileError
from graphc_llvm.target import host


def pytest_addoption(parser: pytest.Parser) -> None:
    levels = ("native", "avx512", "avx2", "sse2")
    parser.addoption("--features", choices=levels, default="native", help="of the processor")


def pytest_configure(config: pytest.Config) -> None:
    level = config.getoption("--features")
    if level == "native":
        return
    forced = llvm.FeatureMap({name[1:]: True for name in host(level).features.split(",")})
    llvm.get_host_cpu_features = lambda: forced
    host.cache_clear()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Tests of instructions that the machine lacks are skipped."""
    try:
        return (yield)
    except CompileError as e:
        if str(e).startswith("this machine has no "):
            pytest.skip(str(e).splitlines()[0])
        raise
