"""A load generator: sends a workload on time, whatever becomes of it, and reports what became of it."""
