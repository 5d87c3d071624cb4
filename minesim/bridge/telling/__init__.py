"""What people and machines are told: snapshot, metrics, alerts, messages, dashboard, outcomes."""
