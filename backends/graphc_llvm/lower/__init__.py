"""From the loop language to LLVM IR text."""

from graphc_llvm.lower.program import lower_into, lower_program

__all__ = ["lower_into", "lower_program"]
