"""A frozen teacher assistant from an ONNX file, so that a network of any framework can be the assistant."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor

from stage1_sam_cache.data.label_spaces import IGNORE
from stage1_sam_cache.system.digests import sha256_of
from stage2_distill.errors import ConfigError
from stage2_distill.models.merged_classes import merge_logits

_TYPES = {'tensor(float)': np.float32, 'tensor(float16)': np.float16, 'tensor(uint8)': np.uint8}
_ORDERS = ('rgb', 'bgr')
Numbers = float | Sequence[float]


@MODELS.register_module()
class OnnxAssistant(BaseModule):
    """Runs an ONNX network on the assistant's windows: images of GoodSAM's preprocessor in, logits out.

    It is frozen: GoodSAM needs ``update_ta=False``. It has no weights of its own, so checkpoints hold none of it. The
    file is read as data; onnxruntime runs it, on the GPU of the images where that has a CUDA provider, else on the CPU.

    Args:
        file: The ONNX file: images ``(N, 3, h, w)`` in, logits ``(N, K, h', w')`` out.
        num_classes: Of the label space.
        class_ids: The class of each of the file's K outputs. An output of class 255 is dropped, its probability goes to
            the others; the probabilities of outputs of one class are added up. None: output i is class i.
        input_range: What black and white, 0 and 255, are for the file's network.
        mean: Subtracted from each channel after that, in the order of ``channel_order``.
        std: Divides each channel after that.
        channel_order: Of the file's network, ``'rgb'`` or ``'bgr'``.
        channels_last: Whether the file has ``(N, h, w, 3)`` and ``(N, h', w', K)`` instead, as TensorFlow's do.
        window: Height and width that images are resized to; None takes the file's, and leaves images as they are where
            the file takes any size.
        probabilities: Whether the file's outputs are probabilities instead of logits.
        output: Name of the output; None takes the first.

    Attributes:
        weights_sha256: Digest (hex) of the file.

    Raises:
        ConfigError: If onnxruntime or the file is missing, the file is damaged, or its shapes contradict a setting.
        ValueError: If a setting is out of range.
    """

    gain: Tensor
    offset: Tensor
    seen_mean: Tensor
    seen_std: Tensor

    def __init__(
        self,
        file: str,
        num_classes: int = 19,
        class_ids: Sequence[int] | None = None,
        input_range: tuple[float, float] = (0.0, 255.0),
        mean: Numbers = 0.0,
        std: Numbers = 1.0,
        channel_order: str = 'rgb',
        channels_last: bool = False,
        window: tuple[int, int] | None = None,
        probabilities: bool = False,
        output: str | None = None,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if channel_order not in _ORDERS or np.min(std) <= 0 or input_range[0] >= input_range[1]:
            raise ValueError(f'channel_order={channel_order!r}, std={std}, input_range={input_range}')
        self.file, self.num_classes, self.align_corners = str(file), num_classes, False
        self.channels_last, self.probabilities = channels_last, probabilities
        session = open_session(self.file)
        self.weights_sha256 = sha256_of(Path(self.file))
        self.input, self.output = _port(session.get_inputs()[0]), _output(session, output, self.file)
        self.input_type = _TYPES.get(self.input.type)
        if self.input_type is None or len(session.get_inputs()) > 1 or not self.output.type.startswith('tensor(float'):
            given = ', '.join(f'{part.name} {part.type}' for part in (*session.get_inputs(), self.output))
            raise ConfigError(f'{file} has {given}: one image in and one map of logits out are needed')
        self.batch, size = self._shape_in()
        if None not in (window, size) and tuple(window or ()) != size:
            raise ConfigError(f'{file} takes images of {size[0]}x{size[1]}, not window={window}')  # type: ignore[index]
        self.window = size if window is None else tuple(window)
        self._set_classes(class_ids)

        scale = (input_range[1] - input_range[0]) / 255
        by_channel = [np.broadcast_to(np.asarray(value, np.float64), 3) for value in (mean, std)]
        by_channel = [value if channel_order == 'rgb' else value[::-1] for value in by_channel]
        self.swap = channel_order == 'bgr'
        # What the file's network gets is ``pixels * gain + offset``, with RGB pixels of 0 to 255.
        gain, offset = scale / by_channel[1], (input_range[0] - by_channel[0]) / by_channel[1]
        self.register_buffer('gain', _channels(gain), persistent=False)
        self.register_buffer('offset', _channels(offset), persistent=False)
        self.undo_normalisation(None, None, rgb=True)

    def _shape_in(self) -> tuple[int | None, tuple[int, int] | None]:
        """The file's batch size and image size; None where it takes any."""
        shape = [side if isinstance(side, int) and side > 0 else None for side in self.input.shape]
        if len(shape) != 4 or shape[-1 if self.channels_last else 1] not in (3, None):
            raise ConfigError(
                f'{self.file} takes images {self.input.shape}, channels_last={self.channels_last} needs '
                f'{"(N, h, w, 3)" if self.channels_last else "(N, 3, h, w)"}'
            )
        height, width = shape[1:3] if self.channels_last else shape[2:]
        return shape[0], None if height is None or width is None else (height, width)

    def _set_classes(self, class_ids: Sequence[int] | None) -> None:
        """Say which outputs are which class."""
        ids = list(range(self.num_classes)) if class_ids is None else [int(i) for i in class_ids]
        if any(i != IGNORE and not 0 <= i < self.num_classes for i in ids) or set(ids) <= {IGNORE}:
            raise ValueError(f'class_ids {ids}: ids below {self.num_classes}, or {IGNORE}, are needed')
        shape = self.output.shape
        outputs = shape[-1 if self.channels_last else 1] if len(shape) == 4 else None
        if len(shape) not in (0, 4) or (isinstance(outputs, int) and outputs != len(ids)):
            raise ConfigError(
                f'{self.file} has an output {self.output.name} {shape}; logits of {len(ids)} classes are needed',
                'class_ids names the class of each output',
            )
        self.outputs = len(ids)
        self.sources = tuple(tuple(k for k, i in enumerate(ids) if i == c) for c in range(self.num_classes))

    def undo_normalisation(self, mean: Sequence[float] | None, std: Sequence[float] | None, rgb: bool) -> None:
        """Say how images are normalised before ``forward``, which undoes it.

        Args:
            mean: Subtracted from each channel; None: images are pixels of 0 to 255.
            std: Divides each channel.
            rgb: Whether they are RGB; if not, they are BGR.
        """
        self.register_buffer('seen_mean', _channels(np.zeros(3) if mean is None else mean), persistent=False)
        self.register_buffer(
            'seen_std', _channels(np.ones(3) if mean is None or std is None else std), persistent=False
        )
        self.seen_rgb = rgb

    @torch.no_grad()
    def forward(self, inputs: Tensor, data_samples: Any = None, mode: str = 'tensor') -> Tensor:
        """Logits of windows, as mmseg's networks give them in mode ``'tensor'``.

        Args:
            inputs: Of GoodSAM's preprocessor, ``(N, 3, h, w)``.

        Returns:
            float32 ``(N, num_classes, h', w')``, at the size that the file gives.

        Raises:
            ConfigError: If the file's network can't run, or gives something other than logits of its classes.
        """
        images = inputs.float() * self.seen_std + self.seen_mean
        if not self.seen_rgb:
            images = images.flip(1)
        if self.window is not None and tuple(images.shape[-2:]) != self.window:
            images = F.interpolate(images, self.window, mode='bilinear', antialias=True)
        images = images * self.gain + self.offset
        if self.swap:
            images = images.flip(1)
        if self.channels_last:
            images = images.movedim(1, -1)
        if self.input_type is np.uint8:
            images = images.round().clamp(0, 255)
        parts = self._run(images.cpu().numpy().astype(self.input_type), inputs.device)
        logits = torch.from_numpy(parts).to(inputs.device, torch.float32)
        return self._by_class(logits.movedim(-1, 1) if self.channels_last else logits)

    def _run(self, images: np.ndarray, device: torch.device) -> np.ndarray:
        """Run the file's network, in batches of its size; the last one is filled up."""
        session = open_session(self.file, device.index or 0 if device.type == 'cuda' else None)
        size = self.batch or len(images)
        parts = []
        for start in range(0, len(images), size):
            part = images[start : start + size]
            filled = np.concatenate([part, np.repeat(part[-1:], size - len(part), 0)])
            try:
                (given,) = session.run([self.output.name], {self.input.name: filled})
            except Exception as problem:  # onnxruntime's errors have no common class
                raise ConfigError(f'{self.file} cannot run: {_first_line(problem)}') from problem
            outputs = given.shape[-1 if self.channels_last else 1] if given.ndim == 4 else None
            if outputs != self.outputs:
                raise ConfigError(
                    f'{self.file} gives {given.shape}; logits of {self.outputs} classes are needed',
                    'class_ids names the class of each output',
                )
            parts.append(given[: len(part)])
        return np.concatenate(parts)

    def _by_class(self, logits: Tensor) -> Tensor:
        """The file's outputs ``(N, K, ...)`` as logits of the label space ``(N, num_classes, ...)``."""
        if self.probabilities:
            logits = logits.clamp(min=1e-12).log()
        if self.sources == tuple((c,) for c in range(self.num_classes)):
            return logits
        return merge_logits(logits, self.sources)


