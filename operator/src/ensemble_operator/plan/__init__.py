"""Pure decisions: an Observation in, a Plan out. Nothing here performs I/O or reads the clock."""
