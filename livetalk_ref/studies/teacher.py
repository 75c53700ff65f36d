"""The teacher's stage: what codec and ear keep, what steps and guidance buy, who stands where.

Every result is one job: ear, codec, teacher, guidance, gate, teacher_curve, scoreboard.
"""

import time
from functools import partial

import torch
import torch.nn.functional as F

from livetalk_ref import loading
from livetalk_ref.codec import GROUP, psnr
from livetalk_ref.files import averaged, read_metrics
from livetalk_ref.flow import Guidance
from livetalk_ref.generate import GUIDANCE
from livetalk_ref.judge import evaluate, metrics, scoreboard
from livetalk_ref.loading import load_module
from livetalk_ref.studies.work import Study, once
from livetalk_ref.world import clips, ear, latents, shards, snippets
from livetalk_ref.world.face import mouth_box

CLIPS = 64
SWEEP = [(1, 1), (1, 2), (2, 1), (2, 2), (1, 3), (2, 3)]     # text, audio
STEPS = (1, 2, 4, 8, 48)


class Teacher(Study):
    """A job a result; sizes of the quick study are a few clips."""

    name = "teacher"

    def key(self):
        return loading.checkpoints_key(latents.cache_key(load_module("codec")), "codec", "teacher",
                                    "reader", "ear")

    def jobs(self):
        works = {"ear": ear_report, "codec": codec_report, "teacher": teacher_report,
                 "guidance": guidance_report, "gate": gate_report, "scoreboard": scoreboard.make}
        made = [once(name, name, partial(work, 4) if self.quick else work)
                for name, work in works.items()]
        return made if self.quick else [*made, once("teacher_curve", "teacher_curve",
                                                    curve_report)]


def codec_report(count=CLIPS):
    """How much truth survives the codec, on held-out identities."""
    codec, rows = load_module("codec"), []
    for number in range(count):
        clip = clips.script("held_out", number, clips.FRAMES, degraded=0.0)
        x = clips.film(clip)
        with torch.inference_mode():
            y = codec.decode(codec.encode(x[None]))[0]
        inside = snippets.box_mask(mouth_box(clip.identity, clip.state), x.shape[-1])
        inside = inside.bool().expand_as(x)
        rows.append({"psnr": psnr(y, x).item(), "mouth psnr": psnr(y[inside], x[inside]).item(),
                     "border flicker": border_flicker(y, x)})
    line = {"name": "truth through the codec", "clips": count}
    for key in rows[0]:
        mean, low, high = metrics.bootstrap([row[key] for row in rows])
        line[key], line[f"{key} 95%"] = round(mean, 3), [round(low, 3), round(high, 3)]
    return [line], {}


def ear_report(count=320):
    """What the audio encoder hears of voices and sentences that it was not trained on: the mouth
    by a linear map of mel rows, by one of its features, and by its own heads, and the phone."""
    module = load_module("ear")
    train, held_out = (shards.load(list(ear.build(split, n)))[0]
                       for split, n in (("train", 2 * count), ("held_out", count)))
    with torch.inference_mode():
        (mels, features), (test_mels, test) = (
            (x, module(x)) for x in (t["mels"].flatten(0, 1).float() for t in (train, held_out)))
        truth = held_out["mouth"].flatten(0, 1)
        found = {"mel rows": linear(mels, train["mouth"].flatten(0, 1), test_mels),
                 "features": linear(features, train["mouth"].flatten(0, 1), test),
                 "its heads": module.mouth(test)}
        phone = module.phone(test).argmax(1) == held_out["phone"].flatten(0, 1)
    rows = [{"reader": name, "stretches": count} |
            {f"{part} correlation": round(metrics.correlation(mouth[:, i], truth[:, i]), 4)
             for i, part in enumerate(("open", "width", "round"))}
            for name, mouth in found.items()]
    rows[-1]["phone right"] = round(phone.float().mean().item(), 4)
    return rows, {}


