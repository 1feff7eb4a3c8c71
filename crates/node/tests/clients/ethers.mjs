// What an ethers 6 user does with a ledger: deploy, send, read, listen. Ends with an error if anything is not as it should be.
import assert from "node:assert/strict";
import { Contract, ContractFactory, JsonRpcProvider, NonceManager, Wallet, WebSocketProvider } from "ethers";

const { RPC_URL, WS_URL, KEY, CODE } = process.env;

// Whatever an answer never comes to, the test ends.
let step = "beginning";
setTimeout(() => {
  console.error(`still ${step} after two minutes`);
  process.exit(1);
}, 120_000).unref();

const abi = [
  "event Counted(uint256 value)",
  "function count()",
  "function number() view returns (uint256)",
  "function time() view returns (uint256)",
  "function fail() pure",
];

const provider = new JsonRpcProvider(RPC_URL, undefined, { pollingInterval: 50 });
assert.equal((await provider.getNetwork()).chainId, 26482n);
const fees = await provider.getFeeData();
assert.equal(fees.gasPrice, 0n);

const wallet = new NonceManager(new Wallet(KEY, provider));
const factory = new ContractFactory(abi, CODE, wallet);
const counter = await factory.deploy();
await counter.waitForDeployment();
const address = await counter.getAddress();
assert.notEqual(await provider.getCode(address), "0x");

step = "listening";
// Events by polling, with the filters of the node.
const polled = [];
await counter.on("Counted", (value) => polled.push(value));

// Events by subscription.
const socket = new WebSocketProvider(WS_URL);
const pushed = [];
const heads = [];
await new Contract(address, abi, socket).on("Counted", (value) => pushed.push(value));
await socket.on("block", (number) => heads.push(number));

step = "counting";
const sent = [];
for (let i = 0; i < 5; i += 1) sent.push(await counter.count());
const receipts = await Promise.all(sent.map((transaction) => transaction.wait()));
for (const receipt of receipts) {
  assert.equal(receipt.status, 1);
  assert.equal(receipt.gasPrice, 0n);
  assert.equal(receipt.logs.length, 1);
}
assert.equal(await counter.number(), 5n);
assert.equal(await counter.number({ blockTag: receipts[1].blockNumber }) >= 2n, true);
const found = await counter.queryFilter("Counted", 0, "latest");
assert.deepEqual(found.map((event) => event.args.value), [1n, 2n, 3n, 4n, 5n]);

step = "reverting";
// A revert shows its reason, in a call and in an estimate.
await assert.rejects(counter.fail(), (error) => error.code === "CALL_EXCEPTION" && error.reason === "no");
await assert.rejects(provider.estimateGas({ to: address, data: counter.interface.encodeFunctionData("fail") }),
  (error) => error.code === "CALL_EXCEPTION");
assert.ok(await counter.time() > 1_700_000_000n);

step = "sending";
const block = await provider.getBlock("latest", true);
assert.equal(block.baseFeePerGas, 0n);
const transfer = await wallet.sendTransaction({ to: "0x00000000000000000000000000000000000000aa", value: 3n });
assert.equal((await transfer.wait()).status, 1);
assert.equal(await provider.getBalance("0x00000000000000000000000000000000000000aa"), 3n);
await assert.rejects(new Wallet(KEY, provider).sendTransaction({ to: receipts[0].from, nonce: 0 }),
  (error) => error.code === "NONCE_EXPIRED");

step = "waiting for events";
const deadline = Date.now() + 20_000;
while ((polled.length < 5 || pushed.length < 5 || heads.length < 2) && Date.now() < deadline) {
  await new Promise((resolve) => setTimeout(resolve, 20));
}
assert.deepEqual(pushed, [1n, 2n, 3n, 4n, 5n]);
assert.deepEqual(polled, [1n, 2n, 3n, 4n, 5n]);
assert.ok(heads.length >= 2);
step = "closing";
await counter.removeAllListeners();
provider.destroy();
await socket.destroy();
console.log("all is well");
// A poll that the provider's end cut off has ethers ask on for ever.
process.exit(0);
