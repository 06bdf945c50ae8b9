"""Labels panoramas with a student: label PNGs of class ids, and the panoramas with the labels laid over them.

tools/predict.py mmseg_configs/goodsam_b0.py work_dirs/goodsam_b0/best_mIoU_iter_40000.pth --images my_panoramas
tools/predict.py student.py student.safetensors --images my_panoramas --out labels --wrap
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from stage1_sam_cache.commands import cli
from stage1_sam_cache.data.images import read_rgb
from stage1_sam_cache.errors import ImageError
from stage2_distill.commands.flags import add_trust_flag
from stage2_distill.deployment.student import Student


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all flags."""
    parser = cli.Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config of the training run, or of an exported student')
    parser.add_argument('checkpoint', help='checkpoint of that run, or an exported student')
    cli.add_image_flags(parser)
    parser.add_argument('--out', type=cli.named_path, default=Path('predictions'), help='default: %(default)s')
    parser.add_argument('--wrap', action='store_true', help='let the student see across the 0/360 degree seam')
    parser.add_argument('--scale', type=float, default=1.0, help='resize images before the student sees them')
    parser.add_argument(
        '--opacity', type=float, default=0.6, help='opacity of the labels, 0 to 1 (default: %(default)s)'
    )
    parser.add_argument('--device', help='cpu, cuda, ... (default: a GPU where there is one)')
    add_trust_flag(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Label every image and return the exit status, 1 if some could not be read."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.scale <= 0 or not 0 <= args.opacity <= 1:
        parser.error('--scale has to be above 0, --opacity from 0 to 1')
    listing = cli.list_images(parser, args)
    student = Student.load(args.config, args.checkpoint, args.trust_checkpoint)
    student.to(args.device or ('cuda' if torch.cuda.is_available() else 'cpu'))
    print(f'{student.parameter_count / 1e6:.1f} M parameters')
    print('classes: ' + ', '.join(f'{i} {name}' for i, name in enumerate(student.classes)))
    palette = np.array(student.palette, np.uint8)
    failed = 0
    for sample in tqdm(listing.samples, unit='image', disable=None):
        try:
            pixels = read_rgb(sample.image).pixels
        except ImageError as problem:
            cli.report(f'error: {problem}')
            failed += 1
            continue
        labels = label(student, pixels, args.scale, args.wrap)
        files = [args.out / folder / f'{sample.id}.png' for folder in ('labels', 'overlays')]
        for file in files:
            file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(labels).save(files[0])
        overlay = palette[labels] * args.opacity + pixels * (1 - args.opacity)
        Image.fromarray(overlay.astype(np.uint8)).save(files[1])
    done = len(listing.samples) - failed
    print(f'{done} of {len(listing.samples)} images: ids in {args.out}/labels, pictures in {args.out}/overlays')
    return cli.FAILED if failed or listing.refused else 0


def label(student: Student, pixels: np.ndarray, scale: float, wrap: bool) -> np.ndarray:
    """Label one image.

    Args:
        student: The network.
        pixels: RGB, uint8 ``(H, W, 3)``.
        scale: Resize the image by this factor before the student sees it.
        wrap: Let the student see across the 0/360 degree seam.

    Returns:
        Class ids at the image's own size, uint8 ``(H, W)``.
    """
    height, width = pixels.shape[:2]
    seen = pixels
    if scale != 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        seen = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))
    labels = student.label(seen, wrap_columns=seen.shape[1] // 8 if wrap else 0)
    return np.asarray(Image.fromarray(labels).resize((width, height), Image.Resampling.NEAREST))
