"""Rewriting of graphs: merging equal nodes, and named rules."""

# The order of these modules is the order in which rules are tried.
from graphc.rewrite import fold as fold  # isort: skip
from graphc.rewrite import stability as stability  # isort: skip
from graphc.rewrite import products as products  # isort: skip
from graphc.rewrite import movement as movement  # isort: skip
from graphc.rewrite import selection as selection  # isort: skip
from graphc.rewrite import algebra as algebra  # isort: skip
from graphc.rewrite import strength as strength  # isort: skip
from graphc.rewrite import factoring as factoring  # isort: skip
from graphc.rewrite import reductions as reductions  # isort: skip
from graphc.rewrite import contraction as contraction  # isort: skip
from graphc.rewrite import expand as expand  # isort: skip
from graphc.rewrite.cse import cse as cse
from graphc.rewrite.engine import RULES as RULES
from graphc.rewrite.engine import Rule as Rule
from graphc.rewrite.engine import rewrite as rewrite
