"""The durable part: append-only JSON lines, read by shippers with a cursor each."""
