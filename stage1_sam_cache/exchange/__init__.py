"""Masks from other tools and for them: SA-1B JSON, COCO instances, PNG."""
