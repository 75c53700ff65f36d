"""The bounded queue of events between a conversation and its one consumer."""

from livetalk_ref.errors import UserError
from livetalk_ref.live.events import Cut, Picture, Said, Sound, State
from livetalk_ref.pipeline import Channel

EVENTS = 400        # some 4 times what the performer makes in advance
PLACED = Sound | Picture | Said | State


class Outbox(Channel):
    """A `Channel` that never makes a producer wait: the performer's own pace bounds what is in
    it, and a consumer that keeps its clock going but takes nothing is told so."""

    def __init__(self, size=EVENTS):
        super().__init__(size)

    def put(self, event):
        """Append an event; nothing at all once closed. UserError where the queue is full."""
        with self.changed:
            if self.closed:
                return
            if len(self.items) >= self.size:
                raise UserError(f"{self.size} events wait and nobody takes them; read "
                                f"events() while you tell the clock.")
            self.items.append(event)
            self.changed.notify_all()

    def cut(self, sample):
        """Take back what nobody has taken yet from a sample on, and say so."""
        with self.changed:
            kept = [e for e in self.items
                    if not isinstance(e, PLACED) or e.first_sample < sample]
            self.items.clear()
            self.items.extend(kept)
        self.put(Cut(sample))

    def fail(self, *events):
        """The last events: what went wrong. Room is made for them."""
        with self.changed:
            while len(self.items) > self.size - len(events):
                self.items.popleft()
        for event in events:
            self.put(event)
        self.close()
