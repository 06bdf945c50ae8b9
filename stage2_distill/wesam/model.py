"""An adaptation as a model that MMEngine trains: two backward passes a step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

if TYPE_CHECKING:
    from stage1_sam_cache.adaptation.adaptation import Adaptation


class SamAdaptation(BaseModel):
    """Trains the updates of an adaptation; the frozen SAM is no part of the model, so checkpoints hold the updates.

    Args:
        adaptation: A SAM with updates, on the device that it is trained on.
    """

    def __init__(self, adaptation: Adaptation) -> None:
        super().__init__()
        self.updates = nn.ParameterList(adaptation.updates.values())
        self._adaptation = [adaptation]  # in a list, so that the SAM's weights are not registered

    @property
    def adaptation(self) -> Adaptation:
        """What is trained."""
        return self._adaptation[0]

    def forward(self, windows: list[Any], mode: str = 'loss') -> dict[str, Tensor]:
        """Return all losses of a batch; their sum has the gradient that ``train_step`` follows."""
        assert mode == 'loss', mode
        losses, targets = self.adaptation.teacher_losses(windows)
        return {**losses, **self.adaptation.student_losses(windows, targets)}

    def train_step(self, data: dict[str, Any], optim_wrapper: OptimWrapper) -> dict[str, Tensor]:
        """Take one step.

        Args:
            data: ``windows``, a list of ``PromptedWindow``.
            optim_wrapper: Of the updates.

        Returns:
            The losses by name, their sum ``loss``, and ``contrast_idle``.
        """
        windows = data['windows']
        with optim_wrapper.optim_context(self):
            losses, targets = self.adaptation.teacher_losses(windows)
        teacher = self._backward(losses, optim_wrapper)  # which frees the teacher's activations
        with optim_wrapper.optim_context(self):
            losses = self.adaptation.student_losses(windows, targets)
        student = self._backward(losses, optim_wrapper)
        optim_wrapper.step()
        optim_wrapper.zero_grad()
        return {**teacher, **student, 'loss': teacher['loss'] + student['loss']}

    def _backward(self, losses: dict[str, Tensor], optim_wrapper: OptimWrapper) -> dict[str, Tensor]:
        """Add the gradient of the losses' sum, and return them with it as ``loss``; without losses it is 0."""
        if not losses:
            return {'loss': torch.zeros((), device=self.updates[0].device)}
        total, logged = self.parse_losses(losses)
        if total.requires_grad:
            optim_wrapper.backward(total)
        return logged
