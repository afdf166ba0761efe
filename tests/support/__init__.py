"""Real receivers over real sockets, and what else tests and benchmarks share."""
