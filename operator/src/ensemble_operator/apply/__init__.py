"""Carries out what the planner asked for: actions, status, Events."""
