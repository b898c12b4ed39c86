"""The planners: one file a policy, and the search that names them."""

from __future__ import annotations

from deepplan.planning.policies.registry import POLICIES, Policy, search

__all__ = ["POLICIES", "Policy", "search"]
