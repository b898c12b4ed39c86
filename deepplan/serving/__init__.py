"""Serving many models from host memory: workloads, and what the scheduler makes of them in virtual time."""
