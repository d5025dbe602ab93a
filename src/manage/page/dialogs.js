// The two things that ask for attention: a key that is to be regenerated, and an explanation.

import { h, moment, prose, written } from "./view.js";

const dialog = document.getElementById("dialog");

// What was open is gone with it: a key that was shown is shown no more.
function empty() {
  dialog.replaceChildren();
  if (location.hash.startsWith("#decision/")) history.replaceState(null, "", location.pathname);
}

dialog.addEventListener("cancel", (event) => {
  event.preventDefault();
  close();
});
// Whichever way it closed otherwise. The event comes late: something else may be open by then.
dialog.addEventListener("close", () => {
  if (!dialog.open) empty();
});
dialog.addEventListener("click", (event) => {
  if (event.target === dialog || event.target.closest("[data-action=close]")) close();
});

function show(title, ...content) {
  dialog.replaceChildren(h("h2", { id: "dialog-title" }, title), ...content.filter(Boolean));
  if (!dialog.open) dialog.showModal();
}

export function close() {
  if (!dialog.open) return;
  dialog.close();
  empty();
}

function buttons(...all) {
  return h("div", { class: "buttons" }, all);
}

// Something to be taken elsewhere, with a button that takes it.
function copyable(label, text, id) {
  const copied = h("button", { type: "button" }, "Copy");
  copied.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      copied.textContent = "Copied";
    } catch {
      const range = document.createRange();
      range.selectNodeContents(copied.previousElementSibling);
      getSelection().removeAllRanges();
      getSelection().addRange(range);
    }
  });
  return h("div", { class: "copyable" }, h("span", { class: "muted" }, label), h("div", null, h("code", { id }, text), copied));
}

const GRACES = [["0", "at once", ""], ["600", "after 10 minutes", " --grace 10m"], ["3600", "after an hour", " --grace 1h"], ["86400", "after a day", " --grace 1d"]];

// Asks first, then regenerates, then shows the key once.
export function regenerate(api, owner, slot, key, now, done) {
  const name = owner.replace(/^services\//, "");
  const grace = h("select", { id: "grace" }, GRACES.map(([seconds, text]) => h("option", { value: seconds }, text)));
  const command = h("code", { id: "command" });
  const told = () => {
    const [, , option] = GRACES[grace.selectedIndex];
    command.textContent = `scoregate keys regenerate ${name} ${slot}${option}`;
  };
  grace.addEventListener("change", told);
  told();
  const problem = h("p", { role: "alert", class: "problem" });
  const go = h("button", { class: "danger", id: "confirm" }, "Regenerate");
  const isBusy = key.lastSeen !== null && now - key.lastSeen < 3600;
  const form = h("form", null,
    h("p", null, `A new key is put into the ${slot} slot of ${owner}. The other slot goes on serving.`),
    h("p", { class: isBusy ? "notice warn" : null }, key.lastSeen === null ? "The key in it has not been seen here." : ["The key in it was last seen ", moment(key.lastSeen, now), isBusy ? ". Whoever still uses it is refused once it stops." : "."]),
    h("label", { for: "grace" }, "The old key stops"), grace,
    h("p", { class: "muted" }, "The same on the command line: ", command),
    problem,
    buttons(h("button", { type: "button", "data-action": "close" }, "Cancel"), go));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    go.disabled = true;
    problem.textContent = "";
    try {
      const made = await api.post(`${owner}/keys/${slot}/regenerate`, { graceSeconds: Number(grace.value) });
      shown(owner, slot, made.key);
      done();
    } catch (refused) {
      problem.textContent = `It was not regenerated: ${refused.message}.`;
      go.disabled = false;
    }
  });
  show("Regenerate this key?", form);
}

function shown(owner, slot, key) {
  const end = h("button", { "data-action": "close", class: "primary" }, "I have stored it");
  show("The new key",
    h("p", null, `It is in force in the ${slot} slot of ${owner}, and is not shown here again.`),
    copyable("Key", key, "new-key"),
    h("p", { class: "muted" }, "Callers that may list keys find it with ", h("code", null, `scoregate keys list ${owner.replace(/^services\//, "")}`), "."),
    buttons(end));
  end.focus();
}

const OUTCOMES = { passed: ["✓", "passed", "ok-text"], refused: ["✗", "refused", "bad-text"], notReached: ["·", "not reached", "muted"] };

// A decision, check by check.
export async function explain(api, id) {
  show("Why was it refused?", h("p", { class: "muted" }, "Asking the gateway…"));
  try {
    explained(await api.get(`decisions/${encodeURIComponent(id)}`));
  } catch (refused) {
    show("Why was it refused?", h("p", { class: "problem" }, `It cannot be told: ${refused.message}.`), buttons(h("button", { "data-action": "close" }, "Close")));
  }
}

function explained({ decision, at, generation, service, code, status, checks, advice, note }) {
  show(`${code} (${status})`,
    h("p", { class: "muted" }, [service ? `service ${service}` : "no service", generation === null ? null : `generation ${generation}`, at === null ? null : written(at)].filter(Boolean).join(" · ")),
    h("div", { class: "notice advice" }, h("h3", null, "What makes it pass"), h("p", null, prose(advice))),
    h("ol", { class: "checks" }, checks.map(check)),
    note && h("p", { class: "muted" }, `Note: ${note}.`),
    copyable("The same on the command line", `scoregate explain ${decision}`, "explain-command"),
    buttons(h("button", { "data-action": "close", class: "primary" }, "Close")));
}

function check({ name, question, input, rule, outcome, finding }) {
  const [sign, word, kind] = OUTCOMES[outcome];
  const facts = [["saw", input], ["rule", rule]].filter(([, text]) => text !== "");
  return h("li", { class: outcome, "data-check": name },
    h("p", null, h("span", { class: `sign ${kind}`, "aria-hidden": "true" }, sign), h("strong", null, question), h("span", { class: `word ${kind}` }, word)),
    finding !== "" && h("p", { class: "finding" }, prose(finding)),
    facts.length > 0 && h("dl", null, facts.map(([label, text]) => h("div", null, h("dt", null, label), h("dd", null, h("code", null, text))))));
}
