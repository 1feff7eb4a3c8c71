// Runs forge, which comes as a package of its own for each platform.
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

const arch = process.arch === "x64" ? "amd64" : process.arch;
const path = fileURLToPath(new URL(`../node_modules/@foundry-rs/forge-${process.platform}-${arch}/bin/forge`, import.meta.url));
if (!existsSync(path)) {
  console.error(`forge is missing: run \`npm ci\` first (there is a package for linux-amd64 and darwin-arm64, not for ${process.platform}-${arch} unless you add it)`);
  process.exit(1);
}
const result = spawnSync(path, process.argv.slice(2), { stdio: "inherit" });
process.exit(result.status ?? 1);
