"""What the command line needs for the released weights: their options, and `prepare`.

Like the command line itself, this imports what it needs when it runs.
"""

from pathlib import Path

from livetalk_ref.errors import UserError

REAL = ("livetalk-1.3b", "omniavatar-1.3b")         # models whose weights do not ship


def add_weights(parser):
    parser.add_argument("--weights", metavar="DIR", help=f"for --model {' or '.join(REAL)}: the "
                        f"folder with model.safetensors, vae/, wav2vec2/ and text.safetensors, "
                        f"see README and notebook 10")


def is_real(options):
    """Is it a model whose weights do not ship? UserError for a folder that none would read."""
    if options.weights and options.model not in REAL:
        raise UserError(f"--weights goes with --model {' or '.join(REAL)} alone.")
    return options.model in REAL


def add_prepare(parser):
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

    if not Path(options.weights).is_dir():
        raise UserError(f"There is no folder {options.weights}.")
    check_device(options.device)            # now, for umT5 takes minutes to load
    encoder = load_text(Path(options.weights), options.device, torch.bfloat16)
    path = Path(options.weights) / "text.safetensors"
    save_text(path, encoder, options.prompt, options.negative)
    print(path)


def real_avatar(options):
    """The avatar of the released weights on the device of an option, else the best there is."""
    from livetalk_ref import load
    from livetalk_ref.device import best_device, check_device

    device = check_device(options.device or best_device())
    return load.load(options.model, device, options.weights)


def photo(options, avatar):
    """The reference of an option: a photograph, fitted as the authors do."""
    from livetalk_ref.real.photo import load_photo

    if options.image is None:
        raise UserError(f"{avatar.name} animates photographs: give one with --image.")
    return load_photo(options.image, avatar.size)
