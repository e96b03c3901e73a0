//! A snapshot of the environment that remembers what was asked for and keeps going after a mistake.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use secrecy::SecretString;

use super::problem::{Problem, Problems, shown};
use super::{AREAS, dotenv};

/// What is wrong with a setting that is not there.
pub(super) const REQUIRED: &str = "is required";

/// One setting: the only place that knows its name, default and meaning. The documents are printed from it.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// The environment variable.
    pub name: &'static str,
    /// Other names it is also known by, tried in order when the first is not set.
    pub aliases: &'static [&'static str],
    /// The value used when it is not set, as a user would write it.
    pub default: Option<&'static str>,
    /// An example for `.env.example`; never a real secret.
    pub example: &'static str,
    /// Its value is a secret: it is never printed, and may be given as `sm://project/secret[/version]`.
    pub secret: bool,
    /// What it does, its unit and the consequence, in a sentence or two.
    pub doc: &'static str,
}

impl Setting {
    /// Its name, then its aliases.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        std::iter::once(self.name).chain(self.aliases.iter().copied())
    }
}

/// The settings of one area, under the heading they have in the documents.
#[derive(Debug, Clone, Copy)]
pub struct Area {
    /// The heading.
    pub title: &'static str,
    /// The settings, in the order they are documented.
    pub settings: &'static [&'static Setting],
}

/// A snapshot of the environment. Reading from it collects problems instead of stopping at the first.
#[derive(Debug, Default)]
pub struct Env {
    values: BTreeMap<String, String>,
    /// The `.env` that was read.
    file: Option<PathBuf>,
    /// Names whose values `.env` gave.
    from_file: BTreeSet<String>,
    asked: BTreeSet<&'static str>,
    /// Variables that settings name.
    variables: BTreeSet<String>,
    problems: Vec<Problem>,
    doubts: Vec<Problem>,
}

impl Env {
    /// A snapshot of the given pairs; tests use this.
    pub fn from_pairs<K: Into<String>, V: Into<String>>(pairs: impl IntoIterator<Item = (K, V)>) -> Self {
        let values = pairs.into_iter().map(|(k, v)| (k.into(), v.into())).collect();
        Self { values, ..Self::default() }
    }

    /// The process's environment over what `.env` in the working directory says (the process wins).
    /// A broken `.env` is a problem like any other.
    pub fn from_process() -> Self {
        let own =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        let mut env = Self::from_pairs(own);
        match dotenv::file() {
            Ok(Some(dotenv::Found { path, text, doubts })) => {
                for (wrong, remedy) in doubts {
                    env.doubt(".env", &format!("that was read, {}, {wrong}", path.display()), remedy);
                }
                env.add_file(&text);
                env.file = Some(path);
            }
            Ok(None) => {}
            Err(error) => env.problem(".env", &format!("cannot be read: {error}"), "make it readable, or remove it"),
        }
        env
    }

    fn add_file(&mut self, text: &[u8]) {
        let told = dotenv::read(text, |name| self.values.contains_key(name));
        for dotenv::Mistake { line, name, fault } in told.mistakes {
            let known = AREAS.iter().flat_map(|area| area.settings).any(|setting| setting.names().any(|n| n == name));
            let of = if known { format!(" ({name})") } else { String::new() };
            let wrong = format!("line {line}{of} {}", fault.wrong());
            // Of what is another program's, nothing of ours is lost.
            if known || !fault.is_silent() {
                self.problem(".env", &wrong, fault.remedy());
            } else {
                self.doubt(".env", &wrong, fault.remedy());
            }
        }
        let file: BTreeMap<_, _> = told.values.into_iter().collect();
        for (name, value) in file {
            if !self.values.contains_key(&name) {
                self.from_file.insert(name.clone());
                self.values.insert(name, value);
            }
        }
    }

    /// The `.env` that was read, if there is one.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Replaces a value before the settings are read: a secret for its name, a sandbox for the destination. Empty means
    /// not set.
    pub fn overrule(&mut self, name: &str, value: &str) {
        self.values.insert(name.to_owned(), value.to_owned());
    }

