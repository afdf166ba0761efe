"""The enhanced-monitoring API: executions of workflows and of their steps, and their logs."""
