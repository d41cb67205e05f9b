"use strict";
// The page asks for one pair after the other and sends one answer for each. All texts are set as text, never as HTML.
// `data-state` of the body says what it is at: loading, asking, busy, ready, done or failed.

const $ = (id) => document.getElementById(id);
const words = { left: "left is better", right: "right is better", tie: "tie", skip: "skipped" };
const page = { token: null, labeller: null, pair: null, last: null, urls: [], onAnswer: null };

class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function call(path, options = {}) {
  const headers = { ...options.headers };
  if (page.token) headers.Authorization = `Bearer ${page.token}`;
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch {
    throw new Refused(0, "The server does not answer. Answers given so far are safe; start it again and press a key.");
  }
  if (response.ok) return response;
  const body = await response.json().catch(() => ({}));
  throw new Refused(response.status, body.error ?? `The server says ${response.status}.`);
}

const json = async (path, options) => (await call(path, options)).json();
const who = () => `labeller=${encodeURIComponent(page.labeller)}`;

function setState(state) {
  document.body.dataset.state = state;
  const isReady = state === "ready";
  for (const id of ["left", "right", "choose-left", "choose-right", "choose-tie", "choose-skip"]) $(id).disabled = !isReady;
  $("undo").disabled = !["ready", "done", "failed"].includes(state);
  $("ask").hidden = state !== "asking";
}

function say(message) {
  $("alert").textContent = message;
  $("alert").hidden = !message;
}

/** Asks for one thing (the labeller's name, the token) and gives it to `onAnswer`. */
function ask(question, hint, kind, onAnswer) {
  for (const id of ["pair", "choices", "done", "last", "agreement"]) $(id).hidden = true;
  $("question").textContent = question;
  $("hint").textContent = hint;
  $("answer").type = kind;
  $("answer").value = "";
  page.onAnswer = onAnswer;
  setState("asking");
  $("answer").focus();
}

function askName() {
  ask("Who labels?", "Your answers are kept under this name, apart from those of others.", "text", (name) => {
    page.labeller = name;
    localStorage.setItem("labeller", name);
    start();
  });
}

function askToken(message) {
  ask("Token", message, "password", (token) => {
    page.token = token;
    sessionStorage.setItem("token", token);
    start();
  });
}

/** Shows what went wrong and waits: any key or click tries again. */
function fail(error) {
  if (error.status === 401) return askToken(error.message);
  setState("failed");
  say(error.message);
}

async function start() {
  setState("loading");
  say("");
  try {
    const session = await json("/api/session");
    document.body.dataset.kind = session.modality;
    page.labeller ??= session.labeller;
    if (!page.labeller) return askName();
    const url = new URL(location.href);
    url.searchParams.set("labeller", page.labeller);
    url.hash = "";
    history.replaceState(null, "", url);
    $("who").textContent = page.labeller;
    await show(await json(`/api/progress?${who()}`));
  } catch (error) {
    // A name that the server refuses must not be asked with again.
    if (error.status === 400) {
      page.labeller = null;
      askName();
      return say(error.message);
    }
    fail(error);
  }
}

