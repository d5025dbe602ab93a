// The dashboard in a real browser: what somebody who operates a gateway can see and do there, and what they cannot.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { AxeBuilder, Browser, KEYS, Stage, eventually } from "./stage.mjs";

const REGENERATE = "Regenerate the secondary key of services/iris";
const PHONE = { viewport: { width: 390, height: 844 } };

let stage, browser;

before(async () => { [stage, browser] = await Promise.all([Stage.start(), Browser.start()]); });
after(async () => { await browser?.inner.close(); await stage?.stop(); });

async function text(page, selector) {
  return (await page.locator(selector).innerText()).replaceAll(/\s+/g, " ");
}

test("the page comes with a policy that lets nothing in from elsewhere", async () => {
  for (const [path, type] of [["", "text/html"], ["dashboard/app.js", "text/javascript"], ["dashboard/app.css", "text/css"], ["dashboard/icon.svg", "image/svg+xml"]]) {
    const answer = await fetch(stage.url + path);
    assert.equal(answer.status, 200, path);
    assert.ok(answer.headers.get("content-type").startsWith(type), path);
    const policy = answer.headers.get("content-security-policy");
    for (const rule of ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "require-trusted-types-for 'script'"]) {
      assert.ok(policy.includes(rule), `${path}: ${policy}`);
    }
    assert.ok(!policy.includes("unsafe"), policy);
    assert.equal(answer.headers.get("x-content-type-options"), "nosniff", path);
  }
  assert.equal((await fetch(`${stage.url}dashboard/other.js`)).status, 404);
});

test("a wrong key opens nothing and says so", async () => {
  const page = await browser.open(stage);
  for (const [key, told] of [["not-one-of-the-keys", "This key is not accepted."], ["two words", "That is no key"]]) {
    await page.getByLabel("Management key").fill(key);
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByRole("alert").filter({ hasText: told }).waitFor();
    assert.ok(await page.locator("#signed-in").isHidden());
  }
  assert.equal(await page.locator("#content").innerText().catch(() => ""), "");
  await browser.close(page, [/401/]);
});

test("the key stays in the page's memory alone, and is gone after a reload", async () => {
  const page = await browser.signedIn(stage, "owner");
  const kept = await page.evaluate(async () => JSON.stringify([
    { ...localStorage }, { ...sessionStorage }, document.cookie, location.href, document.documentElement.outerHTML,
    [...document.querySelectorAll("input")].map((input) => input.value), (await indexedDB.databases()).length, await caches.keys(),
  ]));
  assert.ok(!kept.includes(KEYS.owner), kept);
  assert.ok(page.requested.every((url) => url.startsWith(stage.url) && !url.includes("key/for")), page.requested.join("\n"));
  await page.reload();
  await page.getByLabel("Management key").waitFor();
  assert.ok(await page.locator("#signed-in").isHidden());
  await browser.close(page);
});

test("everything that there is is shown, and changes by itself", async () => {
  const page = await browser.signedIn(stage, "owner");
  const services = await text(page, "#services");
  for (const want of ["churn token issued by this gateway", "face key every account's", "public a page for load balancers", "serving"]) {
    assert.ok(services.includes(want), `${want}: ${services}`);
  }
  assert.match(await text(page, "#accounts"), /northwind .*nothing Face.Identification Face.Verification gateway.yaml/);
  assert.match(await text(page, "#standing"), /Generation \d+ .*in force\./);
  const row = page.locator('[data-key="services/iris/primary"]');
  assert.match(await row.innerText(), /not seen/);
  await page.locator("#keys button").first().focus();
  const authorization = `Bearer ${await stage.key("services/iris", "primary")}`;
  for (let time = 0; time < 20; time += 1) assert.equal((await stage.call("/iris/score", { authorization })).status, 200);
  assert.equal((await stage.call("/iris/broken", { authorization })).status, 500);
  await eventually("the uses are counted", async () => /primary\s+\d+ s ago\s+21\s+1\s/.test(await row.innerText()));
  await eventually("rates are shown", async () => {
    const cells = await page.locator('#services [data-key="iris"] td').allInnerTexts();
    return /^[\d.]+$/.test(cells[3]) && /^[\d.]+ %$/.test(cells[5]) && cells[5] !== "0 %" && /ms$/.test(cells[7]);
  });
  assert.ok(await page.evaluate(() => document.activeElement.dataset.action === "regenerate"), "what had the focus keeps it");
  await browser.close(page);
});

test("a reader sees no button that regenerates, and could not", async () => {
  const page = await browser.signedIn(stage, "reader");
  assert.match(await text(page, "#who"), /eve · reader/);
  assert.equal(await page.getByRole("button", { name: /Regenerate/ }).count(), 0);
  assert.match(await text(page, "#tokens"), /Who may read the audit log, an owner/);
  const refused = await stage.ask("POST", "services/iris/keys/secondary/regenerate", {}, KEYS.reader);
  assert.equal(refused.status, 403);
  await browser.close(page);
});

