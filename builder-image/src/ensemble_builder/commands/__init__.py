"""What the Jobs run. Each command takes typed arguments and returns a Result, or raises FaultError."""
