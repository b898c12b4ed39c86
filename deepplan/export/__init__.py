"""From a PyTorch module to deepplan's own graph: a flat list of ATen calls, and the storages they read."""
