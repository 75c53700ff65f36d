// sound.js: what is heard, and when. The player, the microphone and the one clock of both senses.
//
// The stream is counted in samples of 16 kHz from its beginning. The player puts them out one by
// one; where the next one has not come yet it puts out silence and waits. So the number of the
// sample now at the loudspeaker is the time of the stream: pictures are chosen by it, and nothing
// can drift, however long the conversation.

export const RATE = 16000;
const CHUNK = 512;                      // samples of the microphone in one message: 32 ms

// Runs on the audio thread, where modules of a page do not reach: hence a string.
const WORKLETS = `
class Player extends AudioWorkletProcessor {
  constructor() {
    super();
    this.pieces = [];                   // {first, samples}, without gaps, in order
    this.next = 0;                      // the number of the next sample
    this.end = 0;                       // one past the last sample that is here
    this.hold = ${RATE / 10};           // so many must be here before playing begins
    this.playing = false;
    this.port.onmessage = ({data}) => this.take(data);
  }
  take({first, samples, hold, cut}) {
    if (hold !== undefined) this.hold = hold;
    if (cut !== undefined && cut < this.end) this.cut(cut);
    if (!samples) return;
    if (first > this.end && this.end === this.next) this.jump(first);
    this.pieces.push({first, samples});
    this.end = first + samples.length;
  }
  cut(first) {                          // what is made anew replaces what was not heard yet
    this.pieces = this.pieces.filter(p => p.first < first).map(p =>
      ({first: p.first, samples: p.samples.subarray(0, first - p.first)}));
    this.end = first;
    if (this.next > first) this.jump(first);
  }
  jump(to) { this.next = this.end = to; this.tell(0); }
  tell(offset) {
    this.port.postMessage({at: currentTime + offset / sampleRate, sample: this.next,
                           playing: this.playing});
  }
  process(_, [[out]]) {
    for (let i = 0; i < out.length; i++) {
      const ready = this.next < this.end && (this.playing || this.end - this.next >= this.hold);
      if (ready !== this.playing) { this.playing = ready; this.tell(i); }
      if (!ready) continue;
      let piece = this.pieces[0];
      while (this.next >= piece.first + piece.samples.length) {
        this.pieces.shift();
        piece = this.pieces[0];
      }
      out[i] = piece.samples[this.next++ - piece.first];
    }
    return true;
  }
}
registerProcessor("livetalk-player", Player);

class Microphone extends AudioWorkletProcessor {   // any rate to 16 kHz: a windowed sinc
  constructor() {
    super();
    this.ratio = sampleRate / ${RATE};
    this.cutoff = Math.min(1, 1 / this.ratio) * 0.92;   // of the input's half rate
    this.reach = Math.ceil(12 * Math.max(1, this.ratio));
    this.past = new Float32Array(2 * this.reach);
    this.at = this.reach;               // where the next output lies in past + new samples
    this.chunk = new Int16Array(${CHUNK});
    this.count = 0;
    this.energy = 0;
    this.table = Float32Array.from({length: 256 * this.reach + 1}, (_, i) => {
      const x = i / 256, y = Math.PI * x * this.cutoff;
      const window = 0.5 + 0.5 * Math.cos(Math.PI * x / this.reach);
      return this.cutoff * window * (y ? Math.sin(y) / y : 1);
    });
  }
  process([[input]]) {
    if (!input) return true;
    const all = new Float32Array(this.past.length + input.length);
    all.set(this.past);
    all.set(input, this.past.length);
    for (; this.at + this.reach < all.length; this.at += this.ratio) {
      let value = 0;
      for (let n = Math.ceil(this.at - this.reach); n <= this.at + this.reach; n++)
        value += all[n] * this.table[Math.round(Math.abs(n - this.at) * 256)];
      this.put(value);
    }
    this.past = all.slice(-2 * this.reach);
    this.at -= input.length;
    return true;
  }
  put(value) {
    this.energy += value * value;
    this.chunk[this.count++] = Math.max(-1, Math.min(1, value)) * 32767;
    if (this.count < this.chunk.length) return;
    const level = Math.sqrt(this.energy / this.count);
    this.port.postMessage({samples: this.chunk, level}, [this.chunk.buffer]);
    this.chunk = new Int16Array(${CHUNK});
    this.count = this.energy = 0;
  }
}
registerProcessor("livetalk-microphone", Microphone);
`;

