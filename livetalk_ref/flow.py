"""Flow matching: the conventions every other file follows, the sigma grid, guidance, Euler.

    x0      clean data                      noise   standard normal, the shape of x0
    sigma   noise level in [0, 1], 0 clean  x_sigma = (1 - sigma) x0 + sigma noise
    v       velocity, v = noise - x0        x0 = x_sigma - sigma v
    w       guidance weight, guided = uncond + w (cond - uncond); w = 1 is off

Letters in shapes: B batch, F latent frames, C latent channels, h w latent height and width,
T = 4F - 3 pixel frames, N transformer tokens, D model width. A `model` here is any callable
`model(x, sigma, cond) -> v` with x, v (B, F, C, h, w), sigma (B, F) and a `cond` that has
`.drop("audio")` and `.drop("text")`. Sources: LiveTalk sections 3.1 and 4, Wan 2.1.
"""

from dataclasses import dataclass, replace

import torch

from livetalk_ref import parallel
from livetalk_ref.errors import UserError

SHIFT = 5.0          # the resolution shift of Wan and LiveTalk
TEACHER_STEPS = 48   # indices 0, 12, 24, 36 of this grid are the four student sigmas
STUDENT_STEPS = 4
ROWS_PER_LATENT = 4  # video frames, and so audio rows, that one latent frame stands for


def shift_sigma(sigma, shift=SHIFT):
    """Bend noise levels in [0, 1] towards 1; shift = 1 leaves them (Esser et al. 2024, eq. 23)."""
    # More of a sampler's steps where there is much noise: large pictures need it (table 4: 5).
    return shift * sigma / (1 + (shift - 1) * sigma)


def sigma_grid(steps, shift=SHIFT):
    """The `steps` noise levels of a sampler and the final 0: (steps + 1,), float64."""
    return shift_sigma(torch.linspace(1, 0, steps + 1, dtype=torch.float64), shift)


def exact(sigma, x):
    """Noise levels where x is, in float32 at least: bf16 would make .83203 of .83333."""
    return sigma.to(x.device, torch.promote_types(x.dtype, torch.float32))


def per_frame(sigma, x):
    """Noise levels (B, F) shaped to multiply latents (B, F, C, h, w), see `exact`."""
    return exact(sigma, x)[..., None, None, None]


def add_noise(x0, noise, sigma):
    """The point at noise level sigma (B, F) on the straight line from x0 to noise."""
    # Flow matching: the path from data to noise is a straight line (LiveTalk section 3.1).
    s = per_frame(sigma, x0)
    return ((1 - s) * x0 + s * noise).to(x0.dtype)


def student_sigmas(steps=STUDENT_STEPS):
    """The noise levels of a student's steps, (steps,) float64: 1, .9375, .8333, .625 for 4.

    UserError where they are not on the teacher's grid.
    """
    # Sections 3.1, 4: with shift 5 these are the levels 0, 12, 24, 36 of the teacher's 48.
    if steps not in (1, 2, 4):
        raise UserError(f"A student makes 1, 2 or 4 steps a block, not {steps}.")
    return sigma_grid(steps)[:-1]


def x0_from_velocity(x, sigma, v):
    """The clean latents that a velocity implies; float64 inside, so that sigma = 1 stays exact."""
    # x_sigma = (1 - sigma) x0 + sigma noise and v = noise - x0 give x0 = x_sigma - sigma v.
    x0 = x.double() - per_frame(sigma.double(), x.double()) * v.double()
    return x0.to(x.dtype)


@dataclass(frozen=True)
class Cond:
    """What the video must agree with. All frames are latent frames.

    ref (B, C, h, w) latent of the reference image; audio (B, F, 4A) rows grouped per latent
    frame, see `group_audio`; text (B, L, text_dim); known (B, F) bool, True where x is given
    clean; text_mask (B, F, L) bool, True where a frame may read a text row, None for all;
    no_text (1, rows, text_dim) the embedding of the empty prompt, which stands for dropped text;
    text_keys what a model reads in `text`, if it was made beforehand, see `WanDiT.read_text`.
    """

    ref: torch.Tensor
    audio: torch.Tensor
    text: torch.Tensor
    known: torch.Tensor
    no_text: torch.Tensor
    text_mask: torch.Tensor | None = None
    text_keys: tuple | None = None

    def drop(self, what):
        """Drop "audio" (zero rows follow) or "text" (the empty prompt follows)."""
        # As OmniAvatar's "negative" branch: silence, the empty prompt, and always the image.
        if what == "audio":
            return replace(self, audio=torch.zeros_like(self.audio))
        if what == "text":
            rows = self.text.shape[1] // self.no_text.shape[1]
            text = self.no_text.repeat(len(self.text), rows, 1)
            return replace(self, text=text, text_keys=None)
        raise ValueError(f"drop() takes 'audio' or 'text', not {what!r}")

    def frames(self, start, stop):
        """The condition of latent frames start .. stop - 1."""
        mask = None if self.text_mask is None else self.text_mask[:, start:stop]
        return replace(self, audio=self.audio[:, start:stop], known=self.known[:, start:stop],
                       text_mask=mask)

    def to(self, device):
        """All tensors moved to a device."""
        return self.map(lambda t: t.to(device))

    def __getitem__(self, index):
        """A slice of the batch."""
        return replace(self.map(lambda t: t[index]), no_text=self.no_text)

    def map(self, fn):
        """Every tensor changed by a function; the text's keys have to be made anew."""
        fields = {k: fn(v) for k, v in vars(self).items() if torch.is_tensor(v)}
        return replace(self, **fields, text_keys=None)

    @staticmethod
    def cat(conds):
        """Several conditions of equal shapes as one batch."""
        names = [k for k, v in vars(conds[0]).items() if torch.is_tensor(v) and k != "no_text"]
        return replace(conds[0], text_keys=None,
                       **{k: torch.cat([vars(c)[k] for c in conds]) for k in names})


