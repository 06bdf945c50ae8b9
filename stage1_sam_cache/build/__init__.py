"""Stage 1's loop: settings, one panorama, many panoramas, shards, the estimate of a dry run."""
