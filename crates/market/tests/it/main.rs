//! The market of a whole network, spoken to over its socket.

mod http;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use alloy_primitives::{Address, B256, Bytes, U256, hex};
use alloy_sol_types::SolStruct;
use gristmill_hub::{HubClient, NewApp, OrderOperation, Outbox, OutboxConfig, sign};
use gristmill_market::auth::Challenge;
use gristmill_network::{Network, NetworkConfig};
use gristmill_sandbox::ChildCommand;
use gristmill_types::{AppOrder, OrderHash, Signed};
use gristmill_wallet::Wallet;
use http::{Answer, CUT, send};
use serde_json::{Value, json};

/// How long the market may take to see a block.
const PATIENCE: Duration = Duration::from_secs(20);

struct Bench {
    network: Network,
    market: String,
    hub: HubClient,
    wallet: Wallet,
}

async fn start(folder: &Path, simulated_enclave: bool) -> Bench {
    let child = ChildCommand { program: "/bin/false".into(), args: vec![] };
    let mut config = NetworkConfig::new(folder.to_path_buf(), 0, child);
    config.simulated_enclave = simulated_enclave;
    let network = Network::start(config).await.unwrap();
    let market = network.book().market.clone().unwrap();
    let hub = network.hub().clone();
    let wallet = Wallet::load(folder.join("keys/requester.json")).unwrap();
    Bench { network, market, hub, wallet }
}

impl Bench {
    fn chain(&self) -> String {
        format!("chainId={}", self.hub.chain_id())
    }

    async fn get(&self, path: &str) -> Answer {
        let separator = if path.contains('?') { '&' } else { '?' };
        send(&self.market, "GET", &format!("{path}{separator}{}", self.chain()), &[], b"").await
    }

    /// The header of an answered challenge.
    async fn authorization(&self, wallet: &Wallet) -> String {
        let answer = self.get(&format!("/challenge?address={}", wallet.address())).await.json();
        let challenge = answer["data"]["message"]["challenge"].as_str().unwrap().to_owned();
        let chain_id = self.hub.chain_id();
        let domain = alloy_sol_types::eip712_domain! { name: "iExec Gateway", version: "1", chain_id: chain_id, };
        let challenge = Challenge { challenge };
        let signature = hex::encode_prefixed(wallet.sign_typed(&challenge, &domain));
        format!("{}_{signature}_{}", challenge.eip712_signing_hash(&domain), wallet.address())
    }

    async fn send(&self, method: &str, wallet: &Wallet, body: &Value) -> Answer {
        let authorization = self.authorization(wallet).await;
        let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
        let path = format!("/apporders?{}", self.chain());
        send(&self.market, method, &path, &headers, body.to_string().as_bytes()).await
    }

    async fn listed(&self, app: Address) -> Vec<OrderHash> {
        let answer = self.get(&format!("/apporders?app={app}")).await.json();
        let orders = answer["orders"].as_array().unwrap();
        orders.iter().map(|order| order["orderHash"].as_str().unwrap().parse().unwrap()).collect()
    }

    fn order(&self, app: Address, salt: u8, tag: u8) -> Signed<AppOrder> {
        let order = AppOrder {
            app,
            appprice: U256::from(7),
            volume: U256::from(10),
            tag: B256::with_last_byte(tag),
            datasetrestrict: Address::ZERO,
            workerpoolrestrict: Address::ZERO,
            requesterrestrict: Address::ZERO,
            salt: B256::repeat_byte(salt),
        };
        sign::order(&self.wallet, order, self.hub.domain())
    }

