// view.js: what is seen and can be touched. It knows nothing of sound, streams or connections:
// page.js calls its functions and is called back through `on`.
//
// Whatever comes from outside is set as text, never as markup.

const WORDS = {
  ready: "Ready", loading: "Loading", listening: "Listening", thinking: "Thinking",
  speaking: "Speaking", error: "Error"};
const MOODS = {"": "Auto", neutral: "Neutral", happy: "Happy", sad: "Sad", angry: "Angry",
               surprised: "Surprised"};
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

// One of several: native radio buttons, so that arrows, Tab and screen readers work.
function choices(title, name, kind) {
  const list = el("div", {class: `lt-${kind}s`});
  const box = el("fieldset", {class: "lt-choice"}, el("legend", {}, title), list);
  const add = (value, label, chosen, picked, ...inside) => {
    const input = el("input", {type: "radio", name, value, checked: chosen ? "" : false,
                               onchange: () => picked(value), "aria-label": label});
    list.append(el("label", {class: `lt-${kind}`, title: label}, input, ...inside));
  };
  return {box, list, add};
}

let instances = 0;                      // radio groups of several widgets on a page stay apart

export class View {
  constructor(root, on) {
    const id = ++instances;
    this.root = root;
    this.blocks = [];
    root.classList.add("livetalk");
    root.dataset.lmSuppressShortcuts = "true";      // JupyterLab's keys stay out of the text box

    this.status = el("span", {}, WORDS.ready);
    this.pill = el("p", {class: "lt-pill", role: "status"}, el("i"), this.status);
    this.end = el("button", {type: "button", class: "lt-end", hidden: "", onclick: on.end},
                  "End");
    const top = el("header", {class: "lt-top"}, el("p", {class: "lt-name"}, "LiveTalk"),
                   this.pill, this.end);

    this.canvas = el("canvas", {width: SIDE, height: SIDE, role: "img",
                                "aria-label": "The avatar, a drawn face"});
    this.paper = this.canvas.getContext("2d");
    this.paper.imageSmoothingQuality = "high";
    this.start = el("button", {type: "button", class: "lt-start", disabled: "",
                               onclick: on.start}, icon("play"), "Start talking");
    this.caption = el("p", {class: "lt-caption", "aria-hidden": "true"});
    this.stage = el("div", {class: "lt-stage"},
                    el("div", {class: "lt-frame"}, this.canvas, this.caption), this.start);

    this.faces = choices("Face", `lt-face-${id}`, "face");
    this.moods = choices("Mood", `lt-mood-${id}`, "mood");
    for (const [value, label] of Object.entries(MOODS))
      this.moods.add(value, label, value === "", on.mood, el("span", {}, label));

    this.words = el("p");
    const words = el("details", {class: "lt-hint"},
                     el("summary", {}, "Words of a prompt that it performs"), this.words);
    this.hint = el("p", {class: "lt-hint"},
      "Press Start, then speak or type. Ask about avatars, diffusion or this course. By voice " +
      "only questions that it knows are understood, unless a large audio model listens. " +
      "The face is drawn, and generated as you watch.");
    this.log = el("ol", {class: "lt-log", role: "log", "aria-label": "Conversation",
                         tabindex: "0"}, el("li", {class: "lt-empty"}, this.hint));
    this.alert = el("p", {class: "lt-alert", role: "alert", hidden: ""});

    this.mic = el("button", {type: "button", class: "lt-mic", "aria-pressed": "false",
                             "aria-label": "Microphone", title: "Microphone", onclick: on.mic},
                  icon("mic"));
    this.text = el("input", {type: "text", maxlength: "500", autocomplete: "off",
                             enterkeyhint: "send", placeholder: "Ask something",
                             "aria-label": "Your message"});
    this.send = el("button", {type: "submit", class: "lt-send", "aria-label": "Send",
                              title: "Send"}, icon("send"));
    this.stop = el("button", {type: "button", class: "lt-stop", "aria-label": "Stop answering",
                              title: "Stop answering (Esc)", onclick: on.stop}, icon("stop"));
    this.composer = el("form", {class: "lt-composer", onsubmit: event => {
      event.preventDefault();
      const text = this.text.value.trim();
      if (text) on.ask(text);
      this.text.value = "";
    }}, this.mic, this.text, this.stop, this.send);
    root.addEventListener("keydown", event => this.key(event, on));

    this.dashboard = dashboard();
    root.replaceChildren(el("div", {class: "lt-app"},
      top,
      el("div", {class: "lt-left"}, this.stage, this.faces.box, this.moods.box,
         words),
      el("div", {class: "lt-right"}, this.log, this.alert, this.composer),
      this.dashboard.box));
    this.state("ready");
    this.follow();
    this.themes = new MutationObserver(() => this.follow());
    this.themes.observe(document.body, {
      attributes: true, attributeFilter: ["class", "data-jp-theme-light"]});
  }

