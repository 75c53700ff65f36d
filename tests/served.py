"""The live page's server in a thread of a test."""

import asyncio
import threading

from livetalk_ref.live import server


class Served:
    """A server in a thread: `with Served(make) as served: served.url`."""

    def __init__(self, make, identity=7):
        self.sock = server.bind(0)
        self.port = self.sock.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/"
        self.loop, ready = asyncio.new_event_loop(), threading.Event()
        serve = server.serve(make, identity, self.sock, lambda address: ready.set())
        self.task = self.loop.create_task(serve)
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()
        assert ready.wait(10)

    def run(self):
        try:
            self.loop.run_until_complete(self.task)
        except asyncio.CancelledError:
            self.loop.run_until_complete(asyncio.sleep(0.1))

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.loop.call_soon_threadsafe(self.task.cancel)
        self.thread.join()
