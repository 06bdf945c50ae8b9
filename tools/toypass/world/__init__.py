"""A street: its ground, the things on it, and its triangles."""
