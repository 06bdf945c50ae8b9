"""OmniSAM's networks on a small SAM 2: encoder with low-rank updates, memory, decoder, what the memory is told."""

import copy

import pytest
import torch
from reference import omnisam as reference

from stage1_sam_cache.adaptation.lora import LowRank, LowRankRows
from stage1_sam_cache.errors import InputSizeError
from stage1_sam_cache.sam.sam2_networks import build_sam2
from stage1_sam_cache.sam.sam2_sizes import SIZES, Sam2Size
from stage2_distill.errors import ConfigError, Stage2Error
from stage2_distill.omnisam.features import PatchEncoder, PatchFeatures
from stage2_distill.omnisam.mask_input import ClassEmbedding, class_shares, memory_mask
from stage2_distill.omnisam.memory_bank import MemoryNetwork
from stage2_distill.omnisam.semantic_head import SemanticHead

SMALL = Sam2Size(16, 1, (1, 1, 2, 1), (3,), (8, 4, 4, 2), dim=64, memory_dim=16, memory_layers=1, image_size=64)
CLASSES = 5


def count(*modules):
    return sum(value.numel() for module in modules for value in module.parameters())


def trained(module):
    return {name for name, value in module.named_parameters() if value.requires_grad}


def with_gradient(module):
    return {name for name, value in module.named_parameters() if value.grad is not None and value.grad.any()}


@pytest.fixture(scope='module')
def untouched():
    """A small SAM 2 with random weights; to be copied, because networks take its modules."""
    pytest.importorskip('sam2')
    torch.manual_seed(0)
    return build_sam2(SMALL).eval()


@pytest.fixture
def sam2(untouched):
    torch.manual_seed(1)
    return copy.deepcopy(untouched)


def patches(n, seed=0, side=64):
    return torch.randn(n, 3, side, side, generator=torch.Generator().manual_seed(seed))


def stir(encoder):
    """Give all low-rank updates values other than 0."""
    generator = torch.Generator().manual_seed(7)
    for module in encoder.modules():
        if isinstance(module, LowRank):
            module.b.data.normal_(std=0.3, generator=generator)
    return encoder


# --- encoder ---


def test_a_fresh_encoder_gives_sam_2s_features_bit_for_bit(sam2, untouched):
    images = patches(2)
    with torch.no_grad():
        expected = untouched.forward_image(images)
        features = PatchEncoder(sam2)(images)
    levels = (features.high, features.medium, features.low)
    assert [tuple(level.shape) for level in levels] == [(2, 8, 16, 16), (2, 16, 8, 8), (2, 64, 4, 4)]
    assert all(torch.equal(level, other) for level, other in zip(levels, expected['backbone_fpn'], strict=True))
    assert torch.equal(features.code, expected['vision_pos_enc'][-1])


def test_a_sequence_is_encoded_as_its_patches_are(sam2):
    encoder = PatchEncoder(sam2)
    images = torch.stack([patches(2, seed) for seed in range(3)], 1)
    with torch.no_grad():
        for patch, features in zip(images.unbind(1), encoder.sequence(images), strict=True):
            alone = encoder(patch)
            for name in ('high', 'medium', 'low', 'code'):
                assert torch.allclose(getattr(features, name), getattr(alone, name), atol=1e-5), name


@pytest.mark.parametrize('literal', [False, True])
def test_updates_equal_merged_weights_and_only_they_are_trained(sam2, untouched, literal):
    encoder, merged = stir(PatchEncoder(sam2, rank=2, literal_rows=literal)), copy.deepcopy(untouched)
    for block, plain in zip(encoder.image_encoder.trunk.blocks, merged.image_encoder.trunk.blocks, strict=True):
        layer, dim, out = block.attn.qkv, block.dim, block.dim_out
        rows = {'q': range(dim if literal else out), 'v': range(3 * out - dim if literal else 2 * out, 3 * out)}
        for name, part in rows.items():
            update = layer.get_submodule(name)
            for i, row in enumerate(part):
                plain.attn.qkv.weight.data[row] += update.b.data[i] @ update.a.data
    images = patches(2)
    with torch.no_grad():
        expected = merged.forward_image(images)['backbone_fpn']
    features = encoder(images)
    for level, other in zip((features.high, features.medium, features.low), expected, strict=True):
        assert torch.allclose(level, other, atol=1e-4)
    sum(level.square().mean() for level in (features.high, features.medium, features.low)).backward()
    assert trained(encoder) == with_gradient(encoder)
    in_blocks = {name for name in trained(encoder) if name.startswith('image_encoder')}
    assert len(in_blocks) == 4 * 5 and all('.attn.qkv.' in name for name in in_blocks)
    assert trained(encoder) - in_blocks == {f'conv_{part}' for part in ('s0.weight', 's0.bias', 's1.weight', 's1.bias')}


