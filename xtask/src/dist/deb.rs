//! Write a Debian package: an `ar` archive of a version, what the package says of itself, and its files.

use anyhow::{Context, Result, bail};

use super::archive::{Tree, ar, gzip};
use super::elf::Program;

/// Who answers for the package. The address is one that is never delivered to: the project has no mailbox.
const MAINTAINER: &str = "The Gristmill developers <developers@gristmill.invalid>";
/// What each revision of a version is called.
const REVISION: u32 = 1;
/// Debian's package of a shared library, by the beginning of the library's name, and the prefix of its symbols' versions.
const PACKAGES: [(&str, &str, &str); 5] = [
    ("libc.so.", "libc6", "GLIBC_"),
    ("libm.so.", "libc6", "GLIBC_"),
    ("libpthread.so.", "libc6", "GLIBC_"),
    ("ld-linux-", "libc6", "GLIBC_"),
    ("libgcc_s.so.", "libgcc-s1", "GCC_"),
];
/// Versions of symbols that are none, and the version of the package that has them.
const NAMED_VERSIONS: [(&str, &str); 1] = [("ABI_DT_RELR", "2.36")];
/// Whom to trust when a registry or a ledger is reached by HTTPS.
const RECOMMENDS: &str = "ca-certificates";
const DESCRIPTION: &str = "\
open market for computing
 Anybody's machine works at anybody's tasks, and nobody is paid before several
 machines that do not know each other have found the same result.
 .
 This package has the program for all of it, requester, worker, pool and
 ledger, and a service that lends this machine to a pool. The service does
 nothing before its settings name a pool.
";

/// What a package is made of.
pub struct Package<'a> {
    /// The program's version.
    pub version: &'a str,
    pub program: &'a Program,
    /// The files it installs.
    pub files: &'a Tree,
    /// Its maintainer scripts, by name.
    pub scripts: &'a [(&'static str, String)],
    /// Seconds since 1970.
    pub time_s: u64,
}

/// Debian's version of a version. A pre-release sorts before what it precedes.
pub fn debian_version(version: &str) -> String {
    format!("{}-{REVISION}", version.replacen('-', "~", 1))
}

impl Package<'_> {
    /// The package's name as a file.
    pub fn name(&self) -> String {
        format!("gristmill_{}_{}.deb", debian_version(self.version), self.program.machine.debian)
    }

    /// The package.
    pub fn bytes(&self) -> Result<Vec<u8>> {
        let mut control = Tree::default();
        control.file("control", self.control()?);
        control.file("conffiles", self.conffiles());
        for (name, text) in self.scripts {
            control.program(*name, text.as_bytes());
        }
        let control = control.tar_gz("./", self.time_s)?;
        let data = self.files.tar_gz("./", self.time_s)?;
        ar(&[("debian-binary", b"2.0\n"), ("control.tar.gz", &control), ("data.tar.gz", &data)], self.time_s)
    }

    fn control(&self) -> Result<String> {
        Ok(format!(
            "Package: gristmill\nVersion: {}\nArchitecture: {}\nMaintainer: {MAINTAINER}\nInstalled-Size: {}\nDepends: {}\nRecommends: {RECOMMENDS}\n\
             Section: net\nPriority: optional\nDescription: {DESCRIPTION}",
            debian_version(self.version),
            self.program.machine.debian,
            self.files.installed_kib(),
            depends(self.program)?,
        ))
    }

    /// What lies in /etc is its owner's: an upgrade asks before it changes it.
    fn conffiles(&self) -> String {
        let settings = self.files.files().filter(|(path, _)| path.starts_with("etc/"));
        settings.map(|(path, _)| format!("/{path}\n")).collect()
    }
}

/// What must be installed: the packages of the libraries that the program names, in the version that has the newest symbol it
/// uses; and `passwd`, whose programs the scripts use.
pub fn depends(program: &Program) -> Result<String> {
    let mut needs: Vec<(&str, Vec<u32>)> = Vec::new();
    for library in &program.libraries {
        let (package, _) = package_of(library)?;
        if !needs.iter().any(|(known, _)| *known == package) {
            needs.push((package, vec![]));
        }
    }
    for (library, version) in &program.versions {
        let (package, prefix) = package_of(library)?;
        let number = symbol_version(version, prefix)?;
        if let Some((_, newest)) = needs.iter_mut().find(|(known, _)| *known == package) {
            *newest = number.max(std::mem::take(newest));
        }
    }
    needs.sort();
    let mut words: Vec<String> = needs
        .into_iter()
        .map(|(package, version)| match version.as_slice() {
            [] => package.to_owned(),
            numbers => {
                let numbers: Vec<String> = numbers.iter().map(u32::to_string).collect();
                format!("{package} (>= {})", numbers.join("."))
            }
        })
        .collect();
    words.push("passwd".to_owned());
    Ok(words.join(", "))
}

fn package_of(library: &str) -> Result<(&'static str, &'static str)> {
    let known = PACKAGES.iter().find(|(beginning, ..)| library.starts_with(beginning));
    known.map(|(_, package, prefix)| (*package, *prefix)).with_context(|| {
        format!("the program is linked with {library}, which has no known package: link it statically, or add it to PACKAGES")
    })
}

