// view.js: what is seen and can be touched. page.js calls its functions and is called back
// through `on`. Whatever comes from outside is set as text, never as markup.

export const SIDE = 480;                // pixels of the canvas; pictures are enlarged smoothly
const SOURCES = {voice: "spoken", retrieval: "retrieved"};
const MEANING = {
  retrieval: "Looked up, word for word, in the texts that come with this program",
  "language model": "Written by a language model; it may be wrong"};
const TILES = [["Speed", "frames/s"], ["Block", "ms"], ["First frame", "s"],
               ["Buffer", "ms ahead"], ["Thinker", "tokens/s"]];

const icon = path => `<svg viewBox="0 0 24 24" aria-hidden="true"><path d="${path}"/></svg>`;
const button = (kind, label, path) => `<button type="button" class="lt-${kind}"
  aria-label="${label}" title="${label}">${icon(path)}</button>`;
const MARKUP = `<div class="lt-app">
<header class="lt-top">
  <p class="lt-name">LiveTalk</p><p class="lt-pill" role="status"><i></i><span></span></p>
  <button type="button" class="lt-end">End</button>
</header>
<div class="lt-left">
  <div class="lt-stage">
    <div class="lt-frame">
      <canvas width="${SIDE}" height="${SIDE}" role="img" aria-label="The avatar, a generated face">
      </canvas><p class="lt-caption" aria-hidden="true"></p>
    </div>
    <button type="button" class="lt-start" disabled>${icon("M8 5.5v13l10.5-6.5z")}
      Start talking</button>
  </div>
  <fieldset class="lt-faces"><legend>Face</legend></fieldset>
  <div class="lt-prompt">
    <label>Prompt <input type="text" maxlength="200" placeholder="chosen by the thinker"></label>
    <details><summary>Words it knows</summary><p class="lt-known"></p></details>
  </div>
</div>
<div class="lt-right">
  <ol class="lt-log" role="log" aria-label="Conversation" tabindex="0"><li class="lt-empty">Press
    Start, then speak or type. Ask about avatars, diffusion or this course. By voice only
    questions that it knows are understood. The face is synthetic, generated as you watch.</li>
  </ol>
  <p class="lt-alert" role="alert" hidden></p>
  <div class="lt-composer">
    ${button("mic", "Microphone",
             "M12 15a3 3 0 0 0 3-3V6a3 3 0 0 0-6 0v6a3 3 0 0 0 3 3zm6-3a6 6 0 0 1-12 0M12 18v3")}
    <input type="text" class="lt-text" maxlength="500" autocomplete="off" enterkeyhint="send"
           placeholder="Ask something" aria-label="Your message">
    ${button("stop", "Stop answering", "M8 8h8v8H8z")}
    ${button("send", "Send", "M12 19V5M5.5 11.5 12 5l6.5 6.5")}
  </div>
</div>
<details class="lt-dash"><summary>Live measurements</summary><dl>${TILES.map(([name, unit]) =>
  `<div class="lt-tile"><dt>${name}</dt><dd><b>–</b> <small>${unit}</small><p></p></dd></div>`
).join("")}</dl></details>
</div>`;

export class View {
  constructor(root, on) {
    this.root = root;
    root.classList.add("livetalk");
    root.dataset.lmSuppressShortcuts = "true";      // JupyterLab's keys stay out of the text box
    root.innerHTML = MARKUP;
    const find = name => root.querySelector(`.lt-${name}`);
    for (const name of ["start", "end", "stage", "caption", "faces", "known", "log", "alert",
                        "mic", "text", "stop", "send"]) this[name] = find(name);
    this.group = `lt-face-${Math.random()}`;        // radio groups of several widgets stay apart
    this.status = root.querySelector(".lt-pill span");
    this.canvas = root.querySelector("canvas");
    this.paper = this.canvas.getContext("2d");
    this.paper.imageSmoothingQuality = "high";
    this.tiles = [...root.querySelectorAll(".lt-tile")];
    find("dash").open = innerWidth >= 820;
    this.on = on;
    this.start.onclick = on.start;
    this.end.onclick = on.end;
    this.mic.onclick = on.mic;
    this.stop.onclick = on.stop;
    this.send.onclick = () => this.ask();
    find("prompt").onchange = ({target}) => on.prompt(target.value);
    root.onkeydown = event => this.key(event);
    this.state("ready");
  }