async function show(progress) {
  setState("busy");
  const { done, pairs, next, last, agreement } = progress;
  $("bar").max = pairs;
  $("bar").value = done;
  $("count").textContent = `${done} of ${pairs}`;
  $("agreement").hidden = !agreement;
  if (agreement) {
    const kappa = agreement.kappa === null ? "" : `, ${agreement.kind} ${agreement.kappa.toFixed(2)}`;
    $("agreement").textContent =
      `${agreement.labellers} people agree in ${Math.round(agreement.share * 100)}% of ${agreement.pairs} shared pairs${kappa}.`;
  }
  showLast(last);
  if (next === null) {
    page.pair = null;
    $("pair").hidden = $("choices").hidden = true;
    $("done").hidden = false;
    setState("done");
    return;
  }
  const pair = await json(`/api/pairs/${next}?${who()}`);
  const urls = [];
  await Promise.all(["left", "right"].map(async (place) => {
    const side = $(place);
    const [image, text] = [side.querySelector("img"), side.querySelector(".text")];
    const isText = pair[place].text !== null;
    image.hidden = isText;
    text.hidden = !isText;
    if (isText) {
      text.textContent = pair[place].text || "(nothing)";
      return;
    }
    const blob = await (await call(`/api/pairs/${next}/${place}?${who()}`)).blob();
    const url = URL.createObjectURL(blob);
    urls.push(url);
    image.src = url;
    await image.decode();
    side.classList.toggle("small", image.naturalWidth < 256);
  }));
  page.urls.forEach((url) => URL.revokeObjectURL(url));
  page.urls = urls;
  page.pair = pair;
  $("heading").textContent = `Request (pair ${next + 1})`;
  $("request").textContent = pair.request || "(nothing was asked for)";
  $("done").hidden = true;
  $("pair").hidden = $("choices").hidden = false;
  document.body.dataset.index = next;
  setState("ready");
}

/** The last answer; what it revealed is known only if it was given on this page. */
function showLast(index) {
  $("last").hidden = index === null;
  const known = page.last && page.last.index === index ? page.last : null;
  page.last = known ?? { index };
  $("last-choice").textContent = index === null ? "" : `pair ${index + 1}${known ? `: ${words[known.choice]}` : ""}`;
  const refined = known?.revealed;
  $("refined").hidden = !refined || refined.left === null;
  $("refined-left").textContent = refined?.left ?? "";
  $("refined-right").textContent = refined?.right ?? "";
}

function send(body) {
  const options = { method: "POST", headers: { "Content-Type": "application/json" } };
  return json("/api/answers", { ...options, body: JSON.stringify({ labeller: page.labeller, ...body }) });
}

async function choose(choice) {
  if (document.body.dataset.state !== "ready") return;
  setState("busy");
  say("");
  const index = page.pair.index;
  try {
    const { revealed, progress } = await send({ index, choice });
    page.last = { index, choice, revealed };
    await show(progress);
  } catch (error) {
    fail(error);
  }
}

async function undo() {
  if ($("undo").disabled || page.last?.index == null) return;
  setState("busy");
  say("");
  try {
    const { progress } = await send({ index: page.last.index, undo: true });
    page.last = null;
    await show(progress);
  } catch (error) {
    // Another window may have taken it back already: look again.
    if (error.status === 409) return start();
    fail(error);
  }
}

const keys = {
  1: () => choose("left"), ArrowLeft: () => choose("left"),
  2: () => choose("right"), ArrowRight: () => choose("right"),
  t: () => choose("tie"), s: () => choose("skip"), u: undo,
};

document.addEventListener("keydown", (event) => {
  const isTyping = event.target instanceof HTMLInputElement;
  if (isTyping || event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
  if (document.body.dataset.state === "failed") return void start();
  const action = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!action) return;
  event.preventDefault();
  action();
});

document.addEventListener("DOMContentLoaded", () => {
  for (const [id, choice] of [["left", "left"], ["right", "right"]]) $(id).addEventListener("click", () => choose(choice));
  for (const choice of Object.keys(words)) $(`choose-${choice}`).addEventListener("click", () => choose(choice));
  $("undo").addEventListener("click", undo);
  $("who").addEventListener("click", askName);
  $("alert").addEventListener("click", () => document.body.dataset.state === "failed" && start());
  $("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    const answer = $("answer").value.trim();
    if (answer) page.onAnswer(answer);
  });
  // The token stands behind the `#`, which browsers send to nobody.
  page.token = new URLSearchParams(location.hash.slice(1)).get("token") ?? sessionStorage.getItem("token");
  if (page.token) sessionStorage.setItem("token", page.token);
  page.labeller = new URLSearchParams(location.search).get("labeller");
  start();
});