def linear(x, y, test, strength=10.0):
    """Ridge regression from rows x (N, A) to y (N, 3), applied to test (M, A): (M, 3)."""
    x, test = (F.pad(t, (0, 1), value=1.0) for t in (x, test))
    return test @ torch.linalg.solve(x.T @ x + strength * torch.eye(x.shape[1]), x.T @ y)


def border_flicker(y, x):
    """Error of the change across borders of 4-frame groups over that inside groups; 1 is none."""
    wrong = (y.diff(dim=0) - x.diff(dim=0)).abs().mean(dim=(1, 2, 3))    # (T - 1,)
    border = torch.arange(len(wrong)) % GROUP == 0      # from frame 4k to 4k + 1
    return (wrong[border].mean() / wrong[~border].mean()).item()


class Bench:
    """Held-out clips with their truth, judged once for all rows of a table."""

    def __init__(self, count):
        self.codec, self.reader = load_module("codec"), load_module("reader")
        self.held_out = evaluate.HeldOut.make(self.codec, count)
        truth = list(self.held_out.film())
        self.still = [metrics.still_places(frames) for frames in truth]
        self.rendered = self.judge(truth)
        self.coded = self.judge(self.held_out.decode(self.held_out.data.latents))

    def judge(self, frames):
        return evaluate.judge(frames, self.held_out, self.reader, self.still)

    def line(self, name, judged):
        """A table line; Fréchet distances are to truth through the codec."""
        return evaluate.summarise(name, *judged, self.coded[1])

    def half(self, judged):
        """The Fréchet distance of the first half of the clips: it tells how much of the whole's
        is due to their being few."""
        half = len(judged[1]) // 2
        return {"frechet of half": round(metrics.frechet(judged[1][:half],
                                                         self.coded[1][:half]), 3)}

    def generated(self, model, **options):
        """A model's clips, judged, and the seconds they took."""
        start = time.perf_counter()
        made = evaluate.generate(model, self.held_out, **options)
        seconds = round(time.perf_counter() - start, 1)
        return self.judge(self.held_out.decode(made)), seconds


def teacher_report(count=CLIPS):
    """The guided teacher beside truth and truth through the codec."""
    bench = Bench(count)
    check = evaluate.HeldOut.make(bench.codec, count, "check")
    floor = evaluate.judge(check.decode(check.data.latents), check, bench.reader)
    judged, seconds = bench.generated(load_module("teacher"), guidance=GUIDANCE)
    rows = [bench.line("truth", bench.rendered), bench.line("truth through the codec", bench.coded),
            bench.line("a second set of truth", floor), bench.line("teacher", judged)]
    return rows, {"teacher seconds": seconds}


def guidance_report(count=16):
    """Text and audio guidance apart, 48 steps."""
    bench, teacher = Bench(count), load_module("teacher")
    rows, cost = [bench.line("truth through the codec", bench.coded)], {}
    for text, audio in SWEEP:
        name = f"text {text}, audio {audio}"
        judged, cost[name] = bench.generated(teacher, guidance=Guidance(text, audio))
        rows.append(bench.line(name, judged) | {"text": text, "audio": audio})
    return rows, cost


def gate_report(count=3 * CLIPS):
    """Is there anything to distil? The teacher at few steps and at 48, plain and guided. Three
    times the usual clips: a distance grows where they are few, and ratios of it shrink."""
    bench, teacher = Bench(count), load_module("teacher")
    rows, cost = [bench.line("truth through the codec", bench.coded)], {}
    for label, guidance in (("plain", Guidance()), ("guided", GUIDANCE)):
        for steps in STEPS:
            name = f"{label}, {steps} steps"
            judged, cost[name] = bench.generated(teacher, steps=steps, guidance=guidance)
            rows.append(bench.line(name, judged) | bench.half(judged)
                        | {"steps": steps, "guidance": label})
    return rows, cost


def curve_report(every=50, run="runs/teacher"):
    """The teacher's loss while it was trained, averaged over `every` updates."""
    lines = read_metrics(run)
    return averaged(lines, every), {"seconds": round(sum(line["seconds"] for line in lines))}


STUDY = Teacher
