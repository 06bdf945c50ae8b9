"""Runner, optimizers, hooks, and the checks before a training run."""
