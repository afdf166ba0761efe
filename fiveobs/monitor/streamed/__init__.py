"""The stream-monitoring API: jobs as those know them who come from Flink."""
