"""The monitor's HTTP interface."""
