//! `gristmill store`.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Subcommand};
use gristmill_types::{ContentId, InputFile};
use serde::Serialize;

use super::{PlaceArgs, Session};
use crate::exit::Exit;
use crate::output;

/// Put files into a network's store, for other clients than this one
#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// Put a file, and print the names under which apps, orders and iExec's clients find it
    Put(PutArgs),
}

/// Which file.
#[derive(Debug, Args)]
pub struct PutArgs {
    /// The file
    file: PathBuf,
    #[command(flatten)]
    place: PlaceArgs,
}

/// A file in the store.
#[derive(Debug, Serialize)]
struct Stored {
    /// BLAKE3 of its bytes.
    content: ContentId,
    /// Its length in bytes.
    bytes: u64,
    /// The same id as IPFS writes it.
    cid: String,
    /// As the multiaddr of an app, if it is a WASM module.
    app_multiaddr: String,
    /// As the multiaddr of a dataset.
    dataset_multiaddr: String,
    /// As the checksum of either.
    checksum: String,
    /// As an input file of a request (`iexec app run --input-files URL`).
    input_url: String,
}

pub async fn run(command: StoreCommand, session: &Session) -> anyhow::Result<Exit> {
    let StoreCommand::Put(args) = command;
    let network = args.place.network().await?;
    let bytes = std::fs::metadata(&args.file).with_context(|| format!("cannot read {}", args.file.display()))?.len();
    let content = network.store.put_file(&args.file).await?;
    let name = args.file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    // The query of an input file, with its escapes.
    let input = InputFile { content, name, size: bytes }.to_string();
    let query = input.split_once('?').map_or("", |(_, query)| query);
    let stored = Stored {
        content,
        bytes,
        cid: content.to_cid(),
        app_multiaddr: format!("wasm:{content}"),
        dataset_multiaddr: format!("blake3:{content}"),
        checksum: format!("0x{content}"),
        input_url: format!("{}?{query}", network.store.blob_url(content)),
    };
    output::either(session.json, &stored, render)?;
    Ok(Exit::Ok)
}

fn render(stored: &Stored) -> String {
    output::fields([
        ("content", stored.content.to_string()),
        ("bytes", stored.bytes.to_string()),
        ("CID", stored.cid.clone()),
        ("app multiaddr", stored.app_multiaddr.clone()),
        ("dataset multiaddr", stored.dataset_multiaddr.clone()),
        ("checksum", stored.checksum.clone()),
        ("input URL", stored.input_url.clone()),
    ])
}
