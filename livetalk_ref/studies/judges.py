"""How good are the judges? What they say where the answers are known.

The clips are the disjoint split "check". A corruption takes frames (T, 3, H, W) in [-1, 1],
samples (1000 T,), a strength and a torch.Generator, and returns new frames and samples. Strength 0
changes nothing, 1 is the worst, and with one seed the stronger damage is more of the same. Frame 0
is the given reference and is never touched.
"""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from livetalk_ref import DATA, loading
from livetalk_ref.judge.metrics import expression_right
from livetalk_ref.media import floats_of
from livetalk_ref.nets.reader import COLUMNS, READ
from livetalk_ref.nets.syncnet import SyncReading, sync
from livetalk_ref.nets.whole_faces import BROKEN, spoiled_faces, suspicion, whole_share
from livetalk_ref.studies.work import Job, Study, mean_row
from livetalk_ref.world import clips
from livetalk_ref.world.degrade import degrade, sample_degradation
from livetalk_ref.world.identity import sample_identities
from livetalk_ref.world.state import SAMPLES_PER_FRAME, SIZE

SPLIT = "check"
SHUFFLED = 8 * SAMPLES_PER_FRAME    # samples of the windows that change places: half a second
LATEST = 8 * SAMPLES_PER_FRAME      # samples by which sound is delayed at most
SHIFT = 10                          # frames by which truth is shifted, at most
LOUDEST = 0.15                      # standard deviation of the strongest flicker
CELLS = 6                           # flicker comes in this many patches a side
FADE = 8                            # frames of a fade
TINT = 0.4                          # length of the strongest colour shift


class JudgesTried(Study):
    """The judges on known answers."""

    sizes = {"count": (48, 4)}      # clips

    def key(self):
        return loading.checkpoints_key(self.judges.key(), "codec")

    def jobs(self):
        judges, count = self.judges, self.count
        works = {"reader": partial(reader_rows, judges.reader, count),
                 "syncnet": partial(sync_rows, judges.syncnet, count),
                 "whole faces": partial(faces_rows, judges.wholeness, count)}
        return [Job(name, "judges", work) for name, work in works.items()]


# The trial.

def share_explained(read, truth):
    """R2 of every column of read against truth, both (M, K): (K,); nan where truth is constant."""
    spread = (truth - truth.mean(0)).square().sum(0)
    return 1 - (read - truth).square().sum(0) / spread.where(spread > 0, torch.nan)


@torch.inference_mode()
def spoilt_views(number, codec):
    """A clip of the split, and its frames as rendered, through the codec, and spoilt."""
    clip = clips.script(SPLIT, number, clips.FRAMES, degraded=0.0)
    frames, g = clips.film(clip), torch.Generator().manual_seed(number)
    return clip, {"rendered": frames,
                  "through the codec": codec.decode(codec.encode(frames[None]))[0],
                  "spoilt": degrade(frames, sample_degradation(g), g)}


def reader_rows(reader, count):
    """What the reader reads right in `count` clips: R2 of every column, share of expressions."""
    found, codec = {}, loading.load_module("codec")
    for number in range(count):
        clip, shown = spoilt_views(number, codec)
        starts, prompts = zip(*clip.prompts)
        for name, frames in shown.items():
            reading = reader.read(frames)
            right = expression_right(reading, prompts, list(starts))
            found.setdefault(name, []).append((reading.state, clip.state[:, COLUMNS], right))
    rows = []
    for name, parts in found.items():
        read, truth, right = zip(*parts)
        explained = share_explained(torch.cat(read), torch.cat(truth)).tolist()
        rows.append({"judge": "reader", "truth": name, "clips": count}
                    | mean_row([{"expression right": share} for share in right])
                    | {f"{column} R2": round(value, 4) for column, value in zip(READ, explained)
                       if value == value})
    return rows


