"""Import everything that a config can name, so that it is registered; nothing else in the process changes."""

from stage2_distill.checkpoints import safetensors_files, shipped_weights  # noqa: F401
from stage2_distill.data import crop_rows, datasets, sampler, transforms  # noqa: F401
from stage2_distill.evaluation import metrics, pictures  # noqa: F401
from stage2_distill.fusion import registered  # noqa: F401
from stage2_distill.heads import ctcf_head, mka_head  # noqa: F401
from stage2_distill.models import (  # noqa: F401
    goodsam,
    merged_classes,
    mix_transformer,
    onnx_assistant,
    segformer,
    segformer_head,
)
from stage2_distill.training import (  # noqa: F401
    bfloat16,
    checked_runner,
    checkpoint_hook,
    hooks,
    label_guard,
    optimizers,
    runner,
    schedule_hook,
)
