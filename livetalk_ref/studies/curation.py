"""Does curation do what it should? Scores against the world's truth, damage by damage."""

import torch

from livetalk_ref import curation, loading
from livetalk_ref.curation import KEPT, MENDED, REPLACED
from livetalk_ref.judge.distances import area_under_curve
from livetalk_ref.judge.metrics import brightness, sharpness
from livetalk_ref.loading import load_module
from livetalk_ref.nets.restorer import difference, through
from livetalk_ref.studies.work import Job, Study
from livetalk_ref.world import snippets
from livetalk_ref.world.degrade import KINDS, Degradation, degrade
from livetalk_ref.world.draw import render
from livetalk_ref.world.state import SIZE

UNSEEN = 1536       # the restorer was trained on faces of clips before this number


class Curation(Study):
    """Scores, kinds of damage, and what became of the conditions."""

    sizes = {"count": (curation.COUNT, 32)}

    def key(self):
        return loading.checkpoints_key(curation.key(), "codec", "restorer")

    def jobs(self):
        return [Job("curation", "curation", self.rows)]

    @torch.inference_mode()
    def rows(self):
        codec, restorer = load_module("codec"), load_module("restorer")
        clips, made = curation.cached_clips(self.count), curation.conditions("curated", self.count)
        unseen = range(min(UNSEEN, self.count // 2), self.count)
        return [*score_rows(clips.select(unseen), made.record[unseen.start:], codec),
                *kind_rows(codec, restorer), *condition_rows(clips, made, codec),
                prompt_row(clips, made)]


def plain_scores(pictures):
    """What a filter without a network would look at, higher is worse: {name: (N,)}."""
    light = brightness(pictures)
    sharp = torch.tensor([sharpness(picture[None]) for picture in pictures])
    return {"little sharpness": -sharp, "unusual brightness": (light - light.median()).abs(),
            "little contrast": -pictures.std((1, 2, 3))}


def score_rows(clips, record, codec):
    """How well each score tells damaged references from good ones: one row a score."""
    scores = {"the restorer's doubt": [row["doubt"] for row in record],
              "damage that it sees": [row["damage"] for row in record]}
    scores |= plain_scores(curation.pictures(clips.latents[:, 0], codec))
    return [{"part": "score", "name": name, "clips": len(clips),
             "auc": round(area_under_curve(values, clips.degraded), 4)}
            for name, values in scores.items()]


def shares_of(did):
    """{what was done: its share}."""
    return {word: round(did.count(word) / len(did), 4) for word in (KEPT, MENDED, REPLACED)}


def kind_rows(codec, restorer, count=64):
    """Pictures of held-out faces with one kind of damage each, or none: how far from the truth
    they are before and after the restorer, in 1/255."""
    data = snippets.Snippets.load(list(snippets.build("held_out", 2 * count)))
    clean = data.pictures((~data.degraded).nonzero().flatten()[:count])[:, 0]
    rows = []
    for kind in (None, *KINDS):
        g = torch.Generator().manual_seed(0)
        seen = through(codec, torch.stack([damaged(picture, kind, g, n)
                                           for n, picture in enumerate(clean)]))
        mended, doubt, _, remains = restorer.mend(seen)
        rows.append({"part": "damage", "name": kind or "none", "clips": len(clean),
                     "damage": round(difference(seen, clean).mean().item(), 3),
                     "remains": round(difference(mended, clean).mean().item(), 3)}
                    | shares_of(curation.decide(doubt, remains)))
    return rows


def damaged(picture, kind, generator, seed):
    """A picture (3, H, W) with one kind of damage, or none."""
    if kind is None:
        return picture
    strength = 0.3 + 0.7 * torch.rand((), generator=generator).item()
    return degrade(picture[None], Degradation(((kind, strength),), seed), generator)[0]


def condition_rows(clips, made, codec):
    """What became of damaged and of good references: shares, and distance from truth in 1/255
    before and after, of those that still show the same face."""
    rows = []
    for name, flags in (("damaged", clips.degraded), ("good", ~clips.degraded)):
        some = flags.nonzero().flatten()
        did = [made.record[i]["did"] for i in some.tolist()]
        same = some[torch.tensor([word != REPLACED for word in did])]
        truth = render(clips.identity[same], clips.state[same, 0].float(), SIZE)
        far = [difference(curation.pictures(c.latents[same, 0], codec), truth).mean().item()
               for c in (clips, made.clips)]
        rows.append({"part": "references", "name": name, "clips": len(some),
                     "before": round(far[0], 3), "after": round(far[1], 3)} | shares_of(did))
    return rows


def prompt_row(clips, made):
    """How many prompts ask for nothing, before and after."""
    before, after = (sum(curation.is_vague(pair[0]) for pair in c.prompts) / len(c.prompts)
                     for c in (clips, made.clips))
    return {"part": "prompts", "name": "vague", "clips": len(clips), "before": round(before, 4),
            "after": round(after, 4)}