@lru_cache(maxsize=8)  # here and not in the module, which then can be copied and pickled
def open_session(file: str, gpu: int | None = None) -> Any:
    """Open an ONNX file in onnxruntime.

    Args:
        file: Its path.
        gpu: Index of the GPU that it runs on; None: the CPU.

    Returns:
        An ``onnxruntime.InferenceSession``.

    Raises:
        ConfigError: If onnxruntime or the file is missing, or the file is damaged.
    """
    try:
        import onnxruntime
    except ModuleNotFoundError as missing:
        raise ConfigError('an OnnxAssistant needs onnxruntime', 'pip install onnxruntime') from missing
    if not Path(file).is_file():
        raise ConfigError(f'there is no ONNX file {file}', 'give it as model.teacher_assistant.file')
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    # Threads that wait leave their cores to others, as OpenMP's do (commands/entry.py).
    options.add_session_config_entry('session.intra_op.allow_spinning', '0')
    providers: list[Any] = ['CPUExecutionProvider']
    if gpu is not None and 'CUDAExecutionProvider' in onnxruntime.get_available_providers():
        providers.insert(0, ('CUDAExecutionProvider', {'device_id': gpu}))
    elif gpu is not None:
        print_log(
            f'this onnxruntime has no CUDA provider: {file} runs on the CPU; pip install onnxruntime-gpu',
            'current',
            level=30,
        )
    try:
        return onnxruntime.InferenceSession(file, options, providers=providers)
    except Exception as problem:  # onnxruntime's errors have no common class
        raise ConfigError(f'{file} cannot be read as ONNX: {_first_line(problem)}') from problem


class _Port(NamedTuple):
    """An input or output of a file, as plain values, which can be copied."""

    name: str
    type: str
    shape: list[Any]


def _port(part: Any) -> _Port:
    return _Port(part.name, part.type, list(part.shape))


def _output(session: Any, name: str | None, file: str) -> _Port:
    outputs = {part.name: _port(part) for part in session.get_outputs()}
    if name is not None and name not in outputs:
        raise ConfigError(f'{file} has no output {name!r}, but {", ".join(outputs)}')
    return next(iter(outputs.values())) if name is None else outputs[name]


def _channels(values: Sequence[float] | np.ndarray) -> Tensor:
    return torch.tensor(np.asarray(values, np.float32)).view(3, 1, 1)


def _first_line(problem: Exception) -> str:
    return (str(problem).strip().splitlines() or [type(problem).__name__])[0]
