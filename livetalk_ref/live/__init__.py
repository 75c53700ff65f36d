"""The live avatar: you speak or type, it thinks, it answers with voice and face.

Three generator functions make a system, and anybody can write others:

    listen(sounds)   sound chunks (n,) float32, 16 kHz  ->  yields `Onset`s and `Turn`s
    think(dialogue)  a `Dialogue` whose last turn is the user's  ->  yields `Sentence`s, None
                     after a token of its own, and "" after other work: at both the performer
                     may go first
    speak(sentence)  a `Sentence`  ->  yields sound chunks (n,) float32, 16 kHz

`Conversation` joins them with the performer, one `AvatarSession` for a whole dialogue:

    talk = Conversation(avatar, picture, listen, think, speak)
    talk.ask("What is a block?")        # or talk.hear(samples), from a microphone, 16 kHz float32
    for event in talk.events():         # of events.py; ends behind talk.close() or an `Error`
        show(event)
        talk.played(sample)             # the consumer's clock: pictures come a little ahead of
                                        # it and no further, so who never tells gets no more

Sample 0 is the first that the avatar's sound has, silence counts, and picture number i belongs to
the samples 1000 i .. 1000 i + 999: one clock for both. Events come in this order, all through
one bounded queue: each `Sound` in front of the pictures it goes with. A `Cut` says that all sound
and pictures from a sample on are void, even those already scheduled, and come anew: an
interruption, or an answer that takes the place of idle pictures made in advance.

Other calls, from any thread: `interrupt()`, `set_emotion(one of EMOTIONS, or None)`, where None
lets the thinker choose, `set_identity(seed)`, and `close()`, which frees everything. What
interrupts waits for the block under way, and `close()` for all threads; the others return at
once. UserError for unknown emotions, and for too many waiting turns. LiveTalk section 4.
"""
