//! What holds: the defaults, over them the file, over that the flags; and what another reading of the file changes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use gristmill_types::{Amount, Category, Needs};
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::{
    AT_START, CredibilitySettings, Grist, OfferSettings, OrderSettings, SETTLEMENT_MS, SchedulerSettings, Settings,
};
use super::{SettingsError, read_text};
use crate::config::{PoolConfig, default_credibility};

/// A key, by its section, which is empty for those that stand before all sections.
type Key = (String, String);

/// What somebody said of what may be said: a file, or the flags of a command.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Said(BTreeMap<Key, Value>);

impl Said {
    /// That the pool keeps so many percent.
    pub fn fee_percent(&mut self, percent: u64) {
        self.say("", "fee_percent", Value::Integer(i64::try_from(percent).unwrap_or(i64::MAX)));
    }

    /// That its account is filled up to this.
    pub fn stake(&mut self, stake: Amount) {
        self.say("", "stake", Value::String(Grist(stake).to_string()));
    }

    /// What a task of a size class costs; of several words on one class, in whatever case, the last holds.
    pub fn price(&mut self, class: &str, price: Amount) {
        self.0.retain(|(section, said), _| section != "price" || !said.eq_ignore_ascii_case(class));
        self.say("price", class, Value::String(Grist(price).to_string()));
    }

    /// That its workers may offer this, besides what else is said of them.
    pub fn offers(&mut self, needs: Needs) {
        for (key, offered) in [("network", needs.network), ("gpu", needs.gpu)] {
            if offered {
                self.say("offer", key, Value::Boolean(true));
            }
        }
    }

    fn say(&mut self, section: &str, key: &str, value: Value) {
        self.0.insert((section.to_owned(), key.to_owned()), value);
    }

    /// All that stands in a table.
    fn of(table: Table) -> Self {
        let mut said = Self::default();
        for (name, value) in table {
            match value {
                Value::Table(section) => section.into_iter().for_each(|(key, value)| said.say(&name, &key, value)),
                value => said.say("", &name, value),
            }
        }
        said
    }

    fn into_table(self) -> Table {
        let mut table = Table::new();
        for ((section, key), value) in self.0 {
            match section.is_empty() {
                true => drop(table.insert(key, value)),
                false => {
                    let section = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
                    if let Value::Table(section) = section {
                        section.insert(key, value);
                    }
                }
            }
        }
        table
    }
}

/// Where a pool's settings come from, besides its defaults.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file, which need not be there; `None`: there never is one.
    pub path: Option<PathBuf>,
    /// The flags.
    pub flags: Said,
    /// Nothing costs anything, whatever is said.
    pub is_free: bool,
}

/// From where a value came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// The file.
    File,
    /// The command line.
    Flag,
}

impl Origin {
    fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::File => "file",
            Self::Flag => "flag",
        }
    }
}

/// The settings that hold, and whence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Held {
    /// The file, whether it is there or not.
    pub path: Option<PathBuf>,
    /// What holds.
    pub settings: Settings,
    /// Where each value came from, by `section.key`.
    pub from: BTreeMap<String, Origin>,
}

/// A value that became another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// `section.key`.
    pub key: String,
    /// What it was; `None`: nothing was said.
    pub old: Option<String>,
    /// What it is.
    pub new: Option<String>,
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let or_none = |value: &Option<String>| value.clone().unwrap_or_else(|| "not set".to_owned());
        write!(f, "{}: {} -> {}", self.key, or_none(&self.old), or_none(&self.new))
    }
}

/// A pool's defaults, and the size classes that its hub has.
#[derive(Clone, Debug)]
pub struct Base {
    defaults: Settings,
    /// What a pool believes where that is on.
    credibility: gristmill_credibility::Policy,
    scheduler: gristmill_scheduler::Policy,
    classes: Vec<(u64, String)>,
    sources: Sources,
}

