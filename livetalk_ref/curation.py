"""The conditions of a distillation: as collected, or curated.

A distillation needs no video, only reference pictures, sound and prompts. As collected, in the
mixture `DEGRADED` and `VAGUE`, references are damaged and prompts ask for nothing; in the dark
mixture the damaged ones have next to no light instead. Curation keeps good references, mends what
can be mended, replaces the others by the good reference that is most alike, and rewrites vague
prompts into ones that ask for motion; sound stays as it is. All are drawn in the same order, so
nothing else differs. LiveTalk section 3.3. N clips.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from livetalk_ref.errors import UserError
from livetalk_ref.loading import load_module
from livetalk_ref.runs import read, save
from livetalk_ref.world import latents, shards
from livetalk_ref.world.latents import WINDOW, LatentClips
from livetalk_ref.world.prompts import MAX_WORDS, SUBJECTS, is_held_out, parse, sample_prompt
from livetalk_ref.world.text import TEXT_ROWS

VERSION = 2                     # of what curation does: raise it when that changes
COUNT = 2048                    # training clips that conditions are taken from
DEGRADED, VAGUE = 0.5, 0.4      # how often a drawn condition is damaged, how often it is vague
DOUBT, MEND = 0.5, 10.0         # damage so likely is mended, if no more than so much remains
AS_COLLECTED = ("raw", "dark")
KINDS = (*AS_COLLECTED, "curated", "curated dark")
DIM = 0.06                      # brightness of a dark reference, of what it was
KEPT, MENDED, REPLACED = "kept", "mended", "replaced"


@dataclass
class Conditions:
    """Conditions in memory: their references stand in frame 0 of the clips' latents."""

    clips: LatentClips
    weights: torch.Tensor       # (N,) how likely each is drawn
    record: list                # of every clip, what was done: see `curate`

    def draw(self, count, generator):
        """Numbers of clips (count,), in the mixture."""
        return torch.multinomial(self.weights, count, replacement=True, generator=generator)

    def cond(self, index, frames=WINDOW):
        """The `Cond` of some clips over their first latent frames."""
        return trim(self.clips.select(index).window(0, 1, frames)[1])

    def batch(self, count, frames, generator):
        """A `Cond` of `count` drawn clips, what `dmd.distill` asks for again and again."""
        return self.cond(self.draw(count, generator), frames)

    def probe(self, count, frames):
        """A `Cond` to look at during training: damaged clips first, then as many good ones."""
        bad, good = (flags.nonzero().flatten() for flags in (self.clips.degraded,
                                                             ~self.clips.degraded))
        bad = bad[:max(count // 2, count - len(good))]
        return self.cond(torch.cat([bad, good[:count - len(bad)]]), frames)


def trim(cond):
    """A condition without the rows of a second prompt that no frame reads yet, and no mask."""
    if cond.text_mask is None or cond.text_mask[..., TEXT_ROWS:].any():
        return cond
    return replace(cond, text=cond.text[:, :TEXT_ROWS], text_mask=None)


def is_vague(prompt):
    """True for a prompt that asks for neither an expression nor a motion."""
    return parse(prompt) == parse("")


def rewrite(prompt, generator):
    """A vague prompt with a motion and an expression behind it; others stay as they are."""
    if not is_vague(prompt):
        return prompt
    while True:
        asked = sample_prompt(generator)
        subject = next(s for s in SUBJECTS if asked.startswith(s))
        longer = f"{prompt} {asked.removeprefix(subject).strip()}"
        fits = len(longer.replace(",", " ").split()) <= MAX_WORDS and not is_held_out(longer)
        if not is_vague(asked):
            return longer if fits else asked


def mixture(degraded, vague):
    """How likely each clip is drawn (N,), so that the shares are `DEGRADED` and `VAGUE`."""
    weights = torch.ones(len(degraded))
    for flags, share in ((degraded, DEGRADED), (vague, VAGUE)):
        part = flags.float().mean()
        if 0 < part < 1:
            weights *= torch.where(flags, share / part, (1 - share) / (1 - part))
    return weights / weights.sum()


@torch.inference_mode()
def pictures(references, codec):
    """Latents of references (N, C, h, w) as pictures (N, 3, H, W)."""
    return torch.cat([codec.decode(z[:, None].float())[:, 0] for z in references.split(64)])


@torch.inference_mode()
def encoded(images, codec):
    """Pictures (N, 3, H, W) as latents of references (N, C, h, w) fp16."""
    return torch.cat([codec.encode(x[:, None])[:, 0] for x in images.split(64)]).half()


def decide(doubt, remains):
    """The treatment (N words) of references so likely damaged, with so much left of it (1/255)."""
    return [KEPT if bad < DOUBT else MENDED if left < MEND else REPLACED
            for bad, left in zip(doubt.tolist(), remains.tolist())]


def alike(reader, images, good):
    """The number of the good picture whose face is most like each (N, 3, H, W); good (N,) bool."""
    identity = reader.read(images).identity                              # (N, E)
    return (identity @ identity.T).masked_fill(~good, -2.0).argmax(1)


def curate(clips, codec, restorer, reader):
    """-> references (N, C, h, w), prompts, and a record of what was done to every clip and why.

    UserError if no reference is good enough to stand in for others.
    """
    seen = pictures(clips.latents[:, 0], codec)
    mended, doubt, _, remains = restorer.mend(seen)
    did = decide(doubt, remains)
    good = torch.tensor([word == KEPT for word in did])
    if not good.any():
        raise UserError("None of these references is good enough to keep; use others.")
    fresh = encoded(mended, codec)
    other = alike(reader, mended, good)
    references, record, prompts = clips.latents[:, 0].clone(), [], []
    for i, word in enumerate(did):
        if word != KEPT:
            references[i] = fresh[i] if word == MENDED else clips.latents[other[i], 0]
        g = torch.Generator().manual_seed(i)
        prompts.append([rewrite(prompt, g) for prompt in clips.prompts[i]])
        record.append({"did": word, "doubt": round(doubt[i].item(), 4),
                       "by": other[i].item() if word == REPLACED else None,
                       "prompts": clips.prompts[i], "rewritten": prompts[i]})
    return references, prompts, record


def darken(references, codec):
    """References (N, C, h, w) with next to no light."""
    return encoded((pictures(references, codec) + 1) * DIM - 1, codec)


def make(kind, clips):
    """`Conditions` of a kind from cached clips. UserError for another kind."""
    if kind not in KINDS:
        raise UserError(f"There are no conditions '{kind}'; choose one of {', '.join(KINDS)}.")
    vague = torch.tensor([is_vague(pair[0]) for pair in clips.prompts])
    weights = mixture(clips.degraded, vague)        # of the raw ones: all draw the same clips
    codec, references = load_module("codec"), clips.latents[:, 0].clone()
    if kind.endswith("dark"):
        references[clips.degraded] = darken(references[clips.degraded], codec)
    clips = only_references(clips, references)
    if kind in AS_COLLECTED:
        return Conditions(clips, weights, [])
    references, prompts, record = curate(clips, codec, load_module("restorer"),
                                         load_module("reader"))
    return Conditions(replace(only_references(clips, references), prompts=prompts), weights, record)


def only_references(clips, references):
    """The clips with these references and no video."""
    return replace(clips, latents=references[:, None].expand(-1, WINDOW, -1, -1, -1))


def cached_clips(count=COUNT, folder="runs/latents-start"):
    """The first `count` training clips with nothing but their references, made once."""
    paths = latents.build(load_module("codec"), "train", count, folder, spoiled=True, frames=1)
    return LatentClips.load(list(paths)).select(torch.arange(count))


def conditions(kind, count=COUNT, folder="runs/conditions"):
    """`Conditions` of a kind from the first `count` training clips; curated ones are kept."""
    clips = cached_clips(count)
    if kind in AS_COLLECTED or kind not in KINDS:
        return make(kind, clips)
    path = Path(folder) / f"{kind.replace(' ', '-')}-{count}-{key()}.safetensors"
    if not path.is_file():
        made = make(kind, clips)
        save(path, {"references": made.clips.latents[:, 0], "weights": made.weights},
             prompts=made.clips.prompts, record=made.record)
    tensors, facts = read(path)
    clips = replace(only_references(clips, tensors["references"]), prompts=facts["prompts"])
    return Conditions(clips, tensors["weights"], facts["record"])


def key():
    """What names a cache of curated conditions: `VERSION` and the networks that decide."""
    weights = {f"{name}.{k}": v for name in ("restorer", "reader", "codec")
               for k, v in load_module(name).state_dict().items()}
    return f"{shards.cache_name(weights)}-{VERSION}"
