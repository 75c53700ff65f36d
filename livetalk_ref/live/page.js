// page.js: a conversation in the browser. One module for the stand-alone page (through a
// WebSocket) and for notebooks (through anywidget's channel); only the link differs.
// Pictures wait for the sample that they belong to, and sound for its pictures: they stay in step.
import {Ear, RATE, Speaker} from "./sound.js";
import {View} from "./view.js";

const FRAME = 1000;                     // samples while which a picture is shown
const LOOK = 15, TELL = 60;             // ms between two looks at the clock, two words about it

class Live {
  constructor(root, link) {
    Object.assign(this, {link, prompt: "", running: false});
    this.wanted = true;                 // the microphone
    this.begin = 0;                     // counts conversations: an old one's pictures are void
    this.portraits = new Map();         // {seed: address of the picture}
    this.view = new View(root, {
      start: () => this.start(), end: () => this.finish(), stop: () => this.tell("interrupt"),
      ask: text => this.tell("ask", {text}), mic: () => { this.wanted = !this.ear; this.toggle(); },
      prompt: text => { this.prompt = text; this.tell("prompt", {text}); },
      face: seed => this.choose(seed)});
    this.reset();
    link.onmessage = (message, bytes) => this.take(message, bytes);
    link.onopen = () => link.send({type: "hello"});
    link.onclose = () => this.fail("The connection is closed. Reload the page to go on.", true);
    root.livetalk = this;               // for whoever wants to look inside
    this.looks = setInterval(() => this.show(), LOOK);      // a hidden page must be heard, too
  }

  reset() {
    this.pictures = [];                 // {sample, number, bitmap}, by sample
    this.sounds = [];                   // {sample, samples}, until their pictures are there
    this.seen = 0;                      // one past the last sample that has its picture
    this.due = [];                      // {sample, act}, what happens with the sound
    this.cuts = this.told = 0;
    this.drawn = [];                    // {number, sample, heard}: the last pictures shown
  }

  tell(type, more = {}, bytes) { if (this.running) this.link.send({type, ...more}, bytes); }

