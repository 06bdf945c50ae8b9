"""The student as ONNX: traced, described in its own metadata, and compared with PyTorch."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stage1_sam_cache.system.atomic_file import commit
from stage2_distill.deployment.onnx_graph import DeployedStudent, with_free_sizes
from stage2_distill.deployment.student import Student
from stage2_distill.errors import ConfigError
from stage2_distill.models.dry_run import needed_bytes

OPSET = 17
# (B, H, W) of the images that both compute if the size is free; odd sizes, a panorama's shape, several at once.
COMPARED = ((1, 128, 256), (2, 100, 202), (1, 203, 517))
_TOLERANCE = {False: 1e-3, True: 3e-2}  # of the largest logit, by ``half``


@dataclass(frozen=True)
class OnnxSettings:
    """What the ONNX file takes and gives.

    Attributes:
        size: ``(H, W)`` of all images; None: any.
        input: ``'uint8'`` or ``'float'``, see ``DeployedStudent``.
        output: ``'labels'`` or ``'logits'``, the same.
        wrap: Close the panorama around its seam.
        half: Compute in float16; inputs and outputs keep their types.
    """

    size: tuple[int, int] | None = None
    input: str = 'uint8'
    output: str = 'labels'
    wrap: bool = False
    half: bool = False


@dataclass(frozen=True)
class Difference:
    """How far ONNX Runtime and PyTorch differ.

    Attributes:
        logits: Largest difference of a logit, relative to the largest logit; for labels, by how much a chosen class
            falls short of the best.
        labels: Share of pixels with another label.
    """

    logits: float
    labels: float


def export_onnx(student: Student, settings: OnnxSettings, out: Path) -> Difference:
    """Write the student as ONNX, and compare it with PyTorch on random images.

    The file is written when it agrees. Its metadata has ``classes`` and ``palette`` as JSON and the settings.

    Args:
        student: Loaded.
        settings: What the file takes and gives.
        out: The file; it is replaced.

    Returns:
        The largest differences of all compared images.

    Raises:
        ConfigError: If a package is missing, or the two differ by more than rounding explains.
        InputSizeError: If the size is too small for the student.
        WriteError: If the file can't be written.
    """
    try:
        import onnx
        import onnxruntime
    except ModuleNotFoundError as missing:
        raise ConfigError(f'export to ONNX needs {missing.name}', 'pip install onnx onnxruntime') from missing
    sizes = COMPARED if settings.size is None else ((1, *settings.size), (2, *settings.size))
    needed_bytes(student.network, sizes[0][1:])  # refuses sizes that are too small
    student = student.cpu().eval()
    model = onnx.load_from_string(_trace(student, settings, sizes[0]))
    if settings.half:
        from onnxruntime.transformers.float16 import convert_float_to_float16

        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # values below the smallest of float16
            model = convert_float_to_float16(model, keep_io_types=True)
    onnx.helper.set_model_props(model, _metadata(student, settings))
    content = model.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=['CPUExecutionProvider'])
    found = [_difference(student, settings, session, size) for size in sizes]
    worst = Difference(max(one.logits for one in found), max(one.labels for one in found))
    if not worst.logits <= _TOLERANCE[settings.half]:  # NaN is refused too
        raise ConfigError(
            f'{out} is not written: it would differ from PyTorch by {worst.logits:.1e} of the largest logit'
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    commit(out, content, replace=True)
    return worst


def _trace(student: Student, settings: OnnxSettings, size: tuple[int, int, int]) -> bytes:
    """ONNX of an example; what is free has a name."""
    places = {'uint8': (1, 2), 'float': (2, 3), 'labels': (1, 2), 'logits': (2, 3)}
    free: dict[str, dict[int, str]] = {'image': {0: 'batch'}, settings.output: {0: 'batch'}}
    if settings.size is None:
        for name, kind in (('image', settings.input), (settings.output, settings.output)):
            free[name].update(zip(places[kind], ('height', 'width'), strict=True))
    graph = DeployedStudent(with_free_sizes(student), settings.input, settings.output, settings.wrap)
    with warnings.catch_warnings(), TemporaryDirectory() as folder:
        # That this exporter is not the newest, and mmseg's comparisons of sizes, which hold for every size.
        warnings.simplefilter('ignore')
        file = Path(folder) / 'student.onnx'
        torch.onnx.export(
            graph,
            (_example(size, settings.input, 0),),
            file,
            input_names=['image'],
            output_names=[settings.output],
            dynamic_axes=free,
            opset_version=OPSET,
            dynamo=False,
        )
        return file.read_bytes()


def _example(size: Sequence[int], kind: str, seed: int) -> torch.Tensor:
    """Random images of one kind."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (*size, 3), generator=generator, dtype=torch.uint8)
    return pixels if kind == 'uint8' else pixels.movedim(-1, 1).float()


def _metadata(student: Student, settings: OnnxSettings) -> dict[str, str]:
    """What a program needs to know that has the file alone."""
    return {
        'classes': json.dumps(student.classes),
        'palette': json.dumps(student.palette),
        'input': 'RGB uint8 (batch, height, width, 3)'
        if settings.input == 'uint8'
        else 'RGB float32 (batch, 3, height, width) in 0 to 255',
        'output': settings.output,
        'wrap': json.dumps(settings.wrap),
        'precision': 'float16' if settings.half else 'float32',
    }


@torch.no_grad()
def _difference(student: Student, settings: OnnxSettings, session: Any, size: tuple[int, int, int]) -> Difference:
    """Compare ONNX Runtime with the student in PyTorch, on one batch."""
    images = _example(size, settings.input, size[2])
    theirs: NDArray[Any] = session.run(None, {'image': images.numpy()})[0]
    ours = DeployedStudent(student, settings.input, 'logits', settings.wrap)(images).numpy()
    largest = np.abs(ours).max()
    best, labels = ours.max(1), ours.argmax(1)
    if settings.output == 'logits':
        return Difference(float(np.abs(ours - theirs).max() / largest), float((theirs.argmax(1) != labels).mean()))
    chosen = np.take_along_axis(ours, theirs[:, None].astype(np.int64), 1)[:, 0]
    return Difference(float((best - chosen).max() / largest), float((theirs != labels).mean()))