@torch.inference_mode()
def sync_rows(net, count, frames=80):
    """What the SyncNet gets right on the first `count` clips, of those that speak: shares whose
    true offset is found, exactly and to one frame, and in which truth shifted by -10 .. 10 frames
    is found to be so; mean Sync-C and Sync-D of truth, and with another clip's sound."""
    rows, before = [], None
    for number in range(count):
        clip = clips.script(SPLIT, number, frames + 2 * SHIFT, degraded=0.0)
        whole, samples = clips.film(clip), clip.samples[1000 * SHIFT:1000 * (SHIFT + frames)]
        true = sync(net, whole[SHIFT:SHIFT + frames], samples)
        if true.offset is None:
            continue
        late = (-1) ** number * (1 + number % SHIFT)
        shifted = sync(net, whole[SHIFT - late:SHIFT - late + frames], samples)
        other = sync(net, whole[SHIFT:SHIFT + frames], before) if rows else SyncReading()
        rows.append({"found": true.offset == 0, "found within 1": abs(true.offset) <= 1,
                     "shift found": shifted.offset == late, "confidence": true.confidence,
                     "distance": true.distance, "confidence with other sound": other.confidence,
                     "distance with other sound": other.distance})
        before = samples
    return [{"judge": "SyncNet", "clips": len(rows)} | mean_row(rows)]


@torch.inference_mode()
def faces_rows(net, count):
    """What the judge of melting finds: of spoiled truth, of frames of models that a person labelled
    by looking (data/judges), and the share of whole faces in truth, as rendered and coded."""
    found = {}
    pictures, labels = spoiled_faces(SPLIT, 0, 16 * count)
    broken = (labels == BROKEN).any(1)
    odds = torch.cat([suspicion(net(x).softmax(-1)[..., BROKEN]) for x in pictures.split(64)])
    found["spoiled truth"] = odds, broken, broken | (labels >= 0).all(1)
    frames, letters = zip(*labelled_clips())
    broken, clear = (torch.tensor([a in some for a in "".join(letters)]) for some in ("b", "bw"))
    odds = torch.cat([suspicion(net.broken(clip)) for clip in frames])
    found["melting, labelled by looking"] = odds, broken, clear
    rows = [{"judge": "whole faces", "truth": name, "frames": int(clear.sum()),
             "broken": int(broken.sum())} | agreement(odds[clear], broken[clear])
            for name, (odds, broken, clear) in found.items()]
    codec, shares = loading.load_module("codec"), {}
    for number in range(count):
        for name, frames in spoilt_views(number, codec)[1].items():
            shares.setdefault(name, []).append(whole_share(net.broken(frames))[0])
    return rows + [{"judge": "whole faces", "truth": name, "clips": count,
                    "whole faces": round(sum(some) / count, 4)}
                   for name, some in shares.items() if name != "spoilt"]


def labelled_clips(name="melting"):
    """Yield frames (T, 3, 96, 96) that a person labelled by looking, clip after clip, and a letter
    for each: w whole, b broken, ? unclear. A row of data/judges/NAME.jpg is a clip."""
    path = DATA / "judges" / f"{name}.jpg"
    sheet = torch.from_numpy(np.array(Image.open(path).convert("RGB")))
    rows = json.loads(path.with_suffix(".json").read_text())["rows"]
    for line, letters in zip(sheet.split(SIZE), (row["labels"] for row in rows)):
        frames = torch.stack(line.split(SIZE, 1)[:len(letters)])         # (T, 96, 96, 3)
        yield floats_of(frames.movedim(-1, 1)), letters


def agreement(odds, broken):
    """How well the suspicion of frames (N,) agrees with which of them are broken (N,)."""
    says = odds > 1
    return {"agreement": round((says == broken).float().mean().item(), 4),
            "found": round(says[broken].float().mean().item(), 4),
            "false alarms": round(says[~broken].float().mean().item(), 4),
            "AUC": round((odds[broken][:, None] > odds[~broken]).float().mean().item(), 4)}


