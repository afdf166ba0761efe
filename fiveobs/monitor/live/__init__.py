"""Events as they happen: one reader of the store, any number of streams."""
