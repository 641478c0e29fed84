// A person's line: asked of the gateway every few seconds, so that what is set in a chat shows here too.

import { Blocked, Element, Silent, framedBy } from "./element.js";

const EVERY = 5_000;
const PATIENCE = 15_000;
const CASES = ["always", "busy", "no_answer", "unreachable"];

const search = new URLSearchParams(window.location.search);
const element = (id) => document.getElementById(id);

let phrases = {};
let spoken = "";
let host = null;
let proof = null;
let session = null;
let shown = "";
let changing = 0;

class Refused extends Error {
  constructor(status, said, wait) {
    super(said.error);
    this.status = status;
    this.word = said.error;
    this.sentence = said.sentence;
    this.wait = wait;
  }
}

function sentence(error) {
  if (error instanceof Blocked) return phrases.blocked;
  if (error instanceof Silent) return phrases.no_element;
  if (error instanceof Refused) {
    return error.sentence ?? phrases[`error_${error.word}`] ?? phrases.error_trouble;
  }
  return phrases.error_away;
}

function fill(phrase, values) {
  return phrase.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

// -- the gateway

async function request(method, path, body) {
  const headers = {};
  if (session) headers.Authorization = `Bearer ${session}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const answer = await fetch(path, {
    method,
    headers,
    body: body === undefined ? undefined : JSON.stringify(body),
    cache: "no-store",
    credentials: "omit",
    signal: AbortSignal.timeout(PATIENCE),
  });
  if (answer.ok) return answer.json();
  const said = await answer.json().catch(() => ({ error: "trouble" }));
  throw new Refused(answer.status, said, Number(answer.headers.get("Retry-After")) || 0);
}

// A new session, by the proof that there is; where the homeserver has forgotten that, by another one.
async function begin() {
  session = null;
  for (let fresh = proof === null; ; fresh = true) {
    if (fresh) proof = await host.proof(() => wait(phrases.asking));
    const { access_token, matrix_server_name } = proof;
    try {
      session = (await request("POST", "session", { access_token, matrix_server_name })).session;
      return;
    } catch (error) {
      if (error.status === 403) proof = null;
      if (error.status !== 403 || fresh) throw error;
    }
  }
}

async function ask(method, path, body) {
  try {
    return await request(method, path, body);
  } catch (error) {
    if (error.status !== 401) throw error;
    await begin();
    return request(method, path, body);
  }
}

// -- words and looks

async function speak(language) {
  const word = String(language).toLowerCase().startsWith("fr") ? "fr" : "en";
  if (word === spoken) return;
  phrases = await request("GET", `${word}.json`);
  spoken = word;
  shown = "";
  document.documentElement.lang = word;
  document.title = phrases.title;
  for (const place of document.querySelectorAll("[data-says]")) {
    place.textContent = phrases[place.dataset.says];
  }
  for (const form of document.querySelectorAll(".forward")) label(form);
}

function dress(theme) {
  const root = document.documentElement;
  if (theme.startsWith("dark")) root.dataset.theme = "dark";
  else if (theme.startsWith("light")) root.dataset.theme = "light";
  else delete root.dataset.theme;
}

function make(tag, { text, ...attributes } = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  made.append(...children);
  return made;
}

function icon(name) {
  const space = "http://www.w3.org/2000/svg";
  const drawn = document.createElementNS(space, "svg");
  drawn.setAttribute("aria-hidden", "true");
  drawn.setAttribute("class", "icon");
  const use = document.createElementNS(space, "use");
  use.setAttribute("href", `#${name}`);
  drawn.append(use);
  return drawn;
}

function wait(text, again = false) {
  element("line").hidden = true;
  element("waiting").hidden = false;
  element("why").textContent = text;
  element("again").hidden = !again;
}

function notice(text) {
  const place = element("notice");
  if (place.textContent !== text) place.textContent = text;
  place.hidden = text === "";
}

function tell(text) {
  const place = element("told");
  place.textContent = "";
  // A screen reader says the same again only where it was gone.
  setTimeout(() => (place.textContent = text), 50);
}

// -- the line

function show(line) {
  const text = JSON.stringify(line);
  element("waiting").hidden = true;
  element("line").hidden = false;
  if (text === shown) return;
  shown = text;
  element("name").textContent = line.name ?? phrases.title;
  showNumbers(line);
  showState(line);
  showSettings(line.settings);
  showCalls(line.calls);
}

function showNumbers(line) {
  const numbers = [[phrases.extension, line.extension]];
  if (line.did) numbers.push([phrases.outside, line.did]);
  const pairs = numbers.map(([what, number]) =>
    make("div", {}, make("dt", { text: what }), make("dd", { text: number })),
  );
  element("numbers").replaceChildren(...pairs);
}

function showState(line) {
  const { settings } = line;
  const isUp = line.reached === "registered" || line.reached === "trunk";
  const chips = [[isUp ? "good" : "bad", phrases[line.reached]]];
  if (line.in_call) chips.push(["busy", phrases.in_call]);
  if (settings.do_not_disturb) chips.push(["busy", phrases.disturb_not]);
  if (settings.always) chips.push(["away", fill(phrases.all_go_to, { number: settings.always })]);
  const some = new Set(CASES.slice(1).map((name) => settings[name]));
  some.delete(null);
  if (some.size > 0 && !settings.always) {
    chips.push(["away", fill(phrases.some_go_to, { number: [...some].join(", ") })]);
  }
  element("state").replaceChildren(
    ...chips.map(([kind, text]) => make("li", { class: `chip ${kind}`, text })),
  );
}

function showSettings(settings) {
  for (const name of ["do_not_disturb", "withheld"]) element(name).checked = settings[name];
  element("language").value = settings.language;
  for (const name of CASES) {
    const form = element(`forward-${name}`);
    const number = form.querySelector(".number");
    const seconds = form.querySelector(".seconds");
    // What somebody is writing stays as they have it.
    const isWritten = form.contains(document.activeElement) || form.dataset.written !== undefined;
    if (!isWritten) {
      number.value = settings[name] ?? "";
      seconds.value = settings.no_answer_seconds;
    }
    form.querySelector(".stop").hidden = settings[name] === null;
    form.classList.toggle("on", settings[name] !== null);
  }
}

function showCalls(calls) {
  const focused = document.activeElement?.dataset?.call;
  element("no-calls").hidden = calls.length > 0;
  element("calls").replaceChildren(...calls.map(showCall));
  if (focused) element("calls").querySelector(`[data-call="${CSS.escape(focused)}"]`)?.focus();
}

function showCall(call) {
  const kind = call.missed ? "missed" : call.direction;
  const now = { ringing: phrases.ringing, answered: phrases.talking }[call.state];
  const at = new Date(call.at);
  const time = make("time", { datetime: at.toISOString(), text: when(at) });
  const facts = [phrases[kind], now, call.details].filter(Boolean).join(" · ");
  const words = make(
    "div",
    { class: "words" },
    make("span", { class: "who", text: call.link ? call.who : capitalised(call.who) }),
    make("span", { class: "facts" }, facts, " · ", time),
  );
  const row = make("li", { class: `call ${kind}` }, icon(kind), words);
  if (call.link) {
    const whom = fill(phrases.call_back_whom, { who: call.who });
    const link = make(
      "a",
      { class: "button", href: call.link, target: "_blank", rel: "noopener noreferrer" },
      icon("phone"),
      make("span", { text: phrases.call_back }),
    );
    link.setAttribute("aria-label", whom);
    link.dataset.call = call.id;
    row.append(link);
  }
  return row;
}

// A number that is withheld has words in the place of a name.
function capitalised(words) {
  return words.charAt(0).toLocaleUpperCase(spoken) + words.slice(1);
}

function when(at) {
  const isToday = at.toDateString() === new Date().toDateString();
  const clock = { hour: "2-digit", minute: "2-digit" };
  const date = isToday ? {} : { day: "numeric", month: "short" };
  // As the person's own country writes it, where Element says which that is.
  const country = [search.get("lang"), navigator.language].find((tag) => tag?.startsWith(`${spoken}-`));
  const tag = country ?? { en: "en-GB", fr: "fr-FR" }[spoken];
  return new Intl.DateTimeFormat(tag, { ...date, ...clock }).format(at);
}

// -- what the person sets

async function change(setting, problem) {
  changing += 1;
  try {
    const line = await ask("PATCH", "line/settings", setting);
    await speak(line.settings.language);
    shown = "";
    show(line);
    notice("");
    tell(phrases.saved);
    return line.settings;
  } catch (error) {
    problem(sentence(error));
    return null;
  } finally {
    changing -= 1;
  }
}

function toggle(name) {
  const input = element(name);
  input.addEventListener("change", async () => {
    const wanted = input.checked;
    const done = await change({ [name]: wanted }, notice);
    if (!done) input.checked = !wanted;
  });
}

function label(form) {
  const name = form.dataset.case;
  form.querySelector("label").textContent = phrases[name];
  form.querySelector(".seconds").setAttribute("aria-label", `${phrases.after}, ${phrases.seconds}`);
  form.querySelector(".number").placeholder = phrases.number;
  form.querySelector(".set").setAttribute("aria-label", `${phrases.forward}: ${phrases[name]}`);
  form.querySelector(".stop").setAttribute("aria-label", `${phrases.stop}: ${phrases[name]}`);
}

function forwardForm(name) {
  const form = element("forward").content.firstElementChild.cloneNode(true);
  const [number, seconds] = [form.querySelector(".number"), form.querySelector(".seconds")];
  const problem = form.querySelector(".problem");
  form.id = `forward-${name}`;
  form.dataset.case = name;
  number.id = `${name}-number`;
  problem.id = `${name}-problem`;
  number.setAttribute("aria-describedby", problem.id);
  form.querySelector("label").htmlFor = number.id;
  form.querySelector(".after").hidden = name !== "no_answer";
  const complain = (text) => {
    problem.textContent = text;
    problem.hidden = text === "";
    number.setAttribute("aria-invalid", String(text !== ""));
  };
  const forward = async (to) => {
    const wanted = { case: name, to };
    if (to !== null && name === "no_answer" && seconds.value !== "") wanted.after = Number(seconds.value);
    complain("");
    delete form.dataset.written;
    const done = await change({ forward: wanted }, complain);
    if (done) number.value = done[name] ?? "";
    else form.dataset.written = "";
  };
  form.addEventListener("input", () => (form.dataset.written = ""));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const to = number.value.trim();
    if (to !== "") return forward(to);
    complain(phrases.error_number_missing);
    number.focus();
  });
  form.querySelector(".stop").addEventListener("click", () => {
    // The button goes, and what it was about stays in focus.
    number.focus();
    forward(null);
  });
  return form;
}

