"""Students as ONNX: every input and output, any size, in the runtimes that others use."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from test_source_training import load_tool

from stage1_sam_cache.data.label_spaces import LABEL_SPACES
from stage1_sam_cache.errors import InputSizeError
from stage2_distill.deployment.onnx_export import OnnxSettings, export_onnx
from stage2_distill.deployment.onnx_graph import DeployedStudent, with_free_sizes
from stage2_distill.deployment.student import Student
from stage2_distill.errors import ConfigError
from stage2_distill.models.onnx_assistant import OnnxAssistant

CONFIG, WEIGHTS = 'mmseg_configs/source/segformer_b0_toypass.py', 'goodsam://segformer_b0.safetensors'
SIZES = [(1, 96, 250), (3, 64, 131), (1, 205, 408)]


@pytest.fixture(scope='module')
def student() -> Student:
    return Student.load(CONFIG, WEIGHTS)


def images(batch: int, height: int, width: int) -> np.ndarray:
    """Soft pictures, so that labels are no noise."""
    coarse = torch.rand(batch, 3, 5, 9, generator=torch.Generator().manual_seed(width)) * 255
    fine = torch.nn.functional.interpolate(coarse, (height, width), mode='bicubic').clamp(0, 255)
    return fine.movedim(1, -1).to(torch.uint8).numpy()


def run(file, pixels: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(file), providers=['CPUExecutionProvider'])
    return session.run(None, {'image': pixels})[0]


# A process of its own: OpenVINO gives the main thread another signal stack, and of two plugins that overlap in time it
# leaves one that is freed already, so that the next signal with a Python handler would end the test process.
OPENVINO = """
import sys
import numpy as np
import openvino

_, file, given, written = sys.argv
compiled = openvino.Core().compile_model(file, 'CPU')
with np.load(given) as pixels:
    np.savez(written, **{name: compiled(pixels[name])[0] for name in pixels})
"""


def run_openvino(file: Path, batches: dict[str, np.ndarray], folder: Path) -> dict[str, np.ndarray]:
    given, written = folder / 'given.npz', folder / 'written.npz'
    np.savez(given, **batches)
    subprocess.run([sys.executable, '-c', OPENVINO, str(file), str(given), str(written)], check=True, timeout=120)
    with np.load(written) as answers:
        return dict(answers)


@pytest.fixture(scope='module')
def files(student, tmp_path_factory) -> dict[bool, Path]:
    """Open and closed around the seam."""
    folder = tmp_path_factory.mktemp('onnx')
    made = {wrap: folder / f'{wrap}.onnx' for wrap in (False, True)}
    for wrap, file in made.items():
        differs = export_onnx(student, OnnxSettings(wrap=wrap), file)
        assert differs.logits < 1e-5 and differs.labels < 1e-3
    return made


def test_a_file_labels_images_of_any_size_and_number_as_the_student_does(student, files, tmp_path):
    batches = {str(size): images(*size) for size in SIZES}
    for wrap, file in files.items():
        others = run_openvino(file, batches, tmp_path)
        for size in SIZES:
            pixels = batches[str(size)]
            labels = run(file, pixels)
            side = size[2] // 8 if wrap else 0
            ours = np.stack([student.label(image, side) for image in pixels])
            assert labels.dtype == np.uint8 and labels.shape == size
            assert (labels == ours).mean() > 0.999
            assert (others[str(size)] == labels).mean() > 0.999
            assert len(np.unique(labels)) > 1


def test_labels_near_the_seam_depend_less_on_where_a_closed_panorama_begins(files):
    pixels = images(1, 64, 512)
    stays = {}
    for wrap, file in files.items():
        labels, rolled = run(file, pixels), run(file, np.roll(pixels, 256, 2))
        same = labels == np.roll(rolled, -256, 2)
        stays[wrap] = np.concatenate([same[..., :8], same[..., -8:]], -1).mean()
    assert stays[True] > stays[False]


def test_logits_of_float_images_serve_as_another_trainings_assistant(student, tmp_path):
    file = tmp_path / 'fixed.onnx'
    export_onnx(student, OnnxSettings((64, 160), 'float', 'logits'), file)
    pixels = torch.from_numpy(images(2, 64, 160)).movedim(-1, 1).float()
    with torch.no_grad():
        ours = student(pixels)
    assert torch.allclose(torch.from_numpy(run(file, pixels.numpy())), ours, atol=1e-3)
    assistant = OnnxAssistant(str(file))
    assert assistant.num_classes == 19


def test_the_file_says_what_it_is(student, files, tmp_path):
    file = tmp_path / 'half.onnx'
    differs = export_onnx(student, OnnxSettings(wrap=True, half=True, output='logits'), file)
    assert 1e-5 < differs.logits < 3e-2 and differs.labels < 0.02
    assert file.stat().st_size < 0.6 * files[True].stat().st_size
    session = onnxruntime.InferenceSession(str(file), providers=['CPUExecutionProvider'])
    meta = session.get_modelmeta().custom_metadata_map
    space = LABEL_SPACES['cityscapes19']
    assert json.loads(meta['classes']) == list(space.classes)
    assert json.loads(meta['palette']) == [list(colour) for colour in space.palette]
    assert (meta['wrap'], meta['precision'], meta['output']) == ('true', 'float16', 'logits')
    (taken,), (given,) = session.get_inputs(), session.get_outputs()
    assert (taken.type, taken.shape) == ('tensor(uint8)', ['batch', 'height', 'width', 3])
    assert (given.type, given.name) == ('tensor(float)', 'logits')


def test_attention_with_free_sizes_is_that_of_pytorch(student):
    pixels = torch.from_numpy(images(2, 64, 160)).movedim(-1, 1).float()
    with torch.no_grad():
        assert torch.allclose(with_free_sizes(student)(pixels), student(pixels), atol=1e-4)
    assert any(isinstance(module, torch.nn.MultiheadAttention) for module in student.modules())  # a copy was changed
    with pytest.raises(ValueError, match='none of'):
        DeployedStudent(student, 'int8')


def test_a_file_that_would_differ_is_not_written(student, tmp_path, monkeypatch):
    file = tmp_path / 'wrong.onnx'
    forward = DeployedStudent.forward
    monkeypatch.setattr(
        DeployedStudent, 'forward', lambda self, x: forward(self, x.flip(1) if torch.jit.is_tracing() else x)
    )
    with pytest.raises(ConfigError, match='is not written: it would differ from PyTorch'):
        export_onnx(student, OnnxSettings(), file)
    assert not file.exists()
    with pytest.raises(InputSizeError):
        export_onnx(student, OnnxSettings((8, 8)), file)
    monkeypatch.setitem(__import__('sys').modules, 'onnx', None)
    with pytest.raises(ConfigError, match='pip install onnx onnxruntime'):
        export_onnx(student, OnnxSettings(), file)


@pytest.mark.parametrize(
    ('flags', 'said'),
    [
        (['--out', 'a.safetensors', '--wrap'], '--wrap is a setting of ONNX: give --onnx FILE'),
        (['--out', 'a.safetensors', '--output', 'logits'], '--output is a setting of ONNX: give --onnx FILE'),
        ([], 'give --out, --onnx or --push'),
    ],
)
def test_flags_of_onnx_need_its_file(flags, said, capsys):
    with pytest.raises(SystemExit) as ended:
        load_tool('export_student').main([CONFIG, WEIGHTS, *flags])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
