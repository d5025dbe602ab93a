// Signing in, and asking the gateway again and again for as long as somebody looks.

import { Refused, connect } from "./api.js";
import { close, explain, regenerate } from "./dialogs.js";
import { sections } from "./sections.js";
import { contain, h } from "./view.js";

// Milliseconds between two looks.
const EVERY = 2000;

// Looks that are kept for rates: two minutes.
const SAMPLES = 60;

const at = (id) => document.getElementById(id);

// The one who is signed in: the API with their key, what it said last, and the next look. Null before and after.
let session = null;

function signOut(problem = "") {
  clearTimeout(session?.timer);
  session = null;
  close();
  at("content").replaceChildren();
  at("who").replaceChildren();
  at("connection").replaceChildren();
  at("signed-in").hidden = true;
  at("sign-in").hidden = false;
  at("sign-in-problem").textContent = problem;
  at("key").focus();
}

async function signIn(event) {
  event.preventDefault();
  const typed = at("key").value.trim();
  at("key").value = "";
  at("sign-in-problem").textContent = "";
  if (!/^[\x21-\x7e]+$/.test(typed)) {
    at("sign-in-problem").textContent = "That is no key: it has a space or a letter that no key has.";
    return;
  }
  const mine = { api: connect(typed), samples: [], state: null, timer: 0, issuedSince: 0 };
  try {
    await look(mine);
  } catch (refused) {
    at("sign-in-problem").textContent = sentence(refused);
    at("key").focus();
    return;
  }
  session = mine;
  at("sign-in").hidden = true;
  at("signed-in").hidden = false;
  draw();
  again();
  follow();
}

function sentence(refused) {
  const told = {
    0: "The gateway does not answer.",
    401: "This key is not accepted.",
    403: "This key has no role here.",
    429: "Too many keys were not accepted. Wait a minute.",
  };
  return told[refused.status] ?? `The gateway says: ${refused.message}.`;
}

// Asks for everything that is shown.
async function look(mine) {
  const { api } = mine;
  const [overview, owners, accounts, revocations, decisions] = await Promise.all(
    ["overview", "keys", "accounts", "revocations", "decisions?limit=50"].map(api.get));
  const mayRead = overview.caller.role === "owner" && overview.audit;
  const issued = mayRead ? (await api.get("audit?act=limited_access_token.issue&limit=50")).value : null;
  const totals = new Map(overview.services.map((service) => [service.name, service.totals]));
  mine.samples = [...mine.samples, { at: overview.now / 1000, totals }].slice(-SAMPLES);
  mine.state = {
    overview, issued, samples: mine.samples, now: overview.now / 1000,
    owners: owners.value, accounts: accounts.value, revocations: revocations.value, decisions: decisions.value,
  };
}

function draw() {
  const { name, role } = session.state.overview.caller;
  contain(at("who"), [h("span", null, `${name} · ${role}`), h("button", { "data-action": "sign-out" }, "Sign out")]);
  contain(at("content"), sections(session.state));
}

function again() {
  clearTimeout(session.timer);
  session.timer = setTimeout(refresh, EVERY);
}

async function refresh() {
  const mine = session;
  if (mine === null) return;
  if (document.hidden) return again();
  try {
    await look(mine);
    if (session !== mine) return;
    contain(at("connection"), []);
    draw();
  } catch (refused) {
    if (session !== mine) return;
    if (!(refused instanceof Refused)) throw refused;
    if (refused.status === 401) return signOut("This key is not accepted any longer.");
    const text = `${sentence(refused)} What is shown is what it said last; it is asked again.`;
    contain(at("connection"), [h("p", { class: "notice bad" }, text)]);
  }
  again();
}

// What the address says: an explanation can be linked to.
function follow() {
  const id = location.hash.match(/^#decision\/([0-9a-f]{32})$/)?.[1];
  if (session !== null && id !== undefined) explain(session.api, id);
}

function act(event) {
  const button = event.target.closest("[data-action]");
  if (session === null || button === null) return;
  if (button.dataset.action === "sign-out") return signOut();
  if (button.dataset.action !== "regenerate") return;
  const { owner, slot } = button.dataset;
  const known = session.state.owners.find((one) => one.owner === owner);
  regenerate(session.api, owner, slot, known.slots[slot], session.state.now, refresh);
}

at("sign-in-form").addEventListener("submit", signIn);
document.addEventListener("click", act);
document.addEventListener("visibilitychange", () => { if (!document.hidden && session !== null) refresh(); });
addEventListener("hashchange", follow);
signOut();
