// sound.js: what is heard, and when. The player, the microphone and the one clock of both senses.
//
// The player puts out samples of 16 kHz one by one; where the next one has not come yet it puts
// out silence and waits. So the number of the sample at the loudspeaker is the stream's time:
// pictures are chosen by it, and nothing can drift, however long the conversation.

export const RATE = 16000;

// Runs on the audio thread, where modules of a page do not reach: hence a string.
const WORKLETS = `
class Player extends AudioWorkletProcessor {
  constructor() {
    super();
    this.pieces = [];                   // {first, samples}, without gaps, in order
    this.next = this.end = 0;           // the next sample's number; one past the last one here
    this.hold = ${RATE / 10};           // so many must be here before playing begins
    this.playing = false;
    this.port.onmessage = ({data}) => this.take(data);
  }
  take({first, samples, hold = this.hold, cut = this.end}) {
    this.hold = hold;
    if (cut < this.end) {               // what is made anew replaces what was not heard yet
      this.pieces = this.pieces.filter(p => p.first < cut).map(p =>
        ({first: p.first, samples: p.samples.subarray(0, cut - p.first)}));
      this.end = cut;
      if (this.next > cut) this.jump(cut);
    }
    if (!samples) return;
    if (first > this.end && this.end === this.next) this.jump(first);
    this.pieces.push({first, samples});
    this.end = first + samples.length;
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
      while (this.next >= this.pieces[0].first + this.pieces[0].samples.length)
        this.pieces.shift();
      out[i] = this.pieces[0].samples[this.next++ - this.pieces[0].first];
    }
    return true;
  }
}
registerProcessor("livetalk-player", Player);

class Microphone extends AudioWorkletProcessor {   // any rate to 16 kHz: a windowed sinc
  constructor() {
    super();
    this.ratio = sampleRate / ${RATE};
    this.reach = Math.ceil(12 * Math.max(1, this.ratio));
    this.past = new Float32Array(2 * this.reach);
    this.at = this.reach;               // where the next output lies in past + new samples
    this.heard = [];
    const cutoff = Math.min(1, 1 / this.ratio) * 0.92;      // of the input's half rate
    this.table = Float32Array.from({length: 256 * this.reach + 1}, (_, i) => {
      const x = i / 256, y = Math.PI * x * cutoff;
      return cutoff * (y ? Math.sin(y) / y : 1) * Math.cos(Math.PI * x / this.reach / 2) ** 2;
    });
  }
  process([[input]]) {
    if (!input) return true;
    const all = Float32Array.of(...this.past, ...input);
    for (; this.at + this.reach < all.length; this.at += this.ratio) {
      let value = 0;
      for (let n = Math.ceil(this.at - this.reach); n <= this.at + this.reach; n++)
        value += all[n] * this.table[Math.round(Math.abs(n - this.at) * 256)];
      this.heard.push(Math.max(-1, Math.min(1, value)));
    }
    this.past = all.slice(-2 * this.reach);
    this.at -= input.length;
    if (this.heard.length < 512) return true;               // 32 ms are a message
    this.port.postMessage({samples: Int16Array.from(this.heard, x => x * 32767),
                           level: Math.hypot(...this.heard) / this.heard.length ** 0.5});
    this.heard = [];
    return true;
  }
}
registerProcessor("livetalk-microphone", Microphone);
`;

const MODULE = URL.createObjectURL(new Blob([WORKLETS], {type: "text/javascript"}));
export const addWorklets = context => context.audioWorklet.addModule(MODULE);

// The clock: `heard()` is the number of the sample at the loudspeaker, as a fraction.
export class Speaker {
  constructor() {
    this.context = new AudioContext({sampleRate: RATE, latencyHint: "interactive"});
    this.marks = [{at: 0, sample: 0, playing: false}];  // where playing began and stopped
    this.end = this.waits = 0;          // one past the last sample; how often it ran dry
  }

  async open() {
    await addWorklets(this.context);
    this.player = new AudioWorkletNode(this.context, "livetalk-player",
                                       {numberOfInputs: 0, outputChannelCount: [1]});
    this.player.port.onmessage = ({data}) => this.mark(data);
    this.meter = new AnalyserNode(this.context, {fftSize: 512});
    this.wave = new Float32Array(this.meter.fftSize);
    this.player.connect(this.meter).connect(this.context.destination);
    await this.context.resume();
  }

  mark(mark) {
    if (this.marks.at(-1).playing && !mark.playing) this.waits++;
    this.marks = [...this.marks.slice(-63), mark];
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

  heard() {
    const at = this.context.currentTime - (this.context.outputLatency || 0);   // at the ear
    const mark = this.marks.findLast(m => m.at <= at) ?? this.marks[0];
    const sample = mark.sample + (mark.playing ? Math.max(0, at - mark.at) * RATE : 0);
    return Math.min(sample, this.end);
  }

  level() {                             // loudness of what is heard, 0 to 1
    this.meter.getFloatTimeDomainData(this.wave);
    return Math.min(1, 0.18 * Math.hypot(...this.wave));
  }

  close() { this.context.close(); }
}

// A node that hears and says nothing; only what leads to the loudspeaker is sure to be run.
export function microphone(context, hear) {
  const node = new AudioWorkletNode(context, "livetalk-microphone", {
    outputChannelCount: [1], channelCount: 1, channelCountMode: "explicit"});
  node.port.onmessage = ({data}) => hear(data.samples, data.level);
  node.connect(context.destination);
  return node;
}

// The microphone, as 16 kHz chunks: `listen(samples: Int16Array, level)`.
export class Ear {
  constructor(listen) { this.listen = listen; }

  async open() {                        // without the avatar's own voice
    this.stream = await navigator.mediaDevices.getUserMedia({audio: {echoCancellation: true}});
    this.context = new AudioContext({latencyHint: "interactive"});
    await addWorklets(this.context);
    this.context.createMediaStreamSource(this.stream)
      .connect(microphone(this.context, this.listen));
    await this.context.resume();
  }

  close() {
    this.stream?.getTracks().forEach(track => track.stop());
    this.context?.close();
  }
}
