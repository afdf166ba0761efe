"""What is measured: each module wires one way of observing a job.

A module has ``REQUIRES`` (the packages to install for it), ``environment`` (the variables its
process starts with) and ``build`` (which loads the library, wires it and returns a ``Case``).
Libraries are imported in ``build`` only: the parent process, which loads these modules for their
``environment``, stays clean.
"""
