// Has the contract ask, and waits until it holds the answer.
import { setTimeout as sleep } from "node:timers/promises";
import { Contract, HUB, compiled, connect, deployment, fail, network, offers, sent } from "./gristmill.mjs";

/// How long an answer may take, in milliseconds.
const PATIENCE = 300_000;
const [PENDING, ANSWERED] = [1n, 2n];
const [COMPLETED, FAILED] = [3n, 4n];

const n = process.argv[2];
if (!/^\d+$/.test(n ?? "")) fail("usage: npm run ask -- N");

const net = network();
const { address, appOrder, category, trust, workerpool } = deployment();
const wallet = connect(net);
const hub = new Contract(net.hub, HUB, wallet);
const counter = new Contract(address, compiled("PrimeCounter").abi, wallet);

const [offer] = await offers(net, { category, trust, workerpool });
const receipt = await sent(counter.count(n, appOrder, offer));
const asked = receipt.logs.map((log) => counter.interface.parseLog(log)).find((log) => log?.name === "TaskAsked");
const { taskid, dealid } = asked.args;
console.log(`task      ${taskid}\ndeal      ${dealid}`);

const started = Date.now();
while ((await counter.statusOf(taskid)) === PENDING) {
  const { status } = await hub.viewTask(taskid);
  // The callback comes with the completion; what it could not do, and a failure, is told by settle.
  if ((status === COMPLETED || status === FAILED) && (await counter.statusOf(taskid)) === PENDING) await sent(counter.settle(taskid));
  if (Date.now() - started > PATIENCE) fail(`no answer yet; \`gristmill job explain ${dealid}\` says why`);
  await sleep(500);
}
if ((await counter.statusOf(taskid)) !== ANSWERED) fail("the task failed, and its price is in the contract's account again");
const { contributors } = await hub.viewTask(taskid);
const primes = await counter.primesBelow(n).catch(() => undefined);
if (primes === undefined) fail(`the app has no answer to this: app/main.rs says what it takes`);
console.log(`answer    ${primes} primes below ${n}`);
console.log(`certified by ${contributors.length} workers, ${((Date.now() - started) / 1000).toFixed(1)} s after the question`);
wallet.provider.destroy();
