"""Rewriting of graphs: merging equal nodes, and named rules."""

from graphc.rewrite import expand as expand
from graphc.rewrite import fold as fold
from graphc.rewrite.cse import cse as cse
from graphc.rewrite.engine import RULES as RULES
from graphc.rewrite.engine import Rule as Rule
from graphc.rewrite.engine import rewrite as rewrite
