// What a user of iExec's command line does, from the first deposit to the files of a result.

import { copyFile, mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { Wallet } from "ethers";
import { Iexec, Network, Report, check } from "./harness.mjs";
import { readZip } from "./zip.mjs";

/// The versions, and what each asks of the network.
const VERSIONS = {
  8: { name: "8.24.0", flags: [], tag: "0x" + "0".repeat(64), enclave: null },
  9: { name: "9.0.1", flags: ["--simulated-enclave"], tag: "0x" + "9".padStart(64, "0"), enclave: "simulated enclave" },
};
/// Of 10,000 GRIST in the account and as many in the wallet, which `--fund` gives.
const FUNDS = 10_000n * 10n ** 9n;

/// Runs the whole flow with one version. `files`: an application and its input.
export async function flow(program, major, files) {
  const version = VERSIONS[major];
  const report = new Report(`iExec CLI ${version.name}`);
  const step = report.step.bind(report);
  const wallet = Wallet.createRandom();
  let network;
  try {
    network = await step("gristmill up", async () => {
      const started = await Network.start(program, ["--workers", "4", "--fund", wallet.address, ...version.flags]);
      return Object.assign(started, { note: `chain ${started.addresses.chain_id}, market ${started.addresses.market}` });
    });
    const context = { network, version, wallet, step, files, iexec: await client(major, network) };
    await account(context);
    await assets(context);
    await job(context);
    await replicas(context);
    await orders(context);
    await refusal(context);
  } catch (error) {
    if (report.failed === 0) console.log(`FAIL ${String(error?.stack ?? error)}`);
    if (network?.log) console.log(`what the network said:\n${network.log.split("\n").slice(-40).join("\n")}`);
    report.failed += report.failed === 0 ? 1 : 0;
  }
  await network?.stop();
  return report.failed;
}

async function client(major, network) {
  const folder = join(network.folder, "project");
  await mkdir(folder);
  await copyFile(network.chainJson, join(folder, "chain.json"));
  return new Iexec(major, folder);
}

async function account({ iexec, step, wallet }) {
  await step("wallet import", async () => {
    const address = await iexec.useWallet(wallet.privateKey);
    check(address.toLowerCase() === wallet.address.toLowerCase(), `another address: ${address}`);
    return address;
  });
  const balance = async () => (await iexec.raw(["account", "show", wallet.address])).balance;
  const isBalance = async (stake) => {
    const { stake: found, locked } = await balance();
    check(BigInt(found) === stake && BigInt(locked) === 0n, `stake ${found}, locked ${locked}`);
    return `${found} nRLC free`;
  };
  await step("account show", () => isBalance(FUNDS));
  await step("account deposit", async () => {
    await iexec.signed("account", "deposit", "5", "RLC");
    return isBalance(FUNDS + 5n * 10n ** 9n);
  });
  await step("account withdraw", async () => {
    await iexec.signed("account", "withdraw", "5", "RLC");
    return isBalance(FUNDS);
  });
}

async function assets(context) {
  const { iexec, network, step, wallet, files } = context;
  const app = await step("gristmill store put (the app)", async () => {
    const stored = await network.gristmill("store", "put", files.app);
    return Object.assign(stored, { note: stored.app_multiaddr });
  });
  await iexec.config({
    app: {
      owner: wallet.address,
      name: "efast-of-mine",
      type: "DOCKER",
      multiaddr: app.app_multiaddr,
      checksum: app.checksum,
    },
    workerpool: { owner: wallet.address, description: "a pool of mine" },
  });
  context.app = await step("app deploy", async () => (await iexec.signed("app", "deploy")).address);
  await step("app show", async () => {
    const shown = (await iexec.raw(["app", "show", context.app])).app;
    check(shown.appMultiaddr === app.app_multiaddr, `multiaddr ${shown.appMultiaddr}`);
    return shown.appMultiaddr;
  });
  await step("app publish", async () => {
    const published = await iexec.signed("app", "publish", context.app, "--price", "7", "--force");
    const book = await iexec.raw(["orderbook", "app", context.app]);
    const found = book.appOrders.find((order) => order.orderHash === published.orderHash);
    check(found && Number(found.price) === 7, `not listed: ${JSON.stringify(book)}`);
    check(found.tag === context.version.tag, `tag ${found.tag}`);
    return `${published.orderHash}, listed`;
  });
  context.pool = await step("workerpool deploy", async () => (await iexec.signed("workerpool", "deploy")).address);
  await step("workerpool publish", async () => {
    const terms = ["--price", "3", "--volume", "2", "--category", "0", "--trust", "0"];
    const published = await iexec.signed("workerpool", "publish", context.pool, ...terms, "--force");
    const book = await iexec.raw(["orderbook", "workerpool", context.pool, "--category", "0"]);
    const found = book.workerpoolOrders.find((order) => order.orderHash === published.orderHash);
    check(found && Number(found.remaining) === 2, `not listed: ${JSON.stringify(book)}`);
    return `${published.orderHash}, listed`;
  });
}

async function job(context) {
  const { iexec, network, step, files, version } = context;
  const input = await step("gristmill store put (the input)", async () => {
    const stored = await network.gristmill("store", "put", files.input);
    return Object.assign(stored, { note: stored.input_url });
  });
  context.input = input.input_url;
  const ran = await step("app run --watch", async () => {
    const where = ["--workerpool", network.workerpool, "--input-files", input.input_url];
    const ran = await iexec.signed("app", "run", context.app, ...where, "--watch", "--force");
    const [task] = ran.tasks;
    check(task.status === 3, `task ${JSON.stringify(task)}`);
    return { deal: ran.deals[0].dealid, task: task.taskid, note: `deal ${ran.deals[0].dealid} is completed` };
  });
  await step("deal show", async () => {
    const { deal } = await iexec.raw(["deal", "show", ran.deal]);
    check(deal.tag === version.tag && Number(deal.trust) === 1, `tag ${deal.tag}, trust ${deal.trust}`);
    return `tag ${deal.tag}, trust ${deal.trust}`;
  });
  await step("task show --download", async () => {
    const shown = await iexec.signed("task", "show", ran.task, "--download", "result.zip");
    check(/^\/ipfs\/f01551e20/.test(shown.task.results.location), `results ${JSON.stringify(shown.task.results)}`);
    const entries = readZip(await readFile(join(iexec.folder, "result.zip")));
    const names = [...entries.keys()];
    check(names.length > 1 && names.includes("gristmill.json"), `files ${names}`);
    const note = JSON.parse(entries.get("gristmill.json").toString());
    check(note.task === ran.task && note.runs.every((run) => run.ended_well), `note ${JSON.stringify(note)}`);
    return `${shown.task.results.location}: ${names.join(", ")}`;
  });
  await step("gristmill task show (how it is labelled)", async () => {
    const shown = await network.gristmill("task", "show", ran.task);
    check(shown.enclave === version.enclave, `enclave ${shown.enclave}`);
    return shown.enclave ?? "no enclave";
  });
}

/// iExec's clients make such a deal and cannot show its task: ours does.
async function replicas({ iexec, network, step, app, input, version }) {
  await step("app run at trust 5, followed with gristmill", async () => {
    const where = ["--workerpool", network.workerpool, "--input-files", input, "--trust", "5"];
    const ran = await iexec.signed("app", "run", app, ...where, "--force");
    const { tasks } = await network.gristmill("deal", "show", ran.deals[0].dealid);
    let shown;
    for (let tries = 0; tries < 240; tries += 1) {
      shown = await network.gristmill("task", "show", tasks[0].task);
      if (/completed/i.test(shown.status)) break;
      await new Promise((resolve) => setTimeout(resolve, 250));
    }
    const agreed = shown.contributions.filter((vote) => vote.agrees).length;
    check(/completed/i.test(shown.status) && agreed >= 3, JSON.stringify(shown));
    check(shown.enclave === version.enclave, `enclave ${shown.enclave}`);
    return `${agreed} workers agree, ${shown.enclave ?? "no enclave"}`;
  });
}

async function orders({ iexec, step, app }) {
  await step("order init, sign, publish", async () => {
    await iexec.signed("order", "init", "--app");
    await iexec.signed("order", "sign", "--app", "--skip-preflight-check", "--force").catch(() =>
      iexec.signed("order", "sign", "--app", "--force"),
    );
    const published = await iexec.signed("order", "publish", "--app", "--force");
    return published.apporder?.orderHash ?? JSON.stringify(published);
  });
  const listed = async () => (await iexec.raw(["orderbook", "app", app])).appOrders.length;
  await step("order cancel", async () => {
    const before = await listed();
    await iexec.signed("order", "cancel", "--app", "--force");
    // The market hears of it with the next block.
    for (let tries = 0; tries < 40 && (await listed()) !== before - 1; tries += 1) {
      await new Promise((resolve) => setTimeout(resolve, 250));
    }
    check((await listed()) === before - 1, `${await listed()} orders are listed, ${before} before`);
    return `${before - 1} of ${before} orders are left`;
  });
  await step("app unpublish --all", async () => {
    const gone = await iexec.signed("app", "unpublish", app, "--all", "--force");
    check((await listed()) === 0, "an order is still listed");
    return `${gone.unpublished.length} order(s)`;
  });
}

/// What is not supported ends in words, not in silence.
async function refusal({ iexec, network, step, app }) {
  await step("a request that cannot be run is refused with a reason", async () => {
    const where = ["--workerpool", network.workerpool, "--input-files", "https://example.org/prices.csv"];
    const ran = await iexec.signed("app", "run", app, ...where, "--force");
    const deal = ran.deals[0].dealid;
    for (let tries = 0; tries < 60; tries += 1) {
      const { tasks } = await network.gristmill("deal", "show", deal);
      const told = await network.gristmill("job", "explain", deal).catch((error) => ({ cause: String(error) }));
      const text = JSON.stringify(told);
      if (/what lies at a URL may change/.test(text)) return `${tasks[0].task}: ${told.cause ?? text}`.slice(0, 300);
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
    throw new Error(JSON.stringify(await network.gristmill("job", "explain", deal)));
  });
}
