// node e2e.mjs PROGRAM APP INPUT [8|9|replicated ...]: `cargo xtask iexec-e2e` runs it.

import { resolve } from "node:path";
import { flow } from "./flow.mjs";
import { replicated } from "./replicated.mjs";

const [, , ...given] = process.argv;
const [program, app, input] = given.slice(0, 3).map((path) => resolve(path));
const wanted = given.slice(3);
const parts = wanted.length > 0 ? wanted : ["8", "9", "replicated"];
let failed = 0;
for (const part of parts) {
  failed += part === "replicated" ? await replicated(program) : await flow(program, Number(part), { app, input });
}
console.log(failed === 0 ? "\nall steps passed" : `\n${failed} flow(s) failed`);
process.exit(failed === 0 ? 0 : 1);
