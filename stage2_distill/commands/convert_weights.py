"""Converts a SegFormer between Hugging Face, NVIDIA's own files and MMSegmentation; nothing in a file runs code.

    tools/convert_weights.py hf:nvidia/segformer-b3-finetuned-cityscapes-1024-1024 segformer_b3.safetensors
    tools/convert_weights.py segformer.b3.1024x1024.city.160k.pth segformer_b3.safetensors
    tools/convert_weights.py work_dirs/goodsam_b0_nvidia/iter_40000.pth student_for_transformers

The result is a file for MMSegmentation, whose names this project's configs use, if its name ends with .safetensors, and
else a folder for transformers. Configs take hf:ORG/NAME, a folder and NVIDIA's files as they are, so nothing has to be
converted to train. The classes come in the order of a label space of this project; other classes are refused.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from stage1_sam_cache.commands import cli
from stage1_sam_cache.system.launched import require_one_process
from stage2_distill.commands.flags import add_weights_group
from stage2_distill.libraries import import_libraries


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all flags."""
    parser = cli.Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        'source',
        help='hf:ORG/NAME, hf:ORG/NAME@REVISION, a folder of Hugging Face, a file (.safetensors, .bin, .pth), or an '
        'address; of a GoodSAM run the student is taken',
    )
    parser.add_argument('out', type=Path, help='x.safetensors for MMSegmentation, or a folder for transformers')
    add_weights_group(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Convert, print what was written and the line of a config that takes it, and return 0."""
    args = build_parser().parse_args(argv)
    require_one_process('tools/convert_weights.py', os.environ)
    import_libraries()
    from stage2_distill.checkpoints.foreign_segformers import check_classes
    from stage2_distill.checkpoints.hub_folder import save_hub_folder
    from stage2_distill.checkpoints.safe_checkpoints import load_any, use_safe_loaders
    from stage2_distill.checkpoints.safetensors_files import SUFFIX, save_safetensors
    from stage2_distill.checkpoints.segformer_sizes import size_of
    from stage2_distill.deployment.student import classes_of, student_weights
    from stage2_distill.errors import CheckpointError

    use_safe_loaders(args.trust_checkpoint)
    content = load_any(args.source, args.trust_checkpoint)
    check_classes(content, args.source)
    weights = student_weights(content, args.source)
    classes, palette = classes_of(content, args.source)
    if args.out.suffix == SUFFIX:
        save_safetensors(weights, {'dataset_meta': {'classes': classes, 'palette': palette}}, args.out)
        print(args.out)
    else:
        outputs = len(weights.get('decode_head.conv_seg.weight', ()))
        if outputs != len(classes):
            raise CheckpointError(f'{args.source} has {outputs} outputs and names {len(classes)} classes')
        print('\n'.join(map(str, save_hub_folder(weights, classes, args.out))))
    found = size_of(weights)
    if found is not None:
        init = f"init_cfg=dict(type='Pretrained', checkpoint={str(args.out)!r})"
        print(f"in a config: dict(_delete_=True, type='SegFormer', size={found[0]!r}, layout={found[1]!r}, {init})")
    return 0
