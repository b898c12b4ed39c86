"""Profiles, plans, the timeline rule and the search: pure Python and NumPy, no torch, no GPU."""
