// page.js: a conversation in the browser. One module for the stand-alone page (through a
// WebSocket) and for notebooks (through anywidget's channel); only the link differs.
//
// A message is an object and, where it carries sound or a picture, bytes. Pictures wait for the
// sample that they belong to, and sound waits until its picture is there: so they stay in step.
import {Ear, RATE, Speaker} from "./sound.js";
import {SIDE, View} from "./view.js";

const FRAME = 1000;                     // samples while which a picture is shown
const LARGE = {resizeWidth: SIDE, resizeHeight: SIDE, resizeQuality: "high"};
const TELL = 60;                        // ms between two words to the server about the clock
const HIDDEN = 200;                     // ms between two looks at the clock of a hidden page

class Live {
  constructor(root, link) {
    this.link = link;
    this.face = this.prompt = "";
    this.running = false;
    this.wanted = true;                 // the microphone
    this.begin = 0;                     // counts conversations; what belongs to an old one is late
    this.view = new View(root, {
      start: () => this.start(), end: () => this.finish(), stop: () => this.tell("interrupt"),
      ask: text => this.tell("ask", {text}), mic: () => { this.wanted = !this.ear; this.toggle(); },
      prompt: text => { this.prompt = text; this.tell("prompt", {text}); },
      face: seed => this.choose(seed)});
    this.reset();
    link.onmessage = (message, bytes) => this.take(message, bytes);
    link.onopen = () => link.send({type: "hello"});
    link.onclose = () => this.fail("The connection is closed. Reload the page to go on.", true);
    link.open();
    root.livetalk = this;               // for whoever wants to look inside
    this.frame = requestAnimationFrame(() => this.paint());
    this.hidden = setInterval(() => { if (document.hidden) this.show(); }, HIDDEN);
  }

  reset() {
    this.pictures?.forEach(p => p.bitmap.close());
    this.pictures = [];                 // {sample, number, bitmap}, by sample
    this.sounds = [];                   // {sample, samples}, until their pictures are there
    this.seen = 0;                      // one past the last sample that has its picture
    this.due = [];                      // {sample, act, cut}, what happens with the sound
    this.cuts = this.told = 0;
    this.drawn = [];                    // {number, sample, heard}: the last pictures shown
  }

  tell(type, more = {}, bytes) { if (this.running) this.link.send({type, ...more}, bytes); }

  // The beginning and the end.

  async start() {
    this.quiet();
    this.view.complain("");
    this.view.state("loading");
    try {
      this.speaker = new Speaker();
      await this.speaker.open();
    } catch (error) {
      this.fail(error.message);
      return;
    }
    this.link.send({type: "start", identity: this.face, prompt: this.prompt});
  }

  started() {                           // what came before belongs to an older conversation
    this.reset();
    this.running = true;
    if (this.wanted && !this.ear) this.toggle(false);
  }

  finish() {
    this.link.send({type: "stop"});
    this.quiet();
    this.view.state("ready");
  }

  quiet() {
    this.running = false;
    this.begin++;
    this.mute();
    this.speaker?.close();
    this.speaker = null;
  }

  fail(sentence, gone = false) {
    this.quiet();
    this.view.state("error");
    this.view.start.disabled = gone;
    this.view.complain(sentence);
  }

  destroy() {
    cancelAnimationFrame(this.frame);
    clearInterval(this.hidden);
    this.view.destroy();
    this.quiet();
    this.link.close();
  }

  choose(seed) {                        // another face is another conversation
    this.face = seed;
    if (this.running) this.start(); else this.portrait(seed);
  }

  portrait(seed) {
    const image = new Image();
    image.onload = () => { if (!this.running && this.face === seed) this.view.draw(image); };
    image.src = this.faces.get(seed);
  }

  async toggle(asked = true) {          // the microphone; without it, there is text
    if (this.ear) { this.mute(); return; }
    const ear = this.ear = new Ear((samples, level) => {
      this.view.hears(Math.min(1, 6 * level));
      this.tell("sound", {}, samples);
    });
    try {
      await ear.open();
      if (this.ear === ear) this.view.listens(true); else ear.close();
    } catch (error) {
      this.mute();
      if (asked) this.view.complain(error.name === "NotAllowedError" ?
        "The microphone is not allowed; type instead, or allow it for this page." :
        `The microphone cannot be used (${error.message}); type instead.`);
    }
  }

  mute() {
    this.ear?.close();
    this.ear = null;
    this.view.listens(false);
  }

  // What comes: every type of message has its function; most count only in a conversation.

  take(message, bytes) {
    const {type} = message;
    if (this.running || ["hello", "offer", "started", "error"].includes(type))
      this[type]?.(message, bytes);
  }

  hello({faces, identity, words}) {
    this.view.words.textContent = words;
    this.faces = new Map();
    this.face = identity;
    this.view.faces.replaceChildren();
    this.expected = faces;
  }

