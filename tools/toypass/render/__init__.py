"""Cameras, weather and the images that they give."""
