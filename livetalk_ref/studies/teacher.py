"""The teacher's stage: what steps and guidance buy, and who stands where.

    codec           what it keeps of a picture, what decoding costs, how still its latents are
    parts           which parts of faces melt, of truth through the codec and of the teacher
    teacher         the guided teacher beside truth and truth through the codec, held out
    guidance        text and audio guidance apart
    gate            is there anything to distil? few steps and many, plain and guided
    scoreboard      everybody on the paper's benchmarks, each against the guided teacher
    teacher_samples whole faces against windows learned: teachers from chance, each with a whole
                    run of its own, and the one that ships. Predicted before the runs: the share
                    of broken faces is a power of the windows, and the line through the shorter
                    runs meets the one that ships within a factor of two
"""

from functools import partial

import torch

from livetalk_ref import loading, stages
from livetalk_ref.codec import psnr
from livetalk_ref.errors import followed
from livetalk_ref.flow import TEACHER_STEPS, Guidance
from livetalk_ref.generate import GUIDANCE, PLAIN
from livetalk_ref.judge.benchmarks import PAPERS
from livetalk_ref.judge.cost import count_flops
from livetalk_ref.judge.distances import compare_judged
from livetalk_ref.judge.evaluate import BATCH, evaluate_once, find_maker
from livetalk_ref.nets.whole_faces import PARTS, suspicions
from livetalk_ref.studies.work import Job, Study
from livetalk_ref.world.draw import mouth_box
from livetalk_ref.world.latents import WINDOWS, cache_key, windows_of
from livetalk_ref.world.snippets import box_mask

SWEEP = [(1, 1), (1, 2), (2, 1), (2, 2), (1, 3), (2, 3)]     # text, audio
STEPS, FEW = (1, 2, 4, 8, TEACHER_STEPS), (4, 8, 16, TEACHER_STEPS)
BUDGETS = (500, 2000)                   # updates of teachers from chance
LONGEST = 26_000                        # and of the one that ships
STILLEST = (0.1, 0.25, 0.5)             # quantiles of cells, by how much they change
LABELS = {"plain": PLAIN, "guided": GUIDANCE}


def board_makers():
    """All on the scoreboard: {name: what `find_maker` takes}."""
    return {"truth": ("truth",), "truth through the codec": ("codec",),
            "rule: loudness opens the mouth": ("rule",)} | {
        f"teacher, {label}, {steps} steps": ("teacher", steps, guidance)
        for label, guidance in LABELS.items() for steps in FEW}


def held_out_makers():
    """{table: {name: (what `find_maker` takes, facts)}} of the tables on held-out clips."""
    swept = {f"text {text}, audio {audio}": (("teacher", None, Guidance(text, audio)),
                                             {"text": text, "audio": audio})
             for text, audio in SWEEP}
    walked = {f"{label}, {steps} steps": (("teacher", steps, guidance),
                                          {"steps": steps, "guidance": label})
              for label, guidance in LABELS.items() for steps in STEPS}
    return {"teacher": {"truth": (("truth",), {}), "teacher": (("teacher", None, GUIDANCE), {})},
            "guidance": swept, "gate": walked}


