//! What a public pool says of itself on the ledger: the description of its workerpool is an ad with its name and its address.
//!
//! A description is fixed when a pool is registered. A pool that moves keeps its host name, or registers anew; the ledger has
//! nothing else to say where it is.

use std::fmt;

use gristmill_classad::{ClassAd, Value};

use crate::tls::PoolUrl;

/// Bytes of a description that is read as one; what is longer is a text for people.
pub const DESCRIPTION_BYTES_MAX: usize = 1_024;
/// Characters of a name.
pub const NAME_CHARS_MAX: usize = 64;
/// What a name may hold besides letters, digits and spaces.
const NAME_SIGNS: &str = "-._,:;'()&+#@";

/// A pool that anybody may work for.
///
/// ```
/// # use gristmill_protocol::public::PublicPool;
/// let url = format!("grist://pool.example:4480/{}", "ab".repeat(32));
/// let pool = PublicPool::new("The mill", url.parse()?)?;
/// assert_eq!(pool.to_string(), format!(r#"[ Name = "The mill"; Url = "{url}" ]"#));
/// assert_eq!(PublicPool::read(&pool.to_string()), Some(pool));
/// assert_eq!(PublicPool::read("local pool"), None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicPool {
    name: String,
    url: PoolUrl,
}

/// A pool that cannot be public under this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{name:?} cannot be the name of a public pool: it is 1 to {NAME_CHARS_MAX} letters, digits, spaces and {NAME_SIGNS}, begins with a letter or digit and ends with one or with )"
)]
pub struct PublicPoolError {
    /// The name, shortened.
    pub name: String,
}

impl PublicPool {
    /// A pool of this name, at this address.
    ///
    /// # Errors
    /// [`PublicPoolError`] for a name that could trick whoever reads a table of pools.
    pub fn new(name: &str, url: PoolUrl) -> Result<Self, PublicPoolError> {
        match is_name(name) {
            true => Ok(Self { name: name.to_owned(), url }),
            false => Err(PublicPoolError { name: name.chars().take(2 * NAME_CHARS_MAX).collect() }),
        }
    }

    /// Reads a workerpool's description. `None` for what is none of a public pool: anybody may register any text.
    ///
    /// Attributes other than `Name` and `Url` are left alone; both must be written as text, not computed.
    pub fn read(description: &str) -> Option<Self> {
        if description.len() > DESCRIPTION_BYTES_MAX {
            return None;
        }
        let ad = ClassAd::parse(description).ok()?;
        let text = |name| ad.get(name).and_then(|value| value.bare().as_constant()).and_then(Value::text);
        Self::new(text("Name")?, text("Url")?.parse().ok()?).ok()
    }

    /// What it is called; safe to print.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it is dialled.
    pub fn url(&self) -> &PoolUrl {
        &self.url
    }
}

impl fmt::Display for PublicPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut ad = ClassAd::new();
        for (name, value) in [("Name", self.name.clone()), ("Url", self.url.to_string())] {
            ad.insert(name, Value::string(&value)).map_err(|_| fmt::Error)?;
        }
        fmt::Display::fmt(&ad, f)
    }
}

/// Letters and digits of any script, so that nobody's language is left out; no control, no mark that turns the line around.
fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_alphanumeric() || c == ' ';
    let ends_well = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == ')');
    name.chars().count() <= NAME_CHARS_MAX
        && name.chars().all(|c| plain(c) || NAME_SIGNS.contains(c))
        && name.chars().next().is_some_and(char::is_alphanumeric)
        && ends_well(name.chars().last())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url() -> PoolUrl {
        format!("grist://pool.example:4480/{}", "ab".repeat(32)).parse().unwrap()
    }

    #[test]
    fn what_is_written_is_read() {
        for name in ["a", "The mill (Paris)", "Mühle 7", "磨坊", "x".repeat(NAME_CHARS_MAX).as_str()] {
            let pool = PublicPool::new(name, url()).unwrap();
            let text = pool.to_string();
            assert!(text.len() <= DESCRIPTION_BYTES_MAX, "{text}");
            assert_eq!(PublicPool::read(&text), Some(pool), "{text}");
        }
        let more = format!("[ Region = \"eu\"; url = (\"{}\"); Fee = 3 * 4; NAME = \"x\" ]", url());
        assert_eq!(PublicPool::read(&more).unwrap().name(), "x");
    }

    #[test]
    fn what_strangers_register_is_not_believed() {
        let at = |name: &str, url: &str| format!("[ Name = \"{name}\"; Url = \"{url}\" ]");
        let good = url().to_string();
        let cases = [
            String::new(),
            "local pool".to_owned(),
            "[".repeat(400),
            at("x", "http://pool.example:4480/"),
            at("x", "grist://pool.example:0/00"),
            at("", &good),
            at(" x", &good),
            at(&"x".repeat(NAME_CHARS_MAX + 1), &good),
            at("red \\033[31m", &good),
            at("turned \u{202e}around", &good),
            at("two\\nlines", &good),
            format!("[ Url = \"{good}\" ]"),
            "[ Name = \"x\" ]".to_owned(),
            format!("[ Name = strcat(\"a\", \"b\"); Url = \"{good}\" ]"),
            format!("[ Name = \"x\"; Url = \"{good}\"; Padding = \"{}\" ]", "x".repeat(1 << 20)),
        ];
        for text in cases {
            assert_eq!(PublicPool::read(&text), None, "{}", text.chars().take(200).collect::<String>());
        }
        assert!(PublicPool::new("a\tb", url()).unwrap_err().to_string().contains("a\\tb"));
    }
}
