"""WeSAM (CVPR 2024): adapting SAM's image encoder to panoramas before stage 1. So far the parts; no command trains."""
