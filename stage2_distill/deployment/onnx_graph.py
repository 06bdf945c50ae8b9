"""What an exported student computes: images as a camera gives them in, labels or logits out, at any size."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from stage2_distill.deployment.fitting import seam_columns
from stage2_distill.deployment.student import Student
from stage2_distill.models.mix_transformer import fuse_attention

INPUTS = ('uint8', 'float')
OUTPUTS = ('labels', 'logits')


class DeployedStudent(nn.Module):
    """A student with all that stands around it, to be traced.

    Args:
        student: To be traced for every size it has to come from ``with_free_sizes``.
        input: ``'uint8'``: RGB ``(B, H, W, 3)``, as image readers give it; ``'float'``: RGB float32 ``(B, 3, H, W)`` in
            0 to 255.
        output: ``'labels'``: uint8 ``(B, H, W)``; ``'logits'``: float32 ``(B, C, H, W)``.
        wrap: Let the student see an eighth of the panorama across the 0/360 degree seam at each border.

    Raises:
        ValueError: If input or output is none of these.
    """

    def __init__(self, student: Student, input: str = 'uint8', output: str = 'labels', wrap: bool = False) -> None:
        super().__init__()
        if input not in INPUTS or output not in OUTPUTS:
            raise ValueError(f'input {input!r} or output {output!r} is none of {INPUTS} and {OUTPUTS}')
        self.student = student
        self.input, self.output, self.wrap = input, output, wrap

    def forward(self, images: Tensor) -> Tensor:
        """Label images, or give their logits; shapes and types are those of the class."""
        if self.input == 'uint8':
            images = images.permute(0, 3, 1, 2).float()
        width = images.shape[-1]
        if self.wrap:
            side = seam_columns(width, True)
            images = torch.cat([images[..., width - side :], images, images[..., :side]], -1)
        logits: Tensor = self.student(images)
        if self.wrap:
            logits = logits[..., side : side + width]
        return logits if self.output == 'logits' else logits.argmax(1).to(torch.uint8)


def with_free_sizes(student: Student) -> Student:
    """Return a copy whose trace holds for images of every size; PyTorch's attention has the number of tokens in it."""
    student = copy.deepcopy(student)
    fuse_attention(student)
    return student