fn symbol_version(version: &str, prefix: &str) -> Result<Vec<u32>> {
    let Some(number) = version.strip_prefix(prefix) else {
        bail!("the version {version} of a symbol does not begin with {prefix}");
    };
    let number = NAMED_VERSIONS.iter().find(|(name, _)| *name == number).map_or(number, |(_, version)| *version);
    let numbers: Result<Vec<u32>, _> = number.split('.').map(str::parse).collect();
    let mut numbers = numbers.with_context(|| format!("the version {version} of a symbol is no number"))?;
    // GCC_4.2.0 came with 4.2.
    while numbers.len() > 2 && numbers.last() == Some(&0) {
        numbers.pop();
    }
    Ok(numbers)
}

/// The package's own changelog: one entry, which says what it was made of.
pub fn changelog(version: &str, commit: &str, time_s: u64) -> Result<Vec<u8>> {
    let text = format!(
        "gristmill ({}) unstable; urgency=medium\n\n  * Made from {commit}. What has changed is in changelog.gz.\n\n -- {MAINTAINER}  {}\n",
        debian_version(version),
        mail_date(time_s),
    );
    gzip(text.as_bytes())
}

/// A date as mails have it, in UTC.
pub fn mail_date(time_s: u64) -> String {
    const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (days, second) = (time_s / 86_400, time_s % 86_400);
    let weekday = WEEKDAYS[(days % 7) as usize];
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let (mut year, mut day) = (1970, days);
    while day >= 365 + u64::from(leap(year)) {
        day -= 365 + u64::from(leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while day >= lengths[month] {
        day -= lengths[month];
        month += 1;
    }
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{weekday}, {:02} {} {year} {hour:02}:{minute:02}:{second:02} +0000", day + 1, MONTHS[month])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dist::elf::Machine;

    fn program(libraries: &[&str], versions: &[(&str, &str)]) -> Program {
        Program {
            machine: Machine { debian: "amd64", kernel: "x86_64" },
            libraries: libraries.iter().map(|name| (*name).to_owned()).collect(),
            versions: versions
                .iter()
                .map(|(library, version)| ((*library).to_owned(), (*version).to_owned()))
                .collect(),
        }
    }

    #[test]
    fn what_a_program_links_is_what_its_package_depends_on() {
        let libraries = ["libgcc_s.so.1", "libm.so.6", "libc.so.6", "ld-linux-x86-64.so.2"];
        let versions = [
            ("libc.so.6", "GLIBC_2.9"),
            ("libc.so.6", "GLIBC_2.34"),
            ("libm.so.6", "GLIBC_2.29"),
            ("libgcc_s.so.1", "GCC_3.3"),
            ("libgcc_s.so.1", "GCC_4.2.0"),
        ];
        let all = depends(&program(&libraries, &versions)).unwrap();
        assert_eq!(all, "libc6 (>= 2.34), libgcc-s1 (>= 4.2), passwd");
        assert_eq!(depends(&program(&["libc.so.6"], &[])).unwrap(), "libc6, passwd");
        assert_eq!(depends(&program(&[], &[])).unwrap(), "passwd");
        let newer = depends(&program(&["libc.so.6"], &[("libc.so.6", "GLIBC_ABI_DT_RELR"), versions[1]])).unwrap();
        assert_eq!(newer, "libc6 (>= 2.36), passwd");
    }

    #[test]
    fn what_no_package_is_known_for_is_an_error() {
        let error = depends(&program(&["libssl.so.3"], &[])).unwrap_err().to_string();
        assert!(error.contains("libssl.so.3"), "{error}");
        depends(&program(&["libc.so.6"], &[("libc.so.6", "GLIBC_PRIVATE")])).unwrap_err();
    }

    #[test]
    fn dates_and_versions_are_as_debian_has_them() {
        for (time_s, date) in [
            (0, "Thu, 01 Jan 1970 00:00:00 +0000"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 +0000"),
            (1_709_251_199, "Thu, 29 Feb 2024 23:59:59 +0000"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 +0000"),
        ] {
            assert_eq!(mail_date(time_s), date);
        }
        assert_eq!(debian_version("0.1.0"), "0.1.0-1");
        assert_eq!(debian_version("1.2.0-rc.1"), "1.2.0~rc.1-1");
    }

    #[test]
    fn a_package_says_what_it_is_and_which_files_are_its_owners() {
        let mut files = Tree::default();
        files.program("usr/bin/gristmill", vec![0; 2000]);
        files.file("etc/gristmill/worker.toml", b"#\n".as_slice());
        let program = program(&["libc.so.6"], &[("libc.so.6", "GLIBC_2.34")]);
        let scripts = [("postinst", "#!/bin/sh\n".to_owned())];
        let package = Package { version: "0.1.0", program: &program, files: &files, scripts: &scripts, time_s: 5 };
        assert_eq!(package.name(), "gristmill_0.1.0-1_amd64.deb");
        assert_eq!(package.conffiles(), "/etc/gristmill/worker.toml\n");
        let control = package.control().unwrap();
        // Three KiB of files, four folders and the root.
        assert!(
            control.contains("\nInstalled-Size: 8\nDepends: libc6 (>= 2.34), passwd\nRecommends: ca-certificates\n"),
            "{control}"
        );
        assert!(control.lines().all(|line| line.len() <= 80 && !line.is_empty()), "{control}");
        let bytes = package.bytes().unwrap();
        assert_eq!(bytes, package.bytes().unwrap());
        assert!(bytes.starts_with(b"!<arch>\ndebian-binary   5  "), "{:?}", &bytes[..40]);
    }
}