// -- from the beginning

async function look() {
  const before = changing;
  try {
    const line = await ask("GET", "line");
    // A change that was made meanwhile has shown what holds.
    if (before === 0 && changing === 0) {
      await speak(line.settings.language);
      show(line);
    }
    notice("");
    return EVERY;
  } catch (error) {
    if (shown === "" || error instanceof Blocked || error.status === 403) throw error;
    notice(sentence(error));
    return Math.max(EVERY, (error.wait ?? 0) * 1_000);
  }
}

async function keepLooking() {
  try {
    wait(phrases.starting);
    await begin();
    for (;;) {
      const pause = await look();
      await new Promise((done) => setTimeout(done, pause));
      if (document.visibilityState === "hidden") await isVisible();
    }
  } catch (error) {
    shown = "";
    wait(sentence(error), true);
  }
}

function isVisible() {
  return new Promise((done) => document.addEventListener("visibilitychange", done, { once: true }));
}

async function start() {
  const origin = framedBy(search);
  const widgetId = search.get("widgetId");
  // Before anything is waited for: Element asks for our capabilities as soon as the page is loaded.
  host = origin && widgetId ? new Element(origin, widgetId) : null;
  dress(search.get("theme") ?? "");
  element("forwards").append(...CASES.map(forwardForm));
  toggle("do_not_disturb");
  toggle("withheld");
  element("language").addEventListener("change", (event) => change({ language: event.target.value }, notice));
  element("again").addEventListener("click", keepLooking);
  try {
    await speak(search.get("lang") || navigator.language);
  } catch {
    // Without words there is nothing to say: the gateway is away.
    element("why").textContent = "The telephone gateway does not answer. La passerelle téléphonique ne répond pas.";
    return;
  }
  if (!host) return wait(phrases.no_element);
  host.onTheme = dress;
  await keepLooking();
}

start();
