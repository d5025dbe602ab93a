// A running gateway with an upstream, and a real browser that looks at its page.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import { createRequire } from "node:module";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

// tests/run says where it has put the packages, and which program is under test.
const modules = createRequire(`${need("SCOREGATE_PAGE_MODULES")}/package.json`);
export const { chromium } = modules("playwright-core");
export const { AxeBuilder } = modules("@axe-core/playwright");
const PROGRAM = need("SCOREGATE");

export const KEYS = { reader: "reader+key/for-the-page", operator: "operator+key/for-the-page", owner: "owner+key/for-the-page" };
const FIXED = "a-key-that-lies-in-a-file";

const BROWSER = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-component-update", "--disable-sync"];

function need(variable) {
  const value = process.env[variable];
  assert(value, `want ${variable}; tests/run page sets it`);
  return value;
}

async function freePort() {
  const server = net.createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

// Asks until there is an answer that is neither false nor an assertion.
export async function eventually(what, ask) {
  const deadline = Date.now() + 20_000;
  for (let last; ; await sleep(25)) {
    try {
      const answer = await ask();
      if (answer) return answer;
    } catch (error) {
      last = error;
    }
    if (Date.now() > deadline) throw new Error(`not within 20 s: ${what}`, { cause: last });
  }
}

export class Stage {
  static async start() {
    const stage = new Stage();
    stage.directory = mkdtempSync(path.join(tmpdir(), "scoregate-page-"));
    stage.upstream = http.createServer((request, response) => {
      request.resume();
      const status = request.url.endsWith("/broken") ? 500 : 200;
      setTimeout(() => response.writeHead(status, { "content-type": "application/json" }).end("{}"), status === 500 ? 30 : 4);
    });
    stage.upstream.listen(0, "127.0.0.1");
    await once(stage.upstream, "listening");
    [stage.traffic, stage.management, stage.health] = [await freePort(), await freePort(), await freePort()];
    for (const [role, key] of Object.entries(KEYS)) stage.write(role, key);
    stage.write("fixed", FIXED);
    stage.configure(stage.yaml());
    await stage.run();
    return stage;
  }

  yaml() {
    return `
listeners:
  traffic: [{address: '127.0.0.1:${this.traffic}'}]
  management: {address: '127.0.0.1:${this.management}', limits: {failed_authentications: 1000000}}
  health: {address: '127.0.0.1:${this.health}'}
access_log: off
reload: {poll: 1s}
store: {directory: ${this.directory}/store}
shutdown: {delay: 0s, deadline: 2s}
management_keys:
  eve: {key: 'file:${this.directory}/reader', role: reader}
  oscar: {key: 'file:${this.directory}/operator', role: operator}
  olga: {key: 'file:${this.directory}/owner', role: owner}
accounts:
  northwind: {resource: /subscriptions/7f3a/resourceGroups/vision/providers/Microsoft.CognitiveServices/accounts/northwind, may_issue: [Face.Identification, Face.Verification]}
  clinic: {resource: /subscriptions/91c2/resourceGroups/intake/providers/Microsoft.CognitiveServices/accounts/clinic, approvals: [Face.Verification]}
upstreams: {model: {endpoints: ['http://127.0.0.1:${this.upstream.address().port}']}}
services:
  churn: {match: [{prefix: /churn}], upstream: model, auth: {token: {}}}
  face:
    match: [{prefix: /face}]
    upstream: model
    auth: {key: {keys: none, accounts: every}}
    features: {preset: face}
    issues_limited_access_tokens: true
  iris: {match: [{prefix: /iris}], upstream: model, auth: {key: {}}}
  mounted: {match: [{prefix: /mounted}], upstream: model, auth: {key: {keys: {primary: {key: 'file:${this.directory}/fixed'}}}}}
  status: {match: [{path: /status}], upstream: model, auth: {public: a page for load balancers}}
`;
  }

  write(name, text) {
    writeFileSync(path.join(this.directory, name), text, { mode: 0o600 });
  }

  configure(yaml) {
    this.write("gateway.yaml", yaml);
  }

  async run() {
    this.child = spawn(PROGRAM, ["run", "--config", path.join(this.directory, "gateway.yaml")], { stdio: ["ignore", "ignore", "pipe"] });
    this.log = "";
    this.child.stderr.on("data", (data) => { this.log += data; });
    await eventually("the gateway starts", () => {
      assert.equal(this.child.exitCode, null, this.log);
      return this.log.includes("the gateway has started");
    });
  }

  async halt() {
    const ended = once(this.child, "exit");
    this.child.kill("SIGTERM");
    await ended;
  }

  async stop() {
    await this.halt();
    this.upstream.close();
    rmSync(this.directory, { recursive: true });
  }

  get url() {
    return `http://127.0.0.1:${this.management}/`;
  }

  // Calls the management API.
  async ask(method, what, body, key = KEYS.owner) {
    const answer = await fetch(`${this.url}api/v1/${what}`, {
      method, headers: { authorization: `Bearer ${key}` }, body: body === undefined ? undefined : JSON.stringify(body),
    });
    return { status: answer.status, document: await answer.json().catch(() => null) };
  }

  async key(owner, slot) {
    const { document } = await this.ask("POST", `${owner}/keys/list`);
    return document[`${slot}Key`];
  }

  // Calls a service; the answer's status and decision.
  async call(target, headers = {}, method = "GET", body = undefined) {
    const request = http.request({ host: "127.0.0.1", port: this.traffic, path: target, method, headers, agent: false });
    request.end(body);
    const [answer] = await once(request, "response");
    let text = "";
    for await (const piece of answer) text += piece;
    return { status: answer.statusCode, decision: answer.headers["x-scoregate-decision-id"], text };
  }
}

// A browser whose pages may not say a word of complaint.
export class Browser {
  static async start() {
    const browser = new Browser();
    browser.inner = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: BROWSER });
    return browser;
  }

  async open(stage, options = {}) {
    const context = await this.inner.newContext({ viewport: { width: 1360, height: 900 }, ...options });
    const page = await context.newPage();
    page.complaints = [];
    page.requested = [];
    page.on("console", (message) => { if (["error", "warning"].includes(message.type())) page.complaints.push(message.text()); });
    page.on("pageerror", (error) => page.complaints.push(String(error)));
    page.on("request", (request) => page.requested.push(request.url()));
    await page.goto(stage.url);
    return page;
  }

  async signedIn(stage, role, options = {}) {
    const page = await this.open(stage, options);
    await page.getByLabel("Management key").fill(KEYS[role]);
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.locator("#services").waitFor();
    return page;
  }

  async close(page, expected = []) {
    const unexpected = page.complaints.filter((complaint) => !expected.some((pattern) => pattern.test(complaint)));
    await page.context().close();
    assert.deepEqual(unexpected, []);
  }
}
