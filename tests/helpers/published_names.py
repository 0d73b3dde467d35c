"""Names and shapes of published backbones, at small size, as their authors' code stores them.

``FILES`` has one file per family; ``drawn`` fills it with weights that depend on names and shapes alone, so that
``tools/backbone_references.py`` (which needs timm) and the tests have the same file.
"""

from __future__ import annotations

import zlib

import torch

WIDTH, DEPTH, HIDDEN = 64, 2, 96


def linear(name, rows, columns, bias=True):
    return {f"{name}.weight": (rows, columns)} | ({f"{name}.bias": (rows,)} if bias else {})


def norm(name, width=WIDTH):
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def patches(patch, name="patch_embed.proj", bias=True, width=WIDTH):
    return {f"{name}.weight": (width, 3, patch, patch)} | ({f"{name}.bias": (width,)} if bias else {})


def vit_block(prefix, scale=False, hidden=HIDDEN, width=WIDTH):
    """A block of timm's, MAE's and DINO's ViT."""
    return (
        norm(f"{prefix}.norm1", width)
        | linear(f"{prefix}.attn.qkv", 3 * width, width)
        | linear(f"{prefix}.attn.proj", width, width)
        | ({f"{prefix}.ls1.gamma": (width,), f"{prefix}.ls2.gamma": (width,)} if scale else {})
        | norm(f"{prefix}.norm2", width)
        | linear(f"{prefix}.mlp.fc1", hidden, width)
        | linear(f"{prefix}.mlp.fc2", width, hidden)
    )


def vit(patch, grid, *, scale=False, hidden=HIDDEN, chunked=False):
    """ViT: class token, table of positions, blocks, norm."""
    shapes = {"cls_token": (1, 1, WIDTH), "pos_embed": (1, 1 + grid**2, WIDTH)} | patches(patch) | norm("norm")
    for i in range(DEPTH):
        shapes |= vit_block(f"blocks.0.{i}" if chunked else f"blocks.{i}", scale, hidden)
    return shapes


def mae():
    decoder = {"mask_token": (1, 1, 32), "decoder_pos_embed": (1, 17, 32)} | linear("decoder_embed", 32, WIDTH)
    decoder |= vit_block("decoder_blocks.0", hidden=64, width=32) | norm("decoder_norm", 32)
    return vit(16, 4) | decoder | linear("decoder_pred", 768, 32)


def dinov2(registers=0, gated=False):
    shapes = vit(14, 4, scale=True, hidden=4 * WIDTH) | {"mask_token": (1, WIDTH)}
    if registers:
        shapes["register_tokens"] = (1, registers, WIDTH)
    if gated:
        hidden = (int(4 * WIDTH * 2 / 3) + 7) // 8 * 8
        shapes = {name: shape for name, shape in shapes.items() if ".mlp." not in name}
        for i in range(DEPTH):
            shapes |= linear(f"blocks.{i}.mlp.w12", 2 * hidden, WIDTH) | linear(f"blocks.{i}.mlp.w3", WIDTH, hidden)
    return shapes


def chexfound():
    """A teacher as DINOv2's training stores it: blocks in chunks, heads beside the backbone."""
    inside = vit(16, 4, scale=True, hidden=4 * WIDTH, chunked=True) | {"mask_token": (1, WIDTH)}
    inside["register_tokens"] = (1, 4, WIDTH)
    heads = linear("dino_head.mlp.0", 32, WIDTH) | linear("ibot_head.mlp.0", 32, WIDTH)
    return {f"backbone.{name}": shape for name, shape in inside.items()} | heads


