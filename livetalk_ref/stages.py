"""What each training stage trains on: the data, the loss and the numbers of its run.

Stages read the shipped weights of the stages before them, so each can be redone alone.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from livetalk_ref import distillation, loading, parallel, trajectories
from livetalk_ref.codec import Codec, codec_loss
from livetalk_ref.device import best_device, check_device
from livetalk_ref.errors import UserError
from livetalk_ref.files import eight_bits, half
from livetalk_ref.flow import STUDENT_STEPS, draw_sigma, flow_loss, student_sigmas
from livetalk_ref.loading import check_channels, load_module, load_start
from livetalk_ref.media import floats_of, to_bytes
from livetalk_ref.nets import restorer, syncnet, whole_faces
from livetalk_ref.nets.reader import Reader, ReaderConfig, reader_loss
from livetalk_ref.ode import VARIANT, ode_loss
from livetalk_ref.runs import kept, read, save
from livetalk_ref.train import TrainConfig, train
from livetalk_ref.wan import SIZES, WanDiT
from livetalk_ref.world import ear, latents, shards, snippets


@dataclass
class Stage:
    """A model, its loss(model, generator) and its training numbers."""

    model: torch.nn.Module
    loss: callable
    config: TrainConfig
    finish: callable = lambda model: None      # measures what the shipped file holds besides
    facts: dict = field(default_factory=dict)  # what its checkpoints say besides

    def run(self, name, out, steps, resume, start, rate, compiled, device):
        """Train in a folder, see `run_stage`, yielding the loop's states."""
        c = self.config
        config = replace(c, steps=steps or c.steps, lr=rate * c.lr, muon=rate * c.muon,
                         compiled=compiled)
        if start:
            found = load_start(start) if name in PARALLEL else \
                load_module(start, SHIPPED.get(name, "dit"))
            if found.config != self.model.config:
                raise UserError(f"{start} is a model of another size than this stage trains.")
            self.model.load_state_dict(found.state_dict())
        if name in PARALLEL:
            parallel.place(self.model)
        self.model.to("cpu" if name in SMALL else device)
        yield from train(self.model, self.loss, config, Path(out or f"runs/{name}"), resume,
                         {"config": self.model.config, "start": start, **self.facts})


def on(model, *parts):
    """Parts of a batch, tensors or a `Cond`, on the model's device; chance is always the CPU's."""
    device = next(model.parameters()).device
    return [part.to(device) for part in parts]


def codec_stage(count=1920):
    """Codec on rendered snippets; mouths count more."""
    data = snippets.Snippets.load(list(snippets.build("train", count)))
    eyes = snippets.eyes(data)
    model = Codec().to(memory_format=torch.channels_last)

    sound, bad = (~data.degraded).nonzero()[:, 0], data.degraded.nonzero()[:, 0]

    def loss(model, g):
        some = torch.cat([part[torch.randint(len(part), (count, 1), generator=g)]
                          for part, count in ((sound, 10), (bad, 2))])
        when = snippets.livelier(data, some, g) + torch.arange(13)
        x = data.pictures((some, when))                                  # (12, 13, 3, 96, 96)
        weight = snippets.detail(data.box[some, when], eyes[some, when], x.shape[-1])
        if torch.rand((), generator=g) < CROPPED:   # faces, in any place of the grid of cells
            left, top = (int(torch.randint(17, (), generator=g)) + edge for edge in (8, 14))
            x, weight = (t[..., top:top + 64, left:left + 64] for t in (x, weight))
        x, weight = on(model, x, weight)
        y, target, z = model(x, g)
        weight = weight if y.shape == x.shape else torch.ones_like(target[:, :, :1])
        return codec_loss(y.float(), target, z.float(), weight, x)

    @torch.inference_mode()
    def finish(model):
        """One global scale gives latents unit size and leaves their natural spectrum."""
        z = model.encode(data.pictures(torch.arange(64))) / model.scale
        model.scale.copy_(1 / z.std())

    # Without normalisation layers a constant rate of Muon's 0.02 grows weights until it breaks.
    return Stage(model, loss, TrainConfig(steps=4000, lr=1e-3, muon=0.012, cooldown=1.0,
                                          weight_decay=0.1), finish)


