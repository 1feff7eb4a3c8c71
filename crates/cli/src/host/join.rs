//! `gristmill join`: redeem an invitation, and have everything in place afterwards.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use gristmill_datadir::write_atomic;
use gristmill_protocol::client::{Timeouts, connect, pool_client};
use gristmill_protocol::convert;
use gristmill_protocol::join::{self, INVITATION_BYTES_MAX, Invitation, NAME_CHARS_MAX, name_objection};
use gristmill_protocol::tonic::Request;
use gristmill_protocol::wire::{JoinReply, JoinRequest};
use gristmill_requester::{ADDRESS_FILE, Network, Place, default_data_dir};
use gristmill_types::AddressBook;
use gristmill_wallet::Wallet;
use gristmill_worker::settings::SETTINGS_FILE;

use super::worker;
use crate::exit::Exit;
use crate::output;

/// The key with which a machine that joined asks for work, in its data folder. The worker has one of its own.
const REQUESTER_FILE: &str = "requester.json";
/// How long the pool may take to write down who joined.
const CALL: std::time::Duration = std::time::Duration::from_secs(20);

/// Redeem an invitation of a private pool: afterwards `gristmill run` works here, and with --worker this machine works for the pool
///
/// Nothing else is to be set up: keys are made by themselves, and nothing has to be paid. Typed again on the same machine it changes
/// nothing and takes no further use of the invitation.
#[derive(Debug, Args)]
pub struct JoinArgs {
    /// What `gristmill pool invite` printed: grist+invite://HOST:PORT/KEYHASH/TOKEN; `-` reads it from standard input, so that other
    /// users of this machine cannot see it
    #[arg(value_name = "LINE|-")]
    line: String,
    /// Lend this machine to the pool too, from now on until Ctrl-C; later `gristmill worker` does it
    #[arg(long)]
    worker: bool,
    /// What to be called in the pool: lower-case letters, digits, - _ and . [default: this account's name]
    #[arg(long, value_name = "NAME", value_parser = parse_name)]
    name: Option<String>,
    /// Data folder for both [default: those that `gristmill run` and `gristmill worker` look into]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Only join; do not start the worker now
    #[arg(long, requires = "worker")]
    no_start: bool,
}

/// A name of a user, a group or a machine.
pub fn parse_name(text: &str) -> Result<String, String> {
    name_objection(text).map_or_else(|| Ok(text.to_owned()), |why| Err(why.to_owned()))
}

/// Joins, and works if that is wanted.
pub async fn run(args: JoinArgs, json: bool) -> anyhow::Result<Exit> {
    let invitation: Invitation = read_line(&args.line)?.parse()?;
    let root = match &args.data_dir {
        Some(folder) => folder.clone(),
        None => default_data_dir()?,
    };
    let worker_root = match &args.data_dir {
        Some(folder) => folder.clone(),
        None => worker::default_root()?,
    };
    check_folder(&root)?;
    let requester = key(&root, REQUESTER_FILE)?;
    let worker = args.worker.then(|| key(&worker_root, worker::KEY_FILE)).transpose()?;
    let request = signed(&invitation, args.name.clone(), &requester, worker.as_ref());
    let reply = ask(&invitation, request).await?;
    if reply.requester {
        let book = book(&invitation, &reply)?;
        write_atomic(root.join(ADDRESS_FILE), &serde_json::to_vec_pretty(&book)?, 0o644)?;
    }
    if !reply.worker_name.is_empty() {
        remember_pool(&worker_root, &invitation)?;
    }
    let unreached = match reply.requester {
        true => Network::find(&Place::DataDir(root.clone())).await.err(),
        false => None,
    };
    tell(&args, &reply, &root, json)?;
    if let Some(error) = unreached {
        output::note(&format!(
            "note: you are a member, but the pool's ledger cannot be reached from here; its operator has to open it: {}",
            gristmill_requester::chain(&error)
        ));
    }
    if args.no_start || reply.worker_name.is_empty() {
        return Ok(Exit::Ok);
    }
    // What is printed as JSON has been.
    worker::work_for(invitation.pool, args.data_dir).await
}

