//! Run what a README's command runs without Gristmill, and compare: the same program out of the same image, in `chroot`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use gristmill_image::{Host, Image, Source};

use crate::images;
use crate::step::command;

/// What a worker tells glibc, so that its mathematical functions compute the same on every x86-64.
const GLIBC: &str =
    "GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX2,-AVX2_Usable,-FMA,-FMA_Usable,-FMA4,-AVX,-AVX_Usable";
/// Where a program's standard output goes.
const STDOUT: &str = "stdout.txt";
/// Options of `gristmill run` that change nothing of what is computed.
const INDIFFERENT: [&str; 5] = ["category", "confidence", "trust", "max-price", "out"];

/// A `gristmill run` with items, as a README has it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Job {
    /// Path of the image.
    pub app: String,
    /// Of a folder of files, or of a file of lines.
    items: String,
    inputs: Vec<String>,
    args: Vec<String>,
    compare: Option<String>,
    compare_args: Vec<String>,
    reduce: Option<String>,
    reduce_args: Vec<String>,
}

impl Job {
    /// Reads the words of a command.
    pub fn of(text: &str) -> Result<Self> {
        let mut job = Self::default();
        let mut words = text.split_whitespace().skip(2);
        while let Some(word) = words.next() {
            let Some(option) = word.strip_prefix("--") else {
                job.app = word.to_owned();
                continue;
            };
            let (name, value) = match option.split_once('=') {
                Some((name, value)) => (name, value.to_owned()),
                None => (option, words.next().with_context(|| format!("--{option} has no value"))?.to_owned()),
            };
            match name {
                "items" => job.items = value,
                "input" => job.inputs.push(value),
                "arg" => job.args.push(value),
                "compare" => job.compare = Some(value),
                "compare-arg" => job.compare_args.push(value),
                "reduce" => job.reduce = Some(value),
                "reduce-arg" => job.reduce_args.push(value),
                known if INDIFFERENT.contains(&known) => {}
                other => bail!("a direct run does not know --{other}"),
            }
        }
        if job.app.is_empty() || job.items.is_empty() {
            bail!("a command that can be run directly names an image and --items");
        }
        Ok(job)
    }
}

/// An unpacked image.
pub struct Program {
    root: PathBuf,
    image: Image,
}

