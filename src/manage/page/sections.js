// What is on the page, made anew from what the gateway said last.

import { NOTHING, away, count, h, latency, moment, percent, rate, spark, written } from "./view.js";

// Seconds that rates are taken over.
const WINDOW = 30;

export function sections(state) {
  return [standing(state), services(state), refusals(state), keys(state), accounts(state), tokens(state)];
}

function section(id, title, aside, ...content) {
  return h("section", { id, "data-key": id, "aria-labelledby": `${id}-title` },
    h("div", { class: "head" }, h("h2", { id: `${id}-title` }, title), aside ? h("p", { class: "muted" }, aside) : null),
    ...content);
}

// Columns are [title, class]; a row is { key, cells }.
function table(label, columns, rows, empty) {
  if (rows.length === 0) return h("p", { class: "empty" }, empty);
  return h("div", { class: "scroll", role: "region", "aria-label": `${label}, a table`, tabindex: "0" },
    h("table", null,
      h("thead", null, h("tr", null, columns.map(([title, kind]) => h("th", { scope: "col", class: kind }, title)))),
      h("tbody", null, rows.map(({ key, cells }) =>
        h("tr", { "data-key": key }, cells.map((cell, at) =>
          h("td", { class: columns[at][1], "data-label": columns[at][0] }, cell)))))));
}

function badge(kind, text) {
  return h("span", { class: `badge ${kind}` }, text);
}

function standing({ overview, now }) {
  const { generation, published, version, commit, started, problems, refusedChange } = overview;
  const quarantined = overview.services.filter((service) => service.quarantined);
  const facts = [
    ["Generation", count(generation)],
    ["Published", moment(published, now)],
    ["Started", moment(Date.parse(started) / 1000, now)],
    ["Version", `${version} (${commit.slice(0, 9)})`],
  ];
  const lines = (all) => h("ul", null, all.map((line) => h("li", null, line)));
  return h("section", { id: "standing", "data-key": "standing", "aria-label": "The running generation" },
    h("dl", { class: "facts" }, facts.map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, value)))),
    refusedChange && h("div", { class: "notice bad", "data-key": "refused-change" },
      h("h2", null, "The last change was refused"),
      h("p", null, `What ran before goes on. ${away(refusedChange.at, now)}:`), lines(refusedChange.problems)),
    problems.length > 0 && h("div", { class: "notice warn", "data-key": "problems" },
      h("h2", null, `Generation ${count(generation)} lacks something`), lines(problems),
      quarantined.length > 0 && h("p", null, `Quarantined, and answering 503: ${quarantined.map(({ name }) => name).join(", ")}.`)),
    !refusedChange && problems.length === 0 &&
      h("p", { class: "fine", "data-key": "fine" }, "Everything that the configuration says is in force."));
}

// The difference between two counts of a service over the window; null where there is no earlier one.
function recent(name, samples) {
  const last = samples.at(-1);
  const first = samples.find((sample) => last.at - sample.at <= WINDOW);
  const [then, today] = [first?.totals.get(name), last.totals.get(name)];
  if (!then || !today || first === last || today.requests < then.requests) return null;
  const within = today.within.map(([bound, number], at) => [bound, number - then.within[at][1]]);
  return {
    seconds: last.at - first.at,
    requests: today.requests - then.requests,
    errors: today.errors - then.errors,
    denied: today.denied - then.denied,
    within,
  };
}

// The duration that this share of requests did not exceed, between the bounds of its bucket.
export function quantile(share, requests, within) {
  if (requests === 0) return null;
  const wanted = share * requests;
  let [below, before] = [0, 0];
  for (const [bound, number] of within) {
    if (number >= wanted) return below + (bound - below) * ((wanted - before) / Math.max(number - before, 1));
    [below, before] = [bound, number];
  }
  return below;
}

function rates(name, samples) {
  const line = [];
  for (let at = 1; at < samples.length; at += 1) {
    const [then, today] = [samples[at - 1].totals.get(name), samples[at].totals.get(name)];
    const seconds = samples[at].at - samples[at - 1].at;
    line.push(then && today && seconds > 0 ? Math.max(today.requests - then.requests, 0) / seconds : 0);
  }
  return line;
}

function services({ overview, samples }) {
  const columns = [
    ["Service"], ["Callers"], ["Health"], ["Requests/s", "number"], ["Last 2 min", "picture"], ["Errors", "number"],
    ["Denied", "number"], ["p50", "number"], ["p95", "number"], ["In flight", "number"],
  ];
  const rows = overview.services.map((service) => {
    const { name, mode, callers, quarantined, totals } = service;
    const over = recent(name, samples);
    const share = (number) => (over && over.requests > 0 ? number / over.requests : null);
    const errors = share(over?.errors);
    return { key: name, cells: [
      h("strong", null, name),
      h("span", null, badge(mode === "public" ? "warn" : "plain", mode), " ", h("span", { class: "muted detail" }, callers)),
      quarantined ? h("span", { title: quarantined }, badge("bad", "quarantined")) : badge("ok", "serving"),
      rate(over && over.requests / over.seconds),
      spark(rates(name, samples)),
      h("span", { class: errors > 0 ? "bad-text" : null }, percent(errors)),
      percent(share(over?.denied)),
      latency(over && quantile(0.5, over.requests, over.within)),
      latency(over && quantile(0.95, over.requests, over.within)),
      count(totals.inFlight),
    ] };
  });
  return section("services", "Services", `Rates over the last ${WINDOW} s; errors are answers with 5xx.`,
    table("Services", columns, rows, "No service is configured. Add one under services in gateway.yaml."));
}

