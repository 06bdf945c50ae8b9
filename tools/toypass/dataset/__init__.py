"""ToyPASS on disk: its scenes, its files, and the processes that make them."""