def decoder_stage(count=1536):
    """The shipped codec's decoder alone: its latents, and what was trained on them, stay valid."""
    stage = codec_stage(count)
    model = load_module("codec").to(memory_format=torch.channels_last)
    model.decoder.requires_grad_(True)
    return Stage(model, stage.loss, replace(stage.config, lr=5e-4, muon=0.006))


@torch.inference_mode()
def through(codec, data, count):
    """The first `count` snippets as the codec shows them, again in 8 bits."""
    shown = torch.cat([to_bytes(codec.decode(codec.encode(data.pictures(slice(i, i + 1)))))
                       for i in range(count)])
    return replace(data, frames=shown, state=data.state[:count], box=data.box[:count],
                   identity=data.identity[:count], degraded=data.degraded[:count])


def reader_stage(count=3072):
    """Face reader on rendered frames, a third of them through the codec."""
    data = snippets.Snippets.load(list(snippets.build("train", count)))
    coded = through(load_module("codec"), data, count // 4)
    model = Reader().to(memory_format=torch.channels_last)

    def loss(model, g):
        return 2 * part(model, data, 96, g) + part(model, coded, 48, g)

    def part(model, clips, size, g):
        some = torch.randint(len(clips), (size,), generator=g)
        when = torch.randint(snippets.FRAMES, (size,), generator=g)
        return reader_loss(model, clips.pictures((some, when)), clips.state[some, when],
                           clips.identity[some])

    @torch.inference_mode()
    def finish(model):
        """Fréchet features are the main directions of truth."""
        frames = data.pictures((torch.arange(1024) % len(data), torch.arange(1024) % 17))
        model.fit_features(torch.cat([model(part)[2] for part in frames.split(64)]))

    return Stage(model, loss, TrainConfig(steps=2500, lr=1e-3, muon=0.01, cooldown=1.0), finish)


def faces_stage(count=16_384):
    """Judge of melting on truth and spoiled truth, half of the usual faces through the codec.

    These stand still, for what moves codecs melt.
    """
    tensors, _ = shards.load(list(whole_faces.build("train", count)))
    pictures, labels = tensors["pictures"], tensors["labels"]
    codec = load_module("codec")
    for number, part in enumerate(pictures.split(shards.SHARD)):
        if not whole_faces.is_shifted(number):
            part[::2] = to_bytes(whole_faces.still(codec, floats_of(part[::2])))
    model = whole_faces.WholeFaces(ReaderConfig()).to(memory_format=torch.channels_last)

    def loss(model, g):
        some = torch.randint(len(pictures), (96,), generator=g)
        x = whole_faces.jitter(floats_of(pictures[some]), g)
        x, seen = whole_faces.mirror(x, labels[some], g)
        return whole_faces.whole_faces_loss(model, *on(model, x, seen))

    return Stage(model, loss, TrainConfig(steps=3000, lr=1e-3, muon=0.01, cooldown=1.0))


def restorer_stage(count=1536, pairs=2048):
    """Restorer on pairs of rendered pictures, spoiled and clean, and their mirror images."""
    data, codec = snippets.Snippets.load(list(snippets.build("train", count))), load_module("codec")
    g = torch.Generator().manual_seed(0)
    clean = (~data.degraded).nonzero().flatten()
    some = clean[torch.randint(len(clean), (pairs,), generator=g)]
    when = torch.randint(snippets.FRAMES, (pairs,), generator=g)
    whole = data.frames[some, when]                                      # (pairs, 3, 96, 96)
    spoilt = [restorer.spoil(floats_of(part), g) for part in whole.split(64)]
    seen = torch.cat([to_bytes(restorer.through(codec, x)) for x, _ in spoilt])
    bad = torch.cat([flags for _, flags in spoilt])

    def loss(model, g):
        some = torch.randint(pairs, (16,), generator=g)
        x, y = (floats_of(t[some]) for t in (seen, whole))
        flip = torch.rand(16, generator=g)[:, None, None, None] < 0.5
        x, y = (torch.where(flip, t.flip(-1), t) for t in (x, y))
        return restorer.restorer_loss(model, *on(model, x, y, bad[some]))

    model = restorer.Restorer().to(memory_format=torch.channels_last)
    return Stage(model, loss, TrainConfig(steps=1200, lr=1e-3, muon=0.012, cooldown=1.0))


def sync_stage(count=608):
    """SyncNet on rendered clips and their sound."""
    data = syncnet.SyncClips.load(list(syncnet.build("train", count)))
    model = syncnet.SyncNet().to(memory_format=torch.channels_last)

    def loss(model, g):
        return syncnet.sync_loss(model, *on(model, *data.batch(8, g)))

    return Stage(model, loss, TrainConfig(steps=2500, lr=1e-3, muon=0.02, cooldown=0.4))


def ear_stage(count=2400):
    """Audio encoder on spoken stretches, one row of mel frames at a time."""
    data, _ = shards.load(list(ear.build("train", count)))
    mels, mouth, phone = (data[name].flatten(0, 1) for name in ("mels", "mouth", "phone"))

    def loss(model, g):
        some = torch.randint(len(mels), (512,), generator=g)
        return ear.ear_loss(model, mels[some].float(), mouth[some], phone[some], g)

    return Stage(ear.Ear(), loss, TrainConfig(steps=4000, lr=2e-3, cooldown=1.0,
                                              weight_decay=0.05))


def teacher_stage(count=4096, spoiled=False, size="tiny", data=None):
    """Bidirectional teacher: flow matching on cached latents of clean clips.

    spoiled: of raw clips, three in ten of which are damaged. size: one of `wan.SIZES`; UserError
    where it reads other numbers than the data hold.
    """
    data = data or latents.LatentClips.load(
        list(latents.build(load_module("codec"), "train", count, spoiled=spoiled)))
    check_channels(f"The size {size}", SIZES[size], *data.channels())
    model = WanDiT(SIZES[size])
    weight = focus(data.latents.shape[-1])
    batches = latents.Batches(data)

    def loss(model, g):
        x0, cond = parallel.mine(*batches.draw(latents.TOTAL, g))
        noise, sigma = parallel.randn(x0.shape, g), draw_sigma(len(x0), g, plain=0.3)
        x0, noise, sigma, cond, places = on(model, x0, noise, sigma, cond, weight)
        return flow_loss(model, x0, noise, sigma, cond.known, cond, places)

    return Stage(model, loss, TrainConfig(steps=60_000, lr=1e-3, muon=0.02, cooldown=1.0,
                                          ema=0.9995, weight_decay=0.05))


def focus(cells):
    """How much each place of a latent counts in the teacher's loss, 1 on average: (cells, cells).

    Faces count 6 times what is around them, eyes, which are soonest wrong, 12 times: what is
    learned best does not depend on the weights, but how soon does (talking heads are commonly
    trained with a mask).
    """
    weight = torch.ones(cells, cells)
    for box, more in ((FACE, 5.0), (EYES, 6.0)):
        weight = weight + more * snippets.box_mask(torch.tensor(box), cells)[0]
    return weight / weight.mean()


def ode_stage(count=1024, recipe="converged", variant=VARIANT, seed=0, keep=None,
              student_steps=STUDENT_STEPS, data=None, real="teacher"):
    """Block-causal student: x0 regression on the teacher's trajectories, no hidden conditions.

    data: clips of one's own instead of the world's: real, a teacher's checkpoint, first makes its
    trajectories of them, and is where the student begins. The rate is constant, as in the paper,
    so that the short recipe is how the converged one begins.
    """
    if recipe not in ODE_STEPS:
        raise UserError(f"There is no ODE recipe '{recipe}'; choose {' or '.join(ODE_STEPS)}.")
    student_sigmas(student_steps)           # refuses others than 1, 2, 4
    if data is None:
        paths = list(trajectories.from_shipped(count))
        data = trajectories.Trajectories.load(paths).select(torch.arange(count))
    else:
        count = min(count, len(data))
        data = trajectories.from_clips(data.select(torch.arange(count)), real)
    model = load_start(real).requires_grad_(True)

    def loss(model, g):
        batch = parallel.mine(*data.batch(8, g, student_steps))
        return ode_loss(model, on(model, *batch), g, variant)

    config = TrainConfig(ODE_STEPS[recipe], lr=2e-4, cooldown=0.0, ema=0.99, weight_decay=0.0,
                         betas=(0.9, 0.999), seed=seed, save_every=30.0, keep=keep or ODE_KEPT)
    return Stage(model, loss, config, facts={
        "sampler": "rollout", "pairs": count, "variant": variant,
        "student_steps": student_steps})


CROPPED = 0.75                      # share of the codec's batches that show faces alone
FACE = (0.2, 0.2, 0.8, 0.9)         # where faces are: left, top, right, bottom of the picture
EYES = (0.25, 0.3, 0.75, 0.56)      # and where their eyes are
# The paper has 4k and 20k. Here 400 updates lack next to nothing, so the short one is shorter.
ODE_STEPS = {"short": 50, "converged": 600}
ODE_KEPT = (25, 50, 100, 200, 400, 600)
SHIPPED = {"ear": "ear", "codec": "codec", "decoder": "codec", "judges": "reader",
           "faces": "faces", "sync": "sync", "teacher": "teacher", "ode": "student_ode",
           "restorer": "restorer", "dmd": "student"}
SMALL = {"ear", "judges"}           # their losses stay on the CPU
STAGES = {"ear": ear_stage, "codec": codec_stage, "decoder": decoder_stage,
          "judges": reader_stage, "faces": faces_stage, "sync": sync_stage,
          "teacher": teacher_stage, "ode": ode_stage, "restorer": restorer_stage,
          "dmd": distillation.Distillation}
PARALLEL = {"teacher", "ode", "dmd"}        # take several processes, see parallel.py
MEASURED = {"codec", "decoder", "judges"}   # their shipped files hold more than trained weights


def export(name, folder):
    """Ship the averaged weights of a run under data/checkpoints; returns the path."""
    if name == "ode" and (short := kept(folder, ODE_STEPS["short"])).is_file():
        ship(short, "student_ode_short")
    if name not in MEASURED:
        return ship(folder / "ema.safetensors", SHIPPED[name])
    tensors, facts = read(folder / "ema.safetensors")
    stage = STAGES[name](count=64)          # clips enough to measure what `finish` does
    frozen = [key for key, p in stage.model.named_parameters() if not p.requires_grad]
    before = stage.model.state_dict()       # averaging made +0.0 of their -0.0
    stage.model.load_state_dict(tensors | {key: before[key].clone() for key in frozen})
    stage.finish(stage.model.eval())
    path = loading.CHECKPOINTS / f"{SHIPPED[name]}.safetensors"
    save(path, half(stage.model.state_dict()), **facts)
    return path


def ship(path, name):
    """Copy averaged weights to data/checkpoints, students in 8 bits; returns the path there."""
    tensors, facts = read(path)
    out = loading.CHECKPOINTS / f"{name}.safetensors"
    save(out, (eight_bits if name.startswith("student") else half)(tensors), **facts)
    return out


def run_stage(name, out=None, steps=None, resume=False, start=None, rate=1.0,
              compiled=False, device=None, scale=None, **options):
    """Train one stage in out (default runs/NAME), yielding the loop's states.

    start: the checkpoint to begin with instead of chance; rate multiplies the learning rates;
    compiled: through torch.compile; device: instead of the best there is; scale: fields of
    `parallel.Setup`; options: the stage's.
    """
    device = parallel.join(check_device(device or best_device()), **(scale or {}))
    if (scale or parallel.ranks() > 1) and name not in PARALLEL:
        raise UserError(f"The stage {name} trains in one process and in one piece; "
                        f"{', '.join(sorted(PARALLEL))} can be split.")
    if compiled and parallel.sharded():
        raise UserError("--compile takes models in one piece: leave it out, or --shard.")
    torch.manual_seed(0)                    # of the first weights
    stage = STAGES[name](**options)
    yield from stage.run(name, out, steps, resume, start, rate, compiled, device)
