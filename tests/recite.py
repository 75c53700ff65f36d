"""Speech without an engine: every sentence is said by one of the clips shipped in data/speech.

    monkeypatch.setattr(clips, "say", recite)               # in a test
    python tests/recite.py live --port 0                    # the command line with it
"""

import zlib

from livetalk_ref.world.speech import VOICES, list_spoken, load_spoken


def recite(text, voice="us", rate=1.0, pitch=1.0):
    """A `say` that picks a shipped clip of the voice's split by the text."""
    split = VOICES[voice][2]
    clips = [i for i, clip in enumerate(list_spoken()) if clip["split"] == split]
    return load_spoken(clips[zlib.crc32(text.encode()) % len(clips)])


if __name__ == "__main__":
    from livetalk_ref.__main__ import main
    from livetalk_ref.live import systems

    systems.say = recite
    main()
