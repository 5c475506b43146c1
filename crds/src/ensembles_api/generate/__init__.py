"""Makes the CRD, the chart's copy of it, and the reference pages from the types."""