  // What is done, with a pointer or with keys.
  ask() {
    const text = this.text.value.trim();
    if (text) this.on.ask(text);
    this.text.value = "";
  }

  key(event) {                          // a notebook has uses of its own for keys
    event.stopPropagation();
    if (event.key === "Escape") this.on.stop();
    if (event.key === "Enter" && event.target === this.text && !event.isComposing) this.ask();
  }

  // What is shown.
  state(name) {
    const on = name !== "ready" && name !== "error";
    this.root.dataset.state = this.status.textContent = name;
    this.start.hidden = on;
    this.end.hidden = !on;
    for (const part of [this.mic, this.text, this.send]) part.disabled = !on || name === "loading";
    this.stop.disabled = name !== "speaking" && name !== "thinking";
    if (name !== "speaking") this.caption.textContent = "";
    if (name === "listening" && document.activeElement === document.body) this.text.focus();
  }

  offer(seed, url) {                    // native radio buttons, so that arrows and Tab work
    const label = document.createElement("label");
    label.className = "lt-face";
    label.innerHTML = `<input type="radio" name="${this.group}"><img alt="">`;
    const [input, image] = label.children;
    input.ariaLabel = label.title = `Face ${seed}`;
    input.checked = !this.faces.querySelector("input");
    input.onchange = () => this.on.face(seed);
    image.src = url;
    this.faces.append(label);
    this.start.disabled = false;
  }

  draw(picture) { this.paper.drawImage(picture, 0, 0, SIDE, SIDE); }

  say({role, text, source}) {
    this.log.querySelector(".lt-empty")?.remove();
    const last = this.log.lastElementChild;
    if (role === "avatar" && last?.dataset.role === role && last.dataset.source === source)
      last.querySelector(".lt-words").append(` ${text}`);
    else {
      const line = document.createElement("li");
      Object.assign(line.dataset, {role, source});
      line.innerHTML = `<span class="lt-who"></span><span class="lt-words"></span>
                        <span class="lt-source"></span>`;
      const [who, words, from] = line.children;
      who.textContent = role === "user" ? "You" : "Avatar";
      words.textContent = text || "(spoken, not recognised)";
      from.textContent = SOURCES[source] ?? source;
      from.title = MEANING[source] ?? "";
      this.log.append(line);
    }
    this.log.scrollTop = this.log.scrollHeight;
    if (role === "avatar") this.caption.textContent = text;
  }

  complain(sentence) {
    this.alert.textContent = sentence;
    this.alert.hidden = !sentence;
  }

  listens(on) { this.mic.ariaPressed = on; this.hears(0); }
  hears(level) { this.mic.style.setProperty("--ear", level.toFixed(3)); }
  speaks(level) { this.stage.style.setProperty("--voice", level.toFixed(3)); }

  // The numbers of a stream: how fast it is made, how long an answer took, what is at hand.
  measured({frames_per_s, block_ms, deadline_ms, buffer_ms, tokens_per_s, first_frame}, waits) {
    const {total, ...parts} = first_frame;
    const took = Object.entries(parts).map(([name, s]) => `${name} ${s.toFixed(2)}`).join(" · ");
    [[frames_per_s, 1, ""], [block_ms, 0, `of ${deadline_ms} ms, ` +
      (block_ms > deadline_ms ? "late" : "in time")], [total, 2, took],
     [buffer_ms, 0, waits ? `ran dry ${waits}×` : ""], [tokens_per_s, 1, ""]]
      .forEach(([value, digits, below], i) => {
        this.tiles[i].querySelector("b").textContent = value?.toFixed(digits) ?? "–";
        this.tiles[i].querySelector("p").textContent = below;
      });
  }
}
