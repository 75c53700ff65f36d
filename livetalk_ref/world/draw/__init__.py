"""The renderer: identity and state in, pictures out."""

from livetalk_ref.world.draw.render import mouth_box, places, render, render_clip

__all__ = ["mouth_box", "places", "render", "render_clip"]
