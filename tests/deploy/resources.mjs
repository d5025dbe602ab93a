// Holds the custom resources that manifests.py wrote against the schemas of the Prometheus operator.
// usage: resources.mjs CUSTOM_RESOURCES, in a directory that has @kubernetes-models/prometheus-operator.
import fs from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";

const models = "node_modules/@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/index.js";
const kinds = await import(pathToFileURL(path.resolve(models)));
const all = JSON.parse(fs.readFileSync(process.argv[2])).filter(({ manifest }) => kinds[manifest.kind]);
for (const { where, manifest } of all) {
  try {
    new kinds[manifest.kind](manifest).validate();
  } catch (error) {
    console.error(`resources.mjs: ${where}: ${error.message}`);
    process.exit(1);
  }
}
// A port is a name; a number has to be noticed.
let noticed = false;
try {
  new kinds.PodMonitor({ metadata: { name: "a" }, spec: { selector: {}, podMetricsEndpoints: [{ port: 9090 }] } }).validate();
} catch {
  noticed = true;
}
if (!noticed || all.length < 3) {
  console.error(`resources.mjs: ${all.length} resources, a wrong one ${noticed ? "noticed" : "passed"}`);
  process.exit(1);
}
console.log(JSON.stringify({ suite: "custom resources", cases: all.length + 1, passed: all.length + 1 }));
