//! Every text of a finding, wherever it stands in it: one walk, so that none is forgotten.

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::properties::Properties;
use super::words::{EnumName, Int64, Operation, Protocol, RoleKind, SubjectKind};

/// What has texts in it.
pub trait Texts {
    /// Shows every text to `look`, which may change it.
    fn each_text(&mut self, look: &mut dyn FnMut(&mut String));
}

impl Texts for String {
    fn each_text(&mut self, look: &mut dyn FnMut(&mut String)) {
        look(self);
    }
}

impl<T: Texts> Texts for Option<T> {
    fn each_text(&mut self, look: &mut dyn FnMut(&mut String)) {
        self.iter_mut().for_each(|value| value.each_text(look));
    }
}

impl<T: Texts> Texts for Vec<T> {
    fn each_text(&mut self, look: &mut dyn FnMut(&mut String)) {
        self.iter_mut().for_each(|value| value.each_text(look));
    }
}

impl Texts for Value {
    fn each_text(&mut self, look: &mut dyn FnMut(&mut String)) {
        match self {
            Self::String(text) => look(text),
            Self::Array(items) => items.each_text(look),
            Self::Object(members) => members.values_mut().for_each(|value| value.each_text(look)),
            Self::Null | Self::Bool(_) | Self::Number(_) => {}
        }
    }
}

impl Texts for Properties {
    fn each_text(&mut self, look: &mut dyn FnMut(&mut String)) {
        self.iter_mut().for_each(|(_, value)| value.each_text(look));
    }
}

/// What can be no text of anybody's.
macro_rules! textless {
    ($($name:ty),*) => {
        $(impl Texts for $name {
            fn each_text(&mut self, _: &mut dyn FnMut(&mut String)) {}
        })*
    };
}

textless!(bool, u16, Int64, DateTime<Utc>, EnumName, Operation, Protocol, RoleKind, SubjectKind);