  // One conversation, from Start to End or to an error.
  async start() {
    this.quiet();
    this.view.complain("");
    this.view.state("loading");
    this.speaker = new Speaker();
    try { await this.speaker.open(); } catch (error) {
      this.fail(`Sound needs https or an address on localhost (${error.message}).`);
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

  choose(seed) {                        // another face is another conversation
    this.face = seed;
    if (this.running) return this.start();
    const image = new Image();
    image.onload = () => { if (!this.running && this.face === seed) this.view.draw(image); };
    image.src = this.portraits.get(seed);
  }

  // The microphone; without it, there is text.
  async toggle(asked = true) {
    if (this.ear) return this.mute();
    const ear = this.ear = new Ear((samples, level) => {
      this.view.hears(Math.min(1, 6 * level));
      if (this.drawn.length) this.tell("sound", {}, samples);     // somebody is there to hear it
    });
    try {
      await ear.open();
      if (this.ear === ear) this.view.listens(true); else ear.close();
    } catch (error) {
      this.mute();
      if (asked) this.view.complain(
        `The microphone cannot be used (${error.message}); type instead, or allow it.`);
    }
  }

  mute() {
    this.ear?.close();
    this.ear = null;
    this.view.listens(false);
  }

  // What comes: every type of message has its function; most count only in a conversation.

  take(message, bytes) {
    if (this.running || ["hello", "offer", "started", "error"].includes(message.type))
      this[message.type](message, bytes);
  }

  hello({words, note}) {
    this.view.known.textContent = words.replaceAll("; ", "\n");
    this.view.complain(note);
  }

  offer({seed}, bytes) {                // a face to choose from; the first one is shown
    const url = URL.createObjectURL(new Blob([bytes], {type: "image/jpeg"}));
    this.portraits.set(seed, url);
    this.view.offer(seed, url);
    if (this.portraits.size === 1) this.choose(seed);
  }

  sound({sample}, bytes) {
    this.sounds.push({sample, samples: new Int16Array(bytes)});
    this.release();
  }

  async picture({sample, number}, bytes) {
    const {begin, cuts} = this;         // what is void meanwhile is dropped
    const bitmap = await createImageBitmap(new Blob([bytes], {type: "image/jpeg"}));
    if (begin !== this.begin || (cuts !== this.cuts && sample >= this.edge)) return;
    this.pictures.push({sample, number, bitmap});
    this.pictures.sort((a, b) => a.sample - b.sample);      // decoded in any order
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
    for (const list of ["pictures", "sounds", "due"])
      this[list] = this[list].filter(item => item.sample < sample);
    this.speaker.cut(sample);
  }

  state({name, sample}) { this.due.push({sample, act: () => this.view.state(name)}); }

  said(line) {
    if (line.role === "user") this.view.complain("");       // of the turn before
    this.due.push({sample: line.sample, act: () => this.view.say(line)});
  }

  meter(facts) { this.view.measured(facts, this.speaker.waits); }
  error({sentence, fatal}) { if (fatal) this.fail(sentence); else this.view.complain(sentence); }

  // What is shown: the newest picture whose first sample has been heard.

  show() {
    if (!this.running || !this.speaker?.player) return;
    const heard = this.speaker.heard(), now = performance.now();
    const acts = this.due.filter(d => d.sample <= heard + 1);
    this.due = this.due.filter(d => d.sample > heard + 1);
    for (const {act} of acts) act();
    const shown = this.pictures.findLast(p => p.sample <= heard);
    if (shown) {
      this.drawn = [...this.drawn.slice(-999), {...shown, heard, bitmap: null}];
      this.view.draw(shown.bitmap);
      this.pictures = this.pictures.filter(p => p.sample > heard || p.bitmap.close());
    }
    this.view.speaks(this.speaker.level());
    if (now < this.told + TELL) return; // what may be made next depends on what was heard
    this.told = now;
    this.tell("heard", {sample: Math.floor(heard)});
  }
}

// The two roads to a conversation. On a socket a message is laid out as the length of the JSON
// (4 bytes, little end first), the JSON, the bytes; anywidget has its own binary buffers.

function socketLink(url) {
  const socket = new WebSocket(url), link = {close: () => socket.close()};
  socket.binaryType = "arraybuffer";
  socket.onopen = () => link.onopen();
  socket.onclose = () => link.onclose();
  socket.onmessage = ({data}) => {
    const end = 4 + new DataView(data).getUint32(0, true);
    link.onmessage(JSON.parse(new TextDecoder().decode(data.slice(4, end))), data.slice(end));
  };
  link.send = (message, {buffer} = new Int16Array(0)) => {
    if (socket.readyState !== WebSocket.OPEN) return;
    const json = new TextEncoder().encode(JSON.stringify(message));
    const head = new Uint8Array(Uint32Array.of(json.length).buffer);
    socket.send(new Uint8Array([...head, ...json, ...new Uint8Array(buffer)]));
  };
  return link;
}

function widgetLink(model) {
  const hear = (message, [view] = []) => link.onmessage(message,
    view?.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
  const link = {
    send: (message, bytes) => model.send(message, undefined, bytes ? [bytes.buffer] : []),
    close: () => { link.send({type: "stop"}); model.off("msg:custom", hear); }};
  model.on("msg:custom", hear);
  queueMicrotask(() => link.onopen());
  return link;
}

export default {render({model, el}) {
  const place = document.createElement("div");
  el.append(place);
  const made = new Live(place, widgetLink(model));
  return () => { made.quiet(); made.link.close(); clearInterval(made.looks); };
}};

const page = document.getElementById("livetalk-page");
if (page) new Live(page, socketLink(`ws://${location.host}/stream`));
