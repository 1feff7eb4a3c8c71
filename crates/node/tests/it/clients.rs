//! cast and ethers, as their users run them, against a node. They are fetched with npm into `target/` once.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use alloy_primitives::hex;
use gristmill_node::{Node, NodeConfig, NodeHandle};

use crate::support::*;

/// The folder with the installed clients.
fn clients() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("node-clients");
        let lock = std::fs::read(source.join("package-lock.json")).expect("the lock file");
        let installed = folder.join("installed-lock.json");
        if std::fs::read(&installed).is_ok_and(|done| done == lock) {
            return folder;
        }
        std::fs::create_dir_all(&folder).expect("a folder under target/");
        for name in ["package.json", "package-lock.json", ".npmrc"] {
            std::fs::copy(source.join(name), folder.join(name)).expect("copies");
        }
        let output = Command::new("npm").arg("ci").current_dir(&folder).output();
        let output = output.unwrap_or_else(|error| {
            panic!("this test runs cast and ethers, which npm installs; npm does not start: {error}")
        });
        assert!(
            output.status.success(),
            "`npm ci` in {} failed: {}",
            folder.display(),
            String::from_utf8_lossy(&output.stderr)
        );
        std::fs::write(&installed, lock).expect("writes");
        folder
    })
}

async fn start() -> (NodeHandle, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config: NodeConfig = config(&folder);
    config.heartbeat = Duration::from_millis(200);
    (Node::start(config).await.expect("starts"), folder)
}

/// The key of `Sender::new(seed)`.
fn key(seed: u8) -> String {
    hex::encode_prefixed([seed; 32])
}

async fn run(mut command: Command) -> String {
    tokio::task::spawn_blocking(move || {
        let output =
            command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{command:?}: {}{}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout).trim().to_string()
    })
    .await
    .expect("the client succeeds")
}

#[tokio::test(flavor = "multi_thread")]
async fn cast_deploys_sends_and_reads() {
    let (node, _folder) = start().await;
    let url = node.rpc_url();
    let cast = async |arguments: &[&str]| {
        let mut command = Command::new(clients().join("node_modules/.bin/cast"));
        command.args(arguments).env("ETH_RPC_URL", &url);
        run(command).await
    };
    let key = key(1);
    assert_eq!(cast(&["chain-id"]).await, CHAIN_ID.to_string());
    let code = hex::encode_prefixed(COUNTER);
    let receipt = cast(&["send", "--json", "--private-key", &key, "--create", &code]).await;
    let receipt: serde_json::Value = serde_json::from_str(&receipt).expect("JSON");
    assert_eq!(receipt["status"], "0x1");
    let contract = receipt["contractAddress"].as_str().expect("an address");
    for _ in 0..2 {
        let receipt = cast(&["send", "--json", "--private-key", &key, contract, "count()"]).await;
        let receipt: serde_json::Value = serde_json::from_str(&receipt).expect("JSON");
        assert_eq!((&receipt["status"], &receipt["effectiveGasPrice"]), (&"0x1".into(), &"0x0".into()));
    }
    assert_eq!(cast(&["call", contract, "number()(uint256)"]).await, "2");
    assert_eq!(cast(&["storage", contract, "0"]).await, format!("0x{:064x}", 2));
    let logs = cast(&["logs", "--json", "--from-block", "0", "Counted(uint256)"]).await;
    let logs: serde_json::Value = serde_json::from_str(&logs).expect("JSON");
    assert_eq!(logs.as_array().map(Vec::len), Some(2));
    let legacy = ["send", "--json", "--legacy", "--private-key", &key, contract, "count()"];
    assert!(cast(&legacy).await.contains("\"type\":\"0x0\""));
    assert!(!cast(&["block", "latest"]).await.is_empty());
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ethers_deploys_sends_and_listens() {
    let (node, _folder) = start().await;
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/ethers.mjs");
    let script = clients().join("ethers.mjs");
    std::fs::copy(source, &script).expect("copies");
    let mut command = Command::new("node");
    command
        .arg(script)
        .env("RPC_URL", node.rpc_url())
        .env("WS_URL", format!("ws://{}", node.rpc_addr()))
        .env("KEY", key(1))
        .env("CODE", hex::encode_prefixed(COUNTER));
    assert!(run(command).await.ends_with("all is well"));
    node.shutdown().await;
}
