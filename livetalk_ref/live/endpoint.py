"""A thinker behind any OpenAI-compatible chat endpoint, by its URL: POST URL/chat/completions.

    think = Endpoint("http://localhost:8000/v1", "qwen3")       # vLLM, llama.cpp, Ollama ..

The answer is streamed as server-sent events. Words leave this machine only to that address. The
key, if one is needed, is read from $LIVETALK_API_KEY.
"""

import http.client
import json
import os
import urllib.error
import urllib.request

from livetalk_ref.errors import UserError
from livetalk_ref.live.events import Sentence
from livetalk_ref.live.mood import perform
from livetalk_ref.live.think import LINES, NOTICE, UNHEARD, joined, performed

SYSTEM = "You are a friendly talking avatar. Answer in one to three short spoken sentences."
TIMEOUT, TOKENS, LINE, LETTERS = 30, 200, 100_000, 2_000    # seconds; bounds of an answer


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
