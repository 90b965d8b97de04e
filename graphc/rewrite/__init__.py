"""Rewriting of graphs: merging equal nodes, and named rules."""

from graphc.rewrite.cse import cse as cse