def test_a_whole_encoder_is_trained_without_updates_and_checkpoints_change_nothing(sam2, untouched):
    gradients = []
    for sam, checkpoint in ((sam2, False), (copy.deepcopy(untouched), True)):
        encoder = PatchEncoder(sam, encoder='full', checkpoint=checkpoint)
        assert not any(isinstance(module, LowRankRows) for module in encoder.modules())
        features = encoder(patches(1))
        (features.low.square().mean() + features.high.square().mean() + features.medium.square().mean()).backward()
        assert trained(encoder) == with_gradient(encoder) == {name for name, _ in encoder.named_parameters()}
        gradients.append([value.grad for value in encoder.parameters()])
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(*gradients, strict=True))
    fresh = PatchEncoder(copy.deepcopy(untouched), checkpoint=True)
    fresh(patches(1)).low.sum().backward()
    assert any('blocks.0.attn.qkv.q.b' in name for name in with_gradient(fresh)), 'inputs need no gradient for it'


def test_what_sam_2_cannot_encode_is_refused(sam2):
    with pytest.raises(ConfigError, match="encoder='none' is not one of 'lora', 'full'"):
        PatchEncoder(sam2, encoder='none')
    with pytest.raises(ConfigError, match=r"rank 0; set rank to at least 1, or encoder='full'"):
        PatchEncoder(sam2, rank=0)
    encoder = PatchEncoder(sam2)
    with pytest.raises(InputSizeError, match='square images, not 64x96'):
        encoder(torch.zeros(1, 3, 64, 96))
    with pytest.raises(InputSizeError, match='multiple of 32, not 48x48'):
        encoder(torch.zeros(1, 3, 48, 48))


# --- counts ---


def updates_of(encoder):
    return count(*(module for module in encoder.modules() if isinstance(module, LowRank)))


@pytest.mark.parametrize(
    ('size', 'literal', 'full'),
    [('t', 64_512, 69_888), ('s', 89_088, 94_464), ('b', 159_488, 165_760), ('l', 421_632, 429_696)],
)
def test_parameters_are_those_of_the_paper(size, literal, full):
    pytest.importorskip('sam2')
    with torch.device('meta'):
        sam2 = build_sam2(size)
        assert updates_of(PatchEncoder(sam2)) == full
        for block in sam2.image_encoder.trunk.blocks:
            block.attn.qkv = block.attn.qkv.linear
        encoder, memory = PatchEncoder(sam2, literal_rows=True), MemoryNetwork(sam2)
        head = SemanticHead(256, 13)
    assert updates_of(encoder) == literal
    total = count(encoder, memory.memory_attention, head)
    assert round(total / 2**20, 2) == {'t': 31.97, 's': 38.76, 'b': 72.01, 'l': 209.20}[size]
    new = {'tau', 'nu'}
    assert {name for name in trained(memory) if not name.startswith('memory_attention')} == new
    parts = sum(
        value.numel() for module in (encoder, memory, head) for value in module.parameters() if value.requires_grad
    )
    assert 6.29e6 < parts < 6.67e6
    assert SIZES[size].dim == 256 and count(head) == 291_341


# --- decoder ---


def test_the_decoder_equals_the_one_that_concatenates_enlarged_levels():
    torch.manual_seed(0)
    head = SemanticHead(64, CLASSES, width=12)
    levels = [torch.randn(2, *shape, requires_grad=True) for shape in ((8, 16, 16), (16, 8, 8), (64, 4, 4))]
    for mode in (True, False):
        head.train(mode)
        states = []
        for decode in (head, lambda *levels: reference.decode(head, *levels)):
            torch.manual_seed(3)  # of the dropout
            head.norm.reset_running_stats()
            features, logits = decode(*levels)
            assert features.shape == (2, 12, 16, 16) and logits.shape == (2, CLASSES, 64, 64)
            gradients = torch.autograd.grad(logits.square().mean() + features.mean(), [*levels, *head.parameters()])
            states.append([features, logits, head.norm.running_var.clone(), *gradients])
        assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in zip(*states, strict=True))


# --- what the memory is told ---


