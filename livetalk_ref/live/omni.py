"""The paper's thinker: an audio language model of the Qwen2.5-Omni class, through transformers.

It hears the question itself, so nothing need be recognised, and writes the answer token by
token; the talker speaks it. Its weights (7 GB and more) come from a folder of yours:

    think = load_omni("qwen2.5-omni-3b")
"""

from pathlib import Path
from threading import Thread

import torch

from livetalk_ref.errors import UserError
from livetalk_ref.live.think import LINES, joined, performed
from livetalk_ref.pipeline import Channel

SYSTEM = "You are a friendly talking avatar. Answer in one to three short spoken sentences."
TOKENS, RATE = 120, 16_000
SOURCE = "omni model"
HEARD = "(spoken)"          # stands for a spoken question in the dialogue afterwards


def load_omni(folder, device="cpu", dtype=torch.float32):
    """An `Omni` thinker of a folder. UserError where its files or transformers are missing.

    Nothing is downloaded, and weights are safetensors only: a pickle runs code when it is opened.
    """
    if not (Path(folder) / "config.json").is_file():
        raise UserError(f"{folder} holds no config.json: give the folder of a Qwen2.5-Omni model.")
    try:
        import transformers as t
    except ImportError:
        raise UserError("An omni model needs the package transformers.") from None
    try:
        model = t.Qwen2_5OmniThinkerForConditionalGeneration.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, local_files_only=True)
        tokenizer = t.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        features = t.WhisperFeatureExtractor.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{folder} does not hold a Qwen2.5-Omni model: "
                        f"{str(error).splitlines()[0]}") from error
    return Omni(model.to(device).eval(), tokenizer, features)


class Steps(Channel):
    """What `generate` streams its tokens into: it waits until each has been taken."""

    def __init__(self):
        super().__init__(1)

    def put(self, tokens):
        super().put(tokens.flatten().tolist())

    def end(self):
        self.close()


class Omni:
    """A `think` function around a thinker, its tokenizer and its feature extractor."""

    def __init__(self, model, tokenizer, features, most=TOKENS):
        self.model, self.tokenizer, self.features, self.most = model, tokenizer, features, most

    def __call__(self, dialogue):
        yield from performed(self.texts(dialogue), SOURCE)

    def prompt(self, dialogue, sounds):
        """The dialogue in the model's chat form; a spoken question is so many tokens of sound."""
        c = self.model.config
        begin, mark, end = self.tokenizer.convert_ids_to_tokens(
            [c.audio_start_token_id, c.audio_token_id, c.audio_end_token_id])
        roles, lines = {"user": "user", "avatar": "assistant"}, [("system", SYSTEM)]
        *before, (_, last) = joined(dialogue.said)[-2 * LINES - 1:]
        lines += [(roles[role], plain(text) or HEARD) for role, text in before]
        lines.append(("user", begin + mark * sounds + end if sounds else plain(last)))
        turns = [f"<|im_start|>{role}\n{text}<|im_end|>\n" for role, text in lines]
        return "".join(turns) + "<|im_start|>assistant\n"

    def inputs(self, dialogue):
        """What the model takes: tokens, and the mel features of a spoken question."""
        device, samples, heard, sounds = self.model.device, dialogue.turn.samples, {}, 0
        if samples is not None:
            mels = self.features(samples.numpy(), sampling_rate=RATE, return_tensors="pt",
                                 return_attention_mask=True, padding="max_length")
            heard = {"input_features": mels.input_features.to(device, self.model.dtype),
                     "feature_attention_mask": mels.attention_mask.to(device)}
            frames = mels.attention_mask.sum(-1)
            sounds = int(((frames - 1) // 2 + 1 - 2) // 2 + 1)      # two convolutions, a pooling
        tokens = self.tokenizer(self.prompt(dialogue, sounds), return_tensors="pt").to(device)
        return {"input_ids": tokens.input_ids, "attention_mask": tokens.attention_mask, **heard}

    def texts(self, dialogue):
        """The growing answer; "" for the prompt. The model computes one token ahead at most."""
        inputs, steps = self.inputs(dialogue), Steps()
        thread = Thread(target=self.generate, args=(inputs, steps), daemon=True)
        thread.start()
        made = []
        try:
            for number, tokens in enumerate(steps):
                made += tokens if number else []            # the first ones are the prompt
                yield self.tokenizer.decode(made, skip_special_tokens=True)
        finally:
            steps.close()
            thread.join()

    @torch.no_grad()
    def generate(self, inputs, steps):
        try:
            self.model.generate(**inputs, max_new_tokens=self.most, do_sample=False,
                                streamer=steps)
            steps.close()
        except BaseException as error:
            steps.close(error)          # a closed channel ends it, when nobody wants more


def plain(text):
    """What users write cannot leave their turn."""
    return text.replace("<|", "< |")
