"""The page's sound, in a real browser but faster than real time: an exact clock, clean samples."""

import pytest
import torch
from browser import chromium, opened, require
from recital import maker, small
from served import Served

require()
PLAY = """async ({minutes, sizes, cut}) => {
  const {addWorklets, RATE} = await import("/page.js");
  const count = minutes * 60 * RATE, value = i => (i * 7919 % 10007) / 10007 - 0.5;
  const context = new OfflineAudioContext(1, count + RATE, RATE);
  await addWorklets(context);
  const player = new AudioWorkletNode(context, "livetalk-player",
                                      {numberOfInputs: 0, outputChannelCount: [1]});
  const marks = [];
  player.port.postMessage({hold: 2 * count});
  player.port.onmessage = ({data}) => marks.push(data);
  player.connect(context.destination);
  for (let first = 0, k = 0; first < count; k++) {
    const size = Math.min(sizes[k % sizes.length], count - first), at = first;
    const samples = Float32Array.from({length: size}, (_, i) => value(at + i) + (cut ? 2 : 0));
    player.port.postMessage({first, samples});
    first += size;
  }
  if (cut) {
    player.port.postMessage({cut});
    const samples = Float32Array.from({length: count - cut}, (_, i) => value(cut + i));
    player.port.postMessage({first: cut, samples});
  }
  player.port.postMessage({hold: count});             // begin when all has arrived, and leave
  for (let k = 1; k <= 40; k++)                       // it the time to: rendering is quick
    context.suspend(k * 256 / RATE).then(() => setTimeout(() => context.resume(), 50));
  const out = (await context.startRendering()).getChannelData(0);
  await new Promise(resolve => setTimeout(resolve, 500));
  const start = Math.round(marks.find(m => m.playing).at * RATE);
  let wrong = 0;
  for (let i = 0; i < count; i++)
    wrong += Math.abs(out[start + i] - value(i) - (i < cut ? 2 : 0)) > 1e-6;
  return {wrong, start, marks, end: count};
}"""
HEAR = """async ({rate, tones}) => {
  const {addWorklets, microphone} = await import("/page.js");
  const context = new OfflineAudioContext(1, rate, rate), heard = [];
  await addWorklets(context);
  const node = microphone(context, samples => heard.push(...samples));
  for (const frequency of tones) {
    const tone = new OscillatorNode(context, {frequency});
    tone.connect(new GainNode(context, {gain: 0.4})).connect(node);
    tone.start();
  }
  await context.startRendering();
  await new Promise(resolve => setTimeout(resolve, 300));
  return heard;
}"""


@pytest.fixture(scope="module")
def page():
    with Served(maker(small())) as served, chromium() as browser, \
            opened(browser, served.url) as page:
        yield page


def test_after_ten_minutes_every_sample_is_in_its_place(page):
    """The i-th sample given is the i-th one heard, whatever the pieces: nothing can drift."""
    found = page.evaluate(PLAY, {"minutes": 10, "sizes": [9_000, 12_000, 1, 500], "cut": 0})
    playing = [mark for mark in found["marks"] if mark["playing"]]
    assert found["wrong"] == 0 and len(playing) == 1 and playing[0]["sample"] == 0
    last = found["marks"][-1]
    assert not last["playing"] and last["sample"] == found["end"]
    assert abs((last["at"] - playing[0]["at"]) * 16_000 - found["end"]) < 1e-3


def test_a_cut_replaces_what_was_not_heard(page):
    found = page.evaluate(PLAY, {"minutes": 0.1, "sizes": [9_000, 12_000], "cut": 33_333})
    assert found["wrong"] == 0


@pytest.mark.parametrize("rate", (48_000, 44_100, 16_000))
def test_the_microphone_comes_at_16_khz_without_aliases(page, rate):
    """A tone of 1 kHz stays; one of 11 kHz, which 16 kHz cannot hold, does not fold to 5 kHz."""
    tones = [1_000, 11_000] if rate > 22_000 else [1_000]
    heard = torch.tensor(page.evaluate(HEAR, {"rate": rate, "tones": tones})) / 32_767
    assert 14_000 < len(heard) <= 16_000
    heard = heard[2_000:2_000 + 8_000]
    spectrum = torch.fft.rfft(heard * torch.hann_window(len(heard))).abs() / (len(heard) / 4)
    assert abs(float(spectrum[500]) - 0.4) < 0.02                         # 2 Hz a bin
    spectrum[490:511] = 0
    assert float(spectrum.max()) < 0.004                                  # 40 dB below
