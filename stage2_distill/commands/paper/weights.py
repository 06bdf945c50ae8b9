"""The weights of the networks before any training on panoramas."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmengine.runner import CheckpointLoader

from stage2_distill.checkpoints.safe_checkpoints import check_checkpoint
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
    config = read_config(str(CONFIGS / f'ablations/table5_ctcf_b{size}.py'))
    address: str = config.model.teacher_assistant.init_cfg.checkpoint
    if args.weights:
        file = Path(args.weights) / address.rpartition('/')[2]
        if not file.is_file():
            raise CheckpointError(f'{file} does not exist', f'fetch {address} into that folder')
        check_checkpoint(str(file), args.trust_checkpoint)
        return str(file)
    try:
        CheckpointLoader.load_checkpoint(address, 'cpu')
    except Exception as problem:  # no network, no such address, half a file: PyTorch raises almost anything
        raise CheckpointError(
            f'{address} cannot be fetched or read ({" ".join(str(problem).split())[:80]})',
            'fetch it elsewhere and give its folder with --weights',
        ) from problem
    return address


def find_toypass_weights(size: int, args: argparse.Namespace) -> str:
    """Return weights trained on ToyPASS's pinhole images; only B0 comes with the package.

    Raises:
        CheckpointError: If there are none, or they can't be used.
    """
    name = f'segformer_b{size}.safetensors'
    places = [FOLDER / name, Path(f'work_dirs/segformer_b{size}_toypass.safetensors')]
    if args.weights:
        places = [Path(args.weights) / name]
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
