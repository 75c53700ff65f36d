"""The teacher's stage: what steps and guidance buy, and who stands where.

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

from livetalk_ref import loading, stages
from livetalk_ref.errors import followed
from livetalk_ref.flow import TEACHER_STEPS, Guidance
from livetalk_ref.generate import GUIDANCE, PLAIN
from livetalk_ref.judge.benchmarks import PAPERS
from livetalk_ref.judge.distances import compare_judged
from livetalk_ref.judge.evaluate import evaluate_once, find_maker
from livetalk_ref.studies.work import Job, Study
from livetalk_ref.world.latents import WINDOWS, cache_key, windows_of

SWEEP = [(1, 1), (1, 2), (2, 1), (2, 2), (1, 3), (2, 3)]     # text, audio
STEPS, FEW = (1, 2, 4, 8, TEACHER_STEPS), (4, 8, 16, TEACHER_STEPS)
BUDGETS = (500, 2000)                   # updates of teachers from chance
LONGEST = 26_000                        # and of the one that ships
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
             "budgets": (BUDGETS, (2,)),
             "clips": (1536, 32)}                               # that those from chance learn

    def key(self):
        start = cache_key(loading.load_module("codec")) + self.judges.key()
        return loading.checkpoints_key(start, "codec", "teacher")

    def jobs(self):
        made = [Job(name, name, partial(self.tabulate, makers, count))
                for (name, makers), count in zip(held_out_makers().items(), self.counts)]
        made += [Job(f"scoreboard-{name}", "scoreboard", partial(self.rank, name))
                 for name in PAPERS]
        for updates in self.budgets:
            made += [Job(f"samples-{updates}-train", None, partial(self.learn, updates)),
                     Job(f"samples-{updates}", "teacher_samples",
                         partial(self.sample, updates, self.taught(updates) / "ema.safetensors"))]
        return [*made, Job("samples-all", "teacher_samples",
                           partial(self.sample, LONGEST, "teacher"))]

    def taught(self, updates):
        """The folder of a teacher that learned from chance for so many updates."""
        return self.folder / f"samples-{updates}"

    def learn(self, updates):
        """Train a teacher from chance: all of a run, its rate falls to zero."""
        states = stages.run_stage("teacher", self.taught(updates), updates, resume=True,
                                  compiled=self.compiled, count=self.clips)
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