test("regenerating asks first, shows the new key once, and the old one is refused", async () => {
  const page = await browser.signedIn(stage, "operator");
  const [old, other] = [await stage.key("services/iris", "secondary"), await stage.key("services/iris", "primary")];
  const opens = async (key) => (await stage.call("/iris/score", { authorization: `Bearer ${key}` })).status;

  await page.getByRole("button", { name: REGENERATE }).click();
  await page.getByRole("dialog").getByText("scoregate keys regenerate iris secondary", { exact: true }).waitFor();
  await page.getByRole("button", { name: "Cancel" }).click();
  assert.equal(await opens(old), 200, "asking changes nothing");

  await page.getByRole("button", { name: REGENERATE }).click();
  await page.getByLabel("The old key stops").selectOption("after 10 minutes");
  await page.getByText("scoregate keys regenerate iris secondary --grace 10m", { exact: true }).waitFor();
  await page.getByLabel("The old key stops").selectOption("at once");
  await page.getByRole("button", { name: "Regenerate", exact: true }).click();
  const made = await page.locator("#new-key").innerText();
  assert.deepEqual([await opens(made), await opens(old), await opens(other)], [200, 401, 200]);
  assert.equal(made, await stage.key("services/iris", "secondary"));
  await page.getByRole("button", { name: "I have stored it" }).click();
  assert.ok(!(await page.content()).includes(made), "it is shown once");
  await browser.close(page);
});

test("a key that is refused to be regenerated says why", async () => {
  const page = await browser.signedIn(stage, "operator");
  await page.route("**/regenerate", (route) => route.fulfill({ status: 503, contentType: "application/problem+json", body: '{"detail": "the store cannot do that"}' }));
  await page.getByRole("button", { name: REGENERATE }).click();
  await page.getByRole("button", { name: "Regenerate", exact: true }).click();
  await page.getByRole("alert").filter({ hasText: "It was not regenerated: the store cannot do that." }).waitFor();
  assert.ok(await page.getByRole("button", { name: "Regenerate", exact: true }).isEnabled());
  await browser.close(page, [/503/]);
});

test("a refusal leads to its explanation, which leads back", async () => {
  const page = await browser.signedIn(stage, "reader");
  const { decision, status } = await stage.call("/iris/score", { authorization: "Bearer a-key-of-nobody-at-all" });
  assert.equal(status, 401);
  await page.locator(`a[href="#decision/${decision}"]`).click();
  const dialog = page.getByRole("dialog", { name: "key_unknown (401)" });
  await dialog.getByText("What makes it pass").waitFor();
  const outcomes = await dialog.locator(".checks li").evaluateAll((all) => all.map((one) => `${one.dataset.check} ${one.className}`));
  assert.deepEqual(outcomes, ["form passed", "service passed", "readiness passed", "credential passed", "caller refused", "body notReached", "upstream notReached"]);
  const told = await dialog.innerText();
  for (const want of ["header authorization: 29 bytes", "gateway.yaml:", "store: services/iris primary, secondary", `scoregate explain ${decision}`]) {
    assert.ok(told.includes(want), `${want}: ${told}`);
  }
  assert.ok(!told.includes("a-key-of-nobody"), told);
  await page.keyboard.press("Escape");
  await dialog.waitFor({ state: "hidden" });
  await page.waitForURL((url) => !url.hash.includes("decision"));
  await browser.close(page);
});

test("a link to an explanation opens it after signing in, and one that is forgotten says so", async () => {
  const { decision } = await stage.call("/nowhere");
  const page = await browser.open(stage);
  for (const [id, told] of [[decision, "no_service (404)"], ["0".repeat(32), "It cannot be told"]]) {
    await page.goto(`${stage.url}#decision/${id}`);
    await page.reload();
    await page.getByLabel("Management key").fill(KEYS.reader);
    await page.keyboard.press("Enter");
    await page.getByRole("dialog").getByText(told).waitFor();
  }
  await browser.close(page, [/404/]);
});

test("what a client sends is text on the page and nothing else", async () => {
  const page = await browser.signedIn(stage, "owner");
  const hostile = "<img src=x onerror=alert(1)>";
  await stage.call(`/a/${"x".repeat(2000)}`, { host: hostile });
  await page.locator("#refusals", { hasText: hostile }).waitFor();
  assert.equal(await page.locator("#content img").count(), 0);
  await browser.close(page);
});

test("LimitedAccessTokens are shown when they are issued and when they are revoked", async () => {
  const page = await browser.signedIn(stage, "owner");
  const key = await stage.key("accounts/northwind", "primary");
  const target = "/subscriptions/91c2/resourceGroups/intake/providers/Microsoft.CognitiveServices/accounts/clinic";
  const body = JSON.stringify({ targetAzureResourceId: target, featureFlags: ["Face.Identification"] });
  const issued = await stage.call("/sts/v1.0/issueLimitedAccessToken", { "ocp-apim-subscription-key": key }, "POST", body);
  assert.equal(issued.status, 200, issued.text);
  await eventually("it is shown", async () => /northwind\s+\/subscriptions\/91c2.*clinic\s+Face.Identification\s+in \d+ /s.test(await text(page, "#tokens")));
  const jti = JSON.parse(Buffer.from(issued.text.split(".")[1], "base64url")).jti;
  assert.ok((await text(page, "#tokens")).includes(jti));
  assert.ok(!(await page.content()).includes(issued.text.split(".")[2]), "the token itself is nowhere");
  await stage.ask("POST", "revocations", { token: { issuer: "urn:scoregate", jti }, why: "a laptop was lost" });
  await eventually("it is revoked", async () => (await text(page, "#tokens")).includes(`the token ${jti}`));
  await browser.close(page);
});

