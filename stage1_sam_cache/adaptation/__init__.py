"""Reserved for WeSAM: adapting SAM's image encoder to panoramas before stage 1. Empty so far."""
