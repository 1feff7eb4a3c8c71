//! Where the network put the input and wants the output: iExec's environment variables.

use crate::error::Failure;
use std::path::{Path, PathBuf};

/// The environment of one run.
pub struct Place {
    /// `IEXEC_IN`, or the working directory.
    pub input_dir: PathBuf,
    /// `IEXEC_OUT`, or the working directory.
    pub output_dir: PathBuf,
    /// Name of the first input file, else of the dataset.
    pub input_name: Option<String>,
    /// `IEXEC_BOT_TASK_INDEX`: which task of the bag this is.
    pub task_index: Option<u64>,
    /// `IEXEC_BOT_TASK_SIZE` (or `IEXEC_BOT_SIZE`): how many tasks the bag has.
    pub task_count: Option<u64>,
}

impl Place {
    /// Reads the environment; a variable that is missing or empty stays empty.
    pub fn from_environment() -> Result<Place, Failure> {
        let text = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let number = |name: &str| match text(name).map(|value| value.parse::<u64>()) {
            None => Ok(None),
            Some(Ok(number)) => Ok(Some(number)),
            Some(Err(_)) => Err(Failure::Environment(format!("{name} is not a whole number"))),
        };
        let bag = number("IEXEC_BOT_TASK_SIZE")?;
        Ok(Place {
            input_dir: PathBuf::from(text("IEXEC_IN").unwrap_or_else(|| ".".into())),
            output_dir: PathBuf::from(text("IEXEC_OUT").unwrap_or_else(|| ".".into())),
            input_name: text("IEXEC_INPUT_FILE_NAME_1").or_else(|| text("IEXEC_DATASET_FILENAME")),
            task_index: number("IEXEC_BOT_TASK_INDEX")?,
            task_count: if bag.is_some() { bag } else { number("IEXEC_BOT_SIZE")? },
        })
    }

    /// The prices file: the one named on the command line, else the first input.
    pub fn prices_file(&self, named: Option<&str>) -> Result<PathBuf, Failure> {
        match (named, &self.input_name) {
            (Some(path), _) => Ok(Path::new(path).to_path_buf()),
            (None, Some(name)) => Ok(self.input_dir.join(name)),
            (None, None) => Err(Failure::Environment(
                "no prices file: give it as the job's input (IEXEC_INPUT_FILE_NAME_1) or with --prices FILE".into(),
            )),
        }
    }
}
