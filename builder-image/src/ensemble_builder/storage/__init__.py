"""Object storage: the S3 API with bounded patience, checked digests and errors that name the field."""
