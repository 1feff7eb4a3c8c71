//! Turn what the sandbox left into a result: manifest, digest, pack and sealed pack, on the worker's own disk.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use alloy_primitives::{Address, B256};
use gristmill_result::computed::{COMPUTED_BYTES_MAX, COMPUTED_FILE};
use gristmill_result::manifest::ManifestError;
use gristmill_result::pack::{Header, PackError, write_pack};
use gristmill_result::seal::{SealError, seal};
use gristmill_result::{
    Commitment, Computed, Digest, Ending, FileEntry, Manifest, Part, Witness, result_hash, result_seal,
};
use gristmill_sandbox::{Control, SmallFile};
use gristmill_types::{ContentId, TaskId};

use crate::gate::Gated;

/// A pack of so many bytes is put together and sealed in memory, a larger one in a file.
const PACK_IN_MEMORY_BYTES_MAX: u64 = 1 << 20;

/// One run of the app and where its files lie.
#[derive(Clone, Debug)]
pub struct Run {
    /// The item's index; `None` for a task without items.
    pub item: Option<u64>,
    /// How it ended.
    pub ending: Ending,
    /// What it left.
    pub files: RunFiles,
}

/// What a run left.
#[derive(Clone, Debug)]
pub enum RunFiles {
    /// In its output folder on this host.
    OnDisk(PathBuf),
    /// All of it.
    InMemory(Vec<SmallFile>),
}

/// A sealed pack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sealed {
    /// All of it.
    InMemory(Vec<u8>),
    /// A file on this host, synced.
    OnDisk(PathBuf),
}

#[cfg(test)]
impl Sealed {
    pub(crate) fn read(&self) -> Vec<u8> {
        match self {
            Self::InMemory(bytes) => bytes.clone(),
            Self::OnDisk(file) => fs::read(file).unwrap(),
        }
    }
}

/// A result that is sealed and can be committed to once it is uploaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Produced {
    /// What is committed to and revealed.
    pub digest: Digest,
    /// The digest's preimage.
    pub commitment: Commitment,
    /// keccak256(task ++ digest).
    pub result_hash: B256,
    /// keccak256(worker ++ task ++ digest).
    pub result_seal: B256,
    /// Content id of the open pack: where the result will be found once it is opened.
    pub pack: ContentId,
    /// The sealed pack.
    pub sealed: Sealed,
}

/// A result could not be put together. Always a fault of this host, since the sandbox bounded what the app wrote.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProduceError {
    /// Reading or writing a file failed.
    #[error("cannot read or write {}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system answered.
        #[source]
        source: io::Error,
    },
    /// The manifest's rules are broken.
    #[error("the outputs cannot be listed")]
    Manifest(#[from] ManifestError),
    /// The pack could not be written.
    #[error("the result pack could not be written")]
    Pack(#[from] PackError),
    /// The seal could not be written.
    #[error("the result could not be sealed")]
    Seal(#[from] SealError),
}

pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> ProduceError {
    let path = path.to_path_buf();
    move |source| ProduceError::Io { path, source }
}

/// Lists the outputs of `runs`, packs and seals them below `folder` (in files named after the task). Holds still while `control`
/// wants it.
pub fn produce(
    task: TaskId,
    worker: Address,
    runs: &[Run],
    witness: Witness,
    log: Vec<u8>,
    folder: &Path,
    control: &Control,
) -> Result<Produced, ProduceError> {
    let mut parts = Vec::with_capacity(runs.len());
    let mut answer = Vec::new();
    for run in runs {
        let (part, run_answer) = list_part(run, control)?;
        // An answer goes to a contract; it belongs to the task as a whole, so only a task of one run has one.
        if runs.len() == 1 {
            answer = run_answer;
        }
        parts.push(part);
    }
    let header = Header::new(Manifest::new(parts)?, witness, answer, log);
    let runs: BTreeMap<Option<u64>, &RunFiles> = runs.iter().map(|run| (run.item, &run.files)).collect();
    let open = |path: &str| Ok(Gated::new(open_output(&runs, path)?, control));
    seal_pack(task, worker, &header, open, folder, control)
}

/// Writes the pack of `header`, then its sealed form; the open pack is removed again.
pub(crate) fn seal_pack<R: Read>(
    task: TaskId,
    worker: Address,
    header: &Header,
    open: impl FnMut(&str) -> io::Result<R>,
    folder: &Path,
    control: &Control,
) -> Result<Produced, ProduceError> {
    if header.pack_length() <= PACK_IN_MEMORY_BYTES_MAX {
        let mut plain = Vec::new();
        write_pack(header, open, &mut plain)?;
        let pack = ContentId(*blake3::hash(&plain).as_bytes());
        let mut sealed = Vec::with_capacity(plain.len());
        seal(header.commitment.digest(), task, worker, &mut plain.as_slice(), &mut sealed)?;
        return Ok(produced((task, worker), header, pack, Sealed::InMemory(sealed)));
    }
    let pack_file = folder.join(format!("{:x}.pack", task.0));
    let mut sink = HashingWriter {
        inner: BufWriter::new(File::create(&pack_file).map_err(at(&pack_file))?),
        hasher: blake3::Hasher::new(),
    };
    write_pack(header, open, &mut sink)?;
    sink.flush().map_err(at(&pack_file))?;
    let pack = ContentId(*sink.hasher.finalize().as_bytes());
    drop(sink);
    let produced = seal_open_pack((task, worker), header, (&pack_file, pack), folder, control)?;
    fs::remove_file(&pack_file).map_err(at(&pack_file))?;
    Ok(produced)
}

/// Writes the sealed form of the pack of `header` that lies at `pack_file`, and is content `pack`.
pub(crate) fn seal_open_pack(
    (task, worker): (TaskId, Address),
    header: &Header,
    (pack_file, pack): (&Path, ContentId),
    folder: &Path,
    control: &Control,
) -> Result<Produced, ProduceError> {
    let mut plain = BufReader::new(Gated::new(File::open(pack_file).map_err(at(pack_file))?, control));
    let sealed_file = folder.join(format!("{:x}.sealed", task.0));
    let mut sealed = BufWriter::new(File::create(&sealed_file).map_err(at(&sealed_file))?);
    seal(header.commitment.digest(), task, worker, &mut plain, &mut sealed)?;
    let sealed = sealed.into_inner().map_err(|error| at(&sealed_file)(error.into_error()))?;
    // Synced before anybody commits to it: a digest whose bytes are lost costs the stake.
    sealed.sync_all().map_err(at(&sealed_file))?;
    Ok(produced((task, worker), header, pack, Sealed::OnDisk(sealed_file)))
}

fn produced((task, worker): (TaskId, Address), header: &Header, pack: ContentId, sealed: Sealed) -> Produced {
    let digest = header.commitment.digest();
    Produced {
        digest,
        commitment: header.commitment.clone(),
        result_hash: result_hash(task, digest),
        result_seal: result_seal(worker, task, digest),
        pack,
        sealed,
    }
}

struct HashingWriter<W> {
    inner: W,
    hasher: blake3::Hasher,
}

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Opens a file of the result: below its item's folder, or as it is where there are no items.
fn open_output<'a>(runs: &BTreeMap<Option<u64>, &'a RunFiles>, path: &str) -> io::Result<Box<dyn Read + 'a>> {
    let missing = || io::Error::from(io::ErrorKind::NotFound);
    let (files, below) = match runs.get(&None) {
        Some(files) => (*files, path),
        None => {
            let (item, below) = path.split_once('/').ok_or_else(missing)?;
            (*runs.get(&item.parse().ok()).ok_or_else(missing)?, below)
        }
    };
    match files {
        RunFiles::OnDisk(folder) => Ok(Box::new(File::open(folder.join(below))?)),
        RunFiles::InMemory(files) => {
            let file = files.iter().find(|file| file.path == below).ok_or_else(missing)?;
            Ok(Box::new(file.bytes.as_slice()))
        }
    }
}

