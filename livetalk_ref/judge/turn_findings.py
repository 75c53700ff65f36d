"""What conversations of several turns showed: who stays coherent, and how long an answer takes.

Rows of data/results/multiturn.json (multiturn.py) and of turn_latency.json (turn_latency.py); a
result may be missing. The paper's figures are named beside ours and compared in nothing but
order, and in seconds: its scores are percentiles that a vision-language model gave to its own
three systems. Words are computed from the numbers.
"""

from livetalk_ref.judge.findings import maybe, short
from livetalk_ref.judge.multiturn import BETTER, CLIPS, HIGHER, LOWER, OURS, RESTARTED, WAIT
from livetalk_ref.live import scenarios

SYSTEMS = OURS, RESTARTED, CLIPS
MEASURED = {            # the paper's dimensions that pictures and sound can answer, and by what
    "multi-video coherence": ("identity across turns", "colour step", "pose step",
                              "step over usual"),
    "emotional appropriateness": ("expression right",),
    "nonverbal interaction": ("listening motion", "mouth closed listening"),
    "conversational naturalness": ("mouth correlation", "Sync-C")}
COHERENCE = MEASURED["multi-video coherence"]
PAPER = {               # LiveTalk's table 2: LiveTalk, Veo3, Sora2
    "multi-video coherence": (87.26, 26.68, 25.85),
    "emotional appropriateness": (59.54, 23.51, 75.78),
    "nonverbal interaction": (60.42, 24.68, 72.20),
    "conversational naturalness": (56.32, 24.93, 74.32),
    "semantic relevance": (72.02, 25.17, 66.68), "information completeness": (81.27, 17.21, 50.01),
    "logical consistency": (75.20, 20.56, 65.07), "context understanding": (72.65, 20.05, 68.80),
    "overall experience": (81.59, 19.07, 53.09)}
SECONDS = 1.16, 61.46, 121.85       # a turn, in the same table
OTHER = "stalled", "tokens/s"       # timings of a conversation that are no part of a wait
WHY_EMPTY = ("The five content dimensions are empty: replies are scripted, all three systems say "
             "the same words, so whoever judges words must give all three the same.")


# One stream, a restart, a clip for each turn.

def by_name(rows):
    """{system: its row}, in the order of SYSTEMS."""
    return {name: row for name in SYSTEMS for row in rows if row["name"] == name}


def cell(row, number):
    """A mean and its 95 % interval, or nothing."""
    if row.get(number) is None:
        return ""
    low, high = row[f"{number} 95%"]
    return f"{short(row[number])}<br><sub>{short(low)} .. {short(high)}</sub>"


def dimension_table(rows):
    """A line a number of every dimension of the paper, a column a system, the paper's beside."""
    systems, lines = by_name(rows), []
    for dimension, scores in PAPER.items():
        for at, number in enumerate(MEASURED.get(dimension, ("",))):
            lines.append({"the paper's dimension": "" if at else dimension, "measured by": number,
                          "better": BETTER.get(number, "")}
                         | {name: cell(row, number) if number else maybe(row[dimension])
                            for name, row in systems.items()}
                         | {"paper: LiveTalk / Veo3 / Sora2": "" if at else
                            " / ".join(f"{score:.0f}" for score in scores)})
    return lines


def contest(ours, theirs, number):
    """Is our number "better" or "worse", the two 95 % intervals being apart; else "open"."""
    if ours.get(number) is None or theirs.get(number) is None:
        return "not measured"
    (low, high), (least, most) = ours[f"{number} 95%"], theirs[f"{number} 95%"]
    if low <= most and least <= high or min(ours["dialogues"], theirs["dialogues"]) < 2:
        return "open"
    return "better" if (ours[number] > theirs[number]) == (BETTER[number] == HIGHER) else "worse"


