"""What streams were found to hold: an hour of everything that may happen, and by the clock.

Two results of the same thing. `soak` (soak.py) says whether a session lived through an hour of
good and bad; `bench --keep NAME` (pace.py, bench.py) says which of three promises a machine
keeps: throughput, latency, deadlines. Words are computed from the numbers.
"""

from livetalk_ref.judge import results
from livetalk_ref.judge.ode_findings import measured_speed
from livetalk_ref.world.state import FPS

FLAT = 0.05         # of the memory: what it may grow by and still be called flat
MISHAPS = {"idle consumer": "nobody reads", "dead producer": "the source breaks"}
PAPER = {"frames a second": 24.82, "first frame": 0.33}     # LiveTalk's table 1, one unnamed GPU


# An hour of everything.

def events(row):
    """What happened, most often first."""
    return MISHAPS.get(row["run"]) or ", ".join(f"{count} {name}" for name, count in
                     sorted(row["events"].items(), key=lambda pair: -pair[1]))


def soak_table(rows):
    """A line a run: what it showed, what it took back, what was wrong."""
    return [{"run": row["run"], "shown": f"{row['frames'] / FPS:.0f} s",
             "taken back": f"{(row['handed out'] - row['frames']) / FPS:.0f} s",
             "happened": events(row),
             "wrong": "; ".join(row["wrong"]) or "nothing"} for row in rows if "frames" in row]


def memory_words(early, late, when):
    """How memory goes on from an early peak to a late one, both in MiB or None."""
    if not early or not late:
        return "memory was not measured"
    growth = late / early - 1
    word = "flat" if abs(growth) <= FLAT else "growing" if growth > 0 else "falling"
    return f"memory is {word}: {early:.0f} MiB {when}, {late:.0f} MiB at the end ({growth:+.1%})"


def soak_words(facts):
    """Did the session hold? One paragraph of a result; "" without one."""
    if not facts.get("rows"):
        return ""
    *runs, both = facts["rows"]
    memory = facts["cost"]["memory_mib"]
    held = "The session held" if both["held"] else "**The session did not hold**"
    same = "the same pictures" if both["same pictures"] else "**different pictures**"
    count = sum(len(row["wrong"]) for row in runs)
    wrong = f"{count} thing{'s' if count > 1 else ''}" if count else "nothing"
    return (f"{held}: {facts['cost']['hours']:.1f} h asked for, {wrong} wrong, "
            f"{same} from session and pipeline; "
            f"{memory_words(memory['after a tenth'], memory['end'], 'after a tenth of the hour')}.")


# By the clock.

def benched(model):
    """{file: figures} of every kept `bench` of a model's stream; {} and one sentence if none."""
    files = sorted(path.stem for path in results.RESULTS.glob("bench_*.json"))
    found = {name: measured_speed(name, "bench") for name in files}
    found = {name: facts for name, facts in found.items()
             if facts.get("model") == model and "stream" in facts}
    if not found:
        measured_speed(f"bench_{model}", f"bench --model {model} --keep bench_{model}")
    return found


def machine(facts):
    """The machine and what was asked for besides."""
    more = [name for name in ("compiled", "graphs") if facts.get(name)]
    return ", ".join([facts["hardware"], *more])


def ms(*seconds):
    return " / ".join(f"{1000 * s:.0f}" for s in seconds)


def promises(found):
    """A line a figure of a stream, a column a kept `bench`, the paper's beside them."""
    lines = {}

    def add(what, values, paper=""):
        heads = [f"{machine(facts)} (`{name}`)" for name, facts in found.items()]
        lines[what] = {"": what} | dict(zip(heads, values)) | {"LiveTalk, as printed": paper}

    every = list(found.values())
    streams = [facts["stream"] for facts in every]
    add("**throughput**, frames a second", [f"{s['frames_per_second']:.1f}" for s in streams],
        f"{PAPER['frames a second']}")
    add("times real time", [f"{s['real_time']:.2f}" for s in streams],
        f"{PAPER['frames a second'] / FPS:.2f}")
    add("sound heard before work begins, s",
        [f"{facts['algorithmic']['seconds']:.2f}" for facts in every])
    add("**latency**: then first frame, ms, median / p95",
        [ms(*facts["warm"]["seconds"].values()) for facts in every],
        ms(PAPER["first frame"]))
    add("a block's pictures, ms, p50 / p95 / p99", [ms(*s["pictures"].values()) for s in streams])
    add("a whole block, ms, p50 / p95 / p99", [ms(*s["block"].values()) for s in streams])
    add("**deadlines** missed", [f"{s['missed']} of {s['blocks']}" for s in streams])
    add("the latest block, ms after its sound", [ms(s["latest"]) for s in streams])
    add("times what one large product would take",
        [f"{facts['limit']['times_the_limit']:.1f}" for facts in every])
    return list(lines.values())


def promise_words(facts):
    """Which of the promises a machine keeps, in a sentence."""
    s = facts["stream"]
    kept = {"throughput": s["frames_per_second"] >= FPS, "deadlines": not s["missed"]}
    said = ", ".join(f"{name} {'kept' if there else '**not kept**'}"
                     for name, there in kept.items())
    peak = s["memory_mib"]
    memory = memory_words(peak["early"], peak["late"], f"in the first {s['early_seconds']:.0f} s")
    return (f"{machine(facts)}, {s['seconds']:.0f} s: {said} ({s['missed']} of {s['blocks']} "
            f"blocks later than {1000 * s['allowance']:.0f} ms after their sound); {memory}.")