def group_audio(rows):
    """Audio rows (B, T, A) of T = 4F - 3 video frames -> (B, F, 4A), four a latent frame."""
    # The first latent frame is one picture: its row stands there four times (OmniAvatar).
    first = rows[:, :1].expand(-1, ROWS_PER_LATENT - 1, -1)
    rows = torch.cat([first, rows], dim=1)                               # (B, 4F, A)
    return rows.reshape(len(rows), -1, ROWS_PER_LATENT * rows.shape[-1])  # (B, F, 4A)


@dataclass(frozen=True)
class Guidance:
    """Weights of the two guidance directions; 1 and 1 is the plain conditional model."""

    text: float = 1.0
    audio: float = 1.0

    def weights(self):
        """Of the velocities without text and sound, with text alone, and with all."""
        return 1 - self.text, self.text - self.audio, self.audio


def guided(model, x, sigma, cond, guidance):
    """Velocity with separate text and audio guidance (OmniAvatar's inference), (B, F, C, h, w).

    uncond + w_text (text - uncond) + w_audio (full - text); the reference image is kept in
    all of them. Needs one to three model evaluations, made as one batch.
    """
    # w = 1 is the plain conditional model; released configurations write w - 1.
    if guidance.text == guidance.audio == 1:
        return model(x, sigma, cond)
    # The sum above, gathered by evaluations: those of weight 0 are not made.
    conds = cond.drop("audio").drop("text"), cond.drop("audio"), cond
    weights, conds = zip(*[(w, c) for w, c in zip(guidance.weights(), conds) if w])
    k = len(conds)
    v = model(x.repeat(k, 1, 1, 1, 1), sigma.repeat(k, 1), cond.cat(conds)).chunk(k)
    return sum(w * part for w, part in zip(weights, v))


@dataclass
class Step:
    """What a sampler shows after each step: where it is and what it believes the clean data is."""

    index: int           # 0 .. steps - 1
    sigma: float         # the noise level before this step
    x: torch.Tensor      # the state after it                               (B, F, C, h, w)
    x0: torch.Tensor     # the clean prediction made in it                  (B, F, C, h, w)


def keep_known(x, clean, known=None):
    """Put clean frames, which are given and not generated, into latents x (B, F, C, h, w).

    clean: the first k frames, (B, k, C, h, w); or with known (B, F), where they are True, frames
    of all numbers, or one for all, (B, F or 1, C, h, w).
    """
    if known is None:
        return torch.cat([clean, x[:, clean.shape[1]:]], dim=1)
    return torch.where(known[..., None, None, None], clean, x)


@torch.no_grad()
def euler(model, noise, clean, cond, steps=TEACHER_STEPS, guidance=Guidance(), shift=SHIFT):
    """Integrate the probability-flow ODE from noise (B, F, C, h, w) to data, a `Step` at a time.

    `clean` (B, k, C, h, w) holds the known first frames: the reference, or the end of the
    window before. They are pasted before every step and into the result.
    """
    # dx / dsigma = v along the probability-flow ODE, from sigma 1 down to 0.
    grid = sigma_grid(steps, shift)
    x = keep_known(noise, clean)
    for i in range(steps):
        sigma = exact(grid[i], x).expand(x.shape[:2])
        v = guided(model, x, sigma, cond, guidance)
        x0 = keep_known(x0_from_velocity(x, sigma, v), clean)
        # One Euler step down; the known frames are given again, whatever the model said of them.
        x = keep_known(x + v * (grid[i + 1] - grid[i]).item(), clean)
        yield Step(i, grid[i].item(), x, x0)


def sample(model, noise, clean, cond, **options):
    """The last state of `euler`: generated latents (B, F, C, h, w)."""
    *_, last = euler(model, noise, clean, cond, **options)
    return last.x


def draw_sigma(batch, generator, shift=SHIFT, plain=0.0):
    """Training noise levels (B,): uniform, then shifted like the sampler's grid but for a share
    `plain`, without which low levels, where details are settled, would hardly be learned."""
    shape = (batch,) if isinstance(batch, int) else tuple(batch)
    sigma = parallel.rand(shape, generator)
    shifted = shift_sigma(sigma, shift)
    if not plain:
        return shifted
    return torch.where(parallel.rand(shape, generator) < plain, sigma, shifted)


def flow_loss(model, x0, noise, sigma, known, cond, weight=1.0):
    """Mean squared velocity error over the frames to be generated.

    x0, noise (B, F, C, h, w); sigma (B,) or (B, F); known (B, F) is True on clean frames, which
    are fed clean and left out of the loss. weight (h, w) says how much a place counts.
    """
    sigma = sigma.view(len(x0), -1).expand(x0.shape[:2])
    x = keep_known(add_noise(x0, noise, sigma), x0, known)
    # The velocity of the straight line is noise - x0 at every noise level.
    error = (model(x, sigma, cond).float() - (noise - x0)).square() * weight
    error = error.mean(dim=(2, 3, 4))                                    # (B, F)
    # What was given clean has nothing to learn.
    return parallel.mean((error * ~known).sum(), (~known).sum())