def dinov3(gated=False):
    shapes = vit(16, 4, scale=True, hidden=HIDDEN)
    del shapes["pos_embed"]
    for i in range(DEPTH):
        shapes[f"blocks.{i}.attn.qkv.bias_mask"] = (3 * WIDTH,)
        if gated:
            for part in ("fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"):
                del shapes[f"blocks.{i}.mlp.{part}"]
            shapes |= linear(f"blocks.{i}.mlp.w1", HIDDEN, WIDTH) | linear(f"blocks.{i}.mlp.w2", HIDDEN, WIDTH)
            shapes |= linear(f"blocks.{i}.mlp.w3", WIDTH, HIDDEN)
    further = {"storage_tokens": (1, 4, WIDTH), "mask_token": (1, WIDTH), "rope_embed.periods": (16,)}
    return shapes | further


def convnext(again=False):
    """ConvNeXt under its authors' names; DINOv3's stores the last norm twice."""
    dims, shapes = (16, 32, 48, 64), {}
    shapes |= patches(4, "downsample_layers.0.0", width=16) | norm("downsample_layers.0.1", 16)
    for i, dim in enumerate(dims):
        if i:
            shapes |= norm(f"downsample_layers.{i}.0", dims[i - 1])
            shapes |= {
                f"downsample_layers.{i}.1.weight": (dim, dims[i - 1], 2, 2),
                f"downsample_layers.{i}.1.bias": (dim,),
            }
        block = f"stages.{i}.0"
        shapes |= {f"{block}.dwconv.weight": (dim, 1, 7, 7), f"{block}.dwconv.bias": (dim,), f"{block}.gamma": (dim,)}
        shapes |= norm(f"{block}.norm", dim)
        shapes |= linear(f"{block}.pwconv1", 4 * dim, dim) | linear(f"{block}.pwconv2", dim, 4 * dim)
    return shapes | norm("norm", 64) | (norm("norms.3", 64) if again else {})


