"""What tools/benchmark.py measures: each fast path and a plain reference, in the same run."""
