"""Pictures of the boards: every panel drawn with Grafana's own components from what the real stores answer."""
