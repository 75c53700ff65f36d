"""Conversation: listen, think, speak and perform, each at its own pace.

    hear -> [sounds] -> listen -> [turns] -> think, speak -> performer -> [events] -> events

Three threads: one listens, for recognition takes time; one thinks and speaks, for a thinker may
compute or wait for seconds; the performer's makes picture after picture meanwhile. Besides them
there are the consumer's own, which takes the events, and whichever calls `ask` or `hear`. An
`Onset` or a new question interrupts the answer under way. The thinker is a generator: between
two of its steps the performer goes first. See __init__.py for how it is used.
"""

import time
from collections import deque
from contextlib import suppress
from dataclasses import replace
from threading import Event, Lock, Thread

import torch

from livetalk_ref.errors import UserError
from livetalk_ref.live.events import (
    EMOTIONS,
    Dialogue,
    Error,
    Onset,
    Outbox,
    Said,
    Span,
    State,
    Turn,
)
from livetalk_ref.live.performer import Performer
from livetalk_ref.live.think import LISTENING, with_emotion
from livetalk_ref.pipeline import Channel
from livetalk_ref.portrait import portrait_of
from livetalk_ref.stream import sound
from livetalk_ref.world.prompts import keep_known_words

WAITING = 4             # questions that may wait
MICROPHONE = 500        # chunks of sound that may wait; a late listener loses the newest
LETTERS = 1_000         # of a question
MEMORY = 20             # lines of the dialogue that the thinker sees
SPANS = 4_000           # stretches of work that are kept for a chart
TOO_MANY = "Too many questions wait for their answer; let the avatar finish first."


def told(error):
    """An exception as one sentence."""
    return str(error) if isinstance(error, UserError) else \
        f"Something broke: {type(error).__name__}: {error}."


