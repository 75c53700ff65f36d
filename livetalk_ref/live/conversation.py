"""Conversation: listen, think, speak and perform, each at its own pace, on one clock.

    hear -> [sounds] -> listen -> [turns] -> think, speak -> [speech] -> performer -> events

Three threads besides the caller's: one listens, for recognition takes time; one thinks and
speaks, for a thinker may compute or wait for seconds; one makes picture after picture. `hold` is a
listener without a screen: it takes the events, keeps the clock, and asks. LiveTalk section 4.
"""

import sys
import time
import traceback
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from itertools import takewhile
from queue import Empty, SimpleQueue
from threading import Thread

import torch

from livetalk_ref.errors import UserError, device_fault
from livetalk_ref.live.events import (Cut, Dialogue, Error, Meter, Onset, Picture, Said, Sound,
                                      Span, State, Turn)
from livetalk_ref.live.performer import Opening, Performer
from livetalk_ref.live.think import LISTENING
from livetalk_ref.stream import SAMPLES_PER_FRAME, sound
from livetalk_ref.world.state import SAMPLE_RATE as RATE


def told(error):
    """An exception as one sentence; what is not the user's doing is printed as well."""
    if isinstance(error, UserError):
        return str(error)
    traceback.print_exception(error, file=sys.stderr)
    first = next(iter(str(error).splitlines()), "")
    return device_fault(error) or f"Something broke: {type(error).__name__}: {first}."