# Known damage.

def shuffled_audio(frames, samples, strength, generator):
    """A share of the sound's half seconds change places."""
    count = len(samples) // SHUFFLED
    chosen = torch.randperm(count, generator=generator)[:round(strength * count)]
    source = torch.arange(count)
    source[chosen] = chosen.roll(1)
    parts = samples[:count * SHUFFLED].view(count, SHUFFLED)[source]
    return frames, torch.cat([parts.flatten(), samples[count * SHUFFLED:]])


def delayed_audio(frames, samples, strength, generator):
    """The sound comes up to 8 frames late, after silence."""
    late = round(strength * LATEST)
    return frames, F.pad(samples, (late, 0))[:len(samples)]


def dropped_frames(frames, samples, strength, generator):
    """Every frame is lost with this probability; the one before stays on the screen."""
    lost = torch.rand(len(frames), generator=generator) < strength
    lost[0] = False
    shown = torch.arange(len(frames)).masked_fill(lost, 0).cummax(0).values
    return frames[shown], samples


def frozen_end(frames, samples, strength, generator):
    """The last share of the clip is one held frame."""
    stop = round((1 - strength) * (len(frames) - 1))
    return frames[torch.arange(len(frames)).clamp(max=stop)], samples


def added_flicker(frames, samples, strength, generator):
    """Patches of every frame become brighter or darker at random, each colour by itself."""
    noise = torch.randn(len(frames), 3, CELLS, CELLS, generator=generator)
    noise = F.interpolate(noise, frames.shape[-2:], mode="bilinear")    # (T, 3, H, W)
    return keep_first(frames, frames + LOUDEST * strength * noise), samples


def fade_to_black(frames, samples, strength, generator):
    """The last share of the clip fades out within 8 frames and stays black."""
    start = (1 - strength) * (len(frames) - 1)
    light = 1 - ((torch.arange(len(frames)) - start) / FADE).clamp(0, 1)
    return keep_first(frames, (frames + 1) * light[:, None, None, None] - 1), samples


def blur(frames, samples, strength, generator):
    """Detail is that of a smaller picture, of a tenth of the size at worst."""
    small = [max(1, round((1 - 0.9 * strength) * side)) for side in frames.shape[-2:]]
    coarse = F.interpolate(frames, small, mode="bilinear", antialias=True)
    return keep_first(frames, F.interpolate(coarse, frames.shape[-2:], mode="bilinear")), samples


def colour_shift(frames, samples, strength, generator):
    """From a third of the clip on all colours are shifted, no brighter and no darker."""
    tint = torch.randn(3, 1, 1, generator=generator)
    tint = F.normalize(tint - tint.mean(), dim=0)
    late = torch.arange(len(frames)) >= len(frames) // 3
    shift = TINT * strength * tint * late[:, None, None, None]
    return keep_first(frames, frames + shift), samples


def identity_swap(other, frames, samples, strength, generator):
    """The face turns into another one, more and more: other (T, 3, H, W), see `another_face`."""
    share = strength * torch.linspace(0, 1, len(frames))[:, None, None, None]
    return torch.lerp(frames, other, share), samples


def keep_first(frames, damaged):
    """Damaged frames in [-1, 1], but for the reference."""
    return torch.cat([frames[:1], damaged[1:].clamp(-1, 1)])


def another_face(clip, generator):
    """Somebody else who does all that the person in a scripted clip does: (T, 3, 96, 96)."""
    return clips.film(replace(clip, identity=sample_identities(1, generator)))


def corruptions(other):
    """All corruptions by name; other: the frames of another face, for the identity swap."""
    return {"shuffled audio": shuffled_audio, "delayed audio": delayed_audio,
            "dropped frames": dropped_frames, "added flicker": added_flicker,
            "fade to black": fade_to_black, "blur": blur, "freeze": frozen_end,
            "colour shift": colour_shift, "identity swap": partial(identity_swap, other)}
