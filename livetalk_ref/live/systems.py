"""Whole systems by name: which avatar performs, who listens, who thinks and who speaks.

    talk = Maker("teacher").talk(identity=7)            # retrieval and the small language model
    talk = Maker("livetalk-1.3b", device="cuda", weights="weights", image="photo.jpg").talk(1)
"""

from dataclasses import replace

import torch.nn.functional as F

from livetalk_ref.cache import BLOCK
from livetalk_ref.errors import UserError, device_fault, warn
from livetalk_ref.judge.cost import peak_memory, reset_peak_memory, wall_clock
from livetalk_ref.live import language
from livetalk_ref.live.conversation import Conversation
from livetalk_ref.live.page import Offer, drawn_faces, jpeg
from livetalk_ref.live.performer import DEADLINE, UNDO
from livetalk_ref.live.think import LISTENING, Thinker
from livetalk_ref.live.turns import make_listener
from livetalk_ref.loading import load
from livetalk_ref.media import to_bytes
from livetalk_ref.portrait import blank, load_portrait, portrait_of
from livetalk_ref.real import REAL
from livetalk_ref.real.avatar import cache_bytes, kept_frames, load_photo, require_photo
from livetalk_ref.real.standin import RANDOM
from livetalk_ref.real.vae import STRIDE
from livetalk_ref.stream import FRAMES, AvatarSession
from livetalk_ref.world import ear
from livetalk_ref.world.speech import say

STUDENTS = ("student", "student_ode")       # the best that ships comes first
PAUSE = 2_400           # samples behind a sentence
LOUD = 0.35             # the largest sample, so that voices are equally loud
HOPELESS = 10           # seconds a block of a CPU: a warm-up is not made to its end


def best_student():
    """The name of the best student that ships, or the teacher where there is none."""
    return next((name for name in STUDENTS
                 if (ear.CHECKPOINTS / f"{name}.safetensors").is_file()), "teacher")


def streaming(avatar):
    """The avatar as one that makes block after block. A teacher, never distilled for it, does so
    badly, and serves for trying things out."""
    return replace(avatar, sampler="rollout")