fn list_part(run: &Run, control: &Control) -> Result<(Part, Vec<u8>), ProduceError> {
    let mut files = Vec::new();
    let computed = match &run.files {
        RunFiles::OnDisk(folder) => {
            if folder.is_dir() {
                list_files(folder, "", &mut files, control)?;
            }
            read_computed(folder)?
        }
        RunFiles::InMemory(small) => {
            files.extend(small.iter().map(|SmallFile { path, bytes }| FileEntry {
                path: path.clone(),
                length: bytes.len() as u64,
                content: ContentId(*blake3::hash(bytes).as_bytes()),
            }));
            let found = small.iter().find(|file| file.path == COMPUTED_FILE);
            found.map_or_else(Computed::default, |file| parse_computed(&file.bytes))
        }
    };
    if let Some(counted) = &computed.deterministic_output_path {
        let inside = |path: &str| {
            path == counted || path.strip_prefix(counted.as_str()).is_some_and(|rest| rest.starts_with('/'))
        };
        files.retain(|file| inside(&file.path));
    }
    files.sort_by(|a, b| a.path.as_bytes().cmp(b.path.as_bytes()));
    Ok((Part { item: run.item, ending: run.ending, files }, computed.answer))
}

fn read_computed(output_dir: &Path) -> Result<Computed, ProduceError> {
    let path = output_dir.join(COMPUTED_FILE);
    match File::open(&path) {
        Ok(file) => {
            let mut bytes = Vec::new();
            file.take(COMPUTED_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(at(&path))?;
            Ok(parse_computed(&bytes))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Computed::default()),
        Err(error) => Err(at(&path)(error)),
    }
}

fn parse_computed(bytes: &[u8]) -> Computed {
    if bytes.len() as u64 <= COMPUTED_BYTES_MAX { Computed::parse(bytes) } else { Computed::default() }
}

fn list_files(folder: &Path, prefix: &str, files: &mut Vec<FileEntry>, control: &Control) -> Result<(), ProduceError> {
    for entry in fs::read_dir(folder).map_err(at(folder))? {
        let entry = entry.map_err(at(folder))?;
        let path = entry.path();
        let name = entry.file_name().into_string().map_err(|_| ManifestError::Path(path.display().to_string()))?;
        let kind = entry.file_type().map_err(at(&path))?;
        if kind.is_dir() {
            list_files(&path, &format!("{prefix}{name}/"), files, control)?;
        } else if kind.is_file() {
            let mut hasher = blake3::Hasher::new();
            let file = File::open(&path).map_err(at(&path))?;
            hasher.update_reader(Gated::new(file, control)).map_err(at(&path))?;
            let length = hasher.count();
            let content = ContentId(*hasher.finalize().as_bytes());
            files.push(FileEntry { path: format!("{prefix}{name}"), length, content });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
