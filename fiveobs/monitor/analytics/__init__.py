"""What can be concluded from past runs: pure functions, rows in, frozen results out.

Nothing in here reads a store, a clock or a file. ``scipy.stats`` is looked up where it is used:
it takes as long to load as most of the monitor, and SciPy does that at the first use.
"""
