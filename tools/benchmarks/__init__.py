"""What tools/benchmark.py measures: every fast path beside a plain one, in the same run."""
