"""What can be concluded from past runs: pure functions, rows in, frozen results out.

Nothing in here reads a store, a clock or a file.
"""
