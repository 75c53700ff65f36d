// view.js: what is seen and can be touched. It knows nothing of sound, streams or connections:
// page.js calls its functions and is called back through `on`.
//
// Whatever comes from outside is set as text, never as markup.

const WORDS = {
  ready: "Ready", loading: "Loading", listening: "Listening", thinking: "Thinking",
  speaking: "Speaking", error: "Error"};
const SOURCES = {
  typed: "typed", voice: "spoken", retrieval: "retrieved", "language model": "language model"};
const MEANING = {
  retrieval: "Looked up, word for word, in the texts that come with this program",
  "language model": "Written by a language model; it may be wrong"};
export const SIDE = 480;                // pixels of the canvas; pictures are enlarged smoothly

const ICONS = {
  mic: "M12 15a3 3 0 0 0 3-3V6a3 3 0 0 0-6 0v6a3 3 0 0 0 3 3zm6-3a6 6 0 0 1-12 0M12 18v3",
  send: "M12 19V5M5.5 11.5 12 5l6.5 6.5",
  stop: "M8 8h8v8H8z",
  play: "M8 5.5v13l10.5-6.5z"};

function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes))
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== false && value !== undefined) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

const button = (kind, label, onclick, drawn) =>
  el("button", {type: "button", class: `lt-${kind}`, "aria-label": label, title: label, onclick},
     icon(drawn));

let instances = 0;                      // radio groups of several widgets on a page stay apart

export class View {
  constructor(root, on) {
    this.root = root;
    this.group = `lt-face-${++instances}`;
    root.classList.add("livetalk");
    root.dataset.lmSuppressShortcuts = "true";      // JupyterLab's keys stay out of the text box

    this.status = el("span", {}, WORDS.ready);
    this.end = el("button", {type: "button", class: "lt-end", hidden: "", onclick: on.end}, "End");
    const top = el("header", {class: "lt-top"}, el("p", {class: "lt-name"}, "LiveTalk"),
                   el("p", {class: "lt-pill", role: "status"}, el("i"), this.status), this.end);

    this.canvas = el("canvas", {width: SIDE, height: SIDE, role: "img",
                                "aria-label": "The avatar, a drawn face"});
    this.paper = this.canvas.getContext("2d");
    this.paper.imageSmoothingQuality = "high";
    this.start = el("button", {type: "button", class: "lt-start", disabled: "",
                               onclick: on.start}, icon("play"), "Start talking");
    this.caption = el("p", {class: "lt-caption", "aria-hidden": "true"});
    this.stage = el("div", {class: "lt-stage"},
                    el("div", {class: "lt-frame"}, this.canvas, this.caption), this.start);
    this.faces = el("div", {class: "lt-faces"});
    const faces = el("fieldset", {}, el("legend", {}, "Face"), this.faces);

    this.words = el("p");
    const prompt = el("div", {class: "lt-prompt"},
      el("label", {}, "Prompt", el("input", {type: "text", maxlength: "200",
         autocomplete: "off", placeholder: "chosen by the thinker",
         onchange: event => on.prompt(event.target.value)})),
      el("details", {}, el("summary", {}, "Words it knows"), this.words));

    this.log = el("ol", {class: "lt-log", role: "log", "aria-label": "Conversation",
                         tabindex: "0"}, el("li", {class: "lt-empty"},
      "Press Start, then speak or type. Ask about avatars, diffusion or this course. By voice " +
      "only questions that it knows are understood. The face is drawn, and generated as you " +
      "watch."));
    this.alert = el("p", {class: "lt-alert", role: "alert", hidden: ""});

    this.mic = button("mic", "Microphone", on.mic, "mic");
    this.text = el("input", {type: "text", maxlength: "500", autocomplete: "off",
                             enterkeyhint: "send", placeholder: "Ask something",
                             "aria-label": "Your message"});
    this.send = button("send", "Send", () => this.ask(on), "send");
    this.stop = button("stop", "Stop answering", on.stop, "stop");
    this.composer = el("div", {class: "lt-composer"}, this.mic, this.text, this.stop, this.send);
    root.addEventListener("keydown", event => this.key(event, on));

    root.replaceChildren(el("div", {class: "lt-app"}, top,
      el("div", {class: "lt-left"}, this.stage, faces, prompt),
      el("div", {class: "lt-right"}, this.log, this.alert, this.composer), this.dashboard()));
    this.state("ready");
    this.follow();
    this.themes = new MutationObserver(() => this.follow());
    this.themes.observe(document.body, {attributeFilter: ["class", "data-jp-theme-light"]});
  }

  destroy() { this.themes.disconnect(); }

  ask(on) {
    const text = this.text.value.trim();
    if (text) on.ask(text);
    this.text.value = "";
  }

