"""Does curation do what it should? Scores against the world's truth, damage by damage."""

import torch

from livetalk_ref import curation, loading
from livetalk_ref.curation import KEPT, MENDED, REPLACED
from livetalk_ref.judge.metrics import brightness, sharpness
from livetalk_ref.loading import load_module
from livetalk_ref.nets.restorer import difference, through
from livetalk_ref.judge.distances import area_under_curve
from livetalk_ref.studies.work import Study, once
from livetalk_ref.world import snippets
from livetalk_ref.world.degrade import KINDS, Degradation, degrade
from livetalk_ref.world.draw import render
from livetalk_ref.world.state import SIZE

UNSEEN = 1536       # the restorer was trained on faces of clips before this number


class Curation(Study):
    """Scores, kinds of damage, and what became of the conditions."""

    name, sizes = "curation", {"count": (curation.COUNT, 32)}

    def key(self):
        return loading.checkpoints_key(curation.key(), "codec", "restorer")

    def jobs(self):
        return [once("curation", "curation", lambda: (self.rows(), {}))]

    def rows(self):
        codec, restorer = load_module("codec"), load_module("restorer")
        clips, made = curation.cached_clips(self.count), curation.conditions("curated", self.count)
        unseen = torch.arange(min(UNSEEN, self.count // 2), self.count)
        seen = curation.pictures(clips.latents[unseen, 0], codec)
        rows = score_rows(clips.select(unseen), [made.record[i] for i in unseen.tolist()], seen)
        rows += kind_rows(codec, restorer) + condition_rows(clips, made, codec)
        return [*rows, prompt_row(clips, made)]


def plain_scores(pictures):
    """What a filter without a network would look at, higher is worse: {name: (N,)}."""
    light = brightness(pictures)
    sharp = torch.tensor([sharpness(picture[None]) for picture in pictures])
    return {"little sharpness": -sharp, "unusual brightness": (light - light.median()).abs(),
            "little contrast": -pictures.std((1, 2, 3))}


def score_rows(clips, record, seen):
    """How well each score tells damaged references from good ones: one row a score."""
    scores = {"the restorer's doubt": [row["doubt"] for row in record],
              "damage that it sees": [row["damage"] for row in record]} | plain_scores(seen)
    return [{"part": "score", "name": name, "clips": len(clips),
             "auc": round(area_under_curve(values, clips.degraded), 4)}
            for name, values in scores.items()]


def shares_of(did):
    """{what was done: its share}."""
    return {word: round(did.count(word) / len(did), 4) for word in (KEPT, MENDED, REPLACED)}


@torch.inference_mode()
def kind_rows(codec, restorer, count=64):
    """Pictures of held-out faces with one kind of damage each, or none: what the restorer says
    of them and what is true, in 1/255."""
    data = snippets.Snippets.load(list(snippets.build("held_out", 2 * count)))
    clean = data.pictures((~data.degraded).nonzero().flatten()[:count])[:, 0]
    rows = []
    for kind in (None, *KINDS):
        g = torch.Generator().manual_seed(0)
        bad = torch.cat([damaged_picture(picture, kind, g, n) for n, picture in enumerate(clean)])
        seen = through(codec, bad)
        mended, doubt, damage, remains = restorer.mend(seen)
        rows.append({"part": "damage", "name": kind or "none", "clips": len(clean),
                     "damage": mean_of_all(difference(seen, clean)),
                     "damage, said": mean_of_all(damage),
                     "remains": mean_of_all(difference(mended, clean)),
                     "remains, said": mean_of_all(remains)}
                    | shares_of(curation.decide(doubt, remains)))
    return rows


def damaged_picture(picture, kind, generator, seed):
    """A picture (3, H, W) with one kind of damage, or none, as (1, 3, H, W)."""
    if kind is None:
        return picture[None]
    strength = 0.3 + 0.7 * torch.rand((), generator=generator).item()
    return degrade(picture[None], Degradation(((kind, strength),), seed), generator)


def mean_of_all(values):
    return round(values.mean().item(), 3)


@torch.inference_mode()
def condition_rows(clips, made, codec):
    """What became of damaged and of good references: shares, and distance from truth in 1/255
    before and after, of those that still show the same face."""
    rows = []
    for name, flags in (("damaged", clips.degraded), ("good", ~clips.degraded)):
        some = flags.nonzero().flatten()
        did = [made.record[i]["did"] for i in some.tolist()]
        same = torch.tensor([i for i, word in zip(some.tolist(), did) if word != REPLACED])
        truth = render(clips.identity[same], clips.state[same, 0].float(), SIZE)
        before, after = (mean_of_all(difference(curation.pictures(latents, codec), truth))
                         for latents in (c.latents[same, 0] for c in (clips, made.clips)))
        rows.append({"part": "references", "name": name, "clips": len(some), "before": before,
                     "after": after} | shares_of(did))
    return rows


def prompt_row(clips, made):
    """How many prompts ask for nothing, before and after."""
    before, after = ([curation.is_vague(pair[0]) for pair in c.prompts]
                     for c in (clips, made.clips))
    return {"part": "prompts", "name": "vague", "clips": len(clips),
            "before": round(sum(before) / len(before), 4),
            "after": round(sum(after) / len(after), 4)}


STUDY = Curation
