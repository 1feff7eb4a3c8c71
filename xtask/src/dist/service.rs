//! Start a service as its unit says, where systemd does not run.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};

use super::root::program;
use super::unit::{Unit, is_on, seconds, words};

/// Where systemd keeps the folders that it makes for services.
const STATE: &str = "/var/lib";
/// Settings that are carried out here; those of the others need systemd.
const APPLIED: [&str; 19] = [
    "User",
    "Group",
    "ExecCondition",
    "ExecStart",
    "StateDirectory",
    "StateDirectoryMode",
    "WorkingDirectory",
    "UMask",
    "TimeoutStopSec",
    "Nice",
    "CPUSchedulingPolicy",
    "IOSchedulingClass",
    "OOMScoreAdjust",
    "LimitCORE",
    "NoNewPrivileges",
    "CapabilityBoundingSet",
    "ProtectSystem",
    "ProtectHome",
    "PrivateTmp",
];
/// Only the service's folder and a `/tmp` of its own can be written, and homes are empty. The folder is the first argument.
const CAGE: &str = "\
mount --bind \"$1\" \"$1\" && mount -o remount,bind,ro / && mount -t tmpfs -o mode=1777 tmpfs /tmp &&
for home in /home /root; do mount -t tmpfs -o ro,mode=0 tmpfs $home || exit; done
shift && exec \"$@\"";

/// A service's unit.
pub struct Service(Unit);

impl Service {
    /// Reads a unit file's text.
    pub fn parse(text: &str) -> Result<Self> {
        Ok(Self(Unit::parse(text)?))
    }

    /// Its user.
    pub fn user(&self) -> Result<&str> {
        self.0.required("User")
    }

    /// Its folder.
    pub fn folder(&self) -> Result<String> {
        Ok(format!("{STATE}/{}", self.0.required("StateDirectory")?))
    }

    /// The longest that it may take to end.
    pub fn stop_max(&self) -> Result<Duration> {
        Ok(Duration::from_secs(seconds(self.0.required("TimeoutStopSec")?)?))
    }

    /// Settings that [`Service::command`] does not carry out.
    pub fn left_out(&self) -> Vec<&str> {
        self.0.service_keys().into_iter().filter(|key| !APPLIED.contains(key)).collect()
    }

    /// Its command of this setting (`ExecStart`, `ExecCondition`), as a program that becomes it.
    pub fn command(&self, setting: &str) -> Result<Command> {
        let wrapped = self.wrapped(setting)?;
        let wrapped: Vec<&str> = wrapped.iter().map(String::as_str).collect();
        Ok(program("root", &wrapped))
    }

    fn wrapped(&self, setting: &str) -> Result<Vec<String>> {
        let unit = &self.0;
        let folder = self.folder()?;
        let mut wrapped: Vec<String> = Vec::new();
        let mut add = |words: &[&str]| wrapped.extend(words.iter().map(|word| (*word).to_owned()));
        add(&["unshare", "--mount", "--propagation", "private", "--"]);
        let cage = (unit.required("ProtectSystem")?, unit.required("ProtectHome")?, is_on(unit.service("PrivateTmp")));
        if cage != ("strict", "yes", true) {
            bail!("another ProtectSystem=, ProtectHome= or PrivateTmp= than this check carries out");
        }
        add(&["sh", "-c", CAGE, "sh", &folder]);
        add(&["choom", "-n", unit.required("OOMScoreAdjust")?, "--"]);
        let idle = ("idle", "idle", "0");
        if (unit.required("CPUSchedulingPolicy")?, unit.required("IOSchedulingClass")?, unit.required("LimitCORE")?)
            != idle
        {
            bail!("another CPUSchedulingPolicy=, IOSchedulingClass= or LimitCORE= than this check carries out");
        }
        add(&[
            "chrt",
            "--idle",
            "0",
            "nice",
            "-n",
            unit.required("Nice")?,
            "ionice",
            "-c",
            "idle",
            "prlimit",
            "--core=0",
        ]);
        add(&[
            "setpriv",
            "--reuid",
            self.user()?,
            "--regid",
            unit.required("Group")?,
            "--init-groups",
            "--inh-caps=-all",
        ]);
        if !is_on(unit.service("NoNewPrivileges")) || unit.service("CapabilityBoundingSet") != Some("") {
            bail!("the unit should say NoNewPrivileges=yes and an empty CapabilityBoundingSet=");
        }
        add(&["--no-new-privs", "--bounding-set=-all", "--reset-env", "--"]);
        add(&["env", &format!("STATE_DIRECTORY={folder}")]);
        let (mask, place) = (unit.required("UMask")?, unit.required("WorkingDirectory")?);
        add(&["sh", "-c", "umask \"$1\" && cd \"$2\" && shift 2 && exec \"$@\"", "sh", mask, place]);
        wrapped.extend(words(unit.required(setting)?)?);
        Ok(wrapped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text() -> String {
        std::fs::read_to_string(crate::root().join("packaging/gristmill-worker.service")).unwrap()
    }

    #[test]
    fn our_service_becomes_a_command_of_its_user() {
        let service = Service::parse(&text()).unwrap();
        let words = service.wrapped("ExecStart").unwrap();
        let after = |word: &str| words[words.iter().position(|other| other == word).unwrap() + 1].as_str();
        assert_eq!((after("--reuid"), after("--regid"), after("nice")), ("gristmill", "gristmill", "-n"));
        assert_eq!(after("/usr/bin/gristmill"), "worker");
        assert_eq!(
            (service.folder().unwrap().as_str(), service.stop_max().unwrap().as_secs()),
            ("/var/lib/gristmill", 60)
        );
        assert!(service.left_out().contains(&"SystemCallFilter"));
    }

    #[test]
    fn what_would_not_be_carried_out_is_an_error() {
        for (from, to) in [
            ("ProtectSystem=strict", "ProtectSystem=full"),
            ("NoNewPrivileges=yes", "NoNewPrivileges=no"),
            ("CPUSchedulingPolicy=idle", "CPUSchedulingPolicy=batch"),
            ("\nUMask=0077", ""),
        ] {
            let text = text();
            assert!(text.contains(from));
            assert!(Service::parse(&text.replace(from, to)).unwrap().wrapped("ExecStart").is_err(), "{to}");
        }
    }
}
