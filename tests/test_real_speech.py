"""wav2vec 2.0 at the video's rate against transformers' own hidden states; the stream's windows."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from test_wan import worst

from livetalk_ref.errors import UserError
from livetalk_ref.real import wav2vec
from livetalk_ref.real.standin import SMALL_SPEECH, random_speech, shaken
from livetalk_ref.real.wav2vec import Speech, SpeechClip, SpeechStream, load_speech

MODEL = random_speech(**SMALL_SPEECH)
SPEECH = Speech(MODEL)
G = torch.Generator().manual_seed(0)
SOUND = 0.1 * torch.randn(112_000, generator=G) * torch.rand(112, generator=G).repeat_interleave(
    1000)


def theirs(features):
    """transformers' forward behind its convolutions: [last state, then every hidden state]."""
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setitem(MODEL._modules, "feature_extractor", torch.nn.Identity())
        out = MODEL(features, output_hidden_states=True)
    return torch.cat([out.last_hidden_state, *out.hidden_states], dim=-1)[0]


def interpolated(x, count):
    """(1, c, n) -> (1, c, count): ends on ends, straight lines between neighbours."""
    places = np.linspace(0, x.shape[-1] - 1, count)
    rows = [np.interp(places, range(x.shape[-1]), row) for row in x[0].numpy()]
    return torch.from_numpy(np.stack(rows)).float()[None]


def test_rows_are_hidden_states_and_interpolation_comes_before_the_transformer():
    samples = SOUND[:15_000]
    with torch.no_grad():
        features = MODEL.feature_extractor(samples[None])
    rows = SPEECH(samples, 16)
    assert rows.shape == (16, SPEECH.width) == (16, 4 * 16)
    assert worst(rows, theirs(interpolated(features, 16))) < 1e-5
    late = interpolated(theirs(features).T[None], 16)[0].T              # the other order
    assert worst(late, rows) > 1e-2


def test_a_clip_is_normalised_as_a_whole_and_followed_by_silence():
    """As transformers' feature extractor does it, on 20 rows of which 16 hold sound."""
    from transformers import Wav2Vec2FeatureExtractor
    extract = Wav2Vec2FeatureExtractor(do_normalize=True)
    sound = extract(SOUND[:15_000].numpy(), sampling_rate=16_000, return_tensors="pt").input_values
    want = SPEECH(torch.nn.functional.pad(sound[0], (0, 4000)), 20)
    clip = SpeechClip(SPEECH, SOUND[:15_000], 20)
    rows = torch.cat([clip.push(torch.zeros(0)), clip.push(SOUND[:9500]),
                      clip.push(torch.zeros(10_500))])
    assert worst(rows, want) < 1e-4
    with pytest.raises(UserError, match="said to have 20 frames"):
        clip.push(torch.zeros(1000))


def pushed(sizes, ahead, samples=SOUND):
    stream, rows, start = SpeechStream(SPEECH, ahead), [], 0
    while start < len(samples):
        size = sizes[len(rows) % len(sizes)]
        rows.append(stream.push(samples[start:start + size]))
        start += size
    return torch.cat(rows), stream


@pytest.mark.parametrize("ahead", [1, 4])
def test_chunks_do_not_matter_and_rows_come_when_they_are_due(ahead, monkeypatch):
    """Window by window bit for bit; the windows of a chunk are read in batches of three."""
    whole, _ = pushed([10 ** 9], ahead)
    parts, _ = pushed([4_999, 1, 12_000, 777], ahead)
    monkeypatch.setattr(wav2vec, "TOGETHER", 1)
    alone = [pushed(sizes, ahead)[0] for sizes in ([10 ** 9], [4_999, 1, 12_000, 777])]
    assert torch.equal(*alone) and worst(whole, alone[0]) < 1e-5 and worst(parts, whole) < 1e-5
    due = len(SOUND) // 1000 - ahead + 1                    # in groups of one latent frame
    assert len(whole) == due - (due - 1) % 4
    for blocks in (1, 2, 5):                                # a block's rows: 9, 21, 57
        frames = 12 * blocks - 3
        assert len(pushed([10 ** 9], ahead, SOUND[:(frames + ahead - 1) * 1000])[0]) == frames


def test_it_is_read_from_the_released_file_or_not_at_all(tmp_path):
    """The released one has a head for letters, lacks a mask of training, and names a weight as
    older versions did. What else is missing would be drawn at random by the library."""
    from transformers import Wav2Vec2Config, Wav2Vec2ForCTC
    whole = shaken(Wav2Vec2ForCTC(Wav2Vec2Config(**SMALL_SPEECH, vocab_size=8)), 3)
    whole.save_pretrained(tmp_path)
    file, part = tmp_path / "model.safetensors", "parametrizations.weight.original"
    tensors = {k.replace(f"{part}0", "weight_g").replace(f"{part}1", "weight_v"): v
               for k, v in load_file(file).items() if "masked" not in k}
    assert any("weight_g" in k for k in tensors) and "lm_head.weight" in tensors
    save_file(tensors, file, {"format": "pt"})
    rows = load_speech(tmp_path)(SOUND[:8000], 8)
    assert worst(rows, Speech(whole.wav2vec2)(SOUND[:8000], 8)) < 1e-6
    key = "encoder.layers.0.attention.k_proj.weight"
    del tensors[f"wav2vec2.{key}"]
    save_file(tensors, file, {"format": "pt"})
    with pytest.raises(UserError, match=f"the whole wav2vec 2.0 model .* 1 missing: {key}"):
        load_speech(tmp_path)
    file.write_bytes(file.read_bytes()[:-9])
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UserError, match="no wav2vec 2.0 model"):
            load_speech(folder)
