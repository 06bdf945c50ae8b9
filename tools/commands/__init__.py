"""The code of those tools that exist in a checkout only."""
