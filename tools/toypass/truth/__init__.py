"""ToyPASS's true segments as masks, and scores of masks against them."""
