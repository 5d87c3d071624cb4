"""From a benchmark result to a signed bundle: gates, writer, keys and version history."""
