"""The whole road on a folder of random weights at 64x64: session, video, command line."""

import json
import os

import av
import pytest
import soundfile
import torch
from PIL import Image
from test_cli import run
from test_real_text import folder  # noqa: F401  a small umT5 as transformers saves it

from livetalk_ref import generate, loading
from livetalk_ref.cache import BLOCK
from livetalk_ref.errors import UserError
from livetalk_ref.flow import Cond, Guidance, group_audio
from livetalk_ref.loading import load
from livetalk_ref.portrait import portrait_of, save_portrait
from livetalk_ref.real.avatar import GUIDANCE, best_dtype, cover, load_photo
from livetalk_ref.real.standin import PROMPTS, write_folder
from livetalk_ref.real.wav2vec import SpeechClip
from livetalk_ref.rollout import sample
from livetalk_ref.stream import AHIS, AvatarSession, frames_of, samples_for

SIZE = 64
PICTURE = torch.rand(3, SIZE, SIZE, generator=torch.Generator().manual_seed(1)) * 2 - 1
SOUND = 0.1 * torch.randn(40_000, generator=torch.Generator().manual_seed(2))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("released"))


@pytest.fixture(scope="module")
def avatar(weights):
    return load("livetalk-1.3b", path=weights, size=SIZE)


@torch.no_grad()
def offline(avatar, rows, blocks):
    """The other road: all rows, one rollout, diffusers' own whole decode."""
    known = torch.arange(BLOCK * blocks)[None] == 0
    ref = avatar.codec.encode(PICTURE[None, None])[:, 0]
    cond = Cond(ref, group_audio(rows[None]), avatar.text(PROMPTS[:1]), known, avatar.text([""]))
    z = sample(avatar.model, cond, torch.Generator().manual_seed(0), AHIS)
    z = z.transpose(1, 2) * avatar.codec.std + avatar.codec.mean
    return avatar.codec.vae.decode(z, return_dict=False)[0].transpose(1, 2)[0]


@pytest.mark.parametrize("at_once", (1, BLOCK))
def test_a_session_is_the_offline_rollout(avatar, at_once, monkeypatch):
    monkeypatch.setattr(avatar.codec, "at_once", at_once)
    ahead = avatar.audio().ahead
    live, made = AvatarSession(avatar, PICTURE, PROMPTS[0]), []
    sound = SOUND[:samples_for(2, ahead)]
    for part in sound.split(7_000):
        made.append(live.push(part).pictures)
    made = torch.cat(made)
    rows = avatar.audio().push(sound)
    assert len(made) == len(rows) == frames_of(2)
    want = offline(avatar, rows, 2)
    assert want.std() > 0.05 and (made - want).abs().max() < 1e-4


def test_a_known_clip_is_read_as_a_whole(avatar):
    """`generate` gives the clip to wav2vec at once, one frame per begun 1000 samples."""
    windows = list(generate.stream(avatar, PICTURE, SOUND[:18_500], PROMPTS[0]))
    frames = torch.cat([w.frames for w in windows])
    assert len(frames) == 19 and [w.count for w in windows] == [2, 2]
    clip = SpeechClip(avatar.audio.speech, SOUND[:18_500], frames_of(2))
    assert (frames - offline(avatar, clip.rows, 2)[:19]).abs().max() < 1e-4


