"""The paper's five content dimensions, and a road to a judge of them behind a chat endpoint.

The words of a dialogue are judged, so every system that says the same words gets the same scores:
in our benchmark the replies are scripted, and these columns stay empty. The paper names the
dimensions and asks for a score in a box; its prompts are not published, so these are ours.
"""

import re
import time

from livetalk_ref.errors import UserError
from livetalk_ref.live.endpoint import Endpoint
from livetalk_ref.live.events import Dialogue, Turn

CONTENT = {
    "semantic relevance": "Does each reply answer what was asked?",
    "information completeness": "Does it hold all that the question needs?",
    "logical consistency": "Do the replies agree with themselves and with each other?",
    "context understanding": "Do later replies use what was said in earlier turns?",
    "overall experience": "Would a person like to go on with this dialogue?",
}
SYSTEM = ("You judge a dialogue between a user and a talking avatar by one question. Think "
          "briefly, then give a whole number from 0 (not at all) to 10 (fully) as \\boxed{N}.")
BOXED = re.compile(r"\\boxed\{\s*(\d+(?:\.\d+)?)\s*\}")


def transcript(scenario):
    """A scenario's words, a line for each side and turn."""
    return "\n".join(f"User: {turn.user}\nAvatar: {' '.join(line.text for line in turn.reply)}"
                     + (" (interrupted)" if turn.cut else "") for turn in scenario.turns)


def score(url, name, scenario):
    """{dimension: 0 .. 10} by the judge at an endpoint. UserError where it gives no score."""
    judge, scores = Endpoint(url, name, SYSTEM), {}
    for dimension, question in CONTENT.items():
        now = time.monotonic()
        asked = f"{question}\n\n{transcript(scenario)}"
        said = judge(Dialogue((("user", asked),), Turn(asked, now, now)))
        found = BOXED.findall(" ".join(sentence.text for sentence in said if sentence))
        if not found or not 0 <= float(found[-1]) <= 10:
            raise UserError(f"The judge {name} gave no score for {dimension}.")
        scores[dimension] = float(found[-1])
    return scores
