//! kill -9 of a node at any time.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use alloy_primitives::U256;
use gristmill_datadir::Db;
use gristmill_node::{Node, NodeConfig};
use jsonrpsee::core::client::ClientT;
use jsonrpsee::http_client::HttpClientBuilder;
use serde_json::{Value, json};

use crate::support::*;

/// Tells the child process its folder; set by the parent only.
const FOLDER: &str = "GRISTMILL_TEST_LEDGER";
const READY: &str = "serving on ";

/// The process that is killed. Started without its folder, as with the other tests, it has nothing to do.
#[tokio::test(flavor = "multi_thread")]
async fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let db = Db::open(Path::new(&folder).join("ledger.redb")).expect("a database");
    let mut config = NodeConfig::new(db, genesis(), "127.0.0.1:0".parse().expect("an address"));
    config.heartbeat = Duration::from_millis(10);
    let node = Node::start(config).await.expect("starts");
    println!("\n{READY}{}", node.rpc_url());
    std::future::pending::<()>().await;
}

fn start(folder: &Path) -> (Child, String) {
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "killed::child", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("starts");
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    for line in lines {
        if let Some(url) = line.expect("text").strip_prefix(READY) {
            return (child, url.to_string());
        }
    }
    panic!("the child ended: {:?}", child.wait());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_confirmed_survives_kill_9() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let seed = std::env::var("GRISTMILL_TEST_SEED")
        .map_or(now.as_nanos() as u64, |seed| seed.parse().expect("GRISTMILL_TEST_SEED is a number"));
    println!("GRISTMILL_TEST_SEED={seed}");
    let mut random = seed | 1;
    let folder = tempfile::tempdir().expect("a folder");
    let [mut a, b] = [Sender::new(1), Sender::new(2)];
    let mut confirmed: Vec<Value> = Vec::new();
    for round in 0..6 {
        let (mut child, url) = start(folder.path());
        let client = HttpClientBuilder::default().build(&url).expect("a client");
        let ask = async |method: &str, params: Value| client.request::<Value, _>(method, array(&params)).await;
        for receipt in &confirmed {
            let found = ask("eth_getTransactionReceipt", json!([receipt["transactionHash"]])).await;
            assert_eq!(&found.expect("answers"), receipt, "round {round}");
        }
        let nonce = ask("eth_getTransactionCount", json!([a.address, "latest"])).await;
        let nonce = number(&nonce.expect("answers"));
        // The last one sent may have got in without anybody hearing of it.
        assert!(nonce == a.nonce || nonce + 1 == a.nonce, "round {round}: {nonce}, {}", a.nonce);
        a.nonce = nonce;
        let balance = ask("eth_getBalance", json!([b.address, "latest"])).await.expect("answers");
        assert_eq!(balance, json!(U256::from(1_000_000 + nonce)), "round {round}");

        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let kill_after = Duration::from_micros(random % 150_000);
        let sending = async {
            loop {
                let raw = a.transfer(b.address, 1);
                match ask("eth_sendRawTransactionSync", json!([raw])).await {
                    Ok(receipt) => confirmed.push(receipt),
                    Err(_) => return,
                }
            }
        };
        let killing = async {
            tokio::time::sleep(kill_after).await;
            child.kill().expect("kill -9");
            child.wait().expect("ends");
        };
        tokio::join!(sending, killing);
    }
    println!("{} confirmed transactions survived", confirmed.len());
    assert!(confirmed.len() > 5, "hardly anything was sent");
}