class Teacher(Study):
    """A job a table; clips are judged once and read again."""

    sizes = {"counts": ((64, 16, 192, 48), (4, 4, 4, 4)),       # clips of each table
             "budgets": (BUDGETS, (2,)), "clips": (1536, 2)}    # of teachers from chance

    def key(self):
        start = cache_key(loading.load_module("codec")) + self.judges.key()
        return loading.checkpoints_key(start, "codec", "teacher")

    def jobs(self):
        made = [Job("codec", "codec", self.weigh_codec)]
        made += [Job(f"parts-{name}", "parts", partial(self.tell_parts, name))
                 for name in ("codec", "teacher")]
        made += [Job(name, name, partial(self.tabulate, makers, count))
                for (name, makers), count in zip(held_out_makers().items(), self.counts)]
        made += [Job(f"scoreboard-{name}", "scoreboard", partial(self.rank, name))
                 for name in PAPERS]
        for updates in self.budgets:
            out = self.folder / f"samples-{updates}"
            made += [Job(f"{out.name}-train", None, partial(self.learn, updates, out)),
                     Job(out.name, "teacher_samples",
                         partial(self.sample, updates, out / "ema.safetensors"))]
        return [*made, Job("samples-all", "teacher_samples",
                           partial(self.sample, LONGEST, "teacher"))]

    def weigh_codec(self):
        """A row of the codec on held-out clips. A cell's deviation is its latents' standard
        deviation over the time of a clip, the mean of channels; a unit is that of all latents."""
        bench = self.ground("held_out", self.counts[0]).bench
        z = bench.data.latents.float()                                  # (N, F, C, h, w)
        errors, mouths = [], []
        for clip, film, seen in zip(bench.clips(), bench.film(), bench.decode(z)):
            inside = box_mask(mouth_box(clip.identity, clip.state), film.shape[-1]) > 0
            errors.append(psnr(seen, film))
            mouths.append(psnr(*(frames.movedim(1, 0)[:, inside[:, 0]] for frames in (seen, film))))
        moved = z.std(dim=1).mean(1) / z.std()                          # (N, h, w)
        quiet = moved.flatten().quantile(torch.tensor(STILLEST))
        flops = count_flops(lambda: bench.codec.decode(z[:1])) / len(film)
        facts = {"PSNR": torch.stack(errors).mean(), "PSNR of mouths": torch.stack(mouths).mean(),
                 "MFLOP a frame, decoding": flops / 1e6,
                 "deviation in corners": moved[:, [0, 0, -1, -1], [0, -1, 0, -1]].mean()}
        facts |= dict(zip((f"deviation, {share:.0%} quantile" for share in STILLEST), quiet))
        return [{"clips": len(bench)} | {name: round(float(v), 4) for name, v in facts.items()}]

    def tell_parts(self, name):
        """In what share of a maker's frames each part is whole; glasses, where they are worn."""
        ground = self.ground("held_out", self.counts[0])
        whole = []
        for film in find_maker(name).films(ground.given, BATCH):
            broken = self.judges.wholeness.broken(film)                     # (T, P)
            whole.append((suspicions(broken) <= 1).float().mean(0))
            yield
        whole = torch.stack(whole)                                          # (N, P)
        shares, worn = whole.mean(0), ground.bench.data.identity.option("glasses") > 0
        shares[PARTS.index("glasses")] = whole[worn, PARTS.index("glasses")].mean()
        return [{"name": name, "clips": len(whole), "with glasses": int(worn.sum())}
                | dict(zip(PARTS, (round(share, 4) for share in shares.tolist())))]

    def learn(self, updates, out):
        """Train a teacher from chance: all of a run, its rate falls to zero."""
        states = stages.run_stage("teacher", out, updates, resume=True, compiled=self.compiled,
                                  count=self.clips)
        yield from followed(f"teacher-{updates}", states)
        return []

    def sample(self, updates, model):
        """The row of a teacher on the held-out clips, and how many windows it has learned."""
        found, _ = evaluate_once(find_maker(model, None, GUIDANCE, name="teacher"),
                                 self.ground("held_out", self.counts[0]))
        an_update = sum(map(windows_of, WINDOWS)) / len(WINDOWS)
        return [found["rows"][0] | {"updates": updates, "windows": round(updates * an_update)}]

    def tabulate(self, makers, count):
        """Rows of makers on held-out clips, behind that of truth through the codec. The gate has
        three times the usual clips: a distance grows where they are few, and ratios shrink."""
        ground = self.ground("held_out", count)
        ceiling, floor = ground.references
        rows = [ceiling]
        for name, (maker, facts) in makers.items():
            yield
            found, _ = evaluate_once(find_maker(*maker, name=name), ground)
            rows.append(found["rows"][0] | facts)
        return [*rows, floor]

    def rank(self, name):
        """Everybody's row on a benchmark with its evaluations, the floor, and the comparisons
        with the guided teacher, the last of all."""
        ground, rows, teachers = self.ground(name, self.counts[-1]), [], {}
        for who, maker in board_makers().items():
            yield
            found, judged = evaluate_once(find_maker(*maker, name=who), ground)
            rows.append(found["rows"][0] | {
                "evaluations a clip": found["cost"]["evaluations_per_clip"]})
            if who.startswith("teacher"):
                teachers[who] = judged
        best, known = teachers.popitem()
        rows.append(ground.references[1])
        for who, judged in teachers.items():
            rows += compare_judged(f"{who} - {best}", judged, known, ground.truth.rendered)
        return [row | {"set": name} for row in rows]
