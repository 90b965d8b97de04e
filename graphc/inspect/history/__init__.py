"""Where a node comes from, what became of it, and why not otherwise."""
