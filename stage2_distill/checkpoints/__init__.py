"""Loading and saving weights as data: nothing in a checkpoint may run code."""
