"""Any legal sequence of calls: frames follow from samples, and nothing is lost or repeated."""

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_stream import ANGRY, HAPPY, pictures, session
from tiny import dice

from livetalk_ref.stream import frames_of

ANY = {"deadline": None, "derandomize": True, "database": None,
       "suppress_health_check": list(HealthCheck)}
UNDO = 4

pushes = st.tuples(st.just("push"), st.integers(0, 30_000) | st.sampled_from(
    [1, 999, 1000, 8_999, 9_000, 12_000]))
prompts = st.tuples(st.just("prompt"), st.tuples(st.sampled_from([HAPPY, ANGRY]), st.booleans()))
interruptions = st.tuples(st.just("interrupt"), st.floats(0, 1))
calls = st.lists(pushes | pushes | prompts | interruptions
                 | st.sampled_from([("idle", None), ("flush", None)]), min_size=3, max_size=12)


class Told:
    """What a stream has been told and still counts: sound, and the prompt of every block."""

    def __init__(self):
        self.sound, self.blocks = torch.zeros(0), []
        self.order, self.spoken, self.pushes, self.furthest = (0, HAPPY, False), 0, 0, 0

    def push(self, count):
        """The samples to push: every time other ones."""
        self.pushes += 1
        samples = 0.3 * torch.rand(count, generator=dice(self.pushes))
        self.hear(samples)
        self.spoken = len(self.sound)
        return samples

    def hear(self, samples):
        self.sound = torch.cat([self.sound, samples])
        complete = max(0, (len(self.sound) // 1000 + 3) // 12)
        self.blocks += [self.order] * (complete - len(self.blocks))
        self.furthest = max(self.furthest, complete)

    def idle(self):
        self.hear(torch.zeros(self.border(len(self.blocks) + 1) - len(self.sound)))

    def flush(self):
        while self.border(len(self.blocks)) < self.spoken:
            self.idle()

    def prompt(self, prompt, recache):
        self.order = self.order[0] + 1, prompt, recache

    def interrupt(self, shown):
        count = next(b for b in range(len(self.blocks) + 1) if frames_of(b) >= shown)
        self.blocks, self.sound = self.blocks[:count], self.sound[:self.border(count)]
        self.spoken = min(self.spoken, len(self.sound))
        return frames_of(count)

    @staticmethod
    def border(blocks):
        return 1000 * (12 * blocks - 3) if blocks else 0

    def pictures(self):
        """Those of a fresh session that is told just this, a block at a time."""
        live, made, last = session(), [], 0
        for b, (number, prompt, recache) in enumerate(self.blocks):
            if number != last:
                live.change_prompt(prompt, recache)
                last = number
            made.append(live.push(self.sound[self.border(b):self.border(b + 1)]))
        return pictures([*made, live.push([])])


@settings(max_examples=60, **ANY)
@given(calls)
def test_any_calls_give_the_frames_of_what_was_told(calls):
    live, told = session(undo=UNDO), Told()
    shown = live.push([]).pictures
    for name, what in calls:
        if name == "push":
            made = live.push(told.push(what))
        elif name == "prompt":
            made = live.change_prompt(*what)
            told.prompt(*what)
        elif name == "interrupt":
            least = frames_of(max(0, told.furthest - UNDO))
            least = min(least, len(shown))
            number = least + round(what * (len(shown) - least))
            stay, made = live.interrupt(number), None
            assert stay == told.interrupt(number) and number <= stay < number + 12
            shown = shown[:stay]
        else:
            made = getattr(live, name)()
            getattr(told, name)()
        if made is not None:
            assert made.first == len(shown)
            shown = torch.cat([shown, made.pictures])
        assert live.state.samples == len(told.sound)
        assert len(shown) == frames_of(len(told.blocks))
        assert len(live.borders) <= UNDO + 1 and len(live.memories) <= UNDO + 2
    assert torch.equal(shown, told.pictures())