  key(event, on) {                      // a notebook has uses of its own for keys
    event.stopPropagation();
    if (event.key === "Escape") on.stop();
    if (event.key === "Enter" && event.target === this.text && !event.isComposing) this.ask(on);
  }

  follow() {                            // dark or light: what the notebook says, else the system
    const {jpThemeLight} = document.body.dataset, names = document.body.classList;
    if (jpThemeLight !== undefined)
      this.root.dataset.theme = jpThemeLight === "true" ? "light" : "dark";
    else if (names.contains("vscode-dark")) this.root.dataset.theme = "dark";
    else if (names.contains("vscode-light")) this.root.dataset.theme = "light";
  }

  state(name) {
    const on = name !== "ready" && name !== "error";
    this.root.dataset.state = name;
    this.name();
    this.start.hidden = on;
    this.end.hidden = !on;
    for (const part of [this.mic, this.text, this.send]) part.disabled = !on || name === "loading";
    this.stop.disabled = name !== "speaking" && name !== "thinking";
    if (name !== "speaking") this.caption.textContent = "";
    if (name === "listening" && document.activeElement === document.body) this.text.focus();
  }

  name() {                              // it does not listen without a microphone
    const {state} = this.root.dataset, deaf = state === "listening" && !this.ear;
    this.status.textContent = deaf ? "Waiting" : WORDS[state];
  }

  offer(seed, url, chosen, picked) {    // native radio buttons, so that arrows and Tab work
    this.faces.append(el("label", {class: "lt-face", title: `Face ${seed}`},
      el("input", {type: "radio", name: this.group, value: seed, checked: chosen ? "" : false,
                   onchange: () => picked(seed), "aria-label": `Face ${seed}`}),
      el("img", {src: url, alt: "", draggable: "false"})));
  }

  draw(picture) { this.paper.drawImage(picture, 0, 0, SIDE, SIDE); }

  say({role, text, source}) {
    this.log.querySelector(".lt-empty")?.remove();
    const last = this.log.lastElementChild;
    if (role === "avatar" && last?.dataset.role === role && last.dataset.source === source)
      last.querySelector(".lt-words").append(` ${text}`);
    else this.log.append(el("li", {"data-role": role, "data-source": source},
      el("span", {class: "lt-who"}, role === "user" ? "You" : "Avatar"),
      el("span", {class: "lt-words"}, text || "(spoken, not recognised)"),
      el("span", {class: "lt-source", title: MEANING[source] ?? ""},
         SOURCES[source] ?? source)));
    this.log.scrollTop = this.log.scrollHeight;
    if (role === "avatar") this.caption.textContent = text;
  }

  complain(sentence) {
    this.alert.textContent = sentence;
    this.alert.hidden = !sentence;
  }

  listens(on) {
    this.ear = on;
    this.name();
    this.mic.setAttribute("aria-pressed", String(on));
    this.hears(0);
  }

  hears(level) { this.mic.style.setProperty("--ear", level.toFixed(3)); }
  speaks(level) { this.stage.style.setProperty("--voice", level.toFixed(3)); }

  // The numbers of a stream: how fast it is made, how long an answer took, what is at hand.
  dashboard() {
    this.tiles = {};
    const tile = (key, name, unit) => {
      const [value, note, below] = ["b", "small", "small"].map(tag => el(tag));
      value.textContent = "–";
      note.textContent = unit;
      this.tiles[key] = {value, note, below};
      return el("div", {class: "lt-tile"}, el("dt", {}, name),
                el("dd", {}, el("span", {}, value, " ", note), below));
    };
    return el("details", {class: "lt-dash", open: innerWidth >= 820 ? "" : false},
      el("summary", {}, "Live measurements"), el("dl", {},
        tile("speed", "Speed", "frames/s"), tile("block", "Block", "ms"),
        tile("answer", "First frame", "s"), tile("buffer", "Buffer", "ms ahead"),
        tile("tokens", "Thinker", "tokens/s")));
  }

  measured({frames_per_s, block_ms, deadline_ms, buffer_ms, tokens_per_s, first_frame}, waits) {
    const put = (key, value, digits, below = "") => {
      this.tiles[key].value.textContent = value.toFixed(digits);
      this.tiles[key].below.textContent = below;
    };
    const {total, ...parts} = first_frame;
    put("speed", frames_per_s, 1);
    put("block", block_ms, 0, block_ms > deadline_ms ? "late" : "in time");
    this.tiles.block.note.textContent = `of ${deadline_ms.toFixed(0)} ms`;
    put("buffer", buffer_ms, 0, waits ? `ran dry ${waits} times` : "");
    if (tokens_per_s) put("tokens", tokens_per_s, tokens_per_s < 100 ? 1 : 0);
    if (total) put("answer", total, 2, Object.entries(parts).map(
      ([name, seconds]) => `${name} ${seconds.toFixed(2)}`).join(" · "));
  }
}
