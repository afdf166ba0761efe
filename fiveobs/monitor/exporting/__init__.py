"""Everything that the store has of a project, as files for other programs, in constant memory.

A table (`tables`) is a list of columns and a way to read it (`walking`): in the order of keys, a
few rows at a time, each time in a short read of its own. A format (`formats`) makes bytes of them.
"""
