"""What storage holds and how it is named: keys, locks, orders, placement, manifests. No I/O."""
