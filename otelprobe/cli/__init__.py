"""What people and machines read: one file per command, one per form of report; arguments become a call, a value text."""
