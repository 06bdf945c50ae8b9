"""A network of 19 classes as teacher assistant in 13, and the normalisation that an assistant has learned with."""

import pytest
import torch
from mmengine.registry import init_default_scope
from test_goodsam import GRID, SIZE, batch, build, network, optimizers

from stage1_sam_cache.data.label_spaces import LABEL_SPACES
from stage2_distill.errors import ConfigError
from stage2_distill.models.merged_classes import MergedClasses, merge_logits

NAMES = LABEL_SPACES['cityscapes19'].classes
MERGED = LABEL_SPACES['cityscapes13'].classes


def wide(classes=19):
    settings = network()
    settings['decode_head']['num_classes'] = classes
    return settings


def test_probabilities_of_merged_classes_add_up_and_a_dropped_one_is_shared_out():
    p = torch.tensor([0.1, 0.2, 0.3, 0.4])
    logits = merge_logits(p.log().view(1, 4, 1) + 7, [[0, 2], [1], []])
    assert logits.softmax(1)[0, :, 0].tolist() == pytest.approx([0.4 / 0.6, 0.2 / 0.6, 0], abs=1e-6)
    assert torch.isfinite(logits).all()


def test_cityscapes_19_classes_become_13():
    init_default_scope('mmseg')
    torch.manual_seed(0)
    merged = MergedClasses(wide(), 'cityscapes19', 'cityscapes13').eval()
    of_name = {name: [NAMES[k] for k in source] for name, source in zip(MERGED, merged.sources, strict=True)}
    assert of_name.pop('person') == ['person', 'rider']
    assert of_name.pop('car') == ['car', 'truck', 'bus', 'motorcycle', 'bicycle']
    assert all(source == [name] for name, source in of_name.items())
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        p = merged.network(images, mode='tensor').softmax(1)
        found = merged(images, mode='tensor').softmax(1)
    assert merged.num_classes == found.shape[1] == 13
    kept = 1 - p[:, NAMES.index('train')]
    assert torch.allclose(found[:, MERGED.index('person')] * kept, p[:, 11] + p[:, 12], atol=1e-6)


def test_what_cannot_be_merged_is_refused():
    init_default_scope('mmseg')
    with pytest.raises(ConfigError, match='cannot make cityscapes19 of cityscapes13; it knows cityscapes19 to citys'):
        MergedClasses(wide(13), 'cityscapes13', 'cityscapes19')
    with pytest.raises(ConfigError, match='has 5 classes, cityscapes19 has 19; name the label space'):
        MergedClasses(wide(5), 'cityscapes19', 'cityscapes13')


@pytest.mark.parametrize('trained', [False, True])
def test_goodsam_takes_a_step_with_a_merged_assistant(trained):
    assistant = {'type': 'MergedClasses', 'network': wide(), 'source': 'cityscapes19', 'target': 'cityscapes13'}
    model = build(student=wide(13), teacher_assistant=assistant, update_ta=trained)
    assert model.assistant_windows(torch.randn(1, 3, *SIZE)).shape == (1, len(GRID.windows), 13, *GRID.window)
    before = [p.clone() for p in model.teacher_assistant.parameters()]
    log = model.train_step(batch(), optimizers(model))
    assert torch.isfinite(log['loss'])
    same = all(torch.equal(a, b) for a, b in zip(before, model.teacher_assistant.parameters(), strict=True))
    assert same is not trained


MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]


def test_an_assistant_that_learned_with_another_normalisation_is_refused():
    learned = {'type': 'PanoramaPreProcessor', 'mean': MEAN, 'std': STD, 'bgr_to_rgb': True}
    assistant = {**network(), 'data_preprocessor': learned}
    seen = {**learned, 'size_divisor': 1}
    build(teacher_assistant=assistant, data_preprocessor={**seen, 'mean': tuple(MEAN)})
    build(teacher_assistant=network(), data_preprocessor=seen)  # nothing is known of it
    for change in ({'mean': [0, 0, 0]}, {'std': [1.0, 1.0, 1.0]}, {'bgr_to_rgb': False}):
        with pytest.raises(ValueError, match=r'the teacher assistant learned with mean \[123.675, .*, RGB; give model'):
            build(teacher_assistant=assistant, data_preprocessor={**seen, **change})
