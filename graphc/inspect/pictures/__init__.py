"""Graphs as pictures: folding, labels, layout, SVG."""