def held_bytes(avatar):
    """Bytes of (the weights, all caches of a long conversation while a new one is made)."""
    config, one = avatar.model.config, next(avatar.model.parameters())
    tokens = (avatar.size // STRIDE // config.patch) ** 2
    frames = (2 + UNDO) * kept_frames(avatar.policy, 100)
    weights = [p.nbytes for part in (avatar.model, avatar.codec) for p in part.parameters()]
    return sum(weights), cache_bytes(config, tokens, frames, one.dtype)


def warm_up(avatar, picture):
    """Listen until the cache, and those of blocks to take back, are as large as ever -> the seconds
    of the quicker of the last two blocks, and the pictures of the last."""
    took, session = [], AvatarSession(avatar, picture, avatar.known(LISTENING),
                                      policy=avatar.policy, undo=UNDO)
    for number in range(kept_frames(avatar.policy, 100) // BLOCK + 1 + UNDO):
        began = wall_clock(session.device)
        pictures = session.idle().pictures
        took.append(wall_clock(session.device) - began)
        if number and took[-1] > HOPELESS and session.device.type == "cpu":     # a GPU compiles
            break
    return min(took[-2:]), pictures


def rehearse(avatar, picture, strict):
    """Listen for some blocks, and make fewer steps where it must be to keep up.

    -> the avatar; what a block takes, in a sentence; what is given up, or "". UserError where there
    is too little memory, no pictures come out, or, if it is strict, nothing keeps up.
    """
    one, steps, note = next(avatar.model.parameters()), avatar.student_steps, ""
    needed = " (weights {:.3g} GiB, caches {:.3g} GiB)".format(
        *(size / 2 ** 30 for size in held_bytes(avatar)))
    reset_peak_memory(one.device)
    try:
        took, pictures = warm_up(avatar, picture)
        # Of a block's passes 2 must stay, one step and the clean one.
        while took > DEADLINE >= 2 * took / (avatar.student_steps + 1):
            avatar = replace(avatar, student_steps=avatar.student_steps // 2)
            note = (f" The avatar makes {avatar.student_steps} steps a block, for {steps} are too "
                    f"slow here: pictures are less exact, and stay in step with the sound.")
            took, pictures = warm_up(avatar, picture)
    except RuntimeError as error:
        if not (fault := device_fault(error, f"{avatar.name}{needed}")):
            raise
        raise UserError(fault) from None
    if not pictures.isfinite().all():
        raise UserError(f"{avatar.name} in {one.dtype} on {one.device} makes pictures that are no "
                        f"numbers: take a card that has bf16.")
    told = (f"{avatar.name} on {one.device}: a block of {FRAMES} pictures takes {took:.2f} s of "
            f"the {DEADLINE} s that it may")
    if took > DEADLINE:
        if strict:
            raise UserError(f"{told}, and fewer steps do not help: make clips with 'generate', or "
                            f"take a larger card or a light --decoder.")
        note += " Speech will stop again and again to wait for its pictures."
    told += f"; peak memory {peak_memory(one.device) / 1024:.1f} GiB{needed}.{note}"
    return avatar, told, note.strip()


def talker(voice="us"):
    """A `speak` function of one of the world's voices, with a short pause behind each sentence.
    UserError where its engine is missing."""
    def speak(sentence):
        samples = say(sentence.text, voice).samples
        yield F.pad(samples * (LOUD / max(samples.abs().max().item(), 1e-3)), (0, PAUSE))

    say("a", voice)                 # what is missing is said now, not in the middle of a dialogue
    return speak


class Maker:
    """Conversations of one system, loaded once; a new one ends the one before.

    model: a generator's name or a checkpoint's path; thinker: "embedded", where the language model
    may write, or "retrieval"; weights: the folder of released ones or "random"; image: the
    photograph that they animate; decoder, int8: of released weights, see `real.avatar.assemble`.
    """

    def __init__(self, model="teacher", thinker="embedded", device="cpu", weights=None,
                 image=None, decoder=None, int8=False):
        real = {"policy": "ahis", "compiled": True} if model in REAL else {}
        if image and not real:
            raise UserError(f"--image goes with --model {' or '.join(REAL)} alone; --identity "
                            f"chooses a drawn face.")
        if real and weights != RANDOM:
            require_photo(model, image)
        if image and (words := blank(load_portrait(image))):    # before the weights, which take
            warn(words)                                         # long to load
        writes = thinker == "embedded" and language.is_installed()
        self.think, self.speak = Thinker(language.load() if writes else None), talker()
        self.avatar = streaming(load(model, device, weights, decoder=decoder, int8=int8, **real))
        self.photo = load_photo(image, self.avatar.size) if image else None
        self.listen, self.latest = make_listener(), None
        self.strict, self.note = weights != RANDOM, ""      # who sees random ones can wait

    def picture(self, identity):
        """The reference: the photograph, or the drawn face of a seed."""
        return portrait_of(identity, self.avatar.size) if self.photo is None else self.photo

    def rehearse(self, identity):
        """Take the avatar that keeps up on this machine, see `rehearse` -> a sentence about it."""
        self.avatar, told, self.note = rehearse(self.avatar, self.picture(identity), self.strict)
        return told

    def offer(self, identity):
        """The faces to choose from, this one first; with a photograph it is the only one."""
        if self.photo is None:
            return drawn_faces(identity, self.avatar.words, self.note)
        return Offer({str(identity): jpeg(to_bytes(self.photo))}, self.avatar.words(), self.note)

    def talk(self, identity, show=None):
        if self.latest:
            self.latest.fail(UserError("The conversation goes on in another window."))
        self.latest = Conversation(self.avatar, self.picture(identity), self.listen, self.think,
                                   self.speak, show)
        return self.latest

    def close(self):
        """End the latest conversation and wait for it, for a program must not end in its midst."""
        if self.latest:
            self.latest.close()
