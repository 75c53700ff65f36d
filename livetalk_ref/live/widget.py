"""The page in a notebook: an anywidget around the same JavaScript, for JupyterLab, VS Code, Colab.

Messages come in a callback of the kernel, which fires only between cells and loses what is
raised in it: so `Session` catches everything there, and works in a thread of its own. There is
no port to open; sound and pictures go through the kernel's own channel.
"""

from livetalk_ref.errors import UserError
from livetalk_ref.live import wire
from livetalk_ref.live.session import Session, Slots


def live_avatar(make, identity=7):
    """A widget to talk to. make(identity) -> a new `Conversation`; identity: the first face.

    `widget.session.stop()` and `widget.close()` end the conversation, as the page's End does.
    UserError where anywidget is not installed.
    """
    try:
        import anywidget
    except ImportError:
        raise UserError("The widget needs the package anywidget: pip install anywidget.") from None

    class LiveAvatar(anywidget.AnyWidget):
        """The page, and the session behind it."""

        _esm, _css = wire.module(), wire.style()

        def close(self):
            self.session.stop()
            super().close()

    widget = LiveAvatar()

    def post(message, data):
        widget.send(message, [data] if data else None)

    widget.session = Session(make, post, post, identity, Slots())
    widget.on_msg(lambda _, message, buffers:
                  widget.session.take(message, bytes(buffers[0]) if buffers else b""))
    return widget
