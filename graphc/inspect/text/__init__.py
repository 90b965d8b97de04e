"""Graphs as text: listings, formulas, LaTeX, loop programs."""