fn read_line(line: &str) -> anyhow::Result<String> {
    if line != "-" {
        return Ok(line.to_owned());
    }
    let mut text = String::new();
    // One byte more than the longest line that is any good, so that a longer one is told apart.
    std::io::stdin().lock().take(INVITATION_BYTES_MAX as u64 + 1).read_to_string(&mut text)?;
    Ok(text)
}

/// A folder of another network is left alone.
fn check_folder(root: &Path) -> anyhow::Result<()> {
    let text = match std::fs::read(root.join(ADDRESS_FILE)) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", root.join(ADDRESS_FILE).display())),
    };
    let is_of_join =
        serde_json::from_slice::<AddressBook>(&text).is_ok_and(|book| book.wallet.as_deref() == Some(REQUESTER_FILE));
    if is_of_join {
        return Ok(());
    }
    anyhow::bail!("{} has a network of its own already: join with another folder, --data-dir DIR", root.display())
}

fn key(root: &Path, file: &str) -> anyhow::Result<Wallet> {
    std::fs::create_dir_all(root).with_context(|| format!("cannot make the data folder {}", root.display()))?;
    Ok(Wallet::load_or_generate(root.join(file))?)
}

fn signed(invitation: &Invitation, name: Option<String>, requester: &Wallet, worker: Option<&Wallet>) -> JoinRequest {
    let account = || ["USER", "LOGNAME"].iter().find_map(|variable| std::env::var(variable).ok()).unwrap_or_default();
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let mut request = JoinRequest {
        token: invitation.token.0.to_vec(),
        user_chosen: name.is_some(),
        user: name.unwrap_or_else(|| name_of(&account())),
        machine: name_of(&host),
        requester: requester.address().to_vec(),
        worker: worker.map(|worker| worker.address().to_vec()).unwrap_or_default(),
        ..JoinRequest::default()
    };
    let text = join::signing_text(&request, &invitation.pool.key);
    request.requester_signature = requester.sign_message(&text).to_vec();
    request.worker_signature = worker.map(|worker| worker.sign_message(&text).to_vec()).unwrap_or_default();
    request
}

/// The nearest good name; empty if nothing is left.
fn name_of(text: &str) -> String {
    let lower = text.trim().to_lowercase();
    let good = lower.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' });
    let name: String = good.skip_while(|c| !c.is_ascii_lowercase()).take(NAME_CHARS_MAX).collect();
    name.trim_end_matches(['-', '.', '_']).to_owned()
}

async fn ask(invitation: &Invitation, request: JoinRequest) -> anyhow::Result<JoinReply> {
    let channel = connect(&invitation.pool, &Timeouts::default()).await?;
    let mut request = Request::new(request);
    request.set_timeout(CALL);
    let answer = pool_client(channel).join(request).await;
    let reply = answer.map_err(|status| anyhow::anyhow!("{}", told(status.message())))?.into_inner();
    join::check_reply(&reply).context("the pool's answer makes no sense: is it of another version?")?;
    Ok(reply)
}

/// What a pool said, fit for a terminal.
fn told(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(1_000).collect()
}

fn book(invitation: &Invitation, reply: &JoinReply) -> anyhow::Result<AddressBook> {
    Ok(AddressBook {
        rpc: reply.rpc_url.clone(),
        chain_id: reply.chain_id,
        hub: convert::address("join.hub_address", &reply.hub_address)?,
        pools: vec![invitation.pool.to_string()],
        store: reply.store_url.clone(),
        market: None,
        wallet: Some(REQUESTER_FILE.to_owned()),
    })
}

