#!/usr/bin/env node
// Compiles the contracts and writes what the Rust side reads: artifacts/<Contract>.json and artifacts/facets.json.
//
//   node build.mjs           compile and write
//   node build.mjs --check   compile and compare byte for byte with what is checked in; exit 1 on a difference
//   node build.mjs --test    compile and run the tests, and compare gas with snapshots/; further arguments go to
//                            `forge test`
//   node build.mjs --gas     measure gas anew and write snapshots/
//   node build.mjs --new-layout
//                            as without arguments, for hubs that share no storage with earlier ones
//
// layout.json is where the hub keeps what in its storage: a version that an existing hub would misread is not written.
// Installs the pinned packages first if they are not there. The same sources give the same bytes everywhere.
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { breaks, read } from "./layout.mjs";

const platform = process.platform;
const arch = process.arch === "x64" ? "amd64" : process.arch;
const root = dirname(fileURLToPath(import.meta.url));
const artifactDir = join(root, "artifacts");
const layoutFile = join(root, "layout.json");
// Compiled apart from the tests and always from nothing, so that the compiler sees the same set of files each time.
const releaseDir = join("out", "release");

// The random walks through the market, and the seeds of the slow ones.
const MARKET = "InvariantTest";
const SEEDS = ["0x67726973746d696c6c", "0x6d696c6c67726973"];

// Contracts that are deployed, in the order of deployment, and the interfaces clients bind to.
const FACETS = [
  "DiamondFacet",
  "AdminFacet",
  "EscrowFacet",
  "OrderFacet",
  "MatchFacet",
  "TaskFacet",
  "LoanFacet",
  "ViewFacet",
  "LegacyViewFacet",
];
const CONTRACTS = [
  "Grist",
  "AppRegistry",
  "DatasetRegistry",
  "WorkerpoolRegistry",
  "Timelock",
  ...FACETS,
  "Hub",
  "App",
  "Dataset",
  "Workerpool",
  "IHub",
];
const CODE_SIZE_MAX = 24_576;

function fail(message) {
  console.error(`build.mjs: ${message}`);
  process.exit(1);
}

function run(command, args, env = {}) {
  const result = spawnSync(command, args, { cwd: root, stdio: "inherit", env: { ...process.env, ...env } });
  if (result.error) fail(`${command}: ${result.error.message}`);
  if (result.status !== 0) process.exit(result.status ?? 1);
}

// All at once; fails with the first that fails, once all have ended.
async function runAll(command, lists, env) {
  const ended = lists.map(
    (args) =>
      new Promise((resolve) => {
        const child = spawn(command, args, { cwd: root, stdio: "inherit", env: { ...process.env, ...env } });
        child.on("error", (error) => fail(`${command}: ${error.message}`));
        child.on("close", (status) => resolve(status ?? 1));
      }),
  );
  const failed = (await Promise.all(ended)).find((status) => status !== 0);
  if (failed !== undefined) process.exit(failed);
}

