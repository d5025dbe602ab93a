// Prints a line a test, what failed in full, and leaves the suite's counts for the summary of tests/run.

import { appendFileSync } from "node:fs";

export default async function* report(events) {
  let [cases, passed] = [0, 0];
  for await (const { type, data } of events) {
    if (type === "test:stderr" || type === "test:stdout") yield data.message;
    if (type !== "test:pass" && type !== "test:fail") continue;
    if (data.details?.type === "suite" || data.nesting > 0) continue;
    cases += 1;
    passed += type === "test:pass" ? 1 : 0;
    yield `${type === "test:pass" ? "ok    " : "FAILED"} ${data.name} (${(data.details.duration_ms / 1000).toFixed(1)} s)\n`;
    if (type === "test:fail") yield `${data.details.error?.cause?.stack ?? data.details.error}\n`;
  }
  yield `${passed} of ${cases} passed\n`;
  const summary = process.env.SCOREGATE_TEST_SUMMARY;
  if (summary) appendFileSync(summary, `${JSON.stringify({ suite: "page", cases, passed })}\n`);
}