    /// Note a problem, once.
    pub fn problem(&mut self, setting: &str, wrong: &str, remedy: &str) {
        let problem = Problem { setting: setting.into(), wrong: wrong.into(), remedy: remedy.into() };
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    /// Note what is probably not meant, and does no harm.
    pub fn doubt(&mut self, setting: &str, wrong: &str, remedy: &str) {
        self.doubts.push(Problem { setting: setting.into(), wrong: wrong.into(), remedy: remedy.into() });
    }

    /// Adds to the remedy of a setting that is required and not there.
    pub fn hint(&mut self, setting: &str, hint: &str) {
        let missing = |problem: &&mut Problem| problem.setting == setting && problem.wrong == REQUIRED;
        self.problems.iter_mut().filter(missing).for_each(|problem| problem.remedy.push_str(hint));
    }

    /// What is probably not meant.
    pub fn doubts(&self) -> &[Problem] {
        &self.doubts
    }

    /// The value under one name alone, which may be an alias.
    pub fn under(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    /// The value as it stands, without surrounding white space; empty means not set. No default.
    pub fn given(&mut self, setting: &'static Setting) -> Option<String> {
        self.asked.insert(setting.name);
        // The process's environment wins, whichever of the setting's names it uses.
        let own = setting.names().filter(|name| !self.is_from_file(name)).find_map(|name| self.under(name));
        own.or_else(|| setting.names().find_map(|name| self.under(name))).map(str::to_owned)
    }

    /// Whether `.env` gave this name its value.
    pub fn is_from_file(&self, name: &str) -> bool {
        self.from_file.contains(name)
    }

    /// The value, or the default.
    pub fn text(&mut self, setting: &'static Setting) -> Option<String> {
        self.given(setting).or_else(|| setting.default.map(str::to_owned))
    }

    /// The value, which must be there.
    pub fn required(&mut self, setting: &'static Setting) -> Option<String> {
        let value = self.text(setting);
        if value.is_none() {
            self.problem(setting.name, REQUIRED, &format!("for example {}", setting.example));
        }
        value
    }

    /// The value or default, parsed. A value that does not parse is a problem that names `expected`.
    pub fn parse<T>(&mut self, setting: &'static Setting, expected: &str) -> Option<T>
    where
        T: FromStr,
        T::Err: Display,
    {
        let text = self.text(setting)?;
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                let shown = if setting.secret { String::new() } else { format!(": {} ({error})", shown(&text)) };
                self.problem(
                    setting.name,
                    &format!("is not {expected}{shown}"),
                    &format!("for example {}", setting.example),
                );
                None
            }
        }
    }

    /// A number within bounds.
    pub fn number(&mut self, setting: &'static Setting, bounds: std::ops::RangeInclusive<u64>) -> Option<u64> {
        let value: u64 = self.parse(setting, "a whole number")?;
        if bounds.contains(&value) {
            return Some(value);
        }
        self.problem(
            setting.name,
            &format!("is {value}, out of bounds"),
            &format!("use a number from {} to {}", bounds.start(), bounds.end()),
        );
        None
    }

    /// `true`/`false`, also `1`/`0`, `yes`/`no`, `on`/`off`, in any case.
    pub fn flag(&mut self, setting: &'static Setting) -> Option<bool> {
        let text = self.text(setting)?;
        match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Some(true),
            "false" | "0" | "no" | "off" => Some(false),
            _ => {
                self.problem(
                    setting.name,
                    &format!("is neither true nor false: {}", shown(&text)),
                    "use true or false",
                );
                None
            }
        }
    }

    /// A comma-separated list without empty members.
    pub fn list(&mut self, setting: &'static Setting) -> Vec<String> {
        let text = self.text(setting).unwrap_or_default();
        text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
    }

    /// A secret. It is wrapped at once and never shown.
    pub fn secret(&mut self, setting: &'static Setting) -> Option<SecretString> {
        self.given(setting).map(SecretString::from)
    }

    /// A variable that a setting names, rather than one that is a setting.
    pub fn variable(&mut self, name: &str) -> Option<String> {
        self.variables.insert(name.to_owned());
        self.under(name).map(str::to_owned)
    }

    /// Whether a setting names this variable.
    pub fn is_variable(&self, name: &str) -> bool {
        self.variables.contains(name)
    }

    /// Every name that is set to something.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str).filter(|name| self.under(name).is_some())
    }

    /// What was asked for so far: the names of the settings that the program really reads.
    pub fn asked(&self) -> &BTreeSet<&'static str> {
        &self.asked
    }

    /// Ends the reading: the problems, when there are any.
    pub fn finish(self) -> Result<(), Problems> {
        if self.problems.is_empty() { Ok(()) } else { Err(Problems(self.problems)) }
    }

    /// Whether a problem with this setting was noted.
    pub fn is_told(&self, setting: &'static Setting) -> bool {
        self.problems.iter().any(|problem| problem.setting == setting.name)
    }

    /// Whether any problem was noted.
    pub fn has_problems(&self) -> bool {
        !self.problems.is_empty()
    }
}
