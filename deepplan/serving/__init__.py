"""Serving requests for many models: so far, the workloads to measure it with."""