class Conversation:
    """One dialogue with one avatar. picture (3, H, W) in [-1, 1]; prompt: how it listens.

    listen may be None: then sound is not heard, and text is all there is.
    """

    def __init__(self, avatar, picture, listen, think, speak, prompt=LISTENING, generator=None):
        avatar.text([prompt])                       # says now if it does not know a word
        self.avatar, self.picture, self.generator = avatar, picture, generator
        self.listen, self.think, self.speak = listen, think, speak
        self.idle, self.emotion = prompt, None
        self.outbox, self.spans = Outbox(), deque(maxlen=SPANS)
        self.sounds, self.turns = Channel(MICROPHONE), Channel(WAITING)
        self.lock, self.stop = Lock(), Event()      # stop: the answer under way is not wanted
        self.said, self.answering, self.performer = [], False, None
        self.broken_off = 0                         # the sample at which the last answer was
        self.outbox.put(State("loading"))
        self.threads = [Thread(target=self.guard, args=(run,), daemon=True)
                        for run in (self.answer_turns, self.hear_turns)]
        for thread in self.threads:
            thread.start()

    # Calls of any thread.

    def events(self):
        """Iterate over the events, to the end of the conversation."""
        return self.outbox

    def played(self, sample):
        """The consumer's clock: this sample has been heard."""
        if self.performer:
            self.performer.played(sample)

    def hear(self, samples):
        """Sound of the microphone, (n,) floats in [-1, 1], 16 kHz."""
        samples = sound(samples)
        if self.listen and len(self.sounds.items) < MICROPHONE and not self.sounds.closed:
            self.sounds.put(samples)

    def ask(self, text):
        """A typed question; it interrupts an answer. UserError if it is empty or too long."""
        text, now = " ".join(text.split()), time.monotonic()
        if not text or len(text) > LETTERS:
            raise UserError(f"Type a question of 1 to {LETTERS} letters.")
        self.interrupt()
        self.enter(Turn(text, now, now))

    def interrupt(self):
        """Stop speaking, within the block on show; nothing happens where nobody speaks."""
        with self.lock:
            if not (self.performer and (self.answering or self.performer.busy())):
                return
            self.stop.set()
            cut, unheard = self.performer.hush()
            count = sum(isinstance(event, Said) for event in unheard)
            self.said = self.said[:len(self.said) - count]      # the latest lines are the answer's
            self.broken_off = cut
            self.outbox.put(State("listening", cut))

    def set_emotion(self, emotion):
        """One of EMOTIONS in place of the thinker's choice, or None for it."""
        if emotion is not None and emotion not in EMOTIONS:
            raise UserError(f"There is no emotion '{emotion}'; choose one of "
                            f"{', '.join(EMOTIONS)}.")
        self.emotion = emotion
        self.restyle()

    def set_identity(self, seed):
        """Another drawn face, from the block on show on; the dialogue goes on, its cache not."""
        self.interrupt()
        self.enter(portrait_of(seed))

    def close(self):
        """Stop everything. Whoever iterates over the events comes to their end."""
        self.stop.set()
        for channel in (self.sounds, self.turns, self.outbox):
            channel.close()
        for thread in self.threads:
            thread.join()
        if self.performer:
            self.performer.close()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    # Inside.

    def enter(self, item):
        """Queue a turn, or a picture to go on with."""
        if len(self.turns.items) >= WAITING:
            raise UserError(TOO_MANY)
        self.turns.put(item)

    def restyle(self):
        emotion = self.emotion
        if self.performer:
            self.performer.restyled(lambda prompt: with_emotion(prompt, emotion))

    def guard(self, run):
        try:
            run()
        except BaseException as error:
            self.failed(error)

    def failed(self, error):
        """A thread's exception: the consumer reads one sentence, and all comes to an end."""
        if self.outbox.closed:
            return
        self.stop.set()
        self.outbox.put(State("error"))
        self.outbox.put(Error(told(error)))
        for channel in (self.outbox, self.sounds, self.turns):
            channel.close()

    def hear_turns(self):
        """The listener's thread."""
        for heard in self.listen(self.sounds) if self.listen else ():
            self.interrupt()
            if isinstance(heard, Onset):
                continue
            if len(self.turns.items) < WAITING:
                self.turns.put(heard)
            else:
                self.outbox.put(Error(TOO_MANY, fatal=False))

    def answer_turns(self):
        """The thread that thinks and speaks."""
        self.perform(self.picture, 0)
        for item in self.turns:
            if isinstance(item, Turn):
                self.answer(item)
            else:
                cut, _ = self.performer.hush()
                self.performer.close()
                self.outbox.cut(cut)
                self.perform(item, cut)

    def perform(self, picture, offset):
        """Begin a stream of a picture at a sample of the media clock."""
        self.performer = Performer(self.avatar, picture, self.idle, self.outbox, self.spans,
                                   self.failed, offset, self.generator)
        self.restyle()
        self.outbox.put(State("listening", offset))

    def answer(self, turn):
        """One turn: state it, think, speak sentence by sentence, listen again."""
        with self.lock:
            self.said = [*self.said[1 - MEMORY:], ("user", turn.text)]
            dialogue = Dialogue(tuple(self.said), turn)
            self.answering = True
            if not self.turns.items:            # else a newer question has interrupted already
                self.stop.clear()
        self.spans.append(Span("user", "end of turn", turn.voiced, turn.ended))
        source = "typed" if turn.samples is None else "voice"
        self.outbox.put(Said("user", turn.text, source, self.now()))
        self.outbox.put(State("thinking", max(self.now(), self.broken_off)))
        try:
            self.say(dialogue, {"end of turn": turn.ended - turn.voiced})
        except Exception as error:              # of a thinker or talker: this answer is lost
            if self.outbox.closed:
                return
            self.outbox.put(Error(told(error), fatal=False))
            self.performer.after(State("listening"))
        finally:
            self.answering = False

    def say(self, dialogue, parts):
        """Queue the answer as it comes, and listening behind it."""
        opened = False
        for sentence in self.steps(dialogue, parts):
            event = Said("avatar", sentence.text, sentence.source, 0, sentence.prompt)
            for chunk in self.chunks(sentence, parts):
                with self.lock:
                    if self.stop.is_set():
                        return
                    if not opened:
                        self.performer.open(State("speaking"), dialogue.turn.voiced, parts)
                        opened = True
                    if event:
                        self.said.append(("avatar", event.text))
                    self.performer.say(chunk, sentence.prompt, event, more=True)
                event = None
            self.end_sentence()
        with self.lock:
            if not self.stop.is_set():
                self.performer.after(State("listening"))

    def end_sentence(self):
        """Nothing more of it will come."""
        with self.lock:
            if not self.stop.is_set():
                self.performer.say(torch.zeros(0), self.idle)

    def now(self):
        return self.performer.offset + self.performer.position

    def steps(self, dialogue, parts):
        """The thinker's sentences; it takes its steps when the performer can spare the time."""
        made, count, thought = iter(self.think(dialogue)), 0, 0.0
        began = start = time.monotonic()
        while not self.stop.is_set():
            step = time.monotonic()
            sentence = next(made, False)
            now = time.monotonic()
            if sentence is False:
                return
            if sentence != "":
                parts.setdefault("first token", now - began)
            if not sentence:
                if sentence is None:
                    count, thought = count + 1, thought + now - step
                    self.performer.tokens_per_s = count / max(thought, 1e-6)
                self.spans.append(Span("think", "reads" if sentence == "" else "step", step, now))
                self.performer.spare()
                continue
            parts.setdefault("first sentence", now - began - parts["first token"])
            self.spans.append(Span("think", sentence.source, start, now))
            yield replace(sentence, prompt=self.known(sentence.prompt))
            start = time.monotonic()

    def known(self, prompt):
        """A prompt that the avatar can read, for a thinker may write anything."""
        for choice in (prompt, keep_known_words(prompt)[0], self.idle):
            with suppress(UserError):
                self.avatar.text([choice])
                break
        if choice != prompt:
            self.outbox.put(Error(f"The avatar does not know all words of '{prompt}' and goes on "
                                  f"with '{choice}'; those that it knows are listed under the "
                                  f"moods.", fatal=False))
        return choice

    def chunks(self, sentence, parts):
        """The talker's sound, chunk by chunk."""
        if sentence.samples is not None:
            yield sound(sentence.samples)
            return
        start = time.monotonic()
        for chunk in self.speak(sentence):
            now = time.monotonic()
            parts.setdefault("speech", now - start)
            self.spans.append(Span("speak", sentence.text, start, now))
            yield sound(torch.as_tensor(chunk))
            start = time.monotonic()
