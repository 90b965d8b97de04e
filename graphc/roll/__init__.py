"""Rolling: equal-shaped pieces of large scalar graphs become loops."""