/// So that `gristmill worker` works for the pool from now on. Settings that are there are their owner's.
fn remember_pool(root: &Path, invitation: &Invitation) -> anyhow::Result<()> {
    let path = root.join(SETTINGS_FILE);
    let pool = invitation.pool.to_string();
    if !path.exists() {
        let text = format!("# `gristmill worker config` shows what else can be said here.\npool = \"{pool}\"\n");
        return Ok(write_atomic(path, text.as_bytes(), 0o600)?);
    }
    let settings = gristmill_worker::Settings::read(&path)?;
    if !settings.pools.contains(&invitation.pool) {
        output::note(&format!(
            "note: {} does not name this pool: for `gristmill worker`, say there pool = \"{pool}\"",
            path.display()
        ));
    }
    Ok(())
}

fn tell(args: &JoinArgs, reply: &JoinReply, root: &Path, json: bool) -> anyhow::Result<()> {
    if json {
        let worker = Some(&reply.worker_name).filter(|name| !name.is_empty());
        let group = Some(&reply.group).filter(|name| !name.is_empty());
        return output::json(&serde_json::json!({
            "user": reply.user, "group": group, "requester": reply.requester, "worker": worker,
            "data_dir": root.display().to_string(),
        }));
    }
    let group = if reply.group.is_empty() { String::new() } else { format!(" in the group {}", reply.group) };
    let mut text = format!("you are {}{group}\n", reply.user);
    let folder = args.data_dir.as_ref().map_or_else(String::new, |folder| format!(" --data-dir {}", folder.display()));
    text += &match reply.requester {
        true => format!("have work done:     gristmill run APP.wasm{folder}\n"),
        false => "the invitation is for lending this machine, not for having work done\n".to_owned(),
    };
    text += &match (reply.worker_name.is_empty(), args.worker) {
        (false, _) => format!("lend this machine:  gristmill worker{folder}  (it is called {})\n", reply.worker_name),
        (true, true) => "the invitation is for having work done, not for lending this machine\n".to_owned(),
        (true, false) => String::new(),
    };
    output::text_out(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_accounts_and_machines_become_good_ones() {
        for (given, expected) in [
            ("alice", "alice"),
            ("Alice Müller", "alice-m-ller"),
            ("LAB\\alice", "lab-alice"),
            ("1st-pc.lab.example\n", "st-pc.lab.example"),
            ("pc-17-", "pc-17"),
            ("42", ""),
            ("", ""),
        ] {
            assert_eq!(name_of(given), expected, "{given}");
            assert!(expected.is_empty() || parse_name(expected).is_ok());
        }
        assert_eq!(name_of(&"x".repeat(99)).len(), 32);
    }

    #[test]
    fn a_folder_of_another_network_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        check_folder(folder.path()).unwrap();
        let pool = format!("grist://h:1/{}/{}", "ab".repeat(32), "cd".repeat(32)).replace("grist:", "grist+invite:");
        let invitation: Invitation = pool.parse().unwrap();
        let reply = JoinReply { hub_address: vec![1; 20], ..JoinReply::default() };
        let mut book = book(&invitation, &reply).unwrap();
        let write = |book: &AddressBook| {
            std::fs::write(folder.path().join(ADDRESS_FILE), serde_json::to_vec(book).unwrap()).unwrap();
        };
        write(&book);
        check_folder(folder.path()).unwrap();
        book.wallet = Some("/home/up/keys/requester.json".to_owned());
        write(&book);
        assert!(check_folder(folder.path()).unwrap_err().to_string().contains("--data-dir"));
    }

    #[test]
    fn the_pool_is_remembered_where_nothing_is_said_yet() {
        let folder = tempfile::tempdir().unwrap();
        let line = format!("grist+invite://h:1/{}/{}", "ab".repeat(32), "cd".repeat(32));
        let invitation: Invitation = line.parse().unwrap();
        remember_pool(folder.path(), &invitation).unwrap();
        let path = folder.path().join(SETTINGS_FILE);
        assert_eq!(gristmill_worker::Settings::read(&path).unwrap().pools, std::slice::from_ref(&invitation.pool));
        assert!(!std::fs::read_to_string(&path).unwrap().contains("cdcd"), "no secret stands there");
        std::fs::write(&path, "slots = 3\n").unwrap();
        remember_pool(folder.path(), &invitation).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "slots = 3\n");
    }
}
