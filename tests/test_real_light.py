"""The light decoder against a straight line of arithmetic from its layout's facts, as a stream, in
a session and on the command line."""

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from test_wan import worst

from livetalk_ref.errors import UserError
from livetalk_ref.live import systems
from livetalk_ref.loading import load
from livetalk_ref.portrait import portrait_of
from livetalk_ref.real import standin
from livetalk_ref.real.vae import LightCodec, load_light
from livetalk_ref.stream import AvatarSession, samples_for

LIGHT = standin.shaken(LightCodec(None), 3)
WEIGHTS = LIGHT.state_dict()
LATENTS = torch.randn(1, 4, 16, 2, 3, generator=torch.Generator().manual_seed(0))


def straight(latents):
    """Latents (F, 16, h, w) -> pictures (4F - 3, 3, 8h, 8w): frame after frame, from a list of what
    stands at which number of the file, sharing nothing but the names of the weights."""
    def conv(x, name):
        weight = WEIGHTS[f"decoder.{name}.weight"].double()
        bias = WEIGHTS.get(f"decoder.{name}.bias")
        y = F.conv2d(x[None], weight, bias if bias is None else bias.double(),
                     padding=weight.shape[-1] // 2)
        return y[0]

    frames = [conv((latent.double() / 3).tanh() * 3, 1).clamp(min=0) for latent in latents]
    for first, copies in ((3, 1), (9, 2), (15, 2)):
        for block in range(first, first + 3):
            made = []
            for i, x in enumerate(frames):
                y = torch.cat([x, frames[i - 1] if i else torch.zeros_like(x)])
                y = conv(y, f"{block}.conv.0").clamp(min=0)
                y = conv(y, f"{block}.conv.2").clamp(min=0)
                made.append((conv(y, f"{block}.conv.4") + x).clamp(min=0))
            frames = made
        large = [x.repeat_interleave(2, 1).repeat_interleave(2, 2) for x in frames]
        parts = [part for x in large for part in conv(x, f"{first + 4}.conv").chunk(copies)]
        frames = [conv(x, f"{first + 5}") for x in parts]
    pictures = [conv(x.clamp(min=0), 22).clamp(0, 1) for x in frames]
    return torch.stack(pictures[3:]) * 2 - 1


@torch.no_grad()
def test_it_is_the_straight_line_whole_and_as_a_stream():
    want = straight(LATENTS[0])[None]
    assert want.shape == (1, 13, 3, 16, 24) and want.std() > 0.1
    assert worst(LIGHT.decode_step(LATENTS)[0], want) < 1e-5
    made, before = [], None
    for z in LATENTS.split([1, 1, 2], dim=1):
        frames, before = LIGHT.decode_step(z, before)
        made.append(frames)
    assert [f.shape[1] for f in made] == [1, 4, 8]
    assert worst(torch.cat(made, dim=1), want) < 1e-5


def test_a_file_of_it_decodes_for_an_avatar_and_another_is_told(tmp_path):
    """The file's encoder is left; the reference goes through Wan's own."""
    file, folder = tmp_path / "taew2_1.safetensors", standin.write_folder(tmp_path / "weights")
    save_file(dict(WEIGHTS) | {"encoder.0.weight": torch.zeros(64, 3, 3, 3)}, file)
    avatar = load("livetalk-1.3b", path=folder, size=64, decoder=file, policy="ahis")
    assert all(torch.equal(v, WEIGHTS[k]) for k, v in avatar.codec.state_dict().items())
    session = AvatarSession(avatar, portrait_of(7, 64), standin.PROMPTS[0])
    block = next(session.hear(torch.zeros(samples_for(1, session.ahead))))
    with torch.no_grad():
        want = straight(block.x0[0])
    assert worst(session.decode(block).pictures, want) < 1e-4
    assert "a block of 12 pictures" in systems.rehearse(avatar, portrait_of(7, 64), False)[1]
    save_file({k: v for k, v in WEIGHTS.items() if k != "decoder.22.bias"}, file)
    with pytest.raises(UserError, match="layout of taew2_1.*1 missing: decoder.22.bias"):
        load_light(file, None)
