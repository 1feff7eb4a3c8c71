// A replicated task by ethers alone, with the ABI that iExec publishes (npm @iexec/poco): trust 5, five new workers, and the
// first to contribute lies. The script is requester, pool and workers; the hub is that of `gristmill up`.

import { createRequire } from "node:module";
import { Contract, JsonRpcProvider, Wallet, ZeroAddress, ZeroHash, concat, getBytes, id, keccak256, toUtf8Bytes } from "ethers";
import { Network, Report, check } from "./harness.mjs";

const require = createRequire(import.meta.url);
const abi = (path) => require(`@iexec/poco/artifacts/contracts/${path}.json`).abi;
const HUB = abi("IexecInterfaceToken.sol/IexecInterfaceToken");
const APPS = abi("registries/apps/AppRegistry.sol/AppRegistry");
const POOLS = abi("registries/workerpools/WorkerpoolRegistry.sol/WorkerpoolRegistry");

/// nRLC that the pool asks for a task.
const PRICE = 1_000_000_000n;
/// nRLC in each account, which `--fund` gives.
const FUNDS = 10_000n * 10n ** 9n;
const TRUST = 5;
const WORKERS = 5;
const [ACTIVE, REVEALING, COMPLETED] = [1n, 2n, 3n];
const [PROVED, REJECTED] = [2n, 3n];

const address = "address";
const uint = "uint256";
const TYPES = {
  AppOrder: fields("app:address appprice volume tag:bytes32 datasetrestrict:address workerpoolrestrict:address requesterrestrict:address salt:bytes32"),
  WorkerpoolOrder: fields(
    "workerpool:address workerpoolprice volume tag:bytes32 category trust apprestrict:address datasetrestrict:address requesterrestrict:address salt:bytes32",
  ),
  RequestOrder: fields(
    "app:address appmaxprice dataset:address datasetmaxprice workerpool:address workerpoolmaxprice requester:address volume tag:bytes32 category trust beneficiary:address callback:address params:string salt:bytes32",
  ),
};

function fields(text) {
  return text.split(" ").map((field) => {
    const [name, type = uint] = field.split(":");
    return { name, type };
  });
}

/// Runs it on a network of its own.
export async function replicated(program) {
  const report = new Report("ethers 6 with the published PoCo ABI: a replicated task, and a liar");
  const step = report.step.bind(report);
  const [requester, owner, ...workers] = Array.from({ length: WORKERS + 2 }, () => Wallet.createRandom());
  let network;
  try {
    network = await step("gristmill up", async () => {
      const fund = [requester, owner, ...workers].flatMap((wallet) => ["--fund", wallet.address]);
      return Network.start(program, ["--workers", "0", ...fund]);
    });
    const provider = new JsonRpcProvider(network.addresses.rpc, undefined, {
      staticNetwork: true,
      pollingInterval: 100,
      // Ethers remembers answers for a quarter of a second, in which a block is made here.
      cacheTimeout: -1,
    });
    const people = { requester, owner, workers };
    const connected = Object.fromEntries(
      Object.entries(people).map(([role, who]) => [
        role,
        Array.isArray(who) ? who.map((wallet) => wallet.connect(provider)) : who.connect(provider),
      ]),
    );
    await play({ step, provider, hub: new Contract(network.addresses.hub, HUB, provider), ...connected });
    provider.destroy();
  } catch (error) {
    if (report.failed === 0) console.log(`FAIL ${String(error?.stack ?? error)}`);
    report.failed += report.failed === 0 ? 1 : 0;
  }
  await network?.stop();
  return report.failed;
}

const sent = async (transaction) => (await transaction).wait();

async function play(context) {
  const { step, hub, requester, owner, workers } = context;
  const deal = await step("matchOrders", () => match(context));
  const task = keccak256(concat([deal, ZeroHash]));
  await step("initialize", () => sent(hub.connect(owner).initialize(deal, 0)).then(() => task));
  const view = () => hub.viewTask(task);
  const before = await balances(context);
  await step("the first contributes a lie", () => contribute(context, task, workers[0], id("a lie")));
  const truth = id("the truth");
  for (const [number, worker] of workers.slice(1).entries()) {
    await step(`worker ${number + 2} contributes`, async () => {
      await contribute(context, task, worker, truth);
      const { status } = await view();
      const expected = number === WORKERS - 2 ? REVEALING : ACTIVE;
      check(status === expected, `status ${status}, not ${expected}`);
      return status === REVEALING ? "consensus" : "no consensus yet";
    });
  }
  await step("the honest reveal", async () => {
    for (const worker of workers.slice(1)) await sent(hub.connect(worker).reveal(task, truth));
    const found = await view();
    check(found.revealCounter === 4n && found.winnerCounter === 4n, `${found.revealCounter} of ${found.winnerCounter}`);
  });
  await step("finalize", async () => {
    const results = toUtf8Bytes(JSON.stringify({ storage: "none", location: "" }));
    await sent(hub.connect(owner).finalize(task, results, "0x"));
    const found = await view();
    check(found.status === COMPLETED && found.resultDigest === truth, `status ${found.status}`);
  });
  await step("the liar pays, the honest are paid", () => settle(context, task, deal, before));
  await step("the requester paid the price", async () => {
    const { stake } = await hub.viewAccount(requester.address);
    check(stake === FUNDS - PRICE, `${stake} is left of ${FUNDS}`);
  });
}

