"""Prometheus metrics of the operator; docs/observability.md explains each.

Counters count transitions, never states: a pass that sees the same again, a resync, a new process or a new
leader count nothing twice. What ended while no operator worked is not counted.
"""
