"""From journal lines to rows: follow the files, fold the lines, write batches."""
