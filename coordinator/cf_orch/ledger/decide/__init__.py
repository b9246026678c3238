"""What each command leads to: one function a command, which checks everything before its first event."""
