"""WanDiT: the released checkpoint's layout, diffusers' arithmetic, batches, conditions."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny import condition, dice, shake

from livetalk_ref.errors import UserError
from livetalk_ref.wan import LIVETALK_1P3B, OMNIAVATAR_14B, Config, WanDiT, rope_table, rotate

SMALL = Config(dim=48, ffn_dim=96, heads=2, layers=6, text_dim=20, audio_dim=7, latent_channels=4,
               audio_hidden=8, freq_dim=32)


def example(config, batch=2, frames=5, size=4, seed=1):
    cond = condition(config, g := dice(seed), batch, frames, size, 6)
    x = torch.randn(batch, frames, config.latent_channels, size, size, generator=g)
    return x, torch.rand(batch, frames, generator=g), cond


def worst(a, b):
    """Largest error over the largest value."""
    return ((a - b).abs().max() / b.abs().max()).item()


@pytest.mark.parametrize("config, table", [(LIVETALK_1P3B, "livetalk_1p3b.tsv"),
                                           (OMNIAVATAR_14B, "omniavatar_14b.tsv")])
def test_layout_is_that_of_the_released_checkpoint(config, table):
    with torch.device("meta"):
        state = WanDiT(config).state_dict()
    with open(Path(__file__).parent / "data" / table) as file:
        want = {key: shape for key, shape in csv.reader(file, delimiter="\t")}
    assert {k: "x".join(map(str, v.shape)) for k, v in state.items()} == want


def test_text_path_equals_diffusers():
    """Its table of the released names among it; its patch layer has the noisy channels only."""
    from diffusers import WanTransformer3DModel
    from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers
    c = SMALL
    ours = shake(WanDiT(c))
    with torch.no_grad():                       # reference, mask and audio off
        ours.patch_embedding.weight[:, c.latent_channels:] = 0
        for layer in ours.audio_cond_projs:
            layer.weight.zero_()
            layer.bias.zero_()
    theirs = WanTransformer3DModel(
        patch_size=(1, 2, 2), num_attention_heads=c.heads, attention_head_dim=c.dim // c.heads,
        in_channels=c.latent_channels, out_channels=c.latent_channels, text_dim=c.text_dim,
        freq_dim=c.freq_dim, ffn_dim=c.ffn_dim, num_layers=c.layers).eval()
    weights = {k: v for k, v in ours.state_dict().items() if not k.startswith("audio")}
    weights["patch_embedding.weight"] = weights["patch_embedding.weight"][:, :c.latent_channels]
    theirs.load_state_dict(convert_wan_transformer_to_diffusers(weights))
    x, _, cond = example(c, size=8)
    x, cond = x[..., :4, :], replace(cond, ref=cond.ref[..., :4, :])    # wider than high
    t = torch.tensor([937.5, 208.0])
    with torch.no_grad():
        want = theirs(x.transpose(1, 2), t, cond.text, return_dict=False)[0].transpose(1, 2)
        got = ours(x, (t / 1000)[:, None].expand(2, 5), cond)
    assert worst(got, want) < 1e-5


def test_text_mask_hides_a_prompt():
    model = shake(WanDiT(SMALL))
    x, sigma, cond = example(SMALL)
    two = torch.cat([cond.text, cond.text + 3], dim=1)                   # 6 rows, then 6 others
    mask = torch.zeros(2, 5, 12, dtype=torch.bool)
    mask[:, :, :6] = True
    with torch.no_grad():
        alone = model(x, sigma, cond)
        hidden = model(x, sigma, replace(cond, text=two, text_mask=mask))
    assert worst(hidden, alone) < 1e-5


def test_a_compiler_sees_the_same_rotation_in_real_numbers():
    """It cannot fuse complex ones. Tried on what it traces, without making code of it."""
    table, seen = rope_table((0, 1, 7), 2, 3, 24), []

    def look(graph, given):
        seen.extend([node.meta["example_value"].dtype for node in graph.graph.nodes
                     if torch.is_tensor(node.meta.get("example_value"))])
        return graph.forward

    traced = torch.compile(rotate, backend=look, fullgraph=True)
    for dtype, bound in ((torch.float32, 1e-6), (torch.bfloat16, 4e-3)):
        x = torch.randn(2, 18, 3, 24, generator=torch.Generator().manual_seed(0)).transpose(1, 2)
        assert worst(traced(x.to(dtype), table), rotate(x.to(dtype), table)) < bound
    assert seen and not any(dtype.is_complex for dtype in seen)


def test_a_misfit_is_one_sentence():
    x, sigma, cond = example(SMALL)
    with pytest.raises(UserError, match="cond.audio has shape"):
        WanDiT(SMALL)(x[:, :4], sigma[:, :4], replace(cond, known=cond.known[:, :4]))
