"""Vision transformers on patches of 16x16: ViT-Ti, ViT-S and ViT-B."""

from typing import NamedTuple

from signsal_jax.weights.table import (
    IMAGENET_CROP,
    IMAGENET_MEAN,
    IMAGENET_STD,
    Layout,
    Rule,
    Rules,
    conv,
    layer_norm,
    linear,
    part,
)

_DEPTH = 12
_HALF = (0.5, 0.5, 0.5)
_ROLES = ("query", "key", "value")


class _Names(NamedTuple):
    """One source's names for the parts that all sources have."""

    source: str
    stem: str
    class_token: str
    positions: str
    block: str
    norm1: str
    joint: tuple[str, str] | None
    """Kernel and bias of query, key and value in one array each; None if they are separate."""
    separate: str
    attention_project: str
    norm2: str
    expand: str
    project: str
    final_norm: str
    classifier: str
    mean: tuple[float, ...] = _HALF
    std: tuple[float, ...] = _HALF
    crop: float = 1.0
    interpolation: str = "bilinear"
    roles: tuple[str, ...] = _ROLES


_SOURCES = (
    _Names(
        source="torchvision",
        stem="conv_proj",
        class_token="class_token",
        positions="encoder.pos_embedding",
        block="encoder.layers.encoder_layer_{}",
        norm1="ln_1",
        joint=("self_attention.in_proj_weight", "self_attention.in_proj_bias"),
        separate="",
        attention_project="self_attention.out_proj",
        norm2="ln_2",
        expand="mlp.0",
        project="mlp.3",
        final_norm="encoder.ln",
        classifier="heads.head",
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        crop=IMAGENET_CROP,
    ),
    _Names(
        source="timm",
        stem="patch_embed.proj",
        class_token="cls_token",
        positions="pos_embed",
        block="blocks.{}",
        norm1="norm1",
        joint=("attn.qkv.weight", "attn.qkv.bias"),
        separate="",
        attention_project="attn.proj",
        norm2="norm2",
        expand="mlp.fc1",
        project="mlp.fc2",
        final_norm="norm",
        classifier="head",
        crop=0.9,
        interpolation="bicubic",
    ),
    _Names(
        source="transformers",
        stem="vit.embeddings.patch_embeddings.projection",
        class_token="vit.embeddings.cls_token",
        positions="vit.embeddings.position_embeddings",
        block="vit.encoder.layer.{}",
        norm1="layernorm_before",
        joint=None,
        separate="attention.attention",
        attention_project="attention.output.dense",
        norm2="layernorm_after",
        expand="intermediate.dense",
        project="output.dense",
        final_norm="vit.layernorm",
        classifier="classifier",
    ),
    _Names(
        source="transformers 5",
        stem="vit.embeddings.patch_embeddings.projection",
        class_token="vit.embeddings.cls_token",
        positions="vit.embeddings.position_embeddings",
        block="vit.layers.{}",
        norm1="layernorm_before",
        joint=None,
        separate="attention",
        attention_project="attention.o_proj",
        norm2="layernorm_after",
        expand="mlp.fc1",
        project="mlp.fc2",
        final_norm="vit.layernorm",
        classifier="classifier",
        roles=("q_proj", "k_proj", "v_proj"),
    ),
)


def layouts(name: str) -> tuple[Layout, ...]:
    """Returns the layouts of a ViT: torchvision's, timm's, transformers' and its version 5's."""
    return tuple(_layout(name, names) for names in _SOURCES)


def _layout(name: str, names: _Names) -> Layout:
    rules: Rules = [
        *conv(names.stem, "stem"),
        Rule(names.class_token, "class_token"),
        Rule(names.positions, "positions"),
    ]
    for index in range(_DEPTH):
        source, path = names.block.format(index), f"blocks.{index}"
        rules += layer_norm(f"{source}.{names.norm1}", f"{path}.norm1")
        rules += _attention(names, source, f"{path}.attention")
        rules += layer_norm(f"{source}.{names.norm2}", f"{path}.norm2")
        rules += linear(f"{source}.{names.expand}", f"{path}.expand")
        rules += linear(f"{source}.{names.project}", f"{path}.project")
    rules += layer_norm(names.final_norm, "norm")
    rules += linear(names.classifier, "classifier")
    return Layout(
        name,
        names.source,
        tuple(rules),
        f"{names.classifier}.weight",
        names.mean,
        names.std,
        names.crop,
        names.interpolation,
    )


def _attention(names: _Names, source: str, path: str) -> Rules:
    project = linear(f"{source}.{names.attention_project}", f"{path}.project")
    if names.joint is None:
        separate = f"{source}.{names.separate}"
        each = [
            linear(f"{separate}.{theirs}", f"{path}.{role}")
            for theirs, role in zip(names.roles, _ROLES, strict=True)
        ]
        return [*(rule for rules in each for rule in rules), *project]
    kernel, bias = names.joint
    for place, role in enumerate(_ROLES):
        third = part(place, len(_ROLES))
        own = linear("", f"{path}.{role}")
        project += [
            rule._replace(source=f"{source}.{joint}", transform=third(rule.transform))
            for rule, joint in zip(own, (kernel, bias), strict=True)
            if isinstance(rule, Rule)
        ]
    return project
