"""The demonstration behind `make demo`: a drawn face says a sentence nobody animated."""

from livetalk_ref import generate
from livetalk_ref.flow import TEACHER_STEPS
from livetalk_ref.loading import load
from livetalk_ref.portrait import portrait_of
from livetalk_ref.world.speech import list_spoken, load_spoken

OUT = "outputs/demo.mp4"
IDENTITY = 2        # a face that the model keeps well


def held_out_clip():
    """The first shipped clip that no model was trained on."""
    clips = list_spoken()
    return load_spoken(next(i for i, clip in enumerate(clips) if clip["split"] == "held_out"))


def run(prompt, progress, out=OUT):
    """Make the video; `progress(name, total)` opens a progress display. Returns its facts."""
    spoken, avatar = held_out_clip(), load("teacher")
    windows = generate.count_windows(generate.count_frames(spoken.samples))
    with progress("denoising step", windows * TEACHER_STEPS) as watch:
        return generate.make_video(avatar, portrait_of(IDENTITY), spoken.samples, prompt, out,
                                   watch=watch)


def table(facts):
    """The facts of `generate.make_video` as a small table."""
    rows = [("video", f"{facts['out']}, {facts['frames']} frames, "
                      f"{facts['video_seconds']:.1f} s with sound"),
            ("frames a second", f"{facts['frames_per_second']:.2f}"),
            ("first-frame latency", f"{facts['first_frame_seconds']:.2f} s"),
            ("real-time factor", f"{facts['real_time_factor']:.2f} (at most 1 keeps up)"),
            ("model evaluations", str(facts["evaluations"])),
            ("threads", str(facts["threads"]))]
    return "\n".join(f"{name:20} {value}" for name, value in rows)
