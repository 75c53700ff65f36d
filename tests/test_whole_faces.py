"""nets/whole_faces.py: spoiled truth is labelled as a person would, and runs are counted right."""

import torch

from livetalk_ref.nets import whole_faces as w
from livetalk_ref.nets.reader import ReaderConfig


def change_in(x, truth, masks, part):
    mask = masks[:, part]
    return ((x - truth).abs() * mask).sum((1, 2, 3)) / (3 * mask.sum((1, 2, 3)))


def test_labels_say_what_was_done():
    pictures, labels = w.spoiled_faces("check", 0, 48)
    identity, state, _ = w.draw_faces("check", 0, 48)
    truth, masks = w.render(identity, state), w.regions(identity, state)
    untouched = (pictures == truth).flatten(1).all(1)
    assert 12 < untouched.sum() < 36
    wears = identity.option("glasses") > 0
    expected = torch.full((48, 5), w.WHOLE)
    expected[~wears, -1] = w.NONE
    assert torch.equal(labels[untouched], expected[untouched])
    for part in range(len(w.PARTS)):
        broken = labels[:, part] == w.BROKEN
        assert (change_in(pictures, truth, masks, part)[broken] > w.VISIBLE[part] * 0.9).all()
    assert (labels == w.BROKEN).any(0).all()
    gone = wears & (labels[:, -1] == w.NONE)
    assert (change_in(pictures, truth, masks, 4)[gone] > 0.02).all()


def test_faces_depend_on_their_number_alone():
    one, two = w.spoiled_faces("train", 2, 4), w.spoiled_faces("train", 2, 4)
    assert torch.equal(one[0], two[0]) and torch.equal(one[1], two[1])
    assert not torch.equal(one[0], w.spoiled_faces("train", 3, 4)[0])


def test_share_and_longest_run_by_hand():
    broken = torch.zeros(8, 5)
    broken[2:4, 0], broken[6, 4], broken[7, 3] = 0.99, w.SURE[4] + 0.01, 0.9
    assert w.whole_share(broken) == (5 / 8, 2)


class Says(w.WholeFaces):
    """A judge that reads the labels off the first pixels."""

    def __init__(self):
        super().__init__(ReaderConfig())

    def forward(self, x):
        label = x[:, 0, 0, :5].round().long()
        return 20.0 * torch.nn.functional.one_hot(label, 3)


def test_glasses_are_judged_by_those_of_the_reference():
    frames = torch.full((3, 3, 96, 96), float(w.WHOLE))
    frames[..., -5:] = w.WHOLE                              # what the mirror image shows
    assert Says().broken(frames).max() < 0.01
    frames[2, :, :, 4] = frames[2, :, :, -5] = w.NONE       # they vanish
    broken = Says().broken(frames)
    assert broken[2, 4] > 0.99 and broken[:2].max() < 0.01
    frames[0, :, :, 4] = frames[0, :, :, -5] = w.NONE       # none at first: now one appears
    assert (Says().broken(frames)[:, 4] > 0.99).tolist() == [False, True, False]


def test_mirrored_labels_change_eyes_over():
    x, labels = torch.rand(64, 3, 4, 4), torch.tensor([[2, 1, 1, 2, 0]]).expand(64, -1)
    y, seen = w.mirror(x, labels, torch.Generator().manual_seed(0))
    flipped = (y != x).flatten(1).any(1)
    assert 16 < flipped.sum() < 48
    assert (seen[flipped] == torch.tensor([1, 2, 1, 2, 0])).all()
    assert torch.equal(seen[~flipped], labels[~flipped])