def test_masks_for_the_memory():
    logits = torch.full((1, CLASSES, 16, 16), -5.0)
    logits[0, 3, :, :8] = 5.0
    logits[0, 1, :, 8:] = 0.0
    ids = memory_mask(logits, 'class_ids')
    assert ids.shape == (1, 1, 16, 16) and ids[0, 0, 0, [0, 8]].tolist() == pytest.approx([0.952574, 0.731059])
    sure = memory_mask(logits, 'confidence')
    assert sure[0, 0, 0, 0] == pytest.approx(10, abs=0.01) and sure[0, 0, 0, 8] == pytest.approx(9.475, abs=0.001)
    even = memory_mask(torch.zeros(1, 2, 16, 16).bfloat16(), 'confidence')
    assert even.dtype == torch.float32 and not even.any(), 'no class is preferred: the middle of the range'
    for kind in ('none', 'embedding'):
        assert not memory_mask(logits, kind).any()
    with pytest.raises(ConfigError, match="mask_input='labels' is not one of 'class_ids'"):
        memory_mask(logits, 'labels')


def test_the_class_embedding_mixes_vectors_by_the_shares_of_classes():
    logits = torch.randn(2, CLASSES, 32, 48, requires_grad=True)
    shares = class_shares(logits)
    assert shares.shape == (2, CLASSES, 2, 3) and not shares.requires_grad
    assert torch.allclose(shares.sum(1), torch.ones(2, 2, 3))
    embedding = ClassEmbedding(CLASSES, 4)
    assert not embedding(shares).any(), 'nothing is added at first'
    embedding.table.data.normal_()
    added = embedding(shares)
    probabilities = logits.softmax(1)[1, :, 16:, 32:].mean((1, 2))  # of the last token of the second sample
    expected = sum(probabilities[k] * embedding.table[k] for k in range(CLASSES))
    assert added.shape == (6, 2, 4) and torch.allclose(added[5, 1], expected, atol=1e-6)


# --- memory ---


def features_of(sam2, images):
    with torch.no_grad():
        return PatchEncoder(copy.deepcopy(sam2))(images)


def mask_of(seed, n=1):
    return torch.randn(n, CLASSES, 64, 64, generator=torch.Generator().manual_seed(seed))


def test_reading_and_writing_are_sam_2s_own_bit_for_bit(sam2, untouched):
    """Six entries before the patch and SAM 2's conditioning frame before them, without object pointers."""
    memory = MemoryNetwork(sam2, slots=7).eval()
    memory.tau.data = untouched.maskmem_tpos_enc.data[:, 0, 0]
    memory.nu.data = untouched.no_mem_embed.data[0, 0]
    steps = [features_of(untouched, patches(2, seed)) for seed in range(8)]
    logits = [mask_of(seed, 2) for seed in range(7)]
    bank = memory.bank()
    outputs = {}
    with torch.no_grad():
        for t in range(7):
            bank.add(memory.write(steps[t], memory_mask(logits[t], 'class_ids')))
            ids = logits[t].argmax(1, keepdim=True).float()
            out = untouched.memory_encoder(steps[t].low, ids)  # its own sigmoid
            outputs[t] = {'maskmem_features': out['vision_features'], 'maskmem_pos_enc': out['vision_pos_enc']}
        ours = [memory.start(steps[7]), memory.read(steps[7], bank)]
        untouched.use_obj_ptrs_in_encoder = False
        low, code = (maps.flatten(2).permute(2, 0, 1) for maps in (steps[7].low, steps[7].code))
        arguments = {
            'frame_idx': 7,
            'current_vision_feats': [low],
            'current_vision_pos_embeds': [code],
            'feat_sizes': [(4, 4)],
            'output_dict': {
                'cond_frame_outputs': {0: outputs[0]},
                'non_cond_frame_outputs': {t: outputs[t] for t in range(1, 7)},
            },
            'num_frames': 8,
        }
        theirs = [
            untouched._prepare_memory_conditioned_features(is_init_cond_frame=first, **arguments)
            for first in (True, False)
        ]
    assert torch.equal(ours[0], theirs[0]) and torch.equal(ours[1], theirs[1])
    for entry, out in zip(bank, outputs.values(), strict=True):
        assert torch.equal(entry.tokens, out['maskmem_features'].flatten(2).permute(2, 0, 1))
    shuffled = [list(bank)[i] for i in (1, 0, 2, 3, 4, 5, 6)]
    assert not torch.allclose(memory.read(steps[7], shuffled), ours[1], atol=1e-6), 'the distance counts'


