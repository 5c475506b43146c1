"""Asking a running tritonserver: over HTTP or gRPC, directly or through the API server."""
