// Start a Gristmill network in a folder of its own, run programs against it, and say how each step went.

import { spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const HERE = dirname(fileURLToPath(import.meta.url));
/// How long a command of a client may take, in milliseconds.
const COMMAND_MS = 180_000;
/// How long a network may take to start or stop, in milliseconds.
const NETWORK_MS = 120_000;

/// Steps in their order, each with its outcome.
export class Report {
  constructor(title) {
    this.failed = 0;
    console.log(`\n== ${title}`);
  }

  /// Runs `action`; a step that throws has failed, and what follows is tried all the same unless it needs its value.
  async step(name, action) {
    const started = Date.now();
    const time = () => `${((Date.now() - started) / 1000).toFixed(1)} s`.padStart(8);
    try {
      const value = await action();
      const note = typeof value === "string" ? value : value?.note;
      console.log(`ok   ${time()}  ${name}${note ? `: ${note}` : ""}`);
      return value;
    } catch (error) {
      this.failed += 1;
      console.log(`FAIL ${time()}  ${name}\n${String(error?.stack ?? error).replace(/^/gm, "       ")}`);
      throw new StepFailed(name);
    }
  }
}

/// Ends a flow: what comes later needs what failed.
export class StepFailed extends Error {}

export function check(condition, text) {
  if (!condition) throw new Error(text);
}

/// Runs a program to its end and gives what it printed on standard output.
export function run(program, args, options = {}) {
  const { cwd, expect = 0 } = options;
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { cwd, stdio: ["ignore", "pipe", "pipe"] });
    let [out, err] = ["", ""];
    child.stdout.on("data", (data) => (out += data));
    child.stderr.on("data", (data) => (err += data));
    const timer = setTimeout(() => child.kill("SIGKILL"), COMMAND_MS);
    child.on("error", reject);
    child.on("close", (code) => {
      clearTimeout(timer);
      if (code === expect) return resolve(out);
      reject(new Error(`\`${[program, ...args].join(" ")}\` ended with ${code}, not ${expect}\n${out}\n${err}`));
    });
  });
}

/// A running network.
export class Network {
  /// `flags`: what `gristmill up` is given besides its folder.
  static async start(program, flags) {
    const folder = await mkdtemp(join(tmpdir(), "gristmill-iexec-"));
    const chainJson = join(folder, "chain.json");
    const dataDir = join(folder, "network");
    const args = ["up", "--json", "--data-dir", dataDir, "--iexec-chain-json", chainJson, ...flags];
    const child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"] });
    const network = new Network();
    Object.assign(network, { program, folder, dataDir, chainJson, child, log: "" });
    network.ended = new Promise((resolve) => child.on("close", resolve));
    child.stderr.on("data", (data) => (network.log += data));
    const announced = new Promise((resolve, reject) => {
      let text = "";
      child.stdout.on("data", (data) => {
        text += data;
        try {
          resolve(JSON.parse(text));
        } catch {
          // Not all of it is here yet.
        }
      });
      child.on("error", reject);
      child.on("close", (code) => reject(new Error(`the network ended with ${code}\n${network.log}`)));
      setTimeout(() => reject(new Error(`the network does not start\n${network.log}`)), NETWORK_MS).unref();
    });
    try {
      Object.assign(network, await announced);
    } catch (error) {
      await network.stop();
      throw error;
    }
    return network;
  }

  /// A command of ours on this network; its JSON.
  async gristmill(...args) {
    return JSON.parse(await run(this.program, ["--json", ...args, "--data-dir", this.dataDir]));
  }

  /// Stops it and removes its folder.
  async stop() {
    this.child.kill("SIGTERM");
    const timer = setTimeout(() => this.child.kill("SIGKILL"), NETWORK_MS);
    await this.ended;
    clearTimeout(timer);
    await rm(this.folder, { recursive: true, force: true });
  }
}

/// iExec's command line of one version, in a folder of its own.
export class Iexec {
  constructor(version, folder) {
    this.script = join(HERE, "node_modules", `iexec-${version}`, "dist/esm/cli/cmd/iexec.js");
    this.folder = folder;
    this.wallet = [];
  }

  /// Takes over a key; later commands that need one use it.
  async useWallet(key) {
    const place = ["--password", "secret", "--keystoredir", join(this.folder, "keys")];
    const imported = await this.raw(["wallet", "import", key, ...place]);
    this.wallet = [...place, "--wallet-address", imported.address];
    return imported.address;
  }

  /// A command's JSON; a refused one is an error with the client's own words.
  async raw(args) {
    const text = await run(process.execPath, [this.script, ...args, "--raw"], { cwd: this.folder });
    const answer = JSON.parse(text);
    if (!answer.ok) throw new Error(`iexec ${args.join(" ")}: ${JSON.stringify(answer)}`);
    return answer;
  }

  /// The same with the wallet.
  signed(...args) {
    return this.raw([...args, ...this.wallet]);
  }

  async config(value) {
    await writeFile(join(this.folder, "iexec.json"), JSON.stringify(value, null, 2));
  }
}
