"""The judging of held-out clips: noise of their own, and a reader that learns."""

import torch
from test_clips import made

from livetalk_ref.flow import Guidance
from livetalk_ref.judge import evaluate
from livetalk_ref.nets.reader import COLUMNS, READ, Reader, embed, reader_loss, standardise
from livetalk_ref.world.identity import CATEGORICAL, CONTINUOUS, sample_identities
from livetalk_ref.world.state import S


def test_a_clips_noise_does_not_depend_on_its_batch():
    data = made()
    held_out = evaluate.HeldOut(data, [0, 1, 2], None, "held_out")

    def model(x, sigma, cond):
        return x * 0.1

    many = evaluate.generate(model, held_out, steps=2, batch=3)
    one = evaluate.generate(model, held_out, steps=2, batch=1)
    assert torch.equal(many, one)
    assert torch.equal(many[:, 0], data.latents[:, 0].float())      # the reference is kept
    other = evaluate.generate(model, held_out, steps=2, seed=1, guidance=Guidance())
    assert not torch.equal(many[:, 1:], other[:, 1:])


def test_identity_embedding_of_the_truth_separates_faces():
    faces = sample_identities(40, torch.Generator().manual_seed(0))
    scores = [standardise(faces.continuous)]
    for i, options in enumerate(CATEGORICAL.values()):
        scores.append(10 * torch.nn.functional.one_hot(faces.categorical[:, i],
                                                       len(options)).float())
    vectors = embed(torch.cat(scores, 1))
    alike = vectors @ vectors.T
    assert torch.allclose(alike.diagonal(), torch.ones(40), atol=1e-5)
    assert alike.fill_diagonal_(0).max() < 0.8


def test_reader_learns_and_its_loss_falls():
    torch.manual_seed(0)
    g = torch.Generator().manual_seed(0)
    reader, faces = Reader(), sample_identities(8, g)
    x, state = torch.randn(8, 3, 96, 96, generator=g), torch.rand(8, S, generator=g)
    optimizer = torch.optim.AdamW(reader.parameters(), 1e-3)
    losses = []
    for _ in range(12):
        loss = reader_loss(reader, x, state, faces)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]
    assert len(COLUMNS) == len(READ) and faces.continuous.shape[1] == len(CONTINUOUS)
