"""The audit trail: what became of every credential, as facts that may be published, and as a file that shows any change."""
