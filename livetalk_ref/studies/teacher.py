"""The teacher's stage: what steps and guidance buy, and who stands where.

    teacher         the guided teacher beside truth and truth through the codec, held out
    guidance        text and audio guidance apart
    gate            is there anything to distil? few steps and many, plain and guided
    teacher_curve   the loss while it was trained
    scoreboard      everybody on the paper's benchmarks, each against the guided teacher
"""

from functools import partial

from livetalk_ref import loading
from livetalk_ref.files import averaged, read_metrics
from livetalk_ref.flow import TEACHER_STEPS, Guidance
from livetalk_ref.generate import GUIDANCE, PLAIN
from livetalk_ref.judge.benchmarks import CLIPS, PAPERS
from livetalk_ref.judge.distances import USED, compare_judged, frechet
from livetalk_ref.judge.evaluate import evaluate_once, find_maker
from livetalk_ref.studies.work import Job, Study, once
from livetalk_ref.world.latents import cache_key

SWEEP = [(1, 1), (1, 2), (2, 1), (2, 2), (1, 3), (2, 3)]     # text, audio
STEPS, FEW = (1, 2, 4, 8, TEACHER_STEPS), (4, 8, 16, TEACHER_STEPS)
LABELS = {"plain": PLAIN, "guided": GUIDANCE}


def gate_makers():
    """What the gate compares: {name: (maker, its facts)}."""
    return {f"{label}, {steps} steps": (partial(find_maker, "teacher", steps, guidance),
                                        {"steps": steps, "guidance": label})
            for label, guidance in LABELS.items() for steps in STEPS}


def board_makers():
    """All on the scoreboard: {name: maker}."""
    return {"truth": partial(find_maker, "truth"),
            "truth through the codec": partial(find_maker, "codec"),
            "rule: loudness opens the mouth": partial(find_maker, "rule")} | {
        f"teacher, {label}, {steps} steps": partial(find_maker, "teacher", steps, guidance)
        for label, guidance in LABELS.items() for steps in FEW}


class Teacher(Study):
    """A job a table; clips are judged once and read again."""

    name = "teacher"
    sizes = {"counts": ((64, 16, 192, CLIPS), (4, 4, 4, 4))}        # clips of each table

    def key(self):
        start = cache_key(loading.load_module("codec")) + self.judges.key()
        return loading.checkpoints_key(start, "codec", "teacher")

    def jobs(self):
        guided = {"teacher": (partial(find_maker, "teacher", guidance=GUIDANCE), {})}
        truth = {"truth": (partial(find_maker, "truth"), {})}
        swept = {f"text {text}, audio {audio}": (
            partial(find_maker, "teacher", guidance=Guidance(text, audio)),
            {"text": text, "audio": audio}) for text, audio in SWEEP}
        tables = {"teacher": truth | guided, "guidance": swept, "gate": gate_makers()}
        made = [Job(name, (name,), partial(self.tabulate, name, makers, count))
                for (name, makers), count in zip(tables.items(), self.counts)]
        made += [Job(f"scoreboard-{name}", ("scoreboard",),
                     partial(self.rank, name, self.counts[-1])) for name in PAPERS]
        return made if self.quick else [*made, once("teacher_curve", "teacher_curve",
                                                    teacher_curve)]

    def tabulate(self, result, makers, count):
        """Rows of makers on held-out clips, behind that of truth through the codec. The gate has
        three times the usual clips: a distance grows where they are few, and ratios shrink."""
        ground, rows, cost = self.ground("held_out", count), [], {}
        for name, (make, facts) in makers.items():
            yield
            found, judged = evaluate_once(make(name=name), ground)
            row, ceiling, floor = found["rows"]
            rows = rows or [ceiling]
            half = {"frechet of half": half_frechet(judged, ground)} if result == "gate" else {}
            rows.append(row | half | facts)
            cost[f"{name} seconds"] = round(found["cost"]["seconds"], 1)
        return {result: [*rows, floor], "cost": cost}

    def rank(self, name, count):
        """Everybody's row on a benchmark with what a clip and a frame cost, the floor, and the
        comparisons with the guided teacher, the last of all."""
        ground, rows, teachers, cost = self.ground(name, count), [], {}, {}
        for who, make in board_makers().items():
            yield
            found, judged = evaluate_once(make(name=who), ground)
            price, flops = found["cost"], found["cost"]["flops_per_frame"]
            rows.append(found["rows"][0] | {
                "set": name, "evaluations a clip": price["evaluations_per_clip"],
                "GFLOP a frame": None if flops is None else round(flops / 1e9, 4)})
            if who.startswith("teacher"):
                teachers[who] = judged
            cost[f"{name}: {who}"] = round(price["seconds_per_frame"], 4)
        best, known = teachers.popitem()
        rows += [found["rows"][2] | {"set": name}] + [
            row | {"set": name} for who, judged in teachers.items()
            for row in compare_judged(f"{who} - {best}", judged, known, ground.truth.rendered)]
        return {"scoreboard": rows, "cost": cost}


def half_frechet(judged, ground):
    """The Fréchet distance of half of the clips: it tells how much of the whole's is due to
    their being few."""
    half = len(judged.features) // 2
    return round(frechet(*(x[:half, USED].flatten(0, 1) for x in
                           (judged.features, ground.truth.rendered.features))), 3)


def teacher_curve(every=50, run="runs/teacher"):
    """The teacher's loss while it was trained, averaged over `every` updates."""
    lines = read_metrics(run)
    return averaged(lines, every), {"seconds": round(sum(line["seconds"] for line in lines))}


STUDY = Teacher
