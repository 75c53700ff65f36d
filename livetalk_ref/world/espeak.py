"""The espeak-ng engine through ctypes: samples and the time of every phoneme.

The library (GPL-3) comes inside the wheel `espeakng-loader`, the 'speech' extra; nothing of it
is imported before the first call. It keeps its oscillator's phase in global variables, so two
calls with one text would differ in their last bits: every call therefore loads a fresh copy of
the library (0.5 ms) and drops it. Same input, same bits; one call at a time.
"""

import _ctypes
import ctypes
import math
import threading

import torch

from livetalk_ref.errors import UserError

SYNCHRONOUS, PHONEME_EVENTS, IPA, UTF8 = 2, 1, 2, 1    # names of speak_lib.h
RATE, PITCH = 1, 3                                     # espeak_PARAMETER
LIST_END, PHONEME = 0, 7                               # espeak_EVENT_TYPE
WORDS_A_MINUTE = 165                                   # what we call rate 1
LOCK = threading.Lock()


class Identifier(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class Event(ctypes.Structure):
    """espeak_EVENT of speak_lib.h."""
    _fields_ = [("type", ctypes.c_int), ("unique_identifier", ctypes.c_uint),
                ("text_position", ctypes.c_int), ("length", ctypes.c_int),
                ("audio_position", ctypes.c_int), ("sample", ctypes.c_int),
                ("user_data", ctypes.c_void_p), ("id", Identifier)]


Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int,
                            ctypes.POINTER(Event))


def synthesise(text, voice, rate, pitch):
    """(samples (N,) float32, sample rate, [(IPA symbol, start in samples)]) of one text.

    voice is an espeak-ng voice name such as "en-us+f2". A symbol "" is a pause.
    """
    with LOCK:
        library = open_library()
        try:
            sample_rate = start(library, voice, rate, pitch)
            pcm, starts = run(library, text)
        finally:
            library.espeak_Terminate()
            close_library(library)
    samples = torch.frombuffer(pcm, dtype=torch.int16).float() / 32768             # (N,)
    return samples, sample_rate, starts


def open_library():
    try:
        import espeakng_loader
    except ImportError:
        raise UserError("Drawn voices need the GPL speech engine espeak-ng: install it with "
                        "`pip install -r requirements-speech.txt`, or use a spoken clip of "
                        "data/speech (load_spoken) or a sound file of your own.") from None
    return ctypes.CDLL(espeakng_loader.get_library_path())


def close_library(library):
    close = getattr(_ctypes, "dlclose", None) or _ctypes.FreeLibrary    # the latter on Windows
    close(library._handle)


def start(library, voice, rate, pitch):
    """Set the voice; returns the sample rate. pitch 1 is the voice's own, 2 an octave higher."""
    import espeakng_loader
    data = espeakng_loader.get_data_path().encode()
    sample_rate = library.espeak_Initialize(SYNCHRONOUS, 0, data, PHONEME_EVENTS | IPA)
    library.espeak_ng_SetRandSeed(ctypes.c_long(1))     # else it takes the time of day
    if library.espeak_SetVoiceByName(voice.encode()) != 0:
        raise UserError(f"espeak-ng knows no voice named '{voice}'.")
    library.espeak_SetParameter(RATE, round(WORDS_A_MINUTE * rate), 0)
    library.espeak_SetParameter(PITCH, round(50 + 50 * math.log2(pitch)), 0)
    return sample_rate


def run(library, text):
    pcm, starts = bytearray(), []

    @Callback
    def collect(wave, count, events):
        if wave and count > 0:
            pcm.extend(ctypes.string_at(wave, 2 * count))
        i = 0
        while events[i].type != LIST_END:
            if events[i].type == PHONEME:
                starts.append((events[i].id.string.decode("utf-8", "ignore"), events[i].sample))
            i += 1
        return 0

    library.espeak_SetSynthCallback(collect)
    raw = text.encode() + b"\0"
    library.espeak_Synth(raw, ctypes.c_size_t(len(raw)), 0, 1, 0, UTF8, None, None)
    return pcm, starts
