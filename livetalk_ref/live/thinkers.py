"""Thinkers by name: the embedded one, any chat endpoint, and the paper's audio language model.

    think = Endpoint("http://localhost:8000/v1", "qwen3")       # vLLM, llama.cpp, Ollama ..
    think = load_omni("qwen2.5-omni-3b")                        # a folder of yours

An endpoint is OpenAI-compatible: POST URL/chat/completions, streamed as server-sent events. Words
leave this machine only to that address; a key, if one is needed, is read from $LIVETALK_API_KEY.
"""

import http.client
import json
import os
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from threading import Thread

import torch

from livetalk_ref.errors import UserError
from livetalk_ref.live import language
from livetalk_ref.live.events import Sentence
from livetalk_ref.live.think import LINES, NOTICE, UNHEARD, Thinker, joined, perform, performed
from livetalk_ref.pipeline import Channel

THINKERS = ("embedded", "retrieval")        # or an endpoint's address, or omni:FOLDER
SYSTEM = "You are a friendly talking avatar. Answer in one to three short spoken sentences."
TIMEOUT, TOKENS, LINE, LETTERS = 30, 200, 100_000, 2_000    # seconds; bounds of an answer
OMNI_TOKENS, RATE = 120, 16_000
SOURCE = "omni model"
HEARD = "(spoken)"          # stands for a spoken question in the dialogue afterwards


def load_ahead():
    """Load the language model before it is needed: half a minute, at the very first time. What
    goes wrong is said when a question needs it, for then it is loaded again."""
    with suppress(Exception):
        language.load()


def make_thinker(name="embedded", model=None):
    """A `think` function: of THINKERS, of a chat endpoint's URL (and its model's name), or
    "omni:FOLDER". UserError for another name, or where something is missing."""
    if name in THINKERS:
        if name == "retrieval" or not language.is_installed():
            return Thinker(None)
        thread = Thread(target=load_ahead, daemon=True)
        thread.start()
        return Thinker(language.load, ready=lambda: language.is_loaded() or not thread.is_alive())
    if name.startswith(("http://", "https://")):
        return Endpoint(name, model)
    if name.startswith("omni:"):
        return load_omni(name.removeprefix("omni:"))
    raise UserError(f"There is no thinker '{name}'; choose one of {', '.join(THINKERS)}, an http "
                    f"address, or omni:FOLDER.")


# A chat endpoint.

def messages(said, system):
    """A dialogue in the endpoint's form."""
    roles = {"user": "user", "avatar": "assistant"}
    return [{"role": "system", "content": system},
            *({"role": roles[role], "content": text} for role, text in joined(said)[-4 * LINES:])]


def deltas(lines):
    """The text parts of server-sent events: lines of bytes."""
    for line in lines:
        if not line.startswith(b"data:"):
            continue
        data = line.removeprefix(b"data:").strip()
        if data == b"[DONE]":
            return
        for choice in json.loads(data).get("choices", [])[:1]:
            yield (choice.get("delta") or {}).get("content") or ""


class Endpoint:
    """A `think` function. name: of the endpoint's model; its sentences' source is that name."""

    def __init__(self, url, name=None, system=SYSTEM, timeout=TIMEOUT):
        if not url.startswith(("http://", "https://")):
            raise UserError(f"{url} is no http address of a chat endpoint.")
        self.url, self.name = url.rstrip("/") + "/chat/completions", name or "default"
        self.system, self.timeout = system, timeout

    def __call__(self, dialogue):
        if not dialogue.turn.text:
            yield Sentence(UNHEARD, perform(UNHEARD, "sad"), NOTICE)
            return
        try:
            with urllib.request.urlopen(self.request(dialogue), timeout=self.timeout) as answer:
                lines = iter(lambda: answer.readline(LINE), b"")
                yield from performed(self.texts(lines), self.name)
        except (OSError, ValueError, KeyError, TypeError, AttributeError,
                http.client.HTTPException) as error:
            said = f"The chat endpoint {self.url} gave no answer: {reason(error)}."
            raise UserError(said) from error

    def request(self, dialogue):
        body = {"model": self.name, "stream": True, "max_tokens": TOKENS,
                "messages": messages(dialogue.said, self.system)}
        headers = {"Content-Type": "application/json", "Accept": "text/event-stream"}
        if os.environ.get("LIVETALK_API_KEY"):
            headers["Authorization"] = f"Bearer {os.environ['LIVETALK_API_KEY']}"
        return urllib.request.Request(self.url, json.dumps(body).encode(), headers)

    @staticmethod
    def texts(lines):
        """The growing answer, no longer than LETTERS."""
        text = ""
        for delta in deltas(lines):
            text = (text + delta)[:LETTERS]
            yield text
            if len(text) == LETTERS:
                return


def reason(error):
    """In a few words what went wrong."""
    if isinstance(error, urllib.error.HTTPError):
        return f"status {error.code} {error.reason}"
    if isinstance(error, TimeoutError):
        return "it took too long"
    return str(getattr(error, "reason", error)) or type(error).__name__


# An omni model, which hears the question itself, so that nothing need be recognised.

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


class TokenSteps(Channel):
    """What `generate` streams its tokens into: it waits until each has been taken."""

    def __init__(self):
        super().__init__(1)

    def put(self, tokens):
        super().put(tokens.flatten().tolist())

    def end(self):
        self.close()


class Omni:
    """A `think` function around a thinker, its tokenizer and its feature extractor."""

    def __init__(self, model, tokenizer, features, most=OMNI_TOKENS):
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
        inputs, steps = self.inputs(dialogue), TokenSteps()
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
