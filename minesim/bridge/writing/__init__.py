"""From commands to writes that are journaled, sent once, read back and put back."""
