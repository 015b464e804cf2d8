"""Benchmarks of a whole node from outside: `python -m bench`. One JSON line for each figure, then a table."""
