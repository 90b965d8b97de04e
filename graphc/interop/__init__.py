"""To and from other packages: SymPy, networkx, NumPy source text."""

from graphc.interop.elementwise_op import elementwise_op as elementwise_op
from graphc.interop.from_sympy import from_sympy as from_sympy
from graphc.interop.numpy_source import to_python as to_python
from graphc.interop.to_networkx import to_networkx as to_networkx
from graphc.interop.to_sympy import to_sympy as to_sympy
