"""The demo: every step a module, all of them real."""