def test_a_teacher_of_the_same_layout_guides(weights):
    """Windows of 21 latent frames, three evaluations a step, its own guidance."""
    teacher = load("omniavatar-1.3b", path=weights, size=SIZE)
    assert teacher.guidance == GUIDANCE == Guidance(4.5, 4.5) and not teacher.is_student
    window, = generate.stream(teacher, PICTURE, SOUND[:5000], PROMPTS[0], steps=1,
                              guidance=Guidance(2, 3))
    assert window.latents.shape == (1, 21, 16, SIZE // 8, SIZE // 8)
    assert len(window.frames) == 5 and window.frames.isfinite().all()


def test_a_photograph_covers_the_square_and_is_cut_to_its_centre(tmp_path):
    pixels = torch.arange(40 * 100 * 3).view(40, 100, 3) % 251
    assert torch.equal(cover(pixels.byte(), 40, 40), cover(pixels[:, 30:70].byte(), 40, 40))
    wide = torch.zeros(100, 300, 3, dtype=torch.uint8)
    wide[:, 100:200] = 255
    assert cover(wide, 50, 50)[:, :, 3:-3].min() > 0.99                 # halved, white middle
    assert cover(wide, 200, 100).shape == (3, 200, 100)
    Image.fromarray(wide.numpy()).save(tmp_path / "a.png")
    assert load_photo(tmp_path / "a.png", 200).shape == (3, 200, 200)
    with pytest.raises(UserError, match="has 300x100 pixels, and a face needs a square of 256"):
        load_photo(tmp_path / "a.png")


def test_generate_from_the_command_line(weights, avatar, tmp_path, monkeypatch, capsys):
    soundfile.write(tmp_path / "a.wav", SOUND[:8_500].numpy(), 16_000)
    save_portrait(portrait_of(7, 96), tmp_path / "face.png")
    words = ["generate", "--model", "livetalk-1.3b", "--audio", tmp_path / "a.wav", "--prompt",
             PROMPTS[0], "--out", tmp_path / "o.mp4"]
    status, out, err = run(monkeypatch, capsys, *words)
    assert (status, out) == (2, "") and "--weights" in err
    tiny = ["teacher" if word == "livetalk-1.3b" else word for word in words]
    status, out, err = run(monkeypatch, capsys, *tiny, "--weights", weights)
    assert (status, out) == (2, "") and "go with --model livetalk-1.3b or omni" in err
    words += ["--weights", weights]
    monkeypatch.setattr(loading, "load", lambda *_, **__: avatar)
    status, out, err = run(monkeypatch, capsys, *words)
    assert (status, out) == (2, "") and "give one with --image" in err
    status, out, err = run(monkeypatch, capsys, *words, "--image", tmp_path / "face.png", "--json")
    facts = json.loads(out)
    assert status == 0
    assert (facts["frames"], facts["windows"], facts["evaluations"]) == (9, 1, 4)
    with av.open(str(tmp_path / "o.mp4")) as file:
        assert len(list(file.decode(video=0))) == 9 and file.streams.video[0].width == SIZE

    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3 GiB.\nMore words.")

    monkeypatch.setattr(loading, "load", full)
    assert run(monkeypatch, capsys, *words)[::2] == (2, "error: The device has not enough free "
                                                     "memory for this: end other programs that "
                                                     "use it, or take a larger one.\n")


def test_random_weights_in_8_bits_take_no_folder_and_no_photograph(tmp_path, monkeypatch, capsys):
    soundfile.write(tmp_path / "a.wav", SOUND[:8_500].numpy(), 16_000)
    status, out, _ = run(monkeypatch, capsys, "generate", "--model", "livetalk-1.3b", "--weights",
                         "random", "--int8", "--audio", tmp_path / "a.wav", "--prompt", PROMPTS[0],
                         "--out", tmp_path / "o.mp4", "--json")
    assert status == 0 and json.loads(out)["frames"] == 9
    made = load("livetalk-1.3b", path="random", int8=True)
    assert made.model.blocks[0].ffn[0].weight.dtype == torch.int8 and made.size == SIZE


def test_a_card_without_bf16_is_told_that_it_takes_fp16(monkeypatch, capsys):
    for capability, dtype in (((8, 9), torch.bfloat16), ((7, 5), torch.float16)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _, have=capability: have)
        assert best_dtype("cuda") == dtype
    assert capsys.readouterr().err == ("warning: the device cuda has no bf16, for which the weights"
                                       " were made, and takes fp16.\n")
    assert best_dtype("cpu") == torch.float32


def test_prepare_makes_the_text_encoder_superfluous(folder, tmp_path, monkeypatch,  # noqa: F811
                                                    capsys):
    prompts = ["--prompt", "a person talks", "--prompt", "nods"]
    status, out, _ = run(monkeypatch, capsys, "prepare", "--weights", folder, *prompts)
    assert status == 0 and out.strip() == str(folder / "text.safetensors")
    write_folder(tmp_path)
    os.replace(folder / "text.safetensors", tmp_path / "text.safetensors")
    made = load("livetalk-1.3b", path=tmp_path, size=SIZE)
    assert made.text(["nods"]).shape == (1, 512, 32)