def eva02(*, fused, patch=16, mim=False):
    """EVA-02: sizes Ti and S have one layer for queries, keys and values, B and L three and a norm in SwiGLU."""
    shapes = {"cls_token": (1, 1, WIDTH), "pos_embed": (1, 17, WIDTH)} | patches(patch) | norm("norm")
    shapes |= {f"rope.freqs_{kind}": (16, WIDTH) for kind in ("cos", "sin")}
    for i in range(DEPTH):
        block = f"blocks.{i}"
        shapes |= {f"{block}.attn.rope.freqs_{kind}": (16, WIDTH) for kind in ("cos", "sin")}
        shapes |= norm(f"{block}.norm1") | norm(f"{block}.norm2") | linear(f"{block}.attn.proj", WIDTH, WIDTH)
        shapes |= {f"{block}.attn.q_bias": (WIDTH,), f"{block}.attn.v_bias": (WIDTH,)}
        names = ["attn.qkv"] if fused else ["attn.q_proj", "attn.k_proj", "attn.v_proj"]
        for name in names:
            shapes |= linear(f"{block}.{name}", 3 * WIDTH // len(names), WIDTH, bias=False)
        for name in ("w1", "w2"):
            shapes |= linear(f"{block}.mlp.{name}", HIDDEN, WIDTH)
        shapes |= linear(f"{block}.mlp.w3", WIDTH, HIDDEN)
        if not fused:
            shapes |= norm(f"{block}.mlp.ffn_ln", HIDDEN)
    return shapes | ({"mask_token": (1, 1, WIDTH)} | linear("lm_head", 32, WIDTH) if mim else {})


def open_clip():
    """OpenCLIP: the image tower under ``visual.``, the text tower beside it."""
    shapes = {"class_embedding": (WIDTH,), "positional_embedding": (17, WIDTH), "proj": (WIDTH, 32)}
    shapes |= patches(16, "conv1", bias=False) | norm("ln_pre") | norm("ln_post")
    for i in range(DEPTH):
        block = f"transformer.resblocks.{i}"
        shapes |= norm(f"{block}.ln_1") | norm(f"{block}.ln_2") | linear(f"{block}.attn.out_proj", WIDTH, WIDTH)
        shapes |= {f"{block}.attn.in_proj_weight": (3 * WIDTH, WIDTH), f"{block}.attn.in_proj_bias": (3 * WIDTH,)}
        shapes |= linear(f"{block}.mlp.c_fc", HIDDEN, WIDTH) | linear(f"{block}.mlp.c_proj", WIDTH, HIDDEN)
    text = {"positional_embedding": (8, 32), "text_projection": (32, 32), "logit_scale": ()}
    text |= {"token_embedding.weight": (50, 32)} | norm("ln_final", 32) | norm("transformer.resblocks.0.ln_1", 32)
    return {f"visual.{name}": shape for name, shape in shapes.items()} | text


def siglip():
    """SigLIP as OpenCLIP publishes it: timm's ViT without class token, pooled by attention."""
    shapes = vit(16, 4) | {"pos_embed": (1, 16, WIDTH), "attn_pool.latent": (1, 1, WIDTH)}
    del shapes["cls_token"]
    shapes |= linear("attn_pool.q", WIDTH, WIDTH) | linear("attn_pool.kv", 2 * WIDTH, WIDTH)
    shapes |= linear("attn_pool.proj", WIDTH, WIDTH) | norm("attn_pool.norm")
    shapes |= linear("attn_pool.mlp.fc1", HIDDEN, WIDTH) | linear("attn_pool.mlp.fc2", WIDTH, HIDDEN)
    inside = {f"visual.trunk.{name}": shape for name, shape in shapes.items()}
    return inside | {"text.token_embedding.weight": (50, 32), "logit_scale": (), "logit_bias": ()}


def swinv2():
    """Swin v2 of one block of each kind: window 4 at 128 pixels, so that the last stage has one window."""
    shapes = patches(4, width=16) | norm("patch_embed.norm", 16) | norm("norm", 128) | linear("head", 10, 128)
    for i, (depth, window) in enumerate(((2, 4), (2, 4), (2, 4), (1, 4))):
        dim = 16 * 2**i
        for j in range(depth):
            block, heads = f"layers.{i}.blocks.{j}", max(1, dim // 32)
            shapes |= {f"{block}.attn.logit_scale": (heads, 1, 1), f"{block}.attn.q_bias": (dim,)}
            shapes |= {f"{block}.attn.v_bias": (dim,), f"{block}.attn.cpb_mlp.2.weight": (heads, 512)}
            shapes |= linear(f"{block}.attn.cpb_mlp.0", 512, 2) | linear(f"{block}.attn.qkv", 3 * dim, dim, bias=False)
            shapes |= linear(f"{block}.attn.proj", dim, dim) | norm(f"{block}.norm1", dim) | norm(f"{block}.norm2", dim)
            shapes |= linear(f"{block}.mlp.fc1", 4 * dim, dim) | linear(f"{block}.mlp.fc2", dim, 4 * dim)
            side = 2 * window - 1
            shapes[f"{block}.attn.relative_coords_table"] = (1, side, side, 2)
            shapes[f"{block}.attn.relative_position_index"] = (window**2, window**2)
        if depth > 1 and i < 3:
            shapes[f"layers.{i}.blocks.1.attn_mask"] = ((32 // 2**i // window) ** 2, window**2, window**2)
        if i < 3:
            shapes |= {f"layers.{i}.downsample.reduction.weight": (2 * dim, 4 * dim)}
            shapes |= norm(f"layers.{i}.downsample.norm", 2 * dim)
    return shapes


def resnet():
    """ResNet-18 under torchvision's names, at its own size: timm has no narrower one."""
    shapes, width = {"conv1.weight": (64, 3, 7, 7)} | batch_norm("bn1", 64) | linear("fc", 10, 512), 64
    for i in range(4):
        for j in range(2):
            block, out = f"layer{i + 1}.{j}", 64 * 2**i
            shapes |= {f"{block}.conv1.weight": (out, width, 3, 3), f"{block}.conv2.weight": (out, out, 3, 3)}
            shapes |= batch_norm(f"{block}.bn1", out) | batch_norm(f"{block}.bn2", out)
            if width != out:
                shapes |= {f"{block}.downsample.0.weight": (out, width, 1, 1)} | batch_norm(
                    f"{block}.downsample.1", out
                )
            width = out
    return shapes


def batch_norm(name, width):
    running = {f"{name}.running_mean": (width,), f"{name}.running_var": (width,), f"{name}.num_batches_tracked": ()}
    return norm(name, width) | running


FILES = {
    "ViT": (vit(16, 4), 64),
    "MAE": (mae(), 64),
    "DINOv2": (dinov2(), 56),
    "DINOv2 with registers": (dinov2(registers=4), 56),
    "DINOv2 giant": (dinov2(gated=True), 56),
    "CheXFound": (chexfound(), 64),
    "DINOv3 ViT": (dinov3(), 64),
    "DINOv3 ViT H+": (dinov3(gated=True), 64),
    "DINOv3 ConvNeXt": (convnext(again=True), 64),
    "ConvNeXt": (convnext(), 64),
    "ResNet": (resnet(), 64),
    "Swin v2": (swinv2(), 128),
    "EVA-02 S": (eva02(fused=True), 64),
    "EVA-02 B": (eva02(fused=False), 64),
    "EVA-X": (eva02(fused=False, mim=True), 64),
    "SigLIP": (siglip(), 64),
    "OpenCLIP": (open_clip(), 64),
}
"""Names and shapes of a file of each family, and the image size that its features are compared at."""


def drawn(shapes):
    """Weights by name and shape alone: the same in every order and file."""
    tensors = {}
    for name, shape in shapes.items():
        generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
        value = torch.randn(shape, generator=generator)
        tensors[name] = value * 0.2 + (1.0 if _is_scale(name, shape) else 0.0)
        if len(shape) == 4 and shape[-1] == 3:  # values of a ResNet grow by every layer otherwise
            tensors[name] = value * (2 / (9 * shape[1])) ** 0.5
        if name.endswith("running_var"):
            tensors[name] = value.abs() + 0.5
    return tensors | _computed(tensors)


def _is_scale(name, shape):
    return (len(shape) == 1 and name.endswith("weight")) or name.endswith(("gamma", "logit_scale"))


def _computed(tensors):
    """Buffers that the authors' code computes, and what is stored twice."""
    values = {}
    for name, value in tensors.items():
        if name.endswith("bias_mask"):
            values[name] = torch.ones_like(value)
            values[name][WIDTH : 2 * WIDTH] = 0
        elif name.endswith("num_batches_tracked"):
            values[name] = torch.tensor(7)
        elif "relative_coords_table" in name:
            values[name] = coordinates((value.shape[1] + 1) // 2)
        elif "freqs_" in name:
            values[name] = rotary(4, 14, WIDTH, name[-3:])
        elif name.startswith("norms.3."):
            values[name] = tensors[name.replace("norms.3", "norm")].clone()
    return values


def coordinates(window):
    """Swin v2's table: logarithmic distances between -8 and 8, over log 8."""
    line = torch.arange(1 - window, window).float() / (window - 1) * 8
    grid = torch.stack(torch.meshgrid(line, line, indexing="ij"), -1)[None]
    return torch.sign(grid) * torch.log2(grid.abs() + 1) / 3


def rotary(grid, trained, width, kind):
    """EVA-02's cosines and sines: rows in the first half of the channels, columns in the second, each twice."""
    steps = torch.arange(grid) / grid * trained
    rates = 1 / 10_000 ** (torch.arange(0, width // 2, 2) / (width // 2))
    angles = (steps[:, None] * rates).repeat_interleave(2, dim=1)
    rows, columns = angles[:, None].expand(-1, grid, -1), angles[None].expand(grid, -1, -1)
    both = torch.cat((rows, columns), -1).flatten(0, 1)
    return both.cos() if kind == "cos" else both.sin()


def images(size):
    """Two images of a side."""
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(size))