impl Program {
    /// Unpacks the archive into the folder `root`.
    pub fn unpack(archive: &Path, root: &Path) -> Result<Self> {
        let image = Source::open(archive)?.image(&Host::this(), None)?;
        let blobs: Vec<String> = image.layers.iter().map(|layer| layer.digest.hex()).collect();
        let mut args = vec!["apps/direct.sh", "unpack", text(archive)?, text(root)?];
        args.extend(blobs.iter().map(String::as_str));
        command("sh", &args).run()?;
        Ok(Self { root: root.to_owned(), image })
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Runs the image's program on one input folder.
    fn run(&self, input: &Path, output: &Path, env: &[String], args: &[String]) -> Result<()> {
        fs::create_dir_all(output)?;
        let stdout = output.with_extension("stdout");
        let mut program = Command::new("sh");
        program.arg("apps/direct.sh").arg("run").args([&self.root, input, output]).args(&self.image.env);
        if cfg!(target_arch = "x86_64") {
            program.arg(GLIBC);
        }
        program.args(env).args(&self.image.entrypoint).args(if args.is_empty() { &self.image.cmd } else { args });
        program.current_dir(crate::root()).stdin(Stdio::null()).stdout(fs::File::create(&stdout)?);
        // What it says on the way is of interest only when it fails.
        let ended = program.stderr(Stdio::piped()).output().context("cannot start sh")?;
        if !ended.status.success() {
            bail!("the direct run failed ({})\n{}", ended.status, String::from_utf8_lossy(&ended.stderr));
        }
        // Nothing printed, no file; and a file that the program calls so itself is its own.
        let delivered = output.join(STDOUT);
        if fs::metadata(&stdout)?.len() > 0 && !delivered.exists() {
            return fs::rename(&stdout, &delivered).with_context(|| format!("cannot make {}", delivered.display()));
        }
        fs::remove_file(&stdout).with_context(|| format!("cannot remove {}", stdout.display()))
    }
}

/// Runs every item of the job, and its reduce, in the folder `place`, and fails if anything is other than in `results`.
pub fn compare(job: &Job, program: &Program, place: &Path, results: &Path) -> Result<()> {
    let outputs = place.join("out");
    let names: Vec<&str> = job.inputs.iter().filter_map(|path| Path::new(path).file_name()?.to_str()).collect();
    for (index, (name, item)) in items(&crate::root().join(&job.items))?.into_iter().enumerate() {
        let folder = format!("{index:06}");
        let input = place.join("in").join(&folder);
        fs::create_dir_all(&input)?;
        for (path, name) in job.inputs.iter().zip(&names) {
            fs::copy(crate::root().join(path), input.join(name)).with_context(|| format!("cannot copy {path}"))?;
        }
        fs::write(input.join("item"), item)?;
        let mut env = vec![format!("GRISTMILL_ITEM_INDEX={index}"), format!("GRISTMILL_ITEM_NAME={name}")];
        env.push(format!("IEXEC_INPUT_FILES_NUMBER={}", names.len()));
        env.extend(names.iter().enumerate().map(|(at, name)| format!("IEXEC_INPUT_FILE_NAME_{}={name}", at + 1)));
        let output = outputs.join(&folder);
        program.run(&input, &output, &env, &job.args)?;
        if let Some(module) = &job.compare {
            canonical(module, &job.compare_args, &output, place)?;
        }
        same(&output, &results.join(&folder))?;
    }
    if let Some(reduce) = &job.reduce {
        if *reduce != job.app {
            bail!("a direct run knows only a reduce by the app itself, and not `{reduce}`");
        }
        let output = place.join("reduce");
        program.run(&outputs, &output, &[], &job.reduce_args)?;
        same(&output, &results.join("reduce"))?;
    }
    Ok(())
}

/// Puts in place of what a program left its canonical form, made by the comparator's source compiled for this machine.
fn canonical(module: &str, args: &[String], output: &Path, place: &Path) -> Result<()> {
    let source = crate::root().join(module).with_file_name("src").join("main.rs");
    let comparator = place.join("comparator");
    if !comparator.is_file() {
        let options = ["--edition", "2021", "--crate-name", "comparator", "-C", "opt-level=3", "-o"];
        let mut words = options.to_vec();
        words.extend([text(&comparator)?, text(&source)?]);
        command("rustc", &words).run()?;
    }
    let left = output.with_extension("left");
    fs::rename(output, &left)?;
    fs::create_dir(output)?;
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    command(text(&comparator)?, &args).env("IEXEC_IN", &left).env("IEXEC_OUT", output).run()?;
    fs::remove_dir_all(&left).with_context(|| format!("cannot remove {}", left.display()))
}

/// As `--items` takes them: the files of a folder by name, or the lines of a file that are not blank.
fn items(path: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let reading = || format!("cannot read {}", path.display());
    if path.is_dir() {
        let mut files = fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
        files.sort();
        let item = |file: PathBuf| {
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            Ok((name, fs::read(&file)?))
        };
        return files.into_iter().map(item).collect::<Result<_>>().with_context(reading);
    }
    let text = fs::read_to_string(path).with_context(reading)?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    Ok(lines.map(|(number, line)| (format!("line {}", number + 1), line.as_bytes().to_vec())).collect())
}

/// Fails unless two folders have the same files with the same bytes.
fn same(direct: &Path, delivered: &Path) -> Result<()> {
    command("diff", &["-r", text(direct)?, text(delivered)?])
        .run()
        .with_context(|| format!("what the network made in {} is not what a direct run makes", delivered.display()))
}

fn text(path: &Path) -> Result<&str> {
    images::text(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_read_as_gristmill_reads_it() {
        let job = Job::of("gristmill run a.tar --items i.txt --arg=--x --arg 1 --category S --reduce a.tar").unwrap();
        let args = vec!["--x".to_owned(), "1".to_owned()];
        let (app, items) = ("a.tar".to_owned(), "i.txt".to_owned());
        assert_eq!(job, Job { app: app.clone(), items, args, reduce: Some(app), ..Job::default() });
        for bad in [
            "gristmill run a.tar",
            "gristmill run --items i.txt",
            "gristmill run a.tar --items i --arg",
            "gristmill run a --frob 1",
        ] {
            assert!(Job::of(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn another_byte_or_another_file_is_seen() {
        let place = std::env::temp_dir().join(format!("xtask-same-{}", std::process::id()));
        let (one, two) = (place.join("one"), place.join("two"));
        for folder in [&one, &two] {
            fs::create_dir_all(folder).unwrap();
            fs::write(folder.join("file"), "a").unwrap();
        }
        assert!(same(&one, &two).is_ok());
        fs::write(two.join("file"), "b").unwrap();
        assert!(same(&one, &two).is_err());
        fs::write(two.join("file"), "a").unwrap();
        fs::write(two.join("more"), "").unwrap();
        assert!(same(&one, &two).is_err());
        fs::remove_dir_all(place).unwrap();
    }

    #[test]
    fn a_layer_takes_away_what_is_below() {
        let place = std::env::temp_dir().join(format!("xtask-layers-{}", std::process::id()));
        let blobs = place.join("blobs/sha256");
        fs::create_dir_all(&blobs).unwrap();
        let layers = [
            ["a/gone", "a/stays", "b/hidden", "c"].as_slice(),
            ["a/.wh.gone", "b/.wh..wh..opq", "b/new", ".wh.c"].as_slice(),
        ];
        let mut digests = Vec::new();
        for (number, files) in layers.iter().enumerate() {
            let folder = place.join(format!("layer{number}"));
            for file in *files {
                fs::create_dir_all(folder.join(file).parent().unwrap()).unwrap();
                fs::write(folder.join(file), "").unwrap();
            }
            let packed = place.join("layer.tar");
            command("tar", &["-C", text(&folder).unwrap(), "-cf", text(&packed).unwrap(), "."]).run().unwrap();
            let digest = gristmill_image::Digest::of(&fs::read(&packed).unwrap()).hex();
            fs::rename(&packed, blobs.join(&digest)).unwrap();
            digests.push(digest);
        }
        let (archive, root) = (place.join("archive.tar"), place.join("root"));
        command("tar", &["-C", text(&place).unwrap(), "-cf", text(&archive).unwrap(), "blobs"]).run().unwrap();
        let words =
            ["apps/direct.sh", "unpack", text(&archive).unwrap(), text(&root).unwrap(), &digests[0], &digests[1]];
        command("sh", &words).run().unwrap();
        let files = command("find", &[text(&root).unwrap(), "-type", "f", "-printf", "%P "]).output().unwrap();
        let mut files: Vec<&str> = files.split_whitespace().collect();
        files.sort_unstable();
        assert_eq!(files, ["a/stays", "b/new"]);
        fs::remove_dir_all(place).unwrap();
    }
}
