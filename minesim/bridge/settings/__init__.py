"""What an operator writes: inventory, secrets, errors with their line."""
