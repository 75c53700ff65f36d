"""portrait.py: pictures in, good and bad; the portrait of a seed; what is not of this world."""

import os

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import write_huge_image

from livetalk_ref import loading
from livetalk_ref.errors import UserError
from livetalk_ref.portrait import (
    DRAWN,
    blank,
    is_drawn,
    load_portrait,
    portrait_of,
    read_image,
    restored,
    save_portrait,
)

needs_codec = pytest.mark.skipif(not (loading.CHECKPOINTS / "codec.safetensors").exists(),
                                 reason="there is no codec checkpoint yet")


def test_a_seed_is_one_person():
    a, b = portrait_of(7), portrait_of(7)
    assert a.shape == (3, 96, 96) and torch.equal(a, b)
    assert (a - portrait_of(8)).abs().mean() > 0.1


def test_saved_and_loaded_it_is_the_same(tmp_path):
    path = tmp_path / "new" / "face.png"
    save_portrait(portrait_of(7), path)
    assert (load_portrait(path) - portrait_of(7)).abs().max() <= 1 / 255 + 1e-6
    assert os.listdir(path.parent) == ["face.png"]
    save_portrait(portrait_of(7, 384), path)
    assert (load_portrait(path) - portrait_of(7)).abs().mean() < 0.02


def test_a_camera_turned_by_a_quarter(tmp_path):
    image = Image.new("RGB", (128, 128), "white")
    image.paste("black", (0, 0, 128, 64))                      # dark above
    exif = Image.Exif()
    exif[0x0112] = 6                                           # shown turned clockwise
    image.save(tmp_path / "a.jpg", exif=exif)
    x = load_portrait(tmp_path / "a.jpg")
    assert x[:, :, 60:].mean() < -0.9 and x[:, :, :36].mean() > 0.9      # dark on the right


def test_deep_grey_is_one_sentence(tmp_path):
    for kind in (np.uint16, np.int32, np.float32):
        Image.fromarray(np.full((64, 64), 7, kind)).save(tmp_path / "a.tif")
        with pytest.raises(UserError, match="more than 8 bits of grey"):
            read_image(tmp_path / "a.tif")


def test_a_picture_of_nothing_is_noticed():
    assert [blank(torch.full((3, 32, 32), tone)) for tone in (-1.0, 0.0, 0.98)] == \
        ["black", "", "white"]
    assert not any(blank(portrait_of(seed)) for seed in range(8))


@pytest.mark.parametrize("size", [(1, 1), (31, 200), (20_000, 40), (40, 10_001)])
def test_too_small_and_too_large(tmp_path, size):
    Image.new("RGB", size).save(tmp_path / "a.png")
    with pytest.raises(UserError, match=f"has {size[0]}x{size[1]} pixels"):
        load_portrait(tmp_path / "a.png")


def test_a_huge_one_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    write_huge_image(tmp_path / "a.bmp")
    monkeypatch.setattr(Image.Image, "convert", lambda *_: pytest.fail("it was decoded"))
    with pytest.raises(UserError, match="too large|20000x20000"):
        load_portrait(tmp_path / "a.bmp")


def test_what_is_no_image(tmp_path):
    save_portrait(portrait_of(7), tmp_path / "whole.png")
    data = (tmp_path / "whole.png").read_bytes()
    contents = {"empty.png": b"", "text.png": b"hello" * 50, "cut.png": data[:len(data) // 2],
                "spoiled.png": data[:60] + bytes(40) + data[100:]}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match="broken or is not an image"):
            load_portrait(tmp_path / name)
    (tmp_path / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(400))
    with pytest.raises(UserError, match="is a HEIC picture.* use a PNG or JPEG"):
        load_portrait(tmp_path / "phone.heic")
    for name in ("missing.png", "."):
        with pytest.raises(UserError, match="There is no image file"):
            load_portrait(tmp_path / name)


def strangers():
    """Pictures that are not of the drawn world: noise, patches of noise, stripes."""
    g = torch.Generator().manual_seed(0)
    for cells in (10, 16, 24, 96):
        noise = torch.rand(1, 3, cells, cells, generator=g) * 2 - 1
        yield torch.nn.functional.interpolate(noise, (96, 96), mode="bicubic")[0].clamp(-1, 1)
    yield torch.sin(torch.arange(96) * 1.1).expand(3, 96, 96).contiguous()


@needs_codec
def test_the_codec_tells_drawn_portraits_from_others():
    codec = loading.load_module("codec")
    drawn = [restored(portrait_of(seed), codec) for seed in range(40)]
    others = [restored(picture, codec) for picture in strangers()]
    assert min(drawn) > DRAWN + 0.8 and max(others) < DRAWN - 0.8
    assert is_drawn(portrait_of(7), codec)
