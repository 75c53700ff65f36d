"""What the command line needs for the released weights: their options, and `prepare`.

Like the command line itself, this imports what it needs when it runs.
"""

from pathlib import Path

from livetalk_ref.errors import UserError
from livetalk_ref.real import REAL


def add_weights(parser):
    """The option that names the folder of released weights."""
    parser.add_argument("--weights", metavar="DIR", help=f"for --model {' or '.join(REAL)}: the "
                        f"folder with model.safetensors, vae/, wav2vec2/ and text.safetensors, "
                        f"see README and notebook 10")


def is_real(options):
    """True for a model whose weights do not ship. UserError for a folder that none would read."""
    if options.weights and options.model not in REAL:
        raise UserError(f"--weights goes with --model {' or '.join(REAL)} alone.")
    return options.model in REAL


def real_avatar(options, samples):
    """The avatar of released weights for a clip (N,), on the device asked for or the best."""
    from livetalk_ref.cache import BLOCK, TABLE_END
    from livetalk_ref.device import best_device, check_device
    from livetalk_ref.generate import count_frames
    from livetalk_ref.loading import load
    from livetalk_ref.stream import FRAMES, MISSING

    blocks = -(-(count_frames(samples) + MISSING) // FRAMES)
    policy = "released" if BLOCK * blocks <= TABLE_END else "ahis"      # which has no end
    return load(options.model, check_device(options.device or best_device()), options.weights,
                policy=policy)


def photo(options, avatar):
    """The photograph that the options name as a reference, fitted as the authors do."""
    from livetalk_ref.real.avatar import load_photo

    if options.image is None:
        raise UserError(f"{avatar.name} animates photographs: give one with --image.")
    return load_photo(options.image, avatar.size)


def add_prepare(parser):
    """The options of `prepare`."""
    parser.add_argument("--weights", metavar="DIR", required=True,
                        help="the folder with text_encoder/ and tokenizer/ of umT5-xxl")
    parser.add_argument("--prompt", metavar="P", action="append", required=True,
                        help="a prompt to be embedded; may be given several times")
    parser.add_argument("--negative", metavar="N", default="",
                        help="the prompt that stands for none under a teacher's guidance")
    parser.add_argument("--device", default="cpu", help="where umT5 runs: cpu, cuda ..")


def prepare(options):
    """Write the prompts' embeddings to DIR/text.safetensors, so that umT5 is needed no more."""
    import torch

    from livetalk_ref.device import check_device
    from livetalk_ref.real.text import load_text, save_text

    folder = Path(options.weights)
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}.")
    check_device(options.device)            # now, for umT5 takes minutes to load
    save_text(path := folder / "text.safetensors",
              load_text(folder, options.device, torch.bfloat16), options.prompt, options.negative)
    print(path)
