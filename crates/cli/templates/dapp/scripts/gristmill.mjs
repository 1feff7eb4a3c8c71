// What both scripts need: the network, a key, the contracts, and the pools' offers.
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Contract, JsonRpcProvider, Wallet, ZeroAddress } from "ethers";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const KEY_FILE = join(ROOT, "key.json");
const DEPLOYMENT_FILE = join(ROOT, "deployment.json");

export const HUB = [
  "function token() view returns (address)",
  "function appregistry() view returns (address)",
  "function domain() view returns (tuple(string name, string version, uint256 chainId, address verifyingContract))",
  "function balanceOf(address) view returns (uint256)",
  "function depositFor(uint256 amount, address target) returns (bool)",
  "function viewTask(bytes32) view returns (tuple(uint8 status, bytes32 dealid, uint256 idx, uint256 timeref, uint256 contributionDeadline, uint256 revealDeadline, uint256 finalDeadline, bytes32 consensusValue, uint256 revealCounter, uint256 winnerCounter, address[] contributors, bytes32 resultDigest, bytes results, uint256 resultsTimestamp, bytes resultsCallback))",
];
export const TOKEN = [
  "function balanceOf(address) view returns (uint256)",
  "function approve(address spender, uint256 amount) returns (bool)",
];
export const APPS = [
  "function createApp(address owner, string name, string kind, bytes multiaddr, bytes32 checksum, bytes mrenclave) returns (address)",
  "function predictApp(address owner, string name, string kind, bytes multiaddr, bytes32 checksum, bytes mrenclave) view returns (address)",
  "function isRegistered(address) view returns (bool)",
];

/// Ends the script with words instead of a stack.
export function fail(message) {
  console.error(message);
  process.exit(1);
}

/// The running network: where its parts listen, as `gristmill up` wrote it down.
export function network() {
  const data = process.env.XDG_DATA_HOME ?? join(homedir(), ".local/share");
  const folder = process.env.GRISTMILL_DATA_DIR ?? join(data, "gristmill");
  const file = join(folder, "address.json");
  if (!existsSync(file)) {
    const start = `gristmill up --workers 4 --fund ${key().address}`;
    fail(`no network has its data in ${folder}: start one with \`${start}\`, or set GRISTMILL_DATA_DIR to its --data-dir`);
  }
  return { folder, ...JSON.parse(readFileSync(file, "utf8")) };
}

/// The key of these scripts, made the first time.
export function key() {
  if (!existsSync(KEY_FILE)) {
    const { address, privateKey } = Wallet.createRandom();
    writeFileSync(KEY_FILE, `${JSON.stringify({ address, privateKey }, null, 1)}\n`, { mode: 0o600, flag: "wx" });
  }
  return new Wallet(JSON.parse(readFileSync(KEY_FILE, "utf8")).privateKey);
}

/// The key, connected to the network's ledger.
export function connect({ rpc }) {
  const provider = new JsonRpcProvider(rpc, undefined, { staticNetwork: true, pollingInterval: 200, cacheTimeout: -1 });
  return key().connect(provider);
}

export const sent = async (transaction) => (await transaction).wait();

/// A contract of contracts/, compiled by `npm run build`.
export function compiled(name) {
  const file = join(ROOT, "out", `${name}.sol`, `${name}.json`);
  if (!existsSync(file)) fail(`${name} is not compiled: run \`npm run build\``);
  const { abi, bytecode } = JSON.parse(readFileSync(file, "utf8"));
  return { abi, bytecode: bytecode.object };
}

/// Puts a file into the network's store; the names under which others find it.
export function store(file, folder) {
  const program = process.env.GRISTMILL ?? "gristmill";
  try {
    return JSON.parse(execFileSync(program, ["store", "put", join(ROOT, file), "--json", "--data-dir", folder], { encoding: "utf8" }));
  } catch (error) {
    if (error.code === "ENOENT") fail(`\`${program}\` is not found: put it on the PATH, or set GRISTMILL to where it is`);
    fail(`${file} cannot be stored: ${error.message}`);
  }
}

/// Signs the app's offer. `fields` are those of iExec's AppOrder without the signature.
export async function signAppOrder(wallet, hub, order) {
  const { name, version, chainId, verifyingContract } = await hub.domain();
  const names = "address app, uint256 appprice, uint256 volume, bytes32 tag, address datasetrestrict, address workerpoolrestrict, address requesterrestrict, bytes32 salt";
  const AppOrder = names.split(", ").map((field) => {
    const [type, name] = field.split(" ");
    return { type, name };
  });
  const sign = await wallet.signTypedData({ name, version, chainId, verifyingContract }, { AppOrder }, order);
  return { ...order, sign };
}

/// The pools' offers in a category at a trust, the cheapest first; of one pool only, if it is named.
export async function offers({ market, chain_id }, { category, trust, workerpool = "any" }) {
  if (!market) fail("this network has no market, so nobody's offers can be read");
  const query = new URLSearchParams({ chainId: chain_id, category, minTrust: trust, minVolume: 1, workerpool });
  const answer = await fetch(`${market}/workerpoolorders?${query}`, { signal: AbortSignal.timeout(10_000) });
  const { orders, error } = await answer.json();
  if (error) fail(`the market refuses to list offers: ${error}`);
  const open = orders.map(({ order }) => order).filter((order) => order.requesterrestrict === ZeroAddress);
  if (open.length === 0) fail(`no pool offers category ${category} at trust ${trust}`);
  return open.sort((a, b) => Number(BigInt(a.workerpoolprice) - BigInt(b.workerpoolprice)));
}

export function save(deployment) {
  writeFileSync(DEPLOYMENT_FILE, `${JSON.stringify(deployment, (_, value) => (typeof value === "bigint" ? value.toString() : value), 1)}\n`);
}

/// What `npm run deploy` left.
export function deployment() {
  if (!existsSync(DEPLOYMENT_FILE)) fail("nothing is deployed yet: run `npm run deploy`");
  return JSON.parse(readFileSync(DEPLOYMENT_FILE, "utf8"));
}

/// nGRIST as people read it.
export const grist = (amount) => `${Number(amount) / 1e9} GRIST`;

export { Contract };
