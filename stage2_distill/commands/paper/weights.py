"""The weights of the networks before any training on panoramas."""

from __future__ import annotations

import argparse
from pathlib import Path

from stage2_distill.checkpoints.safe_checkpoints import check_checkpoint, load_any
from stage2_distill.checkpoints.shipped_weights import FOLDER
from stage2_distill.errors import CheckpointError
from stage2_distill.training.config_files import CONFIGS
from stage2_distill.training.experiment import read_config


def find_weights(size: int, args: argparse.Namespace) -> str:
    """Return the file or address of a SegFormer's weights before any training on panoramas.

    Raises:
        CheckpointError: If they are missing, can't be fetched or can't be used.
    """
    if args.dataset == 'toypass':
        return find_toypass_weights(size, args)
    address = published_address(size, args.source)
    try:
        load_any(address, args.trust_checkpoint)
    except CheckpointError:
        raise
    except Exception as problem:  # half a file, an address that no loader knows: PyTorch raises almost anything
        raise CheckpointError(
            f'{address} cannot be fetched or read ({" ".join(str(problem).split())[:80]})',
            'fetch it elsewhere and give its folder with --weights-dir',
        ) from problem
    return address


def published_address(size: int, source: str) -> str:
    """Where a source has its SegFormer of a size."""
    if source == 'nvidia':
        return f'hf:nvidia/segformer-b{size}-finetuned-cityscapes-1024-1024'
    config = read_config(str(CONFIGS / f'ablations/table5_ctcf_b{size}.py'))
    address: str = config.model.teacher_assistant.init_cfg.checkpoint
    return address


def find_toypass_weights(size: int, args: argparse.Namespace) -> str:
    """Return weights trained on ToyPASS's pinhole images; only B0 comes with the package.

    Raises:
        CheckpointError: If there are none, or they can't be used.
    """
    name = f'segformer_b{size}.safetensors'
    places = [FOLDER / name, Path(f'work_dirs/segformer_b{size}_toypass.safetensors')]
    if args.weights_dir:
        places = [Path(args.weights_dir) / name]
    for file in places:
        if file.is_file():
            check_checkpoint(str(file), args.trust_checkpoint)
            return str(file)
    source = f'mmseg_configs/source/segformer_b{size}_toypass.py'
    raise CheckpointError(
        f'{places[-1]} does not exist',
        f'run tools/train.py {source} --amp, then tools/export_student.py {source} '
        f'work_dirs/segformer_b{size}_toypass/best_mIoU_iter_*.pth --out {places[-1]}',
    )
