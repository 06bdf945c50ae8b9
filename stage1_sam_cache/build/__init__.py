"""Stage 1's loop: settings, one panorama, many panoramas, progress, shards, the estimate of a dry run."""
