"""Loop programs: what a graph becomes before a backend turns it into code."""
