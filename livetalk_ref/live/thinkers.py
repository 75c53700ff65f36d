"""A thinker elsewhere: any chat endpoint that speaks OpenAI's protocol (vLLM, llama.cpp, Ollama ..)

POST URL/chat/completions, streamed as server-sent events. A spoken question that was not
recognised goes there as sound, for models that hear, as the paper's does. Words leave this
machine only to that address; a key, if one is needed, is read from $LIVETALK_API_KEY.
"""

import base64
import http.client
import io
import json
import os
import urllib.request

import soundfile

from livetalk_ref.errors import UserError
from livetalk_ref.live.think import LINES, UNHEARD, joined, notice, performed
from livetalk_ref.world.state import SAMPLE_RATE

SYSTEM = "You are a friendly talking avatar. Answer in one to three short spoken sentences."
TIMEOUT, TOKENS = 30, 200   # seconds; bound of an answer
SPOKEN = "(spoken)"         # stands for the words of a question that only its sound says


def encode_sound(samples):
    """Sound (n,) as a part of a message: a wav file in base64."""
    file = io.BytesIO()
    soundfile.write(file, samples.numpy(), SAMPLE_RATE, format="wav")
    data = base64.b64encode(file.getvalue()).decode()
    return {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}


def messages(dialogue):
    """A dialogue in the endpoint's form."""
    roles = {"system": "system", "user": "user", "avatar": "assistant"}
    made = [{"role": roles[role], "content": text.strip() or SPOKEN}
            for role, text in (("system", SYSTEM), *joined(dialogue.said)[-4 * LINES:])]
    if not dialogue.turn.text:
        made[-1]["content"] = [encode_sound(dialogue.turn.samples)]
    return made


def texts(lines):
    """The growing answer of server-sent events, lines of bytes."""
    text = ""
    for line in lines:
        if line.startswith(b"data:") and b"[DONE]" not in line:
            for choice in json.loads(line.removeprefix(b"data:"))["choices"][:1]:
                text += choice["delta"].get("content") or ""
                yield text


class Endpoint:
    """A `think` function. name: of the endpoint's model; its sentences' source is that name."""

    def __init__(self, url, name=None):
        self.url, self.name = url.rstrip("/") + "/chat/completions", name or "default"

    def __call__(self, dialogue):
        try:
            with urllib.request.urlopen(self.request(dialogue), timeout=TIMEOUT) as answer:
                yield from performed(texts(answer), self.name)
        except (OSError, ValueError, LookupError, TypeError, http.client.HTTPException) as error:
            if not dialogue.turn.text and getattr(error, "code", 500) < 500:
                yield notice(UNHEARD)                   # it takes no sound
                return
            raise UserError(f"The chat endpoint {self.url} gave no answer: {error}.") from error

    def request(self, dialogue):
        body = {"model": self.name, "stream": True, "max_tokens": TOKENS,
                "messages": messages(dialogue)}
        headers = {"Content-Type": "application/json", "Accept": "text/event-stream"}
        if os.environ.get("LIVETALK_API_KEY"):
            headers["Authorization"] = f"Bearer {os.environ['LIVETALK_API_KEY']}"
        return urllib.request.Request(self.url, json.dumps(body).encode(), headers)
