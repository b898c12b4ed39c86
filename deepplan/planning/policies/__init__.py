"""The planners, one file a policy; `deepplan.planning.search` names them."""