def contest_words(rows):
    """Markdown, a bullet a rival: in which numbers is one stream surely better, surely worse?"""
    systems, lines = by_name(rows), []
    for name in (name for name in systems if name != OURS):
        said = {}
        for number in (number for number, way in BETTER.items() if way in (HIGHER, LOWER)):
            said.setdefault(contest(systems[OURS], systems[name], number), []).append(number)
        ahead = sum(number in said.get("better", ()) for number in COHERENCE)
        lines.append(f"- *{OURS}* against *{name}*: " + "; ".join(
            f"**{word}** in {', '.join(said[word])}" for word in
            ("better", "worse", "open", "not measured") if word in said)
            + f". It is surely the more coherent one in {ahead} of {len(COHERENCE)} numbers"
            + (paper_order(ahead) if name == CLIPS else "") + ".")
    return "\n".join(lines)


def paper_order(ahead):
    """Does our table order one stream and fresh clips as the paper's does?"""
    ours, *others = PAPER["multi-video coherence"]
    word = "is here too" if ahead == len(COHERENCE) else "is here in part" if ahead else \
        "is not here"
    return f"; the paper's order ({ours:.0f} against {' and '.join(f'{s:.0f}' for s in others)}) " \
        f"{word}"


def wait_words(facts):
    """How long replies wait for their first picture, system by system; "" without a result."""
    found = {name: facts.get("cost", {}).get(f"{name}: {WAIT}") for name in SYSTEMS}
    if not found[OURS]:
        return ""
    times = [f"{name} {short(wait)} s" + ("" if name == OURS else
                                          f" ({short(wait / found[OURS])} times as long)")
             for name, wait in found.items() if wait]
    count, planned = facts["rows"][0]["dialogues"], len(scenarios.read())
    few = "" if count == planned else f", {count} of {planned} dialogues only"
    few += f", the teacher in {facts['cost']['steps']} steps" if facts["cost"]["steps"] else ""
    ours, *others = SECONDS
    return (f"From a reply's sound to its first picture, in the median, on {facts['hardware']}"
            f"{few}: {', '.join(times)}. The paper, for a whole turn: {ours} s against "
            f"{' and '.join(f'{s} s' for s in others)}, "
            f"{' and '.join(f'{s / ours:.0f}' for s in others)} times as long.")


# A turn of a live conversation, part by part.

def parts(facts):
    """{input: {part: its line}} of the timings."""
    found = {}
    for line in facts.get("cost", {}).get("seconds", ()):
        found.setdefault(line["input"], {})[line["part"]] = line
    return found


def latency_table(facts):
    """A line a part of an answer's wait, a column an input: median and largest, in ms."""
    found = parts(facts)
    names = dict.fromkeys(part for lines in found.values() for part in lines if part not in OTHER)
    return [{"ms: median / largest": f"**{name}**" if name == "total" else name}
            | {source: f"{1000 * lines[name]['median']:.0f} / {1000 * lines[name]['largest']:.0f}"
               if name in lines else "" for source, lines in found.items()} for name in names]


def latency_words(facts):
    """Markdown, a bullet an input: answers that came, their wait, and the paper's beside it."""
    found, lines = parts(facts), []
    for row in facts.get("rows", ()):
        timed = found.get(row["input"], {})
        text = (f"- **{row['input']}**: {row['understood']} of {row['questions']} questions "
                f"understood, {row['answers']} answered")
        if "total" in timed:
            total = timed["total"]["median"]
            gap = total - SECONDS[0]
            longest = max((name for name in timed if name not in ("total", *OTHER)),
                          key=lambda name: timed[name]["median"])
            text += (f". An answer takes {total:.2f} s in the median, {abs(gap):.2f} s "
                     f"{'later' if gap > 0 else 'sooner'} than the paper's {SECONDS[0]} s; most "
                     f"of it is {longest!r} ({timed[longest]['median']:.2f} s)")
        if "stalled" in timed:
            text += f". Without a picture in time: {timed['stalled']['largest']:.2f} s in all"
        if "tokens/s" in timed:
            text += f". It writes {timed['tokens/s']['median']:.0f} tokens a second meanwhile"
        lines.append(text + ".")
    return "\n".join(lines)