class Conversation:
    """One dialogue with one avatar, whose picture is (3, H, W) in [-1, 1].

    listen (or None), think, speak: see __init__.py. show(event) is called from any thread and
    must not wait; without it, iterate over `events()`:

        talk.ask("What is a block?")        # or talk.hear(samples), from a microphone
        for event in talk.events():         # of events.py; ends behind talk.close() or an `Error`
            talk.played(sample)             # the clock: pictures come a little ahead of it
    """

    def __init__(self, avatar, picture, listen, think, speak, show=None):
        self.avatar, self.listen, self.think, self.speak = avatar, listen, think, speak
        self.sounds, self.turns, self.queue = SimpleQueue(), SimpleQueue(), SimpleQueue()
        self.idle, self.misread = avatar.known(LISTENING) or LISTENING, {""}
        self.performer = Performer(avatar, picture, self.idle, show or self.queue.put)
        self.lock, self.spans = self.performer.lock, self.performer.spans
        self.emit, self.played = self.performer.emit, self.performer.played
        self.wanted, self.answering = 0, False  # the number of the turn whose answer is wanted
        self.emit(State("listening"))
        self.known(LISTENING)                   # tells if another one takes its place
        work = [self.performer.run, self.answer_turns, *([self.hear_turns] if listen else [])]
        self.threads = [Thread(target=self.guard, args=(run,), daemon=True) for run in work]
        for thread in self.threads:
            thread.start()

    # Calls of any thread. None of them waits, but for `close`.

    def events(self):
        """Iterate over the events, to the end of the conversation."""
        return iter(self.queue.get, None)

    def hear(self, samples):
        """Take sound of the microphone, (n,) floats in [-1, 1], 16 kHz."""
        if self.listen:
            self.sounds.put(sound(samples))

    def ask(self, text):
        """Take a typed question; it interrupts an answer. UserError if it is empty."""
        now = time.monotonic()
        text = " ".join(text.encode(errors="ignore").decode().split())  # without half an emoji
        if not text:
            raise UserError("Type a question first.")
        self.enter(Turn(text, now, now))

    def interrupt(self):
        """Stop speaking, within the block on show; nothing happens where nobody speaks."""
        with self.lock:
            self.wanted += 1
            if self.answering or self.performer.busy():
                self.performer.hush(State("listening"))

    def set_prompt(self, text):
        """Perform under this prompt from the next block on; "" for the thinker's choice."""
        wish = self.known(text) if text.strip() else None
        with self.lock:
            self.performer.wish = wish

    @property
    def said(self):
        """The dialogue so far, [("user" | "avatar", text)], without what nobody has heard."""
        return [(line.role, line.text) for line in self.performer.said]

    def close(self, wait=True):
        """Stop everything, and wait for the threads to end."""
        self.performer.close()
        for queue in (self.sounds, self.turns, self.queue):
            queue.put(None)
        for thread in self.threads if wait else ():
            thread.join()

    def fail(self, error):
        """End all with one sentence."""
        self.emit(Error(told(error)))
        self.close(wait=False)

    # The threads.

    def guard(self, run):
        try:
            run()
        except BaseException as error:
            self.fail(error)

    def hear_turns(self):
        """Listen; whatever is heard interrupts. What still waits at the end is not heard."""
        sounds = iter(self.sounds.get, None)
        for heard in self.listen(takewhile(lambda _: not self.performer.closed, sounds)):
            if isinstance(heard, Onset):
                self.interrupt()
            else:
                self.enter(heard)

    def enter(self, turn):
        """Queue a turn, whose answer is now the one that is wanted."""
        with self.lock:
            self.interrupt()
            self.turns.put((self.wanted, turn))

    def answer_turns(self):
        for number, turn in iter(self.turns.get, None):
            dialogue = self.begin(number, turn)
            self.spans.append(Span("user", "end of turn", turn.voiced, turn.ended))
            try:
                if number == self.wanted:
                    self.answer(number, dialogue)
            except Exception as error:      # of a thinker or talker: this answer is lost
                self.emit(Error(told(error), fatal=False))
            self.answering = False
            self.deliver(number, State("listening"))

    def begin(self, number, turn):
        """State what the user said -> the dialogue up to it."""
        with self.lock:
            performer = self.performer      # it may have to go back first
            self.lock.wait_for(lambda: performer.closed or not performer.back)
            self.answering, now = True, performer.position
            source = "typed" if turn.samples is None else "voice"
            performer.said.append(Said("user", turn.text, source, now))
            self.emit(performer.said[-1])
            if number == self.wanted:
                self.emit(State("thinking", max(now, performer.cut)))
            return Dialogue(tuple(self.said[-20:]), turn)       # what the thinker sees

    def answer(self, number, dialogue):
        """Think, and queue the answer's sound sentence by sentence, as it comes."""
        opening = Opening(dialogue.turn.voiced)
        opening.mark("end of turn", dialogue.turn.ended)
        for sentence in self.sentences(number, dialogue, opening):
            samples, first = self.spoken(sentence), "speech" not in opening.parts
            opening.mark("speech")
            with self.lock:
                if number == self.wanted and first:
                    self.performer.open(State("speaking"), opening)
                self.deliver(number, Said("avatar", sentence.text, sentence.source), samples,
                             sentence.prompt)

    def deliver(self, number, *speech):
        """Hand speech to the performer, if this answer is still wanted."""
        with self.lock:
            if number == self.wanted:
                self.performer.say(*speech)

    def sentences(self, number, dialogue, opening):
        """The thinker's sentences; it takes its steps when the performer can spare the time."""
        count, thought = 0, 0.0
        start = step = time.monotonic()
        for sentence in self.think(dialogue):
            now = time.monotonic()
            if sentence != "":
                opening.mark("first token")
            if sentence:
                opening.mark("first sentence")
                self.spans.append(Span("think", sentence.source, start, now))
                yield replace(sentence, prompt=self.known(sentence.prompt))
                start = time.monotonic()
            else:
                if sentence is None:
                    count, thought = count + 1, thought + now - step
                    self.performer.tokens_per_s = count / max(thought, 1e-6)
                self.spans.append(Span("think", "reads" if sentence == "" else "step", step, now))
                self.performer.spare()
            if number != self.wanted or self.performer.closed:
                return
            step = time.monotonic()

    def known(self, prompt):
        """The nearest prompt that the avatar can read; that it is another one is told once."""
        known = self.avatar.known(prompt) or self.idle
        if known != prompt and prompt not in self.misread:
            self.misread.add(prompt)
            self.emit(Error(f"The avatar does not know '{prompt}' and goes on with '{known}', the "
                            f"nearest; what it knows is listed under the prompt.", fatal=False))
        return known

    def spoken(self, sentence):
        """The talker's sound of a sentence (n,): whole, for silence within words would be heard."""
        start = time.monotonic()
        chunks = [torch.as_tensor(chunk) for chunk in self.speak(sentence)]
        self.spans.append(Span("speak", sentence.text, start, time.monotonic()))
        return sound(torch.cat([torch.zeros(0), *chunks]))