  offer({seed}, bytes) {                // a face to choose from
    const url = URL.createObjectURL(new Blob([bytes], {type: "image/jpeg"}));
    this.faces.set(seed, url);
    this.view.offer(seed, url, seed === this.face, value => this.choose(value));
    if (seed === this.face) this.portrait(seed);
    if (this.faces.size === this.expected) this.view.start.disabled = false;
  }

  sound({sample}, bytes) {
    this.sounds.push({sample, samples: new Int16Array(bytes)});
    this.release();
  }

  async picture({sample, number}, bytes) {
    const {begin, cuts} = this;
    const bitmap = await createImageBitmap(new Blob([bytes], {type: "image/jpeg"}), LARGE);
    const stale = begin !== this.begin || (cuts !== this.cuts && sample >= this.edge);
    if (stale) { bitmap.close(); return; }
    let i = this.pictures.length;       // decoded in any order
    while (i && this.pictures[i - 1].sample > sample) i--;
    this.pictures.splice(i, 0, {sample, number, bitmap});
    this.seen = Math.max(this.seen, sample + FRAME);
    this.release();
  }

  release() {                           // sound whose pictures are there goes to the player
    while (this.sounds.length && this.sounds[0].sample < this.seen) {
      const {sample, samples} = this.sounds.shift(), ready = this.seen - sample;
      if (ready < samples.length)
        this.sounds.unshift({sample: this.seen, samples: samples.subarray(ready)});
      this.speaker.play(sample, samples.subarray(0, ready));
    }
  }

  cut({sample}) {
    this.cuts++;
    this.edge = sample;
    this.seen = Math.min(this.seen, sample);
    this.pictures = this.pictures.filter(p => p.sample < sample || p.bitmap.close());
    this.sounds = this.sounds.filter(s => s.sample < sample);
    this.due = this.due.filter(d => d.sample < sample || !d.cut);
    this.speaker.cut(sample);
  }

  state({name, sample}) {
    this.due.push({sample, cut: true, act: () => this.view.state(name)});
  }

  said(line) {
    if (line.role === "user") this.view.complain("");       // of the turn before
    this.due.push({sample: line.sample, cut: line.role === "avatar",
                   act: () => this.view.say(line)});
  }

  meter(facts) { this.view.measured(facts, this.speaker.waits); }

  error({sentence, fatal}) {
    if (fatal) this.fail(sentence); else this.view.complain(sentence);
  }

  // What is shown: the newest picture whose first sample has been heard.

  paint() {
    this.frame = requestAnimationFrame(() => this.paint());
    this.show();
  }

  show() {                              // a hidden page paints no more, and must still be heard
    if (!this.running || !this.speaker?.player) return;
    const heard = this.speaker.heard(), now = performance.now();
    const acts = this.due.filter(d => d.sample <= heard + 1);
    this.due = this.due.filter(d => d.sample > heard + 1);
    for (const {act} of acts) act();
    let shown = null;
    while (this.pictures.length && this.pictures[0].sample <= heard) {
      shown?.bitmap.close();
      shown = this.pictures.shift();
    }
    if (shown) {
      this.drawn.push({number: shown.number, sample: shown.sample, heard});
      if (this.drawn.length > 4096) this.drawn.shift();
      this.view.draw(shown.bitmap);
      shown.bitmap.close();
    }
    this.view.speaks(this.speaker.level());
    if (now < this.told + TELL) return; // what may be made next depends on what was heard
    this.told = now;
    this.tell("heard", {sample: Math.floor(heard)});
  }
}

// The two roads to a conversation. On a socket a message is laid out as the length of the JSON
// (4 bytes, little end first), the JSON, the bytes; anywidget has its own binary buffers.

class SocketLink {
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

  send(message, {buffer} = new Int16Array(0)) {
    if (this.socket.readyState !== WebSocket.OPEN) return;
    const json = new TextEncoder().encode(JSON.stringify(message));
    const head = new Uint8Array(Uint32Array.of(json.length).buffer);
    this.socket.send(new Uint8Array([...head, ...json, ...new Uint8Array(buffer)]));
  }

  close() { this.socket.onclose = null; this.socket.close(); }
}

class WidgetLink {
  constructor(model) {
    this.model = model;
    this.hear = (message, [view] = []) => this.onmessage(message,
      view?.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
  }

  open() { this.model.on("msg:custom", this.hear); this.onopen(); }

  send(message, bytes) { this.model.send(message, undefined, bytes ? [bytes.buffer] : []); }

  close() { this.send({type: "stop"}); this.model.off("msg:custom", this.hear); }
}

function render({model, el}) {
  const place = document.createElement("div");
  el.append(place);
  const made = new Live(place, new WidgetLink(model));
  return () => made.destroy();
}

export default {render};

const page = document.getElementById("livetalk-page");
if (page) new Live(page, new SocketLink(`ws://${location.host}/stream`));