test("what is wrong with the configuration is shown, and goes when it is mended", async () => {
  const page = await browser.signedIn(stage, "reader");
  const lacking = `${stage.yaml()}  lacking: {match: [{prefix: /lacking}], upstream: model, auth: {key: {keys: {directory: ${stage.directory}/nothing}}}}\n`;
  stage.configure(lacking);
  await page.getByText(/Quarantined, and answering 503: lacking\./).waitFor();
  assert.match(await text(page, "#services"), /lacking .*quarantined/);
  stage.configure(lacking.replace("upstream: model", "upstream: modle"));
  await page.getByText("The last change was refused").waitFor();
  assert.match(await text(page, "#standing"), /gateway.yaml:\d+:\d+: services\.churn\.upstream/);
  stage.configure(stage.yaml());
  await page.getByText("Everything that the configuration says is in force.").waitFor();
  assert.ok(!(await text(page, "#services")).includes("lacking"));
  await browser.close(page);
});

test("the keyboard does everything", async () => {
  const page = await browser.open(stage);
  const focused = () => page.evaluate(() => document.activeElement.getAttribute("aria-label") ?? document.activeElement.innerText);
  const until = async (label) => {
    for (let step = 0; step < 200 && await focused() !== label; step += 1) await page.keyboard.press("Tab");
    assert.equal(await focused(), label);
  };
  await page.keyboard.type(KEYS.operator);
  await page.keyboard.press("Enter");
  await page.locator("#services").waitFor();
  await until(REGENERATE);
  await page.keyboard.press("Enter");
  await page.getByRole("dialog").waitFor();
  await page.keyboard.press("Escape");
  await page.getByRole("dialog").waitFor({ state: "hidden" });
  assert.equal(await focused(), REGENERATE, "leaving leads back");
  await page.keyboard.press("Enter");
  await until("Regenerate");
  await page.keyboard.press("Enter");
  await page.locator("#new-key").waitFor();
  assert.equal(await focused(), "I have stored it");
  await page.keyboard.press("Enter");
  await page.getByRole("dialog").waitFor({ state: "hidden" });
  await browser.close(page);
});

test("a gateway that is away is missed, and found again", async () => {
  const page = await browser.signedIn(stage, "reader");
  await stage.halt();
  await page.getByText("The gateway does not answer.").waitFor();
  assert.match(await text(page, "#services"), /iris/, "what was known stays");
  await stage.run();
  await page.getByText("The gateway does not answer.").waitFor({ state: "hidden" });
  await browser.close(page, [/ERR_CONNECTION_REFUSED|ERR_CONNECTION_RESET|ERR_EMPTY_RESPONSE/]);
});

test("whoever signs out is out", async () => {
  const page = await browser.signedIn(stage, "owner");
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByLabel("Management key").waitFor();
  assert.equal(await page.locator("#content").textContent(), "");
  const asked = page.requested.length;
  await page.waitForTimeout(2500);
  assert.equal(page.requested.length, asked, "nobody asks any more");
  await browser.close(page);
});

// axe is put into the page, which its policy forbids as it should: these pages are without.
for (const colorScheme of ["light", "dark"]) {
  for (const [device, options] of [["a desktop", {}], ["a phone", PHONE]]) {
    test(`${colorScheme} on ${device}: axe finds nothing, and nothing is cut off`, async () => {
      const { decision } = await stage.call("/iris/score", { authorization: "Bearer a-key-of-nobody-at-all" });
      const context = { colorScheme, bypassCSP: true, reducedMotion: "reduce", ...options };
      const signIn = await browser.open(stage, context);
      await judge(signIn);
      await browser.close(signIn);
      const page = await browser.signedIn(stage, "owner", context);
      await page.locator(`a[href="#decision/${decision}"]`).waitFor();
      await judge(page);
      await page.getByRole("button", { name: REGENERATE }).click();
      await judge(page);
      await page.keyboard.press("Escape");
      await page.locator(`a[href="#decision/${decision}"]`).click();
      await page.getByText("What makes it pass").waitFor();
      await judge(page);
      await browser.close(page);
    });
  }
}

async function judge(page) {
  const { violations } = await new AxeBuilder({ page }).analyze();
  const found = violations.map(({ id, impact, nodes }) => `${impact} ${id}: ${nodes.map((node) => `${node.html} ${node.failureSummary}`).join(" | ")}`);
  assert.deepEqual(found, []);
  assert.doesNotMatch(await page.locator("body").innerText(), /undefined|null|NaN|\[object/);
  const [needed, there] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  assert.ok(needed <= there, `${needed} pixels are needed, ${there} are there`);
}
