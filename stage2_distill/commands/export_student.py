"""Exports the student of a training run: safetensors + config + digest + model card, ONNX, Hugging Face's hub.

    tools/export_student.py mmseg_configs/goodsam_b0.py work_dirs/goodsam_b0/best_mIoU_iter_40000.pth \\
        --out student.safetensors
    tools/export_student.py student.py student.safetensors --onnx student.onnx --wrap
    tools/export_student.py student.py student.safetensors --onnx student.onnx --size 400x2048 --half --output logits
    tools/export_student.py mmseg_configs/goodsam_b0.py work_dirs/goodsam_b0/best_mIoU_iter_40000.pth --push me/goodsam

The files of the first line load with mmseg's init_model('student.py', 'student.safetensors'), and where this project is
not installed with init_model('student_mmseg.py', 'student.pth'). student.md says what went into it, and how it scores.
"""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from stage1_sam_cache.commands import cli, flag_values
from stage1_sam_cache.system.launched import require_one_process
from stage2_distill.commands.flags import add_weights_group
from stage2_distill.libraries import import_libraries


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all flags."""
    parser = cli.Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config of the training run, or of an exported student')
    parser.add_argument('checkpoint', help='checkpoint of that run, or an exported student')
    parser.add_argument('--out', type=Path, metavar='FILE.safetensors', help='write weights, config and digest')
    parser.add_argument('--half', action='store_true', help='float16, half the size')
    hub = parser.add_argument_group("Hugging Face's hub, and the model card")
    hub.add_argument('--push', metavar='ORG/NAME', help='upload all that --out would write, and what --onnx writes')
    hub.add_argument('--private', action='store_true', help='the repository is private, if --push creates it')
    hub.add_argument('--license', metavar='NAME', help='of the student, as the hub names it (default: none is named)')
    add_weights_group(parser)
    onnx = parser.add_argument_group('ONNX')
    onnx.add_argument('--onnx', type=Path, metavar='FILE', help='write ONNX, and compare it with PyTorch')
    onnx.add_argument('--size', type=flag_values.pixel_pair, metavar='HxW', help='of all its images (default: any)')
    onnx.add_argument(
        '--input',
        choices=('uint8', 'float'),
        default='uint8',
        help='uint8: RGB (batch, height, width, 3); float: RGB float32 (batch, 3, height, width) in 0 to 255 '
        '(default: %(default)s)',
    )
    onnx.add_argument(
        '--output',
        choices=('labels', 'logits'),
        default='labels',
        help='labels: uint8 (batch, height, width); logits: float32 (batch, classes, height, width) '
        '(default: %(default)s)',
    )
    onnx.add_argument('--wrap', action='store_true', help='close panoramas of 360 degrees around their seam')
    return parser


def main(argv: list[str] | None = None) -> int:
    """Write the files that the flags ask for and return the exit status."""
    parser = build_parser()
    args = parser.parse_args(argv)
    require_one_process('tools/export_student.py', os.environ)
    if not (args.out or args.onnx or args.push):
        parser.error('give --out, --onnx or --push')
    if args.private and not args.push:
        parser.error('--private is for --push')
    if args.license and not (args.out or args.push):
        parser.error('--license is written into the model card: give --out or --push')
    asked = [flag for flag in ('size', 'wrap') if getattr(args, flag)]
    asked += [flag for flag in ('input', 'output') if getattr(args, flag) != parser.get_default(flag)]
    if asked and not args.onnx:
        parser.error(f'--{asked[0]} is a setting of ONNX: give --onnx FILE')
    import_libraries()  # here and not above, because PyTorch takes seconds, which --help need not wait for
    from stage2_distill.deployment.onnx_export import OnnxSettings, export_onnx
    from stage2_distill.deployment.student import Student
    from stage2_distill.report.hub_upload import check_repo
    from stage2_distill.report.model_card import check_card

    if args.out:
        check_card(args.out.with_suffix('.md'))
    if args.push:
        check_repo(args.push)
    student = Student.load(args.config, args.checkpoint, args.trust_checkpoint)
    print(f'{student.parameter_count / 1e6:.1f} M parameters, {len(student.classes)} classes')
    if args.out:
        for file in _write(args, student, args.out, args.out.with_suffix('.md')):
            print(f'{file}  {file.stat().st_size} bytes')
    if args.onnx:
        settings = OnnxSettings(args.size, args.input, args.output, args.wrap, args.half)
        differs = export_onnx(student, settings, args.onnx)
        said = f'{differs.logits:.1e} of the largest logit, in {100 * differs.labels:.3f} % of the labels'
        print(f'{args.onnx}  {args.onnx.stat().st_size} bytes, differs from PyTorch by {said}')
    if args.push:
        print(_push(args, student))
    return 0


def _write(args: argparse.Namespace, student: Any, out: Path, card: Path, repo: str | None = None) -> list[Path]:
    """Write the student's files and its card, and return them."""
    from stage1_sam_cache.system.atomic_file import commit
    from stage2_distill.checkpoints.safe_checkpoints import load_any
    from stage2_distill.deployment.export import export_student
    from stage2_distill.report.model_card import model_card
    from stage2_distill.report.provenance import provenance_of
    from stage2_distill.training.experiment import read_config

    files = export_student(args.config, args.checkpoint, out, args.half, args.trust_checkpoint)
    checkpoint = load_any(args.checkpoint, args.trust_checkpoint)
    known = provenance_of(read_config(args.config), checkpoint, args.checkpoint)
    text = model_card(out.stem, known, student.classes, student.parameter_count, args.license, repo)
    commit(card, text.encode(), replace=True)
    return [*files, card]


def _push(args: argparse.Namespace, student: Any) -> str:
    """Upload the student under the names that ``hf:ORG/NAME`` is looked for with, and return its address."""
    from stage2_distill.report.hub_upload import upload

    with TemporaryDirectory() as folder:
        out = Path(folder) / 'model.safetensors'
        _write(args, student, out, out.with_name('README.md'), args.push)
        if args.onnx:
            shutil.copyfile(args.onnx, out.with_suffix('.onnx'))
        return upload(Path(folder), args.push, args.private)
