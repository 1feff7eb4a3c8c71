#!/usr/bin/env node
// forge asks a compiler two things: its version, and a standard JSON input. This answers both with the npm package `solc`.
import { createRequire } from "node:module";
import { text } from "node:stream/consumers";

const solc = createRequire(import.meta.url)("solc");
if (process.argv.includes("--version")) {
  console.log(`solc, the solidity compiler commandline interface\nVersion: ${solc.version().replace("Emscripten.clang", "Linux.g++")}`);
} else {
  process.stdout.write(solc.compile(await text(process.stdin)));
}
