"""graphc: a compiler for symbolic computational graphs."""
