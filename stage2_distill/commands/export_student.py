"""Exports the student of a training run: safetensors + config + digest, and ONNX.

    tools/export_student.py mmseg_configs/goodsam_b0.py work_dirs/goodsam_b0/best_mIoU_iter_40000.pth \\
        --out student.safetensors
    tools/export_student.py student.py student.safetensors --onnx student.onnx --size 400x2048

The files of the first line load with mmseg's init_model('student.py', 'student.safetensors'), and where this project is
not installed with init_model('student_mmseg.py', 'student.pth').
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from stage1_sam_cache.commands import cli, flag_values
from stage1_sam_cache.system.launched import require_one_process
from stage2_distill.commands.flags import add_trust_flag
from stage2_distill.libraries import import_libraries


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all flags."""
    parser = cli.Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config of the training run, or of an exported student')
    parser.add_argument('checkpoint', help='checkpoint of that run, or an exported student')
    parser.add_argument('--out', type=Path, metavar='FILE.safetensors', help='write weights, config and digest')
    parser.add_argument('--half', action='store_true', help='store float16, half the size')
    parser.add_argument('--onnx', type=Path, metavar='FILE', help='write ONNX, and compare it with PyTorch')
    parser.add_argument(
        '--size', type=flag_values.pixel_pair, default=(400, 2048), metavar='HxW', help='default: 400x2048'
    )
    add_trust_flag(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Write the files that the flags ask for and return the exit status."""
    parser = build_parser()
    args = parser.parse_args(argv)
    require_one_process('tools/export_student.py', os.environ)
    if not args.out and not args.onnx:
        parser.error('give --out, --onnx or both')
    import_libraries()  # here and not above, because PyTorch takes seconds, which --help need not wait for
    from stage2_distill.deployment.export import export_onnx, export_student
    from stage2_distill.deployment.student import Student

    if args.out:
        for file in export_student(args.config, args.checkpoint, args.out, args.half, args.trust_checkpoint):
            print(f'{file}  {file.stat().st_size} bytes')
    student = Student.load(args.config, args.checkpoint, args.trust_checkpoint)
    print(f'{student.parameter_count / 1e6:.1f} M parameters, {len(student.classes)} classes')
    if args.onnx:
        difference = export_onnx(student, args.size, args.onnx)
        print(f'{args.onnx}  {args.onnx.stat().st_size} bytes, differs from PyTorch by {difference:.1e} of the largest')
    return 0
