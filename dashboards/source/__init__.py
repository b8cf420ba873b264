"""The one source: what is shown (boards), what is reckoned beforehand (recording) and what is told (alerts)."""
