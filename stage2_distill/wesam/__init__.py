"""WeSAM's adaptation as a run of MMEngine; the method itself is in ``stage1_sam_cache.adaptation``."""
