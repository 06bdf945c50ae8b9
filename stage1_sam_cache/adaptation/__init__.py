"""WeSAM (CVPR 2024): adapting SAM's image encoder to panoramas before stage 1; ``tools/adapt_sam.py`` trains."""
