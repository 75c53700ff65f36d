// page.js: a conversation in the browser. One module for the stand-alone page (through a
// WebSocket) and for notebooks (through anywidget's channel); only the link differs.
//
// A message is an object and, where it carries sound or a picture, bytes. Pictures wait for the
// sample that they belong to, and sound waits until its picture is there: so they stay in step.
import {SocketLink, WidgetLink} from "./link.js";
import {Ear, RATE, Speaker} from "./sound.js";
import {SIDE, View} from "./view.js";

const FRAME = 1000;                     // samples while which a picture is shown
const MOST = 96;                        // pictures that may wait
const LARGE = {resizeWidth: SIDE, resizeHeight: SIDE, resizeQuality: "high"};
const TELL = 60, SHOW = 250;            // ms between two words to the server, two to the reader
const HIDDEN = 200;                     // ms between two looks at the clock of a hidden page
const HOLD = {first: RATE / 10, more: RATE / 10, most: RATE * 0.6};   // samples, after a wait

class Live {
  constructor(root, link) {
    this.link = link;
    this.face = this.mood = "";
    this.running = false;
    this.begin = 0;                     // counts conversations; what belongs to an old one is late
    this.view = new View(root, {
      start: () => this.start(), end: () => this.finish(), stop: () => this.tell("interrupt"),
      ask: text => this.tell("ask", {text}), mic: () => this.toggle(),
      mood: name => { this.mood = name; this.tell("emotion", {name}); },
      face: seed => this.choose(seed)});
    this.loudness = 0;                  // of the microphone
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
    this.cuts = 0;
    this.drawn = [];                    // {number, sample, heard}: the last pictures shown
    this.waited = this.told = this.showed = 0;
  }

  tell(type, more = {}, bytes) { if (this.running) this.link.send({type, ...more}, bytes); }

  // The beginning and the end.

  async start() {
    this.reset();
    this.begin++;
    this.view.complain("");
    this.view.state("loading");
    try {
      this.speaker = new Speaker();
      await this.speaker.open();
    } catch (error) {
      this.fail(error.message);
      return;
    }
    this.running = true;
    this.tell("start", {identity: this.face, emotion: this.mood});
    this.toggle(false);
  }

  finish() {
    if (this.running) this.link.send({type: "stop"});
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

  choose(seed) {
    this.face = seed;
    this.tell("identity", {seed});
    if (!this.running) this.portrait(seed);
  }

  portrait(seed) {
    const image = new Image();
    image.onload = () => { if (!this.running && this.face === seed) this.view.draw(image); };
    image.src = this.faces.get(seed);
  }

  async toggle(asked = true) {          // the microphone; without it, there is text
    if (this.ear) { this.mute(); return; }
    const ear = this.ear = new Ear((samples, level) => {
      this.loudness = level;
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
    this.loudness = 0;
    this.view.listens(false);
  }

  // What comes: every type of message has its function.

  take(message, bytes) {
    const act = Live.TAKES[message.type];
    if (act && (this.running || !act.live)) act.call(this, message, bytes);
  }

  hello({faces, identity, words}) {
    this.view.words.textContent = words;
    this.faces = new Map();
    this.face = String(identity);
    this.view.faces.list.replaceChildren();
    this.expected = faces;
  }

  portraitOf({seed}, bytes) {
    const url = URL.createObjectURL(new Blob([bytes], {type: "image/jpeg"}));
    this.faces.set(String(seed), url);
    const chosen = String(seed) === this.face;
    this.view.face(seed, url, chosen, value => this.choose(value));
    if (chosen) this.portrait(this.face);
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
    let i = this.pictures.length;
    while (i && this.pictures[i - 1].sample > sample) i--;
    this.pictures.splice(i, 0, {sample, number, bitmap});
    if (this.pictures.length > MOST) this.pictures.shift().bitmap.close();
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

  state({name, sample}) { this.later(sample, true, () => this.view.state(name)); }

  said(line) {
    if (line.role === "user") this.view.complain("");       // of the turn before
    this.later(line.sample, line.role === "avatar", () => this.view.say(line));
  }

  later(sample, cut, act) { this.due.push({sample, cut, act}); }

  meter(facts) { this.view.measured(facts); }

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
    const heard = this.speaker.heard();
    this.happen(heard);
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
    this.view.levels(this.speaker.level(), Math.min(1, 6 * this.loudness));
    this.time(heard);
  }

  happen(heard) {
    const now = this.due.filter(d => d.sample <= heard + 1);
    this.due = this.due.filter(d => d.sample > heard + 1);
    for (const {act} of now) act();
  }

  time(heard) {
    const {waits, end} = this.speaker;
    if (waits > this.waited) {          // it ran dry: begin again with a little more at hand
      this.waited = waits;
      this.speaker.hold(Math.min(HOLD.most, HOLD.first + HOLD.more * waits));
    }
    const now = performance.now();
    if (now >= this.told + TELL) {      // what may be made next depends on what was heard
      this.told = now;
      this.tell("heard", {sample: Math.floor(heard)});
    }
    if (now < this.showed + SHOW) return;
    this.showed = now;
    const behind = this.drawn.slice(-64).map(d => (d.heard - d.sample) / RATE * 1000);
    this.view.timed({buffer: (end - heard) / RATE * 1000, waits,
                     behind: behind.reduce((a, b) => a + b, 0) / behind.length,
                     worst: Math.max(...behind)});
  }
}

const live = act => Object.assign(act, {live: true});       // only while a conversation runs
Live.TAKES = {
  hello: Live.prototype.hello, face: Live.prototype.portraitOf, error: Live.prototype.error,
  sound: live(Live.prototype.sound), picture: live(Live.prototype.picture),
  cut: live(Live.prototype.cut), state: live(Live.prototype.state),
  said: live(Live.prototype.said), meter: live(Live.prototype.meter)};

function render({model, el}) {
  const place = document.createElement("div");
  el.append(place);
  const made = new Live(place, new WidgetLink(model));
  return () => made.destroy();
}

export default {render};

const page = document.getElementById("livetalk-page");
if (page) new Live(page, new SocketLink(`ws://${location.host}/stream`));
