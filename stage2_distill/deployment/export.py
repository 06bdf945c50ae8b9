"""The student as files: safetensors with config and digest, and a plain checkpoint for mmseg alone."""

from __future__ import annotations

import copy
import io
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from stage1_sam_cache.system.atomic_file import commit
from stage1_sam_cache.system.digests import sha256_of
from stage2_distill.checkpoints.safetensors_files import DIGESTS, SUFFIX, plain_tensors, save_safetensors
from stage2_distill.deployment.student import Student, student_config
from stage2_distill.errors import ConfigError
from stage2_distill.models.segformer import as_mmsegs_own
from stage2_distill.training.experiment import read_config


def export_student(config: str, checkpoint: str, out: Path, half: bool = False, trusted: bool = False) -> list[Path]:
    """Write the student as weights, config and digest, and as a pair of files for mmseg alone.

    ``mmseg.apis.init_model('x.py', 'x.safetensors')`` loads the first where this project is installed,
    ``init_model('x_mmseg.py', 'x.pth')`` the second where it is not. Each file is atomic.

    Args:
        config: As ``Student.load``.
        checkpoint: As ``Student.load``.
        out: The safetensors file; the others lie beside it.
        half: Store float16.
        trusted: Let the checkpoint run code.

    Returns:
        The files: ``x.safetensors``, ``x.py``, ``x.sha256`` of these two, ``x.pth``, ``x_mmseg.py``.

    Raises:
        ConfigError: If the config can't be built, or a file would replace the checkpoint or the config that is read.
        CheckpointError: If the checkpoint can't be used or doesn't fit.
        WriteError: If a file can't be written.
    """
    if out.suffix != SUFFIX:
        raise ConfigError(f'{out}: the name of an exported student ends with {SUFFIX}')
    plain, plain_config = out.with_suffix('.pth'), out.with_name(f'{out.stem}_mmseg.py')
    if plain.exists() and Path(checkpoint).exists() and plain.samefile(checkpoint):
        raise ConfigError(f'the export would overwrite {plain}, the checkpoint that it reads', 'give another --out')
    student = Student.load(config, checkpoint, trusted)
    model = student_config(read_config(config))
    ours = {'custom_imports': {'imports': ['stage2_distill.components'], 'allow_failed_imports': False}}
    text = _config_text(ours, model)
    for file in (out.with_suffix('.py'), plain_config):
        if file.exists() and Path(config).exists() and file.samefile(config) and file.read_text('utf-8') != text:
            raise ConfigError(f'the export would overwrite {file}, the config that it reads', 'give another --out')
    dataset_meta = {'classes': student.classes, 'palette': student.palette}
    files = [out, out.with_suffix('.py'), out.with_suffix(DIGESTS)]
    files[2].unlink(missing_ok=True)  # of an earlier export; if this one is stopped, it must not stand beside it
    meta = {'dataset_meta': dataset_meta, 'parameters': student.parameter_count}
    save_safetensors(student.network.state_dict(), meta, out, half)
    commit(files[1], text.encode(), replace=True)
    digests = ''.join(f'{sha256_of(file)}  {file.name}\n' for file in files[:2])
    commit(files[2], digests.encode(), replace=True)
    model, weights = as_mmsegs_own(model, student.network.state_dict())
    commit(plain, _plain_checkpoint(weights, dataset_meta, half), replace=True)
    commit(plain_config, _config_text({}, model).encode(), replace=True)
    return [*files, plain, plain_config]


def _config_text(head: dict[str, Any], model: dict[str, Any]) -> str:
    """A config for ``init_model`` and mmseg's inferencer."""
    pipeline = [{'type': 'LoadImageFromFile'}, {'type': 'PackSegInputs'}]
    text: str = Config(
        {
            'default_scope': 'mmseg',
            **head,
            'model': model,
            'test_pipeline': pipeline,
            'test_dataloader': {'dataset': {'pipeline': copy.deepcopy(pipeline)}},
        }
    ).pretty_text
    return text


def _plain_checkpoint(weights: dict[str, torch.Tensor], dataset_meta: dict[str, Any], half: bool) -> bytes:
    """A checkpoint of PyTorch that holds tensors and plain values alone."""
    buffer = io.BytesIO()
    torch.save({'meta': {'dataset_meta': dataset_meta}, 'state_dict': plain_tensors(weights, half)}, buffer)
    return buffer.getvalue()
