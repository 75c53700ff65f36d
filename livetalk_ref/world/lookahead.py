"""How far must the audio rows look ahead for the mouth to be known? Measured, not guessed.

A ridge regression and a small MLP read the truth (visemes.py) from the rows with 0 to 187.5 ms of
look-ahead, on held-out sentences. AHEAD of audio.py is the smallest that gets nearly all.
`python -m livetalk_ref.world.lookahead` writes data/results/audio_lookahead.json.
"""

import time

import torch
import torch.nn.functional as F

from livetalk_ref.files import write_result
from livetalk_ref.world import audio
from livetalk_ref.world.speech import VOICES, say, sentences, voices
from livetalk_ref.world.state import FPS
from livetalk_ref.world.visemes import visemes

AHEADS = (0, 1, 2, 3)       # video frames
SEEDS = (0, 1)
MOUTH = ("open", "width", "round")


def pairs(split, count, ahead, generator):
    """Rows with `ahead` frames of look-ahead and the mouth's truth, over random sentences."""
    features, lines, names = audio.MelRows(ahead), sentences(split), voices("train")
    names = [name for name in names if VOICES[name][0] == "espeak"]     # the others are slow
    rows, truth = [], []
    for _ in range(count):
        line, name, rate, pitch = torch.rand(4, generator=generator).tolist()
        spoken = say(lines[int(line * len(lines))], names[int(name * len(names))],
                     0.85 + 0.3 * rate, 0.85 + 0.3 * pitch)
        rows.append(F.pad(features.rows(spoken.samples), (0, 1), value=1.0))        # (T, A)
        truth.append(visemes(spoken.phones, len(rows[-1])))                         # (T, 3)
    return torch.cat(rows), torch.cat(truth)


def ridge(x, y, strength=10.0):
    """Linear map (A, 3) from rows to mouth; the rows' constant channel is the offset."""
    return torch.linalg.solve(x.T @ x + strength * torch.eye(x.shape[1]), x.T @ y)


def mlp(x, y, generator, steps=600, width=256):
    torch.manual_seed(int(torch.randint(1 << 30, (), generator=generator)))
    net = torch.nn.Sequential(torch.nn.Linear(x.shape[1], width), torch.nn.SiLU(),
                              torch.nn.Linear(width, width), torch.nn.SiLU(),
                              torch.nn.Linear(width, 3))
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        pick = torch.randint(len(x), (1024,), generator=generator)
        loss = (net(x[pick]) - y[pick]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return net.eval()


def r2(prediction, truth):
    """Explained share of variance for each of the three mouth numbers."""
    error = (prediction - truth).square().mean(0) / truth.var(0, unbiased=False)
    return dict(zip(MOUTH, (1 - error).tolist()))


def measure(seed, sizes=(1000, 150)):
    """One line for each look-ahead and reader. Shorter look-aheads are columns of the longest."""
    generator = torch.Generator().manual_seed(seed)
    (x, y), (x_test, y_test) = (pairs(split, count, max(AHEADS), generator)
                                for split, count in zip(("train", "held_out"), sizes))
    for ahead in AHEADS:
        columns = audio.STEPS * audio.MELS * (audio.BEHIND + ahead)
        keep = [*range(columns), x.shape[1] - 1]
        net = mlp(x[:, keep], y, generator)
        with torch.no_grad():
            found = {"ridge": x_test[:, keep] @ ridge(x[:, keep], y), "mlp": net(x_test[:, keep])}
        for reader, prediction in found.items():
            scores = {f"r2_{k}": round(v, 3) for k, v in r2(prediction, y_test).items()}
            yield {"lookahead_ms": 1000 * ahead / FPS, "reader": reader, "seed": seed, **scores}


def main():
    torch.set_num_threads(1)
    start = time.process_time()
    rows = [row for seed in SEEDS for row in measure(seed)]
    rows.sort(key=lambda row: (row["reader"], row["lookahead_ms"], row["seed"]))
    cost = {"cpu_seconds": round(time.process_time() - start)}
    write_result("audio_lookahead", "python -m livetalk_ref.world.lookahead", rows, SEEDS, cost)
    for row in rows:
        print(row)


if __name__ == "__main__":
    main()
