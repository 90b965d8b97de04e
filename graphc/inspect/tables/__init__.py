"""Counts and tables: cost, reports, rooflines, the reverse sweep, swell."""
