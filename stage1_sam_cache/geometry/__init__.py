"""Where windows, overlaps and owners lie in a panorama (Sec. 3.1). Integer geometry, shared by both stages."""
