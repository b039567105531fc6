import re

import pytest

from tlkeras.backbones import unit_names


def norm(path):
    return [f"{path}/{name}:0" for name in ("gamma", "beta", "moving_mean", "moving_variance")]


def conv(path, norm_path=None):
    return [f"{path}/kernel:0", *(norm(norm_path) if norm_path else [])]


# The styles of the modules that there are, and the stages that they should have.
STYLES = {
    "keras2 EfficientNetV2": (
        conv("stem_conv", "stem_bn")
        + [n for i in (1, 2, 10) for c in "ab" for n in conv(f"block{i}{c}_expand_conv", f"block{i}{c}_expand_bn")]
        + conv("top_conv", "top_bn"),
        ["stem_conv", "block1", "block2", "block10", "top_conv"],
    ),
    "keras2 ResNet50": (
        conv("conv1_conv", "conv1_bn")
        + [n for i in (2, 3) for j in (1, 2) for n in conv(f"conv{i}_block{j}_1_conv", f"conv{i}_block{j}_1_bn")],
        ["conv1", "conv2", "conv3"],
    ),
    "keras2 MobileNetV2": (
        conv("Conv1", "bn_Conv1")
        + conv("expanded_conv_depthwise", "expanded_conv_depthwise_BN")
        + conv("block_1_expand", "block_1_expand_BN")
        + conv("block_10_expand", "block_10_expand_BN")
        + conv("Conv_1", "Conv_1_bn"),
        ["Conv1", "expanded_conv_depthwise", "block_1", "block_10", "Conv_1"],
    ),
    "keras2 EfficientNet": (
        ["normalization/mean:0"] + [n for c in "abcd" for n in conv(f"block6{c}_expand_conv", f"block6{c}_bn")],
        ["block6"],
    ),
    "keras2 InceptionResNet, whose numbers are sizes": (
        conv("conv2d") + [n for i in (35, 17, 8) for j in (1, 2, 10) for n in conv(f"block{i}_{j}_conv")],
        ["conv2d", "block35", "block17", "block8"],
    ),
    "keras2, numbered by Keras": (
        conv("conv2d", "batch_normalization") + conv("conv2d_1", "batch_normalization_1") + conv("dense"),
        ["conv2d", "conv2d_1", "dense"],
    ),
    "EfficientNet of the TPU team": (
        conv("efficientnet-b0/stem/conv2d", "efficientnet-b0/stem/tpu_batch_normalization")
        + [
            n
            for i in (0, 1, 10, 2)
            for n in conv(f"efficientnet-b0/blocks_{i}/conv2d", f"efficientnet-b0/blocks_{i}/n")
        ]
        + conv("efficientnet-b0/head/conv2d", "efficientnet-b0/head/tpu_batch_normalization"),
        [f"efficientnet-b0/{part}" for part in ("stem", "blocks_0", "blocks_1", "blocks_2", "blocks_10", "head")],
    ),
    "BiT": (
        conv("resnet/root_block/standardized_conv2d")
        + conv("resnet/block1/unit01/a/standardized_conv2d")
        + conv("resnet/block2/unit01/a/standardized_conv2d")
        + conv("resnet/group_norm"),
        ["resnet/root_block", "resnet/block1", "resnet/block2", "resnet/group_norm"],
    ),
    "TF-Slim MobileNet": (
        conv("MobilenetV2/Conv", "MobilenetV2/Conv/BatchNorm")
        + conv("MobilenetV2/expanded_conv/depthwise", "MobilenetV2/expanded_conv/depthwise/BatchNorm")
        + conv("MobilenetV2/expanded_conv_1/expand", "MobilenetV2/expanded_conv_1/expand/BatchNorm")
        + conv("MobilenetV2/Conv_1", "MobilenetV2/Conv_1/BatchNorm"),
        [f"MobilenetV2/{part}" for part in ("Conv", "expanded_conv", "expanded_conv_1", "Conv_1")],
    ),
    "TF-Slim Inception": (
        conv("InceptionV3/Conv2d_1a_3x3")
        + conv("InceptionV3/Mixed_5b/Branch_0/Conv2d_0a_1x1")
        + conv("InceptionV3/Mixed_6a/Branch_0/Conv2d_0a_1x1"),
        ["InceptionV3/Conv2d_1", "InceptionV3/Mixed_5", "InceptionV3/Mixed_6"],
    ),
    "BERT of tf-models": (
        ["word_embeddings/embeddings:0", "position_embedding/embeddings:0", "embeddings/layer_norm/gamma:0"]
        + [f"transformer/layer_{i}/{part}/kernel:0" for i in range(12) for part in ("self_attention/query", "output")]
        + ["pooler_transform/kernel:0"],
        ["word_embeddings", "position_embedding", "embeddings"]
        + [f"transformer/layer_{i}" for i in range(12)]
        + ["pooler_transform"],
    ),
    "NNLM": (["embeddings:0"], ["embeddings"]),
    "no names": (["Variable:0"] * 4, ["module"]),
    "names without paths": (["kernel:0", "bias:0"], ["module"]),
    "numbers without paths": (["w_2:0", "b_2:0", "w_10:0"], ["w_2", "b_2", "w_10"]),
}


@pytest.mark.parametrize("style", STYLES)
def test_stages_of_every_style(style):
    names, expected = STYLES[style]
    units = unit_names.units(names)
    light = {unit for unit, found in units.items() if any("mean" in names[i] for i in found)}
    patterns = unit_names.stage_patterns(list(units), [unit not in light for unit in units])
    assert [re.match(r"[\w/-]*", pattern)[0].rstrip("_/-") for pattern in patterns] == expected
    covered = [unit for pattern in patterns for unit in units if re.fullmatch(pattern, unit)]
    assert covered == list(units)


def test_every_variable_is_in_one_unit():
    for names, _ in STYLES.values():
        assert sorted(i for found in unit_names.units(names).values() for i in found) == list(range(len(names)))


def test_numbers_count_as_numbers():
    units = unit_names.units([f"layer_{i}/w" for i in (0, 1, 10, 11, 2)])
    assert list(units) == [f"layer_{i}" for i in (0, 1, 2, 10, 11)]


def test_the_same_path_is_one_unit_wherever_it_stands():
    assert unit_names.units(["a/w:0", "b/w:0", "a/w:0"]) == {"a": [0, 2], "b": [1]}


def test_names_of_the_head_stay_free():
    assert list(unit_names.units(["logits/w", "logits_/w", "body/w"])) == ["logits__", "logits_", "body"]


def test_interleaved_stages_are_one():
    assert len(unit_names.stage_patterns(["a_1/x", "b_1/x", "a_1/y", "c_1/x"], [True] * 4)) == 2


def test_names_that_make_no_sense_are_one_stage():
    names = ["a_1/x", *(f"{'b' * 100}_{i}" for i in range(60)), "a_1/y", "c/z"]
    (pattern,) = unit_names.stage_patterns(names, [True] * len(names))
    assert len(pattern) < 5000 and all(re.fullmatch(pattern, name) for name in names)
