// link.js: the two roads between a page and its conversation, with the same four functions.
//
// A message is an object and perhaps bytes: `link.send(message, bytes)`, and what comes is handed
// to `link.onmessage(message, bytes)`. On a socket a message is laid out as the length of the
// JSON (4 bytes, little end first), the JSON, the bytes; anywidget has its own binary buffers.

export class SocketLink {
  constructor(url) { this.url = url; }

  open() {
    this.socket = new WebSocket(this.url);
    this.socket.binaryType = "arraybuffer";
    this.socket.onopen = () => this.onopen();
    this.socket.onclose = () => this.onclose();
    this.socket.onmessage = ({data}) => {
      const end = 4 + new DataView(data).getUint32(0, true);
      const json = new TextDecoder().decode(new Uint8Array(data, 4, end - 4));
      this.onmessage(JSON.parse(json), data.slice(end));
    };
  }

  send(message, bytes = new Int16Array(0)) {
    if (this.socket.readyState !== WebSocket.OPEN) return;
    const json = new TextEncoder().encode(JSON.stringify(message));
    const all = new Uint8Array(4 + json.length + bytes.byteLength);
    new DataView(all.buffer).setUint32(0, json.length, true);
    all.set(json, 4);
    all.set(new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength), 4 + json.length);
    this.socket.send(all);
  }

  close() { this.socket.onclose = null; this.socket.close(); }
}

export class WidgetLink {
  constructor(model) {
    this.model = model;
    this.hear = (message, buffers) => {
      const view = buffers?.[0];
      this.onmessage(message, view && view.buffer.slice(view.byteOffset,
                                                        view.byteOffset + view.byteLength));
    };
  }

  open() { this.model.on("msg:custom", this.hear); this.onopen(); }

  send(message, bytes) {
    const buffers = bytes ? [bytes.buffer.slice(bytes.byteOffset,
                                                bytes.byteOffset + bytes.byteLength)] : [];
    this.model.send(message, undefined, buffers);
  }

  close() { this.send({type: "stop"}); this.model.off("msg:custom", this.hear); }
}
