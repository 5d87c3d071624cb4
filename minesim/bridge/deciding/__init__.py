"""From readings and feeds to bounded commands."""
