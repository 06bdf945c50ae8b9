"""Imports everything that a config can name, so that it is registered."""

from stage2_distill import (  # noqa: F401
    bfloat16,
    checkpoint_hook,
    datasets,
    fusion,
    goodsam,
    heads,
    hooks,
    metrics,
    networks,
    optimizers,
    runner,
    safetensors_files,
    sampler,
    transforms,
)
