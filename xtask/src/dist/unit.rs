//! Read a unit file as systemd does, as far as ours goes.

use anyhow::{Context, Result, bail};

/// The settings of a unit, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit(Vec<(String, String, String)>);

impl Unit {
    /// Reads a unit file's text.
    pub fn parse(text: &str) -> Result<Self> {
        let mut settings = Vec::new();
        let mut section = String::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            if line.ends_with('\\') {
                bail!("line {}: lines that go on are not understood here", index + 1);
            }
            if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                section = name.to_owned();
                continue;
            }
            let (key, value) =
                line.split_once('=').with_context(|| format!("line {} is no setting: {line}", index + 1))?;
            settings.push((section.clone(), key.trim_end().to_owned(), value.trim_start().to_owned()));
        }
        Ok(Self(settings))
    }

    /// The value of a setting of `[Service]`; the last one counts.
    pub fn service(&self, key: &str) -> Option<&str> {
        let settings = self.0.iter().rev();
        settings
            .into_iter()
            .find(|(section, name, _)| section == "Service" && name == key)
            .map(|(.., value)| value.as_str())
    }

    /// The same, of one that must be there.
    pub fn required(&self, key: &str) -> Result<&str> {
        self.service(key).with_context(|| format!("the unit has no {key}="))
    }

    /// The names of all settings of `[Service]`, each once.
    pub fn service_keys(&self) -> Vec<&str> {
        let mut keys: Vec<&str> = Vec::new();
        for (section, key, _) in &self.0 {
            if section == "Service" && !keys.contains(&key.as_str()) {
                keys.push(key);
            }
        }
        keys
    }
}

/// The words of a command line. Quotes keep words together; a backslash is understood before a quote and before itself.
pub fn words(command: &str) -> Result<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut characters = command.chars();
    while let Some(character) = characters.next() {
        match (character, quote) {
            ('\\', _) => match characters.next() {
                Some(next @ ('"' | '\'' | '\\')) => word.get_or_insert_default().push(next),
                other => bail!("`\\{}` is not understood here: {command}", other.map(String::from).unwrap_or_default()),
            },
            ('$' | '%', _) => bail!("variables and specifiers are not understood here: {command}"),
            (_, Some(open)) if character == open => quote = None,
            (_, Some(_)) => word.get_or_insert_default().push(character),
            ('"' | '\'', None) => {
                word.get_or_insert_default();
                quote = Some(character);
            }
            (' ' | '\t', None) => words.extend(word.take()),
            (_, None) => word.get_or_insert_default().push(character),
        }
    }
    if quote.is_some() {
        bail!("a quote is not closed: {command}");
    }
    words.extend(word);
    match words.first() {
        Some(program) if program.starts_with('/') => Ok(words),
        _ => bail!("it does not begin with the path of a program: {command}"),
    }
}

/// Seconds of a time span: a number, or one with `s`, `min` or `h`.
pub fn seconds(span: &str) -> Result<u64> {
    let (number, unit) = span.split_at(span.find(|digit: char| !digit.is_ascii_digit()).unwrap_or(span.len()));
    let number: u64 = number.parse().with_context(|| format!("{span} is no time span"))?;
    match unit {
        "" | "s" => Ok(number),
        "min" => Ok(number * 60),
        "h" => Ok(number * 3600),
        _ => bail!("{span} is no time span"),
    }
}

/// Whether a setting says yes.
pub fn is_on(value: Option<&str>) -> bool {
    matches!(value, Some("yes" | "true" | "on" | "1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_found_by_section_and_the_last_counts() {
        let unit =
            Unit::parse("# a comment\n[Unit]\nUser=nobody\n\n[Service]\nUser = one\n; another\nUser=two\nEmpty=\n")
                .unwrap();
        assert_eq!((unit.service("User"), unit.service("Empty"), unit.service("Nice")), (Some("two"), Some(""), None));
        assert_eq!(unit.service_keys(), ["User", "Empty"]);
        assert!(unit.required("Nice").unwrap_err().to_string().contains("Nice="));
        Unit::parse("[Service]\nUser\n").unwrap_err();
        Unit::parse("[Service]\nExecStart=/bin/a \\\n  b\n").unwrap_err();
    }

    #[test]
    fn commands_are_cut_at_blanks_outside_quotes() {
        for (command, expected) in [
            ("/bin/a b  c", vec!["/bin/a", "b", "c"]),
            ("/bin/a \"b c\" 'd \"e\"' ''", vec!["/bin/a", "b c", "d \"e\"", ""]),
            (r#"/bin/a "x[\"']y\\""#, vec!["/bin/a", "x[\"']y\\"]),
        ] {
            assert_eq!(words(command).unwrap(), expected);
        }
        for wrong in ["", "a", "/bin/a \"b", "/bin/a ${b}", "/bin/a %h", "/bin/a \\n"] {
            words(wrong).unwrap_err();
        }
    }

    #[test]
    fn time_spans_are_seconds() {
        assert_eq!([seconds("60").unwrap(), seconds("5min").unwrap(), seconds("1h").unwrap()], [60, 300, 3600]);
        seconds("soon").unwrap_err();
        assert!(is_on(Some("yes")) && !is_on(Some("no")) && !is_on(None));
    }

    #[test]
    fn our_own_unit_is_understood() {
        let text = std::fs::read_to_string(crate::root().join("packaging/gristmill-worker.service")).unwrap();
        let unit = Unit::parse(&text).unwrap();
        assert_eq!(words(unit.required("ExecStart").unwrap()).unwrap()[..2], ["/usr/bin/gristmill", "worker"]);
        words(unit.required("ExecCondition").unwrap()).unwrap();
    }

    /// The service's settings are those that the program knows, word for word.
    #[test]
    fn the_services_settings_are_the_programs() {
        let read = |path: &str| std::fs::read_to_string(crate::root().join(path)).unwrap();
        let (shipped, source) = (read("packaging/worker.toml"), read("crates/worker/src/settings.rs"));
        let (_, settings) = shipped.split_once("\n\n").unwrap();
        assert!(settings.contains("#pool = "));
        assert!(
            source.contains(&format!("r#\"{settings}\"#;")),
            "copy TEMPLATE of settings.rs to packaging/worker.toml"
        );
    }
}
