"""Labelling images with a student: mmseg's own inference against this project's, in PyTorch and in ONNX Runtime."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.apis import inference_model
from mmseg.registry import MODELS
from numpy.typing import NDArray

from benchmarks.common import Measurement, alternate, picture
from stage1_sam_cache.commands import cli
from stage1_sam_cache.data.label_spaces import LABEL_SPACES
from stage2_distill import components  # noqa: F401  registers
from stage2_distill.deployment.onnx_export import OnnxSettings, export_onnx
from stage2_distill.deployment.student import Student, student_config
from stage2_distill.models.segformer import as_mmsegs_own

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

CONFIGS = Path(__file__).resolve().parents[2] / 'mmseg_configs'
STUDENTS = ('b0', 'b1', 'b2')
SIZES = ((200, 1024), (400, 2048))
BATCHES = (1, 4)

Labelling = Callable[[], NDArray[np.uint8]]


def measure(times: int, device: torch.device) -> list[Measurement]:
    """Measure every student, size and batch; weights are random."""
    rows = []
    for name in STUDENTS:
        student = random_student(name)
        session = onnx_session(student)
        for size in SIZES:
            for batch in BATCHES:
                found = measure_one(student, session, name.upper(), size, batch, times, device)
                for row in found:  # so that what is measured is seen if the command is stopped
                    cli.report(f'{row.what}: {row.fast:.4g} ms, mmseg {row.plain:.4g} ms')
                rows += found
    return rows


def random_student(name: str) -> Student:
    """Return a student as its config has it, with random weights."""
    init_default_scope('mmseg')
    torch.manual_seed(0)
    model = _config(name)
    network = MODELS.build(model)
    space, values = LABEL_SPACES['cityscapes19'], model['data_preprocessor']
    palette = [list(colour) for colour in space.palette]
    return Student(network, values['mean'], values['std'], list(space.classes), palette).eval()


def _config(name: str) -> dict[str, Any]:
    return student_config(Config.fromfile(CONFIGS / f'goodsam_{name}.py'))


def measure_one(
    student: Student,
    session: InferenceSession,
    name: str,
    size: tuple[int, int],
    batch: int,
    times: int,
    device: torch.device,
) -> list[Measurement]:
    """Measure one student on a batch of images: from pixels in memory to labels in memory.

    Args:
        student: With the weights of all three.
        session: Its ONNX file, as ``onnx_session``.
        name: Its size: ``B0`` to ``B5``.
        size: ``(H, W)``.
        batch: Images at a time.
        times: Repeats.
        device: Of PyTorch; ONNX Runtime takes the CPU unless its package for CUDA is installed.

    Returns:
        A row for PyTorch and one for ONNX Runtime, each against mmseg's ``inference_model``.
    """
    images = np.stack([picture(seed, *size) for seed in range(batch)])
    student = student.to(device)
    ways: list[Labelling] = [_mmseg(name.lower(), student, images, device), _pytorch(student, images, device)]
    ways.append(lambda: session.run(None, {'image': images})[0])
    reference, *others = (way() for way in ways)
    plain, *fast = alternate(ways, times, device)
    student.cpu()
    provider = session.get_providers()[0].removesuffix('ExecutionProvider')
    return [
        Measurement(
            f'{name}, {size[0]}x{size[1]}, {batch} at a time: {library}',
            plain,
            taken,
            agreement=f'{100 * (labels == reference).mean():.3f} % of the labels',
            notes={'images a second': 1000 * batch / taken, "mmseg's": 1000 * batch / plain},
        )
        for library, taken, labels in zip(('PyTorch', f'ONNX Runtime, {provider}'), fast, others, strict=True)
    ]


def _mmseg(name: str, student: Student, images: NDArray[np.uint8], device: torch.device) -> Labelling:
    """mmseg's own network with the student's weights, which takes images as mmseg does: BGR, one array each."""
    bgr = [np.ascontiguousarray(image[..., ::-1]) for image in images]
    config, weights = as_mmsegs_own(_config(name), student.network.state_dict())
    network = MODELS.build(Config(config)).to(device).eval()  # mmseg reads attributes of it
    network.load_state_dict(weights)
    network.cfg = Config({'test_pipeline': [{'type': 'LoadImageFromFile'}, {'type': 'PackSegInputs'}]})

    def label() -> NDArray[np.uint8]:
        found = inference_model(network, bgr)
        return np.stack([sample.pred_sem_seg.data[0].cpu().numpy().astype(np.uint8) for sample in found])

    return label


def _pytorch(student: Student, images: NDArray[np.uint8], device: torch.device) -> Labelling:
    @torch.inference_mode()
    def label() -> NDArray[np.uint8]:
        batch = torch.from_numpy(images).to(device).movedim(-1, 1).float()
        return student(batch).argmax(1).to(torch.uint8).cpu().numpy()

    return label


def onnx_session(student: Student) -> InferenceSession:
    """Return a student's ONNX file of free size in ONNX Runtime, with as many threads as PyTorch."""
    import onnxruntime

    wanted = [
        name
        for name in ('CUDAExecutionProvider', 'CPUExecutionProvider')
        if name in onnxruntime.get_available_providers()
    ]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / 'student.onnx'
        export_onnx(student, OnnxSettings(), file)
        return onnxruntime.InferenceSession(str(file), options, providers=wanted)
