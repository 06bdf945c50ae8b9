"""The mask cache: fingerprint, file format, reader, writer."""