  destroy() { this.themes.disconnect(); }

  // A notebook has uses of its own for keys: those typed here go no further.
  key(event, on) {
    event.stopPropagation();
    if (event.key === "Escape") on.stop();
    if (event.key !== "Enter" || event.target !== this.text || event.isComposing) return;
    event.preventDefault();
    this.composer.requestSubmit();
  }

  // Dark or light: what the notebook says, else the system.
  follow() {
    const {jpThemeLight} = document.body.dataset, names = document.body.classList;
    if (jpThemeLight !== undefined)
      this.root.dataset.theme = jpThemeLight === "true" ? "light" : "dark";
    else if (names.contains("vscode-dark")) this.root.dataset.theme = "dark";
    else if (names.contains("vscode-light")) this.root.dataset.theme = "light";
  }

  state(name) {
    if (this.root.dataset.state === name) return;
    this.root.dataset.state = name;
    this.name();
    const on = name !== "ready" && name !== "error", talks = on && name !== "loading";
    this.start.hidden = on;
    this.end.hidden = !on;
    for (const control of [this.mic, this.text, this.send]) control.disabled = !talks;
    this.stop.disabled = name !== "speaking" && name !== "thinking";
    if (name !== "speaking") this.caption.textContent = "";
    if (name === "listening" && document.activeElement === document.body) this.text.focus();
  }

  name() {
    const {state} = this.root.dataset, deaf = state === "listening" && !this.hears;
    this.status.textContent = deaf ? "Waiting" : WORDS[state] ?? state;
  }

  face(seed, url, chosen, picked) {
    this.faces.add(String(seed), `Face ${seed}`, chosen, picked,
                   el("img", {src: url, alt: "", draggable: "false"}));
  }

  draw(picture) { this.paper.drawImage(picture, 0, 0, SIDE, SIDE); }

  say({role, text, source}) {
    this.log.querySelector(".lt-empty")?.remove();
    const last = this.log.lastElementChild;
    const follows = role === "avatar" && last?.dataset.role === role &&
                    last.dataset.source === source;
    if (follows) last.querySelector(".lt-words").append(` ${text}`);
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

  levels(voice, ear) {
    this.stage.style.setProperty("--voice", voice.toFixed(3));
    this.mic.style.setProperty("--ear", ear.toFixed(3));
  }

  listens(on) {
    this.hears = on;
    this.name();
    this.mic.setAttribute("aria-pressed", String(on));
  }

  measured(meter) { this.dashboard.measured(meter); }
  timed(facts) { this.dashboard.timed(facts); }
}

// The numbers of a stream: how fast it is made, how long an answer took, how well it keeps step.
function dashboard() {
  const tile = (name, unit) => {
    const value = el("b", {}, "–"), note = el("small", {}, unit), below = el("small");
    return {value, note, below, box: el("div", {class: "lt-tile"}, el("dt", {}, name),
      el("dd", {}, el("span", {}, value, " ", note), below))};
  };
  const tiles = {
    speed: tile("Speed", "frames/s"), block: tile("Block", "ms"),
    answer: tile("First frame", "s"), buffer: tile("Buffer", "ms ahead"),
    step: tile("Picture behind sound", "ms"), tokens: tile("Thinker", "tokens/s")};
  const box = el("details", {class: "lt-dash"}, el("summary", {}, "Live measurements"),
                 el("dl", {}, ...Object.values(tiles).map(t => t.box)));
  if (matchMedia("(min-width: 820px)").matches) box.open = true;
  const put = (name, value, digits = 0, below = "") => {
    tiles[name].value.textContent = Number.isFinite(value) ? value.toFixed(digits) : "–";
    tiles[name].below.textContent = below;
  };

  function measured({frames_per_s, block_ms, deadline_ms, tokens_per_s, first_frame}) {
    put("speed", frames_per_s, 1);
    put("block", block_ms, 0, block_ms > deadline_ms ? "late" : "in time");
    tiles.block.note.textContent = `of ${deadline_ms.toFixed(0)} ms`;
    put("tokens", tokens_per_s ?? NaN, tokens_per_s < 100 ? 1 : 0);
    const {total, ...parts} = first_frame;
    const told = Object.entries(parts).map(([name, s]) => `${name} ${s.toFixed(2)}`).join(" · ");
    if (told) put("answer", total, 2, told);
  }

  function timed({buffer, behind, worst, waits}) {
    put("buffer", buffer, 0, waits ? `ran dry ${waits} times` : "");
    put("step", behind, 0, Number.isFinite(worst) ? `at most ${worst.toFixed(0)} ms` : "");
  }

  return {box, measured, timed};
}