@dataclass
class Played:
    """All that was played of a conversation, on its own clock."""
    pictures: dict = field(default_factory=dict)    # number: (3, H, W) uint8
    sound: dict = field(default_factory=dict)       # first sample: (n,)
    lines: list = field(default_factory=list)       # `Said`
    states: list = field(default_factory=list)
    meters: list = field(default_factory=list)
    errors: list = field(default_factory=list)
    position: float = 0.0                           # the clock, in samples
    stalled: float = 0.0                            # seconds without a picture in time

    def samples(self):
        """The whole sound (N,), as far as there are pictures."""
        return torch.cat([torch.zeros(0), *self.sound.values()])[:self.end()]

    def frames(self):
        """All pictures (T, 3, H, W), uint8."""
        return torch.stack([*self.pictures.values()])

    def end(self):
        """The first sample without a picture."""
        return len(self.pictures) * SAMPLES_PER_FRAME

    def add(self, event):
        """Keep one event; a `Cut` takes back."""
        if isinstance(event, Picture):
            self.pictures[event.number] = event.pixels
        elif isinstance(event, Sound):
            self.sound[event.first_sample] = event.samples
        elif isinstance(event, Cut):
            self.cut(event.first_sample)
        else:
            kinds = {Said: self.lines, State: self.states, Meter: self.meters, Error: self.errors}
            kinds[type(event)].append(event)

    def cut(self, sample):
        self.pictures = {n: p for n, p in self.pictures.items() if n * SAMPLES_PER_FRAME < sample}
        self.sound = {at: s[:sample - at] for at, s in self.sound.items() if at < sample}
        for kept in (self.lines, self.states):
            kept[:] = [event for event in kept if event.first_sample < sample]


def hold(talk, turns, realtime=False, idle=1.0):
    """Hold a dialogue to its end -> `Played`, and close it. UserError for a fatal `Error`.

    turns: what the user says, one after the other, each `idle` seconds of the clock after the
    avatar has come to listen: text, or a function of the conversation that does what it likes.
    The clock runs as fast as pictures come; with `realtime` it is that of the wall, and stands
    still while nothing is there to be played, as a browser's does.
    """
    played, waiting, last = Played(), list(turns), time.monotonic()
    free = None         # the sample at which the user may speak; None while the avatar answers
    with closing(talk):
        while free is None or waiting or played.position < free:
            with suppress(Empty):
                event = talk.queue.get(timeout=0.02)
                if event is None:
                    break
                played.add(event)
                if isinstance(event, Error) and event.fatal:
                    raise UserError(event.sentence)
                if isinstance(event, State):
                    listens = event.name == "listening"
                    free = event.first_sample + int(idle * RATE) if listens else None
            now, end = time.monotonic(), played.end()
            if realtime:            # no further than there are pictures
                wish = played.position + (now - last) * RATE
                played.stalled += max(0, wish - end) / RATE if end else 0
                played.position = max(played.position, min(wish, end))
            else:
                played.position = end
            last = now
            talk.played(int(played.position))
            if free is not None and waiting and played.position >= free:
                free = None
                turn = waiting.pop(0)
                turn(talk) if callable(turn) else talk.ask(turn)
    return played