impl Base {
    /// Of a config that says the defaults, and the categories of its hub.
    pub fn of(config: &PoolConfig, categories: &[Category]) -> Self {
        let public = config.public.is_some();
        let credibility = config.credibility.clone().or_else(|| default_credibility(public)).unwrap_or_default();
        let price = |category: &Category| {
            let (_, price) = config.prices.iter().find(|(id, _)| *id == category.id)?;
            Some((category.name.clone(), Grist(*price)))
        };
        let defaults = Settings {
            fee_percent: config.fee_percent,
            stake: Grist(config.stake_target),
            settlement_ms: SETTLEMENT_MS,
            price: categories.iter().filter_map(price).collect(),
            order: OrderSettings::default(),
            offer: OfferSettings { network: config.offers.network, gpu: config.offers.gpu },
            scheduler: SchedulerSettings::of(&config.policy),
            credibility: CredibilitySettings::of(config.credibility.is_some(), &credibility),
        };
        let classes = categories.iter().map(|category| (category.id, category.name.clone())).collect();
        Self { defaults, credibility, scheduler: config.policy.clone(), classes, sources: config.settings.clone() }
    }

    /// Reads the file, if there is one: what holds then.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn read(&self) -> Result<Held, SettingsError> {
        let path = self.sources.path.as_deref();
        let text = path.map(read_text).transpose()?.flatten().unwrap_or_default();
        self.parse(&text, path.unwrap_or(Path::new(super::SETTINGS_FILE)))
    }

    /// What holds with this text for a file; `path` is for the errors.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn parse(&self, text: &str, path: &Path) -> Result<Held, SettingsError> {
        let malformed = |error: toml::de::Error| SettingsError::Malformed {
            path: path.to_path_buf(),
            text: error.to_string().trim_end().to_owned(),
        };
        // Read as what it means for the errors, and as a table for what it says and what not.
        let _: Settings = toml::from_str(text).map_err(malformed)?;
        let file = Said::of(toml::from_str(text).map_err(malformed)?);
        let file = self.with_known_classes(file, |name| place(text, path, name))?;
        let flags = self.with_known_classes(self.sources.flags.clone(), |name| format!("--price {name}"))?;
        if file.0.is_empty() && flags.0.is_empty() {
            // They need not be within the bounds of what can be said.
            let from = said_by(&self.defaults).0.keys().map(|key| (dotted(key), Origin::Default)).collect();
            return Ok(self.held(self.defaults.clone(), from));
        }
        let mut all = said_by(&self.defaults);
        let mut from: BTreeMap<String, Origin> = all.0.keys().map(|key| (dotted(key), Origin::Default)).collect();
        for (said, origin) in [(file, Origin::File), (flags, Origin::Flag)] {
            from.extend(said.0.keys().map(|key| (dotted(key), origin)));
            all.0.extend(said.0);
        }
        // The file was good by itself, and so are the defaults.
        let settings = all
            .into_table()
            .try_into()
            .map_err(|error: toml::de::Error| SettingsError::Flags { text: error.to_string().trim_end().to_owned() })?;
        Ok(self.held(settings, from))
    }

    /// Where nothing costs anything all prices are zero, whoever said what.
    fn held(&self, mut settings: Settings, from: BTreeMap<String, Origin>) -> Held {
        if self.sources.is_free {
            settings.price.values_mut().for_each(|price| *price = Grist(Amount::ZERO));
        }
        Held { path: self.sources.path.clone(), settings, from }
    }

    /// Prices by the names of the classes as the hub has them; `whence` says where one stands.
    fn with_known_classes(&self, said: Said, whence: impl Fn(&str) -> String) -> Result<Said, SettingsError> {
        let mut known = BTreeMap::new();
        for ((section, written), value) in said.0 {
            let refused = |text| SettingsError::Price { whence: whence(&written), name: written.clone(), text };
            let key = match section.as_str() {
                "price" => self.class(&written).ok_or_else(|| refused(self.unknown_class()))?.to_owned(),
                _ => written.clone(),
            };
            if known.insert((section, key), value).is_some() {
                return Err(refused("its price is said twice".to_owned()));
            }
        }
        Ok(Said(known))
    }

    fn class(&self, name: &str) -> Option<&str> {
        let found = self.classes.iter().find(|(_, known)| known.eq_ignore_ascii_case(name));
        found.map(|(_, known)| known.as_str())
    }

    fn unknown_class(&self) -> String {
        let known: Vec<&str> = self.classes.iter().map(|(_, name)| name.as_str()).collect();
        format!("the hub has no such size class: it has {}", known.join(", "))
    }

    /// The config with these settings.
    pub fn apply(&self, settings: &Settings, config: &mut PoolConfig) {
        config.fee_percent = settings.fee_percent;
        config.stake_target = settings.stake.0;
        config.prices = self.prices(settings);
        config.offers = settings.offer.needs();
        config.policy = self.policy(settings);
        config.credibility = settings.credibility.over(self.credibility.clone());
    }

    /// Prices by category.
    pub fn prices(&self, settings: &Settings) -> Vec<(u64, Amount)> {
        let price = |(id, name): &(u64, String)| Some((*id, settings.price.get(name)?.0));
        self.classes.iter().filter_map(price).collect()
    }

    /// How it schedules.
    pub fn policy(&self, settings: &Settings) -> gristmill_scheduler::Policy {
        settings.scheduler.over(self.scheduler.clone())
    }
}

