"""Speech to audio rows as LiveTalk reads them: wav2vec 2.0 at the video's rate.

The convolutions' features (about 50 a second) are interpolated to one row a video frame before
the transformer, which so runs at 16 rows a second and reads them both ways: a stream must cut it.
Row i stands for the moment i / 16 s. OmniAvatar itself makes 25 frames a second, with a first row
of zeros and .3 s of silence. Letters: T rows, A = 14 x 768 channels, the last hidden state and all
13. Sources: wav2vec 2.0 (Baevski et al. 2020), OmniAvatar, LiveTalk section 4.
"""

from itertools import groupby

import torch
import torch.nn.functional as F

from livetalk_ref.errors import UserError
from livetalk_ref.flow import ROWS_PER_LATENT
from livetalk_ref.real.weights import from_folder
from livetalk_ref.stream import SAMPLES_PER_FRAME

WINDOW = 81             # rows that a stream's window holds: the clips the DiT was trained on
AHEAD = 4               # video frames (250 ms) that a stream hears beyond a row
TOGETHER = 3            # windows that are read in a batch: those of a block
SHORTEST = 1000         # samples from which the convolutions make at least two features
TINY_VARIANCE = 1e-7    # of the feature extractor's normalisation
LONGEST = 60            # seconds of a clip that is read as a whole


class Speech:
    """A wav2vec 2.0 model as rows: `speech(samples, count)` -> (.., count, 14 x 768)."""

    def __init__(self, model, dtype=torch.float32):
        self.model, self.dtype, self.device = model, dtype, model.device
        # Channels of a row.
        self.width = (model.config.num_hidden_layers + 2) * model.config.hidden_size

    @torch.no_grad()
    def __call__(self, samples, count):
        """Normalised (N,) or (B, N) samples, evenly covered by `count` rows from first to last."""
        x = torch.atleast_2d(samples).to(self.device)                    # (B, N)
        x = self.model.feature_extractor(x)                              # (B, c, 50 a second)
        x = F.interpolate(x, size=count, mode="linear", align_corners=True)
        x = self.model.feature_projection(x.transpose(1, 2))[0]          # (B, count, 768)
        encoder = self.model.encoder
        states = [encoder.layer_norm(x + encoder.pos_conv_embed(x))]
        for layer in encoder.layers:
            out = layer(states[-1])
            states.append(out[0] if isinstance(out, tuple) else out)     # by its version
        rows = torch.cat([states[-1], *states], dim=-1).to(self.dtype)   # (B, count, A)
        return rows if samples.dim() > 1 else rows[0]


def normalised(samples, mean, variance):
    """Samples at zero mean and unit variance, as the feature extractor makes them."""
    return (samples - mean) / (variance + TINY_VARIANCE) ** 0.5


class SpeechClip:
    """Rows of a clip that is known from the start, handed out as its sound is pushed.

    samples (N,) are normalised as a whole, silence follows up to `frames` rows; as the authors do.
    """

    ahead = 1

    def __init__(self, speech, samples, frames):
        self.heard, self.given = 0, 0
        needed = max(SHORTEST, (frames - 1) * SAMPLES_PER_FRAME)
        samples = normalised(samples, samples.mean(), samples.var(unbiased=False))[:needed]
        self.rows = speech(F.pad(samples, (0, needed - len(samples))), frames)   # (T, A)

    def push(self, samples):
        """The rows that are due after (N,) more samples."""
        self.heard += len(samples)
        first, self.given = self.given, self.heard // SAMPLES_PER_FRAME
        if self.given > len(self.rows):
            raise UserError(f"The clip was said to have {len(self.rows)} frames, and more sound "
                            f"came; start a stream instead.")
        return self.rows[first:self.given]


class SpeechStream:
    """Rows of a stream, one latent frame's at a time, each from a window of 5 seconds of sound.

    A window ends `ahead` frames behind its newest row; its samples are normalised by mean and
    variance of all that has been heard by then. Windows do not depend on the chunks that come.
    """

    def __init__(self, speech, ahead=AHEAD):
        self.speech, self.ahead = speech, ahead
        self.sound = torch.zeros(0)             # the last samples
        self.heard = self.made = 0              # samples, and rows
        self.count, self.total, self.squares = 0, 0.0, 0.0

    def push(self, samples):
        """(N,) samples -> (n, A) rows now complete, possibly none."""
        self.sound = torch.cat([self.sound, samples])
        self.heard += len(samples)
        rows = [torch.zeros(0, self.speech.width, dtype=self.speech.dtype,
                            device=self.speech.device)]
        windows = []
        while self.heard >= self.end() * SAMPLES_PER_FRAME:
            windows.append(self.step())
        # Once they have their full length, a GPU reads all that a block brings at one go.
        for (count, new), same in groupby(windows, key=lambda window: window[:2]):
            for part in torch.stack([window for *_, window in same]).split(TOGETHER):
                made = self.speech(part, count)[:, :count - self.ahead]     # (B, .., A)
                rows.append(made[:, -new:].flatten(0, 1))
        return torch.cat(rows)

    def end(self):
        """The frame up to which sound must be heard for the next rows."""
        return self.made + (ROWS_PER_LATENT if self.made else 1) - 1 + self.ahead

    def step(self):
        """The window of the next 4 rows (the first time 1), behind (its rows, how many are new)."""
        end, first = self.end(), self.made
        start = max(0, end - WINDOW + 1)
        known = self.heard - len(self.sound)                    # samples that are forgotten
        self.measure(self.sound[self.count - known:end * SAMPLES_PER_FRAME - known])
        window = self.sound[start * SAMPLES_PER_FRAME - known:end * SAMPLES_PER_FRAME - known]
        mean = self.total / self.count
        window = normalised(window, mean, self.squares / self.count - mean * mean)
        self.made = end - self.ahead + 1
        keep = max(0, self.end() - WINDOW + 1) * SAMPLES_PER_FRAME
        self.sound = self.sound[keep - known:].clone()
        return end - start + 1, self.made - first, window

    def measure(self, samples):
        """Add samples to the sums over all so far, always in the same pieces."""
        self.count += len(samples)
        self.total += samples.double().sum().item()
        self.squares += samples.double().square().sum().item()


def load_speech(folder, device="cpu", dtype=torch.float32):
    """`Speech` from a folder with wav2vec2-base-960h, safetensors only, which runs in float32.

    dtype is that of the rows. UserError without it.
    """
    from transformers import Wav2Vec2Model

    model = from_folder(Wav2Vec2Model, folder, "wav2vec 2.0 model (config.json and "
                        "model.safetensors)", may_lack=["masked_spec_embed"])  # of its training
    return Speech(model.float().to(device), dtype)
