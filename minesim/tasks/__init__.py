"""One file a task: what it rewards and what it counts as a constraint cost."""