export async function addWorklets(context) {
  if (!context.audioWorklet)
    throw new Error("This page needs https, or an address on localhost, for its sound.");
  const url = URL.createObjectURL(new Blob([WORKLETS], {type: "text/javascript"}));
  try { await context.audioWorklet.addModule(url); } finally { URL.revokeObjectURL(url); }
}

// The clock: `heard()` is the number of the sample at the loudspeaker, as a fraction.
export class Speaker {
  constructor() {
    this.context = new AudioContext({sampleRate: RATE, latencyHint: "interactive"});
    this.marks = [{at: 0, sample: 0, playing: false}];  // where playing began and stopped
    this.end = 0;                       // one past the last sample given to the player
    this.waits = 0;                     // how often it ran dry
  }

  async open() {
    await addWorklets(this.context);
    this.player = new AudioWorkletNode(this.context, "livetalk-player",
                                       {numberOfInputs: 0, outputChannelCount: [1]});
    this.player.port.onmessage = ({data}) => this.mark(data);
    this.meter = new AnalyserNode(this.context, {fftSize: 512, smoothingTimeConstant: 0.4});
    this.player.connect(this.meter).connect(this.context.destination);
    await this.context.resume();
  }

  mark(mark) {
    const last = this.marks[this.marks.length - 1];
    if (last.playing && !mark.playing) this.waits++;
    this.marks.push(mark);
    if (this.marks.length > 64) this.marks.shift();
  }

  play(first, samples) {                // samples: Int16Array
    const floats = Float32Array.from(samples, s => s / 32768);
    this.end = first + floats.length;
    this.player.port.postMessage({first, samples: floats}, [floats.buffer]);
  }

  cut(first) {                          // forget what lies from there on
    this.end = Math.min(this.end, first);
    this.player.port.postMessage({cut: first});
  }

  hold(samples) { this.player.port.postMessage({hold: samples}); }

  now() {                               // the context's time at the loudspeaker
    const {context} = this, latest = context.currentTime;
    const {contextTime, performanceTime} = context.getOutputTimestamp?.() ?? {};
    const out = contextTime + (performance.now() - performanceTime) / 1000;
    if (contextTime > 0 && Math.abs(latest - out) < 0.5) return Math.min(out, latest);
    return latest - (context.outputLatency || context.baseLatency || 0);
  }

  heard(at = this.now()) {
    let i = this.marks.length - 1;
    while (i > 0 && this.marks[i].at > at) i--;
    const mark = this.marks[i];
    const sample = mark.sample + (mark.playing ? Math.max(0, at - mark.at) * RATE : 0);
    return Math.min(sample, this.end);
  }

  level() {                             // loudness of what is heard, 0 to 1
    this.wave ??= new Float32Array(this.meter.fftSize);
    this.meter.getFloatTimeDomainData(this.wave);
    return Math.min(1, 4 * Math.hypot(...this.wave) / Math.sqrt(this.wave.length));
  }

  close() { this.context.close(); }
}

// A node that hears and says nothing; only what leads to the loudspeaker is sure to be run.
export function microphone(context, hear) {
  const node = new AudioWorkletNode(context, "livetalk-microphone", {
    outputChannelCount: [1], channelCount: 1, channelCountMode: "explicit"});
  node.port.onmessage = hear;
  node.connect(context.destination);
  return node;
}

// The microphone, as 16 kHz chunks: `listen(samples: Int16Array, level)`.
export class Ear {
  constructor(listen) { this.listen = listen; }

  async open() {
    if (!navigator.mediaDevices?.getUserMedia)
      throw new Error("This browser gives no microphone to this page; type instead.");
    this.stream = await navigator.mediaDevices.getUserMedia({audio: {
      channelCount: 1, echoCancellation: true, noiseSuppression: true, autoGainControl: true}});
    this.context = new AudioContext({latencyHint: "interactive"});
    await addWorklets(this.context);
    const node = microphone(this.context, ({data}) => this.listen(data.samples, data.level));
    this.context.createMediaStreamSource(this.stream).connect(node);
    await this.context.resume();
  }

  close() {
    this.stream?.getTracks().forEach(track => track.stop());
    this.context?.close();
  }
}