async function match({ hub, requester, owner, provider }) {
  const apps = new Contract(await hub.appregistry(), APPS, requester);
  const pools = new Contract(await hub.workerpoolregistry(), POOLS, owner);
  const app = [requester.address, "replicated", "DOCKER", toUtf8Bytes("any/app"), ZeroHash, "0x"];
  await sent(apps.createApp(...app));
  await sent(pools.createWorkerpool(owner.address, "a pool of one script"));
  const domain = {
    name: "iExecODB",
    version: "5.0.0",
    chainId: (await provider.getNetwork()).chainId,
    verifyingContract: await hub.getAddress(),
  };
  const sign = async (wallet, type, order) => ({
    ...order,
    sign: await wallet.signTypedData(domain, { [type]: TYPES[type] }, order),
  });
  const any = { datasetrestrict: ZeroAddress, requesterrestrict: ZeroAddress, tag: ZeroHash, salt: id("salt"), volume: 1 };
  const appOrder = { ...any, app: await apps.predictApp(...app), appprice: 0, workerpoolrestrict: ZeroAddress };
  const pool = await pools.predictWorkerpool(owner.address, "a pool of one script");
  const poolOrder = { ...any, workerpool: pool, workerpoolprice: PRICE, category: 0, trust: TRUST, apprestrict: ZeroAddress };
  const noDataset = {
    dataset: ZeroAddress,
    datasetprice: 0,
    volume: 0,
    tag: ZeroHash,
    apprestrict: ZeroAddress,
    workerpoolrestrict: ZeroAddress,
    requesterrestrict: ZeroAddress,
    salt: ZeroHash,
    sign: "0x",
  };
  const request = {
    app: appOrder.app,
    appmaxprice: 0,
    dataset: ZeroAddress,
    datasetmaxprice: 0,
    workerpool: pool,
    workerpoolmaxprice: PRICE,
    requester: requester.address,
    volume: 1,
    tag: ZeroHash,
    category: 0,
    trust: TRUST,
    beneficiary: requester.address,
    callback: ZeroAddress,
    params: "{}",
    salt: id("request"),
  };
  const orders = [
    await sign(requester, "AppOrder", appOrder),
    noDataset,
    await sign(owner, "WorkerpoolOrder", poolOrder),
    await sign(requester, "RequestOrder", request),
  ];
  const receipt = await sent(hub.connect(requester).matchOrders(...orders));
  const matched = receipt.logs.map((log) => hub.interface.parseLog(log)).find((log) => log?.name === "OrdersMatched");
  return matched.args.dealid;
}

async function contribute({ hub, owner }, task, worker, digest) {
  const hash = keccak256(concat([task, digest]));
  const seal = keccak256(concat([worker.address, task, digest]));
  const authorisation = await owner.signMessage(getBytes(keccak256(concat([worker.address, task, ZeroAddress]))));
  await sent(hub.connect(worker).contribute(task, hash, seal, ZeroAddress, "0x", authorisation));
}

async function balances({ hub, requester, owner, workers }) {
  const stake = async (wallet) => (await hub.viewAccount(wallet.address)).stake;
  return {
    requester: await stake(requester),
    owner: await stake(owner),
    workers: await Promise.all(workers.map(stake)),
  };
}

async function settle(context, task, deal, before) {
  const { hub, workers } = context;
  const after = await balances(context);
  const { workerStake } = await hub.viewDeal(deal);
  const gains = after.workers.map((stake, index) => stake - before.workers[index]);
  check(gains[0] === -workerStake, `the liar's account changed by ${gains[0]}, its stake was ${workerStake}`);
  check(gains.slice(1).every((gain) => gain === gains[1] && gain > 0n), `the honest got ${gains.slice(1)}`);
  const pool = after.owner - before.owner;
  const paid = gains.slice(1).reduce((sum, gain) => sum + gain, 0n);
  // The pool's own stake, locked since the match, is in its account again.
  const poolStake = (PRICE * 30n) / 100n;
  check(paid + pool === PRICE + workerStake + poolStake, `${paid} + ${pool} is not ${PRICE} + ${workerStake} + ${poolStake}`);
  const votes = await Promise.all(workers.map((worker) => hub.viewContribution(task, worker.address)));
  check(votes[0].status === REJECTED && votes.slice(1).every((vote) => vote.status === PROVED), "wrong statuses");
  const scores = await Promise.all(workers.map((worker) => hub.viewScore(worker.address)));
  check(scores.join() === "0,1,1,1,1", `scores ${scores}`);
  return `lost ${workerStake}, each honest worker got ${gains[1]}, the pool ${pool - poolStake}`;
}
