//! Make what is shipped: a Debian package and a tarball. The same program gives the same bytes.
//!
//! Both are written here, from `packaging/` and the program alone, so that it works on any Linux. `check` installs the package on a
//! bare Debian and uses it.

mod archive;
mod boot;
mod check;
mod deb;
mod elf;
mod notices;
mod root;
mod service;
mod unit;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::step::{cargo, command};
use archive::{Tree, gzip};
use deb::Package;

/// Where unit, settings and scripts are.
const PACKAGING: &str = "packaging";
/// The profile of what is shipped. Its build takes long.
const PROFILE: &str = "dist";
/// Scripts that Debian's package manager runs.
const SCRIPTS: [&str; 3] = ["postinst", "prerm", "postrm"];
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What is asked for.
struct Request {
    profile: String,
    /// A program that is there already.
    program: Option<PathBuf>,
    check: bool,
}

/// A finished file.
struct Made {
    name: String,
    bytes: Vec<u8>,
}

/// Carries out `cargo xtask dist`.
pub fn run(words: &[&str]) -> Result<()> {
    match words {
        ["--check-inside", words @ ..] => return check::inside(words),
        ["--check-boot", words @ ..] => return boot::boot(words),
        ["--check-booted"] => return boot::booted(),
        _ => {}
    }
    let request = parse(words)?;
    if request.check {
        check::require()?;
    }
    let program = match request.program {
        Some(program) => program,
        None => build(&request.profile)?,
    };
    let package = make(&program)?;
    if request.check { check::run(&package, &program) } else { Ok(()) }
}

/// Makes both of a program of the release profile, which the tests have built anyway, and uses the package.
pub fn check_release() -> Result<()> {
    check::require()?;
    let program = build("release")?;
    check::run(&make(&program)?, &program)
}

fn parse(words: &[&str]) -> Result<Request> {
    let mut request = Request { profile: PROFILE.to_owned(), program: None, check: false };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().with_context(|| format!("`{word}` needs a value"));
        match *word {
            "--profile" => request.profile = (*value()?).to_owned(),
            "--program" => request.program = Some(PathBuf::from(value()?)),
            "--check" => request.check = true,
            other => bail!("dist has no option `{other}`: it has --profile NAME, --program FILE and --check"),
        }
    }
    Ok(request)
}

/// The folder of everything that is built: this program lies in `release` of it.
fn target() -> Result<PathBuf> {
    let program = std::env::current_exe().context("this program has no path")?;
    let target = program.parent().and_then(Path::parent);
    Ok(target.context("this program lies in no target folder")?.to_path_buf())
}

/// Builds the program in this profile.
fn build(profile: &str) -> Result<PathBuf> {
    cargo(&["build", "--profile", profile, "--locked", "-p", "gristmill-cli"])?;
    let folder = if profile == "dev" { "debug" } else { profile };
    Ok(target()?.join(folder).join("gristmill"))
}

/// Writes package, tarball and their hashes; returns where the package is.
fn make(program: &Path) -> Result<PathBuf> {
    let folder = target()?.join("dist");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let made = pack(program, &Origin::find()?)?;
    let mut sums = String::new();
    for Made { name, bytes } in &made {
        let path = folder.join(name);
        fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
        eprintln!("{} ({} KiB)", path.display(), bytes.len() / 1024);
        sums += &format!("{}  {name}\n", hex(&Sha256::digest(bytes)));
    }
    fs::write(folder.join("SHA256SUMS"), sums).context("cannot write SHA256SUMS")?;
    Ok(folder.join(&made[0].name))
}

/// What the sources were, and when: all files carry this time.
struct Origin {
    commit: String,
    time_s: u64,
}

impl Origin {
    /// The time is that of SOURCE_DATE_EPOCH, or of the last commit.
    fn find() -> Result<Self> {
        let git = |args: &[&str]| command("git", args).output().map(|text| text.trim().to_owned());
        let commit = git(&["rev-parse", "HEAD"]).map(|commit| format!("commit {commit}"));
        let commit = commit.unwrap_or_else(|_| "sources without a history".to_owned());
        let told = std::env::var("SOURCE_DATE_EPOCH").ok();
        let time = match told {
            Some(told) => told,
            None => git(&["log", "-1", "--format=%ct"]).context(
                "the sources have no history: set SOURCE_DATE_EPOCH to the seconds since 1970 of their making",
            )?,
        };
        let time_s = time.trim().parse().with_context(|| format!("SOURCE_DATE_EPOCH is no number: {time}"))?;
        Ok(Self { commit, time_s })
    }
}