function refusals({ decisions, now }) {
  const columns = [["When"], ["Reason"], ["Service"], ["Request", "wide"], ["Who"], ["Client"]];
  const rows = decisions.map(({ id, at, code, status, kind, service, method, host, path, principal, client }) => ({ key: id, cells: [
    h("span", { title: written(at / 1000) }, away(at / 1000, now)),
    h("a", { href: `#decision/${id}` }, badge(kind === "failure" ? "bad" : "warn", String(status)), h("code", null, code)),
    service ?? h("span", { class: "muted" }, "none"),
    h("code", { class: "request" }, `${method} ${host ?? ""}${path}`),
    principal ?? h("span", { class: "muted" }, "unknown"),
    client ?? NOTHING,
  ] }));
  return section("refusals", "Last refusals", "The newest first; a reason leads to its explanation.",
    table("Last refusals", columns, rows, "Nothing has been refused since this gateway started."));
}

const SLOTS = ["primary", "secondary"];

function keys({ owners, overview, now }) {
  const mayRegenerate = overview.caller.role !== "reader";
  const columns = [["Owner"], ["Slot"], ["Last seen"], ["Uses", "number"], ["Callers", "number"], ["Since"], ["Expires"], ["Action", "action"]];
  const rows = owners.flatMap(({ owner, ownedBy, slots }) => SLOTS.map((slot) => {
    const key = slots[slot];
    const regenerate = h("button", { "data-action": "regenerate", "data-owner": owner, "data-slot": slot, "aria-label": `Regenerate the ${slot} key of ${owner}` }, "Regenerate…");
    return { key: `${owner}/${slot}`, cells: [
      h("strong", null, owner),
      slot,
      key ? lastSeen(key, now) : NOTHING,
      key ? count(key.uses) : NOTHING,
      key ? count(key.callers) : NOTHING,
      moment(key?.created, now),
      moment(key?.expires, now, key ? "never" : NOTHING),
      ownedBy !== "store" ? h("span", { class: "muted" }, ownedBy === "directory" ? "mounted files" : "by reference")
        : mayRegenerate && key ? regenerate : null,
    ] };
  }));
  return section("keys", "Keys", "Both slots are live; regenerate the one that nobody uses.",
    table("Keys", columns, rows, "No service and no account is called with keys."));
}

function lastSeen(key, now) {
  const seen = moment(key.lastSeen, now, "not seen");
  if (key.retiringUntil === null) return seen;
  return h("span", null, seen, h("span", { class: "muted detail" }, `the old key opens until ${written(key.retiringUntil)}`));
}

function chips(names) {
  return names.length === 0 ? h("span", { class: "muted" }, "nothing") : h("span", { class: "chips" }, names.map((name) => badge("plain", name)));
}

function accounts({ accounts: all, now }) {
  const columns = [["Account"], ["Resource", "wide"], ["Approved"], ["May issue"], ["Kept in"]];
  const rows = all.map(({ name, resource, approvals, mayIssue, ownedBy, created }) => ({ key: name, cells: [
    h("strong", null, name), h("code", { class: "request" }, resource), chips(approvals), chips(mayIssue),
    h("span", null, ownedBy === "store" ? "the store" : ownedBy, created !== null && h("span", { class: "muted detail" }, moment(created, now))),
  ] }));
  return section("accounts", "Accounts", "What each may use itself, and what it may put into tokens for others.",
    table("Accounts", columns, rows, "There is no account. One is made with scoregate accounts create."));
}

function tokens({ issued, revocations, overview, now }) {
  const issuedColumns = [["Issued"], ["Vendor"], ["For", "wide"], ["Features"], ["Expires"], ["Token", "wide"]];
  const issuedRows = (issued ?? []).map(({ seq, time, who, resource, detail }) => ({ key: `issued-${seq}`, cells: [
    moment(Date.parse(time) / 1000, now), who.replace(/^account:/, ""), h("code", { class: "request" }, resource),
    chips(detail?.flags ?? []),
    detail?.expires < now ? h("span", { class: "muted" }, "expired") : moment(detail?.expires, now),
    h("code", { class: "request" }, detail?.jti ?? NOTHING),
  ] })).reverse();
  const revokedColumns = [["Revoked", "wide"], ["Issued before"], ["Kept until"], ["Why"]];
  const revokedRows = revocations.map(({ id, token, resource, isv, issuedBefore, expires, why }) => ({ key: id, cells: [
    token ? h("span", null, "the token ", h("code", null, token.jti)) : resource ? h("span", null, "every token for ", h("code", null, resource)) : `every token of the vendor ${isv}`,
    moment(issuedBefore, now), moment(expires, now), why || NOTHING,
  ] }));
  const unread = overview.caller.role !== "owner" ? "Who may read the audit log, an owner, sees here which were issued."
    : overview.audit ? "None was issued." : "No audit log is kept, so nobody knows which were issued.";
  return section("tokens", "LimitedAccessTokens", "Features that vendors have lent, and what was cut off.",
    h("h3", null, "Issued"), table("Issued LimitedAccessTokens", issuedColumns, issuedRows, unread),
    h("h3", null, "Revoked"), table("Revocations", revokedColumns, revokedRows, "Nothing is revoked."));
}
