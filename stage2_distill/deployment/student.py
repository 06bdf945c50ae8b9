"""The student by itself: taken out of a GoodSAM run's checkpoint, and run over images."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from numpy.typing import NDArray
from torch import Tensor, nn

from stage1_sam_cache.data.label_spaces import LABEL_SPACES
from stage1_sam_cache.system.weight_files import missing_from
from stage2_distill import components  # noqa: F401
from stage2_distill.checkpoints.fit import misfit
from stage2_distill.checkpoints.foreign_segformers import check_classes
from stage2_distill.checkpoints.safe_checkpoints import load_any, use_safe_loaders
from stage2_distill.deployment.enlarge import enlarged_labels
from stage2_distill.errors import CheckpointError, ConfigError, NotFiniteError
from stage2_distill.models.segformer import as_encoder_decoder
from stage2_distill.training.experiment import read_config

_PREFIX = 'student.'
Enlarge = Callable[[Tensor, tuple[int, int]], Tensor]  # small logits (C, h, w) and a size to uint8 (..., H, W)


def student_config(config: Config) -> dict[str, Any]:
    """The model of a plain mmseg config: the student of a GoodSAM config, or the config's own network.

    Raises:
        ConfigError: If it is another kind of network.
    """
    model = copy.deepcopy(config.model.to_dict())
    if model['type'] == 'GoodSAM':
        kept = {name: value for name, value in model['data_preprocessor'].items() if name != 'size_divisor'}
        preprocessor = {**kept, 'type': 'SegDataPreProcessor'}
        model = {**model['student'], 'data_preprocessor': preprocessor}
    model = as_encoder_decoder(model)
    if not {'backbone', 'decode_head'} <= model.keys():
        raise ConfigError(
            f'{config.filename}: its {model["type"]} is no student, which has a backbone and a head',
            'tools/predict.py labels images with it, tools/test.py scores it',
        )
    for part in (model, model['backbone'], model['decode_head']):
        part.pop('init_cfg', None)
    model.pop('pretrained', None)
    # mmseg's preprocessor pads test images only if it is told to; panoramas keep their size.
    return {**model, 'train_cfg': None, 'test_cfg': {'mode': 'whole'}}


def student_weights(checkpoint: dict[str, Any], path: str) -> dict[str, Tensor]:
    """The student's weights of a GoodSAM checkpoint, or those of a plain network.

    Raises:
        CheckpointError: If there are none.
    """
    weights: dict[str, Tensor] = checkpoint.get('state_dict', checkpoint)
    weights = {name.removeprefix('module.'): value for name, value in weights.items()}
    own = {name.removeprefix(_PREFIX): value for name, value in weights.items() if name.startswith(_PREFIX)}
    chosen = own or weights
    if not any(name.startswith('backbone.') for name in chosen):
        raise CheckpointError(f'checkpoint {path} holds no student: it has no weights of a backbone')
    return chosen


def classes_of(checkpoint: dict[str, Any], path: str) -> tuple[list[str], list[list[int]]]:
    """Names and colours of a checkpoint's classes; those of Cityscapes if it has none.

    Raises:
        CheckpointError: If the checkpoint has something else in their place.
    """
    meta = (checkpoint.get('meta') or {}).get('dataset_meta') or {}
    space = LABEL_SPACES['cityscapes19']
    try:
        classes = [str(name) for name in meta.get('classes') or space.classes]
        palette = np.array([[int(c) for c in colour] for colour in meta.get('palette') or space.palette])
        if palette.shape != (max(len(classes), len(palette)), 3) or palette.min() < 0 or palette.max() > 255:
            raise ValueError(f'{len(classes)} classes, colours of shape {palette.shape}')
    except (TypeError, ValueError, AttributeError, OverflowError) as problem:
        raise CheckpointError(f'checkpoint {path} has no usable classes and colours ({problem})') from problem
    return classes, palette.tolist()


class Student(nn.Module):
    """A network with its normalisation and upsampling: images in, logits at their size out.

    Args:
        network: An mmseg ``EncoderDecoder``.
        mean: Of each RGB channel, in 0 to 255.
        std: The same.
        classes: Names, in the order of the ids.
        palette: RGB of each.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, network: nn.Module, mean: list[float], std: list[float], classes: list[str], palette: list[list[int]]
    ) -> None:
        super().__init__()
        self.network = network
        self.register_buffer('mean', torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer('std', torch.tensor(std).view(1, 3, 1, 1), persistent=False)
        self.classes, self.palette = classes, palette

    @classmethod
    def load(cls, config: str, checkpoint: str, trusted: bool = False) -> Student:
        """Build the student of a config and load its weights.

        Calls ``use_safe_loaders``, which changes how MMEngine loads checkpoints in this process.

        Args:
            config: A GoodSAM config, an exported student's, or a source network's.
            checkpoint: Of the same run, or an exported student.
            trusted: Let the checkpoint run code.

        Raises:
            ConfigError: If the config can't be built.
            CheckpointError: If the checkpoint can't be used or doesn't fit.
        """
        use_safe_loaders(trusted)
        settings = read_config(config)
        init_default_scope('mmseg')
        model = student_config(settings)
        network = MODELS.build(copy.deepcopy(model))
        content = load_any(checkpoint, trusted)
        check_classes(content, checkpoint)
        weights = student_weights(content, checkpoint)
        needed = network.state_dict()
        bad = missing_from(weights, needed)
        if bad:
            raise misfit(network, checkpoint, weights, bad, config)
        network.load_state_dict({name: weights[name] for name in needed if name in weights})
        classes, palette = classes_of(content, checkpoint)
        if len(classes) != network.num_classes:
            raise ConfigError(f'{config} has {network.num_classes} classes, {checkpoint} names {len(classes)}')
        preprocessor = model['data_preprocessor']
        return cls(network, preprocessor['mean'], preprocessor['std'], classes, palette).eval()

    @property
    def parameter_count(self) -> int:
        """Number of trainable parameters."""
        return sum(p.numel() for p in self.network.parameters())

    def forward(self, images: Tensor) -> Tensor:
        """Logits of RGB images.

        Args:
            images: float32 ``(B, 3, H, W)`` in 0 to 255.

        Returns:
            float32 ``(B, C, H, W)``.
        """
        logits = self.network((images - self.mean) / self.std, mode='tensor')
        return F.interpolate(logits, images.shape[-2:], mode='bilinear', align_corners=False)

    @torch.no_grad()
    def small_logits(self, pixels: NDArray[np.uint8], padding: tuple[int, int] = (0, 0)) -> Tensor:
        """Logits of one image at the network's own resolution, a quarter of the image's for SegFormer.

        Args:
            pixels: uint8 RGB ``(H, W, 3)``.
            padding: Rows at the bottom and columns at the right that are added as the network's convolutions pad.

        Returns:
            float32 ``(C, h, w)``.

        Raises:
            NotFiniteError: If one is NaN or infinite: labels would be arbitrary.
        """
        image = torch.tensor(pixels, device=self.mean.device).movedim(-1, 0)[None].float()
        image = image.sub_(self.mean).div_(self.std)
        if any(padding):
            image = F.pad(image, (0, padding[1], 0, padding[0]))
        logits: Tensor = self.network(image, mode='tensor')[0]
        if not torch.isfinite(logits).all():
            raise NotFiniteError("the student's output is not finite", 'is the checkpoint of a run that diverged?')
        return logits

    @torch.no_grad()
    def label(
        self, pixels: NDArray[np.uint8], wrap_columns: int = 0, enlarge: Enlarge = enlarged_labels
    ) -> NDArray[np.uint8]:
        """Label one image that the network sees at once.

        Args:
            pixels: uint8 RGB ``(H, W, 3)``.
            wrap_columns: Columns of the opposite side that pad each border, for panoramas of 360 degrees.
            enlarge: Makes what is returned of the small logits.

        Returns:
            uint8 ``(H, W)``, class ids; as ``enlarge`` returns it otherwise.

        Raises:
            NotFiniteError: If a logit is NaN or infinite.
        """
        seen = np.pad(pixels, ((0, 0), (wrap_columns, wrap_columns), (0, 0)), mode='wrap') if wrap_columns else pixels
        labels = enlarge(self.small_logits(seen), (seen.shape[0], seen.shape[1]))
        if wrap_columns:
            labels = labels[..., wrap_columns:-wrap_columns]
        return labels.cpu().numpy()