function installPackages() {
  const wanted = JSON.parse(readFileSync(join(root, "package.json"), "utf8")).devDependencies;
  const missing = Object.entries(wanted).filter(([name, version]) => {
    const file = join(root, "node_modules", name, "package.json");
    return !existsSync(file) || JSON.parse(readFileSync(file, "utf8")).version !== version;
  });
  if (missing.length > 0 || forgePath() === undefined) {
    run("npm", ["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
  }
}

// forge comes as a native binary in a package of its own for each platform; npm installs the one that fits.
function forgePath() {
  const path = join(root, "node_modules", "@foundry-rs", `forge-${platform}-${arch}`, "bin", "forge");
  return existsSync(path) ? path : undefined;
}

function compiled(name) {
  const path = join(root, releaseDir, `${name}.sol`, `${name}.json`);
  if (!existsSync(path)) fail(`forge did not write ${path}`);
  return JSON.parse(readFileSync(path, "utf8"));
}

function artifact(name) {
  const { abi, bytecode, deployedBytecode } = compiled(name);
  const size = (deployedBytecode.object.length - 2) / 2;
  if (size > CODE_SIZE_MAX) fail(`${name} has ${size} bytes of code; the limit is ${CODE_SIZE_MAX}`);
  return {
    contractName: name,
    abi,
    bytecode: bytecode.object,
    deployedBytecode: deployedBytecode.object,
  };
}

// What a deployer cuts into the hub: each facet with the selectors it serves, sorted.
function facetTable() {
  return FACETS.map((name) => {
    const ids = compiled(name).methodIdentifiers;
    const functions = Object.keys(ids).sort();
    return {
      contractName: name,
      selectors: functions.map((signature) => `0x${ids[signature]}`),
      functions,
    };
  });
}

// Every selector of the public interface is served by exactly one facet, and no facet serves another.
function checkCoverage(table) {
  const served = table.flatMap((facet) => facet.selectors);
  if (new Set(served).size !== served.length) fail("two facets serve the same selector");
  const wanted = Object.values(compiled("IHub").methodIdentifiers).map((id) => `0x${id}`);
  const missing = wanted.filter((id) => !served.includes(id));
  const extra = served.filter((id) => !wanted.includes(id));
  if (missing.length > 0 || extra.length > 0) fail(`IHub and facets differ: missing ${missing}, extra ${extra}`);
}

function render() {
  const files = new Map();
  for (const name of CONTRACTS) files.set(`${name}.json`, `${JSON.stringify(artifact(name), null, 1)}\n`);
  const table = facetTable();
  checkCoverage(table);
  files.set("facets.json", `${JSON.stringify(table, null, 1)}\n`);
  return files;
}

function layoutText() {
  return `${JSON.stringify(read(compiled("StorageLayout").storageLayout), null, 1)}\n`;
}

// `fresh`: there is no hub whose storage would be misread.
function writeLayout(fresh) {
  const text = layoutText();
  if (!fresh && existsSync(layoutFile)) {
    const found = breaks(JSON.parse(readFileSync(layoutFile, "utf8")), JSON.parse(text));
    if (found.length > 0) {
      fail(`a hub that exists would misread its storage:\n  ${found.join("\n  ")}\nonly append to the structs of HubStorage`);
    }
  }
  writeFileSync(layoutFile, text);
}

function checkLayout() {
  const kept = existsSync(layoutFile) ? readFileSync(layoutFile, "utf8") : "";
  if (kept !== layoutText()) fail("layout.json differs from the sources; run node build.mjs and commit");
}

function write(files) {
  mkdirSync(artifactDir, { recursive: true });
  for (const name of readdirSync(artifactDir)) if (!files.has(name)) rmSync(join(artifactDir, name));
  for (const [name, text] of files) writeFileSync(join(artifactDir, name), text);
  console.log(`wrote ${files.size} files to artifacts/`);
}

function check(files) {
  const found = existsSync(artifactDir) ? readdirSync(artifactDir) : [];
  const stale = [...files]
    .filter(([name, text]) => !found.includes(name) || readFileSync(join(artifactDir, name), "utf8") !== text)
    .map(([name]) => name);
  const unknown = found.filter((name) => !files.has(name));
  if (stale.length > 0 || unknown.length > 0) {
    fail(`artifacts differ from the sources: ${[...stale, ...unknown].join(", ")}; run node build.mjs and commit`);
  }
  console.log(`${files.size} artifacts match the sources`);
}

const [mode, ...rest] = process.argv.slice(2);
installPackages();
const forge = forgePath() ?? fail(`there is no forge package for ${platform}-${arch}`);
if (mode === "--test") {
  run(process.execPath, ["--test", "--test-reporter", "dot", join(root, "layout.test.mjs")]);
  const check = { FORGE_SNAPSHOT_CHECK: "true" };
  if (process.env.FOUNDRY_PROFILE === "slow" && rest.length === 0) {
    // forge walks through the market on one core: two walks at once, each its own way.
    run(forge, ["test", "--no-match-contract", MARKET], check);
    await runAll(forge, SEEDS.map((seed) => ["test", "--match-contract", MARKET, "--fuzz-seed", seed]), check);
  } else {
    run(forge, ["test", ...rest], check);
  }
} else if (mode === "--gas") {
  run(forge, ["test", "--match-path", "test/Gas.t.sol", ...rest]);
} else if (mode === undefined || mode === "--check" || mode === "--new-layout") {
  const paths = ["--out", releaseDir, "--cache-path", join("cache", "release")];
  run(forge, ["build", "src", "--force", "--extra-output", "storageLayout", ...paths]);
  if (mode === "--check") {
    checkLayout();
    check(render());
  } else {
    writeLayout(mode === "--new-layout");
    write(render());
  }
} else {
  fail(`unknown argument ${mode}`);
}