def lap(memory, steps, bank):
    """Visit patches with stand-ins for their logits: what each gives the decoder."""
    read = []
    with torch.no_grad():
        for features in steps:
            read.append(memory.read(features, bank))
            bank.add(memory.write(features, memory_mask(read[-1].repeat_interleave(16, 2).repeat_interleave(16, 3))))
    return torch.stack(read)


def test_a_memory_is_bounded_cleared_and_of_one_image(sam2, untouched):
    memory = MemoryNetwork(sam2, slots=2).eval()
    a, b = ([features_of(untouched, patches(1, seed)) for seed in seeds] for seeds in ((0, 1, 2), (3, 4, 5)))
    bank = memory.bank()
    alone = lap(memory, b, bank)
    assert len(bank) == 2
    assert not torch.allclose(lap(memory, b, bank)[0], alone[0]), 'the second lap begins with the memory of the first'
    bank.clear()
    assert len(bank) == 0 and torch.equal(lap(memory, b, bank), alone)
    bank.clear()
    other = lap(memory, a, bank)
    bank.clear()
    assert torch.equal(lap(memory, b, bank), alone), 'nothing of image a is in image b'
    both = [
        PatchFeatures(*(torch.cat([getattr(x, name), getattr(y, name)]) for name in ('high', 'medium', 'low', 'code')))
        for x, y in zip(a, b, strict=True)
    ]
    together = lap(memory, both, memory.bank())
    assert torch.allclose(together[:, :1], other, atol=1e-4) and torch.allclose(together[:, 1:], alone, atol=1e-4)


def test_without_slots_every_patch_is_a_first_one(sam2, untouched):
    memory = MemoryNetwork(sam2, slots=0).eval()
    steps = [features_of(untouched, patches(1, seed)) for seed in range(2)]
    bank = memory.bank()
    read = lap(memory, steps, bank)
    assert len(bank) == 0 and all(torch.equal(x, memory.start(step)) for x, step in zip(read, steps, strict=True))
    with pytest.raises(ConfigError, match='a memory of -1 slots; set memory_slots to 0'):
        MemoryNetwork(sam2, slots=-1)


def test_no_gradient_goes_through_entries_and_the_class_embedding_gets_one(sam2, untouched):
    memory = MemoryNetwork(sam2, slots=3, classes=CLASSES)
    first, second = (features_of(untouched, patches(1, seed)) for seed in range(2))
    first.low.requires_grad_()
    second.low.requires_grad_()
    logits = mask_of(0).requires_grad_()
    entry = memory.write(first, memory_mask(logits, 'embedding'), class_shares(logits))
    assert not entry.tokens.requires_grad and not entry.code.requires_grad and not entry.shares.requires_grad
    memory.eval()
    plain = memory.write(first, memory_mask(logits, 'none'))
    assert torch.equal(memory.read(second, [entry]), memory.read(second, [plain])), 'the embedding is 0 at first'
    (memory.read(second, [entry]) + memory.start(second)).square().mean().backward()
    assert first.low.grad is None and logits.grad is None and second.low.grad.any()
    assert not any(name.startswith('memory_encoder') for name in trained(memory))
    # A bias of keys moves all scores of a query alike: softmax gives it no gradient but rounding.
    missing = {name for name in trained(memory) - with_gradient(memory) if not name.endswith('k_proj.bias')}
    assert missing == set()
    assert memory.tau.grad[0].any() and not memory.tau.grad[1:].any(), 'the code of the step just before'
    memory.embedding.table.data.normal_()
    assert not torch.allclose(memory.read(second, [entry]), memory.read(second, [plain]))


def test_memories_that_do_not_fit_are_refused(sam2, untouched):
    memory = MemoryNetwork(sam2, slots=1).eval()
    one, two = (features_of(untouched, patches(n)) for n in (1, 2))
    with pytest.raises(Stage2Error, match=r"a mask of 32x64 pixels for patches of 64x64; make it from the patch's"):
        memory.write(one, torch.zeros(1, 1, 32, 64))
    entry = memory.write(one, torch.zeros(1, 1, 64, 64))
    with pytest.raises(Stage2Error, match='1 samples with 16 tokens each, for 2 samples of 16; clear the bank'):
        memory.read(two, [entry])
    with pytest.raises(Stage2Error, match='2 entries for a memory of 1 slots'):
        memory.read(one, [entry, entry])
