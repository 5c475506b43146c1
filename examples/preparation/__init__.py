"""Makes the files of the examples from public packages; nothing binary lies in the repository."""