/// Package and tarball of a program.
fn pack(program: &Path, origin: &Origin) -> Result<Vec<Made>> {
    let bytes = fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
    let elf = elf::read(&bytes).with_context(|| format!("cannot pack {}", program.display()))?;
    let third_party = notices::third_party(elf.machine.kernel)?;
    let files = installed(&bytes, &third_party, origin)?;
    let scripts = SCRIPTS.map(|name| Ok((name, text(&format!("{PACKAGING}/debian/{name}"))?)));
    let scripts: Vec<(&'static str, String)> = scripts.into_iter().collect::<Result<_>>()?;
    let package = Package { version: VERSION, program: &elf, files: &files, scripts: &scripts, time_s: origin.time_s };
    let folder = format!("gristmill-{VERSION}-{}-linux", elf.machine.kernel);
    let tarball = unpacked(bytes, third_party)?.tar_gz(&format!("{folder}/"), origin.time_s)?;
    Ok(vec![
        Made { name: package.name(), bytes: package.bytes()? },
        Made { name: format!("{folder}.tar.gz"), bytes: tarball },
    ])
}

/// What the package puts where.
fn installed(program: &[u8], third_party: &str, origin: &Origin) -> Result<Tree> {
    let mut tree = Tree::default();
    tree.program("usr/bin/gristmill", program);
    for unit in ["gristmill-worker.service", "gristmill.slice"] {
        tree.file(format!("usr/lib/systemd/system/{unit}"), text(&format!("{PACKAGING}/{unit}"))?);
    }
    tree.file("etc/gristmill/worker.toml", text(&format!("{PACKAGING}/worker.toml"))?);
    let date = deb::mail_date(origin.time_s);
    let man = text(&format!("{PACKAGING}/gristmill.1"))?.replace("@DATE@", &date[5..16]).replace("@VERSION@", VERSION);
    tree.file("usr/share/man/man1/gristmill.1.gz", gzip(man.as_bytes())?);
    let doc = "usr/share/doc/gristmill";
    for name in ["copyright", "README.Debian"] {
        tree.file(format!("{doc}/{name}"), text(&format!("{PACKAGING}/debian/{name}"))?);
    }
    tree.file(format!("{doc}/changelog.gz"), gzip(text("CHANGELOG.md")?.as_bytes())?);
    tree.file(format!("{doc}/changelog.Debian.gz"), deb::changelog(VERSION, &origin.commit, origin.time_s)?);
    tree.file(format!("{doc}/third-party.txt.gz"), gzip(third_party.as_bytes())?);
    guides(&mut tree, doc)?;
    Ok(tree)
}

/// What the tarball has, for systems without Debian's package manager.
fn unpacked(program: Vec<u8>, third_party: String) -> Result<Tree> {
    let mut tree = Tree::default();
    tree.program("gristmill", program);
    for name in ["gristmill-worker.service", "gristmill.slice", "worker.toml"] {
        tree.file(format!("systemd/{name}"), text(&format!("{PACKAGING}/{name}"))?);
    }
    for name in ["LICENSE", "CHANGELOG.md"] {
        tree.file(name, text(name)?);
    }
    tree.file("third-party.txt", third_party);
    guides(&mut tree, ".").map(|()| tree)
}

/// The README and the pages it points to.
fn guides(tree: &mut Tree, folder: &str) -> Result<()> {
    let place = |name: &str| if folder == "." { name.to_owned() } else { format!("{folder}/{name}") };
    tree.file(place("README.md"), text("README.md")?);
    let pages = fs::read_dir(crate::root().join("docs")).context("cannot list docs")?;
    for page in pages {
        let name = page.context("cannot list docs")?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".md") {
            tree.file(place(&format!("docs/{name}")), text(&format!("docs/{name}"))?);
        }
    }
    Ok(())
}

/// A text of the repository.
fn text(path: &str) -> Result<String> {
    fs::read_to_string(crate::root().join(path)).with_context(|| format!("cannot read {path}"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
