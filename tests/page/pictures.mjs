// Makes the pictures in docs/page/, by `PICTURES=1 tests/run page`. Somebody has to look at them.

import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import path from "node:path";

import { Browser, KEYS, Stage } from "./stage.mjs";

const INTO = path.join(import.meta.dirname, "../../docs/page");
mkdirSync(INTO, { recursive: true });

const [stage, browser] = await Promise.all([Stage.start(), Browser.start()]);

// Something like a morning: some traffic, some refusals, a token that was issued.
const iris = `Bearer ${await stage.key("services/iris", "primary")}`;
const clinic = await stage.key("accounts/clinic", "primary");
const northwind = await stage.key("accounts/northwind", "primary");
const { document: { accessToken } } = await stage.ask("POST", "services/churn/token");
const target = "/subscriptions/91c2/resourceGroups/intake/providers/Microsoft.CognitiveServices/accounts/clinic";
await stage.call("/sts/v1.0/issueLimitedAccessToken", { "ocp-apim-subscription-key": northwind }, "POST",
  JSON.stringify({ targetAzureResourceId: target, featureFlags: ["Face.Identification"] }));

let decision;
async function traffic(round) {
  const calls = [];
  for (let time = 0; time < 14 + 9 * Math.sin(round / 2.5); time += 1) {
    calls.push(stage.call(time % 13 === 12 ? "/iris/broken" : "/iris/score", { authorization: iris }));
    if (time % 2 === 0) calls.push(stage.call("/churn/score", { authorization: `Bearer ${accessToken}` }));
    if (time % 3 === 0) calls.push(stage.call("/face/v1.0/detect?returnFaceId=false", { "ocp-apim-subscription-key": clinic }, "POST"));
    if (time % 4 === 0) calls.push(stage.call("/status"));
  }
  await Promise.all(calls);
  if (round % 6 === 3) await stage.call("/iris/score", { authorization: "Bearer 0123456789abcdef0123456789abcdef" });
  if (round % 9 === 4) await stage.call("/wp-login.php");
  if (round % 8 === 5) await stage.call("/churn/score");
  if (round % 7 === 6) ({ decision } = await stage.call("/face/v1.0/identify", { "ocp-apim-subscription-key": clinic }, "POST"));
}

const desktop = { viewport: { width: 1280, height: 860 }, reducedMotion: "reduce" };
const light = await browser.signedIn(stage, "owner", { ...desktop, colorScheme: "light" });
const phone = await browser.signedIn(stage, "operator", { viewport: { width: 390, height: 844 }, colorScheme: "dark", reducedMotion: "reduce", deviceScaleFactor: 1.5 });
for (let round = 0; round < 28; round += 1) await Promise.all([traffic(round), new Promise((resolve) => setTimeout(resolve, 1000))]);
await light.waitForTimeout(2500);

await light.screenshot({ path: path.join(INTO, "light.png") });
await phone.screenshot({ path: path.join(INTO, "phone-dark.png") });
await light.goto(`${stage.url}#decision/${decision}`);
await light.getByText("What makes it pass").waitFor();
await light.screenshot({ path: path.join(INTO, "explanation.png") });

await browser.inner.close();
await stage.stop();
for (const name of ["light", "phone-dark", "explanation"]) {
  const file = path.join(INTO, `${name}.png`);
  execFileSync("pngquant", ["--force", "--strip", "--speed", "1", "--output", file, "64", file]);
}