impl Held {
    /// What another reading changes, if all of it may change while the pool runs.
    ///
    /// # Errors
    /// [`SettingsError::Restart`], which names what may not.
    pub fn changes(&self, new: &Self) -> Result<Vec<Change>, SettingsError> {
        let (before, after) = (said_by(&self.settings), said_by(&new.settings));
        let keys: std::collections::BTreeSet<&Key> = before.0.keys().chain(after.0.keys()).collect();
        let text = |said: &Said, key: &Key| said.0.get(key).map(text_of_value);
        let change = |key: &Key| Change { key: dotted(key), old: text(&before, key), new: text(&after, key) };
        let differing: Vec<&Key> = keys.into_iter().filter(|key| before.0.get(*key) != after.0.get(*key)).collect();
        let fixed: Vec<String> =
            differing.iter().filter(|(section, _)| section == AT_START).map(|key| change(key).to_string()).collect();
        match fixed.is_empty() {
            true => Ok(differing.into_iter().map(change).collect()),
            false => Err(SettingsError::Restart { changes: fixed.join(", ") }),
        }
    }

    /// A file that says what holds, with where each value came from.
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        let mut last = String::new();
        for (key, value) in said_by(&self.settings).0 {
            if key.0 != last {
                text += &format!("\n[{}]\n", key.0);
                last.clone_from(&key.0);
            }
            let from = self.from.get(&dotted(&key)).map_or("default", |origin| origin.name());
            let line = format!("{} = {value}", quoted(&key.1));
            text += &format!("{line:<40} # {from}\n");
        }
        text
    }
}

fn said_by(settings: &Settings) -> Said {
    // INVARIANT: settings are tables of plain values, which can be written.
    Said::of(Table::try_from(settings).unwrap_or_default())
}

fn dotted((section, key): &Key) -> String {
    if section.is_empty() { key.clone() } else { format!("{section}.{key}") }
}

/// A key as TOML has it.
fn quoted(key: &str) -> String {
    let bare = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    if bare { key.to_owned() } else { Value::String(key.to_owned()).to_string() }
}

/// A value without the quotes of a text.
fn text_of_value(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The file, and the line and column where the price of a class stands in it.
fn place(text: &str, path: &Path, class: &str) -> String {
    let span = toml::de::DeTable::parse(text).ok().and_then(|table| {
        let (_, prices) = table.get_ref().iter().find(|(key, _)| key.get_ref().as_ref() == "price")?;
        let prices = prices.get_ref().as_table()?;
        prices.iter().find(|(key, _)| key.get_ref().as_ref() == class).map(|(key, _)| key.span())
    });
    let Some(before) = span.and_then(|span| text.get(..span.start)) else { return path.display().to_string() };
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
    format!("{}, line {line}, column {column},", path.display())
}
