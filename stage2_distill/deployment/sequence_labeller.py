"""A network that sees an image as a sequence of its own windows, such as OmniSAM, over images of any size."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from numpy.typing import NDArray
from torch import nn

from stage1_sam_cache.errors import ImageError, InputSizeError
from stage1_sam_cache.system.weight_files import missing_from
from stage2_distill.checkpoints.fit import misfit, weights_in
from stage2_distill.checkpoints.safe_checkpoints import load_any, use_safe_loaders
from stage2_distill.deployment.enlarge import CONFIDENCE_SCALE
from stage2_distill.deployment.predictor import Progress, network_identity
from stage2_distill.deployment.student import classes_of
from stage2_distill.errors import ConfigError, NotFiniteError, building
from stage2_distill.models.names import SEQUENCE
from stage2_distill.training.experiment import read_config

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class SequenceMode:
    """How images are labelled: in the windows of the config, or in given ones.

    Args:
        grid: ``window`` and ``stride`` in pixels; None takes the config's.
        wrap: Whether images show 360 degrees, so that windows cross the seam; False leaves it to the config.
    """

    grid: dict[str, Any] | None = None
    wrap: bool = False

    def apply(self, model: dict[str, Any]) -> None:
        """Change the config of a network."""
        if self.grid is not None:
            model['grid'] = self.grid
        if self.wrap:
            given = model['grid']
            grids = [given] if isinstance(given, dict) else given
            wrapped = [{**grid, 'wrap': True} for grid in grids]
            model['grid'] = wrapped[0] if isinstance(given, dict) else wrapped

    def to_json(self) -> dict[str, object]:
        """Return all that the labels of an image depend on beside the network."""
        return {'mode': SEQUENCE, 'grid': self.grid, 'wrap': self.wrap}


def sees_sequences(config: Config) -> bool:
    """Whether the network of a config is of this kind."""
    return bool((config.model.get('test_cfg') or {}).get('mode') == SEQUENCE)


class SequenceNetwork:
    """A network with its classes.

    Args:
        network: An mmseg segmentor whose ``predict`` gives ``pred_sem_seg`` and ``confidence``.
        classes: Names, in the order of the ids.
        palette: RGB of each.
        identity: What tells it from others.
    """

    def __init__(self, network: nn.Module, classes: list[str], palette: list[list[int]], identity: str) -> None:
        self.network, self.classes, self.palette, self.identity = network.eval(), classes, palette, identity

    @classmethod
    def load(cls, config: str, checkpoint: str, mode: SequenceMode, trusted: bool = False) -> SequenceNetwork:
        """Build the network of a config and load its weights; as ``Student.load``.

        Raises:
            ConfigError: If the config can't be built.
            CheckpointError: If the checkpoint can't be used or doesn't fit.
        """
        use_safe_loaders(trusted)
        settings: Config = read_config(config)
        init_default_scope('mmseg')
        model = copy.deepcopy(settings.model.to_dict())
        mode.apply(model)
        with building():
            network = MODELS.build(copy.deepcopy(model))
        content = load_any(checkpoint, trusted)
        weights, needed = weights_in(content), network.state_dict()
        bad = missing_from(weights, needed)
        if bad:
            raise misfit(network, checkpoint, weights, bad, config)
        network.load_state_dict({name: weights[name] for name in needed if name in weights})
        classes, palette = classes_of(content, checkpoint)
        if len(classes) != network.num_classes:
            raise ConfigError(f'{config} has {network.num_classes} classes, {checkpoint} names {len(classes)}')
        return cls(network, classes, palette, network_identity(network, [model, classes, palette]))

    @property
    def parameter_count(self) -> int:
        """Number of parameters."""
        return sum(p.numel() for p in self.network.parameters())

    def to(self, device: torch.device | str) -> SequenceNetwork:
        """Move the network to a device."""
        self.network.to(device)
        return self


class SequenceLabeller:
    """Labels images one by one, with the interface of ``Labeller``.

    Args:
        student: The network, on its device.
        mode: As it was loaded with.
        max_pixels: The largest image that is read.
        progress: Told about what concerns the user.
        confidence: Also say how sure each label is.
    """

    scale = 1.0  # windows are resized to patches in any case

    def __init__(
        self,
        student: SequenceNetwork,
        mode: SequenceMode,
        max_pixels: int,
        progress: Progress | None = None,
        confidence: bool = False,
    ) -> None:
        self.student, self.mode, self.max_pixels = student, mode, max_pixels
        self.progress, self.confidence = progress or Progress(), confidence

    @torch.no_grad()
    def label(self, pixels: Pixels, name: str, closed: bool = True) -> tuple[Pixels, str]:
        """Label one image; arguments and result are those of ``Labeller.label``.

        Raises:
            ImageError: If the network has no windows for an image of this size.
            NotFiniteError: If the network's output is NaN or infinite.
        """
        size = pixels.shape[:2]
        sample = SegDataSample(metainfo={'ori_shape': size, 'img_shape': size, 'closed': closed})
        image = torch.from_numpy(np.ascontiguousarray(pixels[..., ::-1])).movedim(-1, 0)  # BGR, as mmseg loads images
        network: Any = self.student.network
        try:
            (result,) = network.test_step({'inputs': [image], 'data_samples': [sample]})
        except InputSizeError as problem:
            raise ImageError(f'{name}: {problem.problem}', problem.remedy) from problem
        labels, sure = result.pred_sem_seg.data[0], result.confidence.data[0]
        if not torch.isfinite(sure).all():
            raise NotFiniteError("the network's output is not finite", 'is the checkpoint of a run that diverged?')
        maps = [labels.to(torch.uint8)]
        if self.confidence:
            maps.append(sure.clamp(0, 1).mul(CONFIDENCE_SCALE).round().to(torch.uint8))
        found = torch.stack(maps).cpu().numpy()
        return (found if self.confidence else found[0]), f'in a sequence of windows{"" if closed else ", seam open"}'