    async fn until(&self, what: &str, is_so: impl AsyncFn() -> bool) {
        let started = Instant::now();
        while !is_so().await {
            assert!(started.elapsed() < PATIENCE, "{what}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn body(signed: &Signed<AppOrder>) -> Value {
    let (order, sign) = (gristmill_market::order::Order::App(signed.order.clone()), &signed.sign);
    json!({ "order": order.to_json(sign) })
}

async fn app_of(bench: &Bench, folder: &Path) -> (Outbox, Address) {
    let ledger = Arc::clone(bench.hub.ledger());
    let outbox = Outbox::open(folder, bench.wallet.clone(), ledger, OutboxConfig::default()).await.unwrap();
    let app = NewApp {
        owner: bench.wallet.address(),
        name: "mine".to_owned(),
        kind: "DOCKER".to_owned(),
        multiaddr: Bytes::from_static(b"wasm:00"),
        checksum: B256::ZERO,
        mrenclave: Bytes::new(),
    };
    let address = bench.hub.predict_app(&app).await.unwrap();
    outbox.execute(bench.hub.create_app(&app).intent("create")).await.unwrap();
    (outbox, address)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_lives_as_long_as_the_hub_would_take_it() {
    let (folder, keys) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let bench = start(folder.path(), false).await;
    // The pool's own orders stand on the ledger.
    let of_pool = format!("/workerpoolorders?category=0&workerpool={}", bench.network.pool().workerpool());
    let offers = async || bench.get(&of_pool).await.json()["count"].as_u64().unwrap();
    bench.until("the pool's broadcast order is not listed", async || offers().await == 1).await;
    let (outbox, app) = app_of(&bench, keys.path()).await;
    let [first, second, third] = [1, 2, 3].map(|salt| bench.order(app, salt, 0));
    let hash = |signed: &Signed<AppOrder>| bench.hub.order_hash(&signed.order);
    for signed in [&first, &second, &third] {
        let answer = bench.send("POST", &bench.wallet, &body(signed)).await;
        assert_eq!(answer.json()["published"]["orderHash"], json!(hash(signed)), "{answer:?}");
    }
    assert!(bench.send("POST", &bench.wallet, &body(&first)).await.error().contains("published already"));
    assert_eq!(bench.listed(app).await.len(), 3);
    // Taken off the list.
    let target = json!({ "target": "unpublish_orderHash", "orderHash": hash(&first) });
    let stranger = Wallet::generate();
    let refused = bench.send("PUT", &stranger, &target).await;
    assert_eq!(refused.status, 403, "{refused:?}");
    let gone = bench.send("PUT", &bench.wallet, &target).await;
    assert_eq!(gone.json()["unpublished"], json!([hash(&first)]), "{gone:?}");
    // Closed on the ledger.
    let close = bench.hub.manage_app_order(&second, OrderOperation::Close);
    outbox.execute(close.intent("close")).await.unwrap();
    bench.until("a closed order is still listed", async || bench.listed(app).await == [hash(&third)]).await;
    let shown = bench.get(&format!("/apporders/{}", hash(&second))).await.json();
    assert_eq!((shown["status"].as_str(), shown["remaining"].as_u64()), (Some("canceled"), Some(0)), "{shown}");
    assert!(bench.send("POST", &bench.wallet, &body(&second)).await.error().contains("fully consumed"));
    outbox.shutdown().await;
    // All of it is there after a restart.
    bench.network.shutdown().await.unwrap();
    let bench = start(folder.path(), false).await;
    assert_eq!(bench.listed(app).await, [hash_of(&bench, &third)]);
    let all = json!({ "target": "unpublish_all", "app": app });
    assert_eq!(bench.send("PUT", &bench.wallet, &all).await.status, 200);
    assert!(bench.listed(app).await.is_empty());
    bench.network.shutdown().await.unwrap();
}

fn hash_of(bench: &Bench, signed: &Signed<AppOrder>) -> OrderHash {
    bench.hub.order_hash(&signed.order)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_hub_would_refuse_is_not_listed() {
    let (folder, keys) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let bench = start(folder.path(), false).await;
    let (outbox, app) = app_of(&bench, keys.path()).await;
    let good = bench.order(app, 1, 0);
    let refused = async |value: Value, status: u16, words: &str| {
        let answer = bench.send("POST", &bench.wallet, &value).await;
        assert_eq!(answer.status, status, "{value}: {answer:?}");
        assert!(answer.error().contains(words), "{words}: {}", answer.error());
    };
    refused(body(&bench.order(Address::repeat_byte(9), 1, 0)), 400, "no app is registered").await;
    refused(body(&bench.order(app, 1, 9)), 400, "--simulated-enclave").await;
    let other_price = Signed { order: AppOrder { appprice: U256::from(8), ..good.order.clone() }, ..good.clone() };
    refused(body(&other_price), 400, "signed for this chain and hub").await;
    let nothing = Signed { order: AppOrder { volume: U256::ZERO, ..good.order.clone() }, ..good.clone() };
    let nothing = sign::order(&bench.wallet, nothing.order, bench.hub.domain());
    refused(body(&nothing), 400, "fully consumed").await;
    refused(json!({ "order": "x" }), 400, "invalid type").await;
    refused(json!([1]), 400, "body").await;
    // Whose it is, and whether it was asked for.
    let stranger = bench.send("POST", &Wallet::generate(), &body(&good)).await;
    assert_eq!(stranger.status, 403, "{stranger:?}");
    let path = format!("/apporders?{}", bench.chain());
    let unsigned = send(&bench.market, "POST", &path, &[], body(&good).to_string().as_bytes()).await;
    assert_eq!(unsigned.status, 401, "{unsigned:?}");
    let authorization = bench.authorization(&bench.wallet).await;
    let headers = [("authorization", authorization.as_str())];
    let foreign = send(&bench.market, "POST", "/apporders?chainId=1", &headers, b"{}").await;
    assert!(foreign.status == 400 && foreign.error().contains("not on `1`"), "{foreign:?}");
    let huge = vec![b' '; 1 << 20];
    let huge = send(&bench.market, "POST", &path, &headers, &huge).await;
    assert!([413, CUT].contains(&huge.status), "{:?}", huge.head);
    for (path, status) in [
        ("/apporders?app=x", 400),
        ("/apporders/0x12", 404),
        ("/nothing", 404),
        ("/ipfs/QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG", 400),
        ("/ipfs/..%2f..%2fetc%2fpasswd", 400),
    ] {
        assert_eq!(bench.get(path).await.status, status, "{path}");
    }
    // Secrets: absent, and refused with a reason.
    let secret = "/secrets/web2?ownerAddress=0x0&secretName=x";
    assert_eq!(send(&bench.market, "HEAD", secret, &[], b"").await.status, 404);
    let pushed = send(&bench.market, "POST", secret, &[], b"secret").await;
    assert!(pushed.head.starts_with("HTTP/1.1 403 No secret is kept on this network"), "{}", pushed.head);
    outbox.shutdown().await;
    bench.network.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_keeps_the_enclaves_it_was_born_with() {
    let folder = tempfile::tempdir().unwrap();
    let bench = start(folder.path(), true).await;
    let hub = bench.hub.hub;
    let tagged = format!("/workerpoolorders?category=0&minTag={}", B256::with_last_byte(9));
    let offers = async || bench.get(&tagged).await.json()["count"].as_u64().unwrap();
    bench.until("no order with an enclave is listed", async || offers().await == 1).await;
    bench.network.shutdown().await.unwrap();
    // Without the flag it goes on as it was born.
    let bench = start(folder.path(), false).await;
    assert!(bench.network.simulates_enclaves());
    assert_eq!(bench.hub.hub, hub);
    bench.network.shutdown().await.unwrap();
    let plain = tempfile::tempdir().unwrap();
    start(plain.path(), false).await.network.shutdown().await.unwrap();
    let child = ChildCommand { program: "/bin/false".into(), args: vec![] };
    let mut config = NetworkConfig::new(plain.path().to_path_buf(), 0, child);
    config.simulated_enclave = true;
    let error = Network::start(config).await.unwrap_err().to_string();
    assert!(error.contains("born without simulated enclaves"), "{error}");
}
