// Deploys the app and the contract, and gives the contract money to ask with.
import { ContractFactory, ZeroAddress, ZeroHash, id, toUtf8Bytes } from "ethers";
import { APPS, Contract, HUB, TOKEN, compiled, connect, fail, grist, key, network, offers, save, sent, signAppOrder, store } from "./gristmill.mjs";

/// How sure the answer must be, and the size class: see `Request` in contracts/gristmill/GristmillDapp.sol.
const TRUST = 5;
const CATEGORY = 0;
/// nGRIST for the contract's account at the hub.
const BUDGET = 100n * 10n ** 9n;

const net = network();
const wallet = connect(net);
const hub = new Contract(net.hub, HUB, wallet);
const token = new Contract(await hub.token(), TOKEN, wallet);
if ((await token.balanceOf(wallet.address)) < BUDGET) {
  fail(`${key().address} has less than ${grist(BUDGET)}: start the network with \`gristmill up --fund ${key().address}\``);
}

const { app_multiaddr, checksum } = store("app/primes.wasm", net.folder);
const apps = new Contract(await hub.appregistry(), APPS, wallet);
const description = [wallet.address, "primes", "DOCKER", toUtf8Bytes(app_multiaddr), checksum, "0x"];
const app = await apps.predictApp(...description);
if (!(await apps.isRegistered(app))) await sent(apps.createApp(...description));
console.log(`app       ${app} (${app_multiaddr})`);

const [offer] = await offers(net, { category: CATEGORY, trust: TRUST });
console.log(`pool      ${offer.workerpool}, ${grist(offer.workerpoolprice)} a task`);

const { abi, bytecode } = compiled("PrimeCounter");
const terms = {
  app,
  workerpool: offer.workerpool,
  workerpoolMaxPrice: offer.workerpoolprice,
  category: CATEGORY,
  trust: TRUST,
};
const contract = await new ContractFactory(abi, bytecode, wallet).deploy(net.hub, terms);
await contract.waitForDeployment();
const address = await contract.getAddress();
console.log(`contract  ${address}`);

await sent(token.approve(net.hub, BUDGET));
await sent(hub.depositFor(BUDGET, address));
console.log(`account   ${grist(await hub.balanceOf(address))}`);

const appOrder = await signAppOrder(wallet, hub, {
  app,
  appprice: 0,
  volume: 1_000_000,
  tag: ZeroHash,
  datasetrestrict: ZeroAddress,
  workerpoolrestrict: ZeroAddress,
  // The app's offer is for this contract alone.
  requesterrestrict: address,
  salt: id(address),
});
save({ address, appOrder, category: CATEGORY, trust: TRUST, workerpool: offer.workerpool });
console.log("next      npm run ask -- 1000000");
wallet.provider.destroy();
