"""Things of the world, each in its own axes, and the shapes and materials that they are built of."""
