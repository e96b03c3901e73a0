//! Closed sets of words: what a kind of thing is called in metrics, in the stores and on findings, said once.

/// Makes an enum of words. The variant's string is its word, which serde writes and reads, too: rows and journals that
/// were stored with one must be read for ever. What is documented of a variant is its meaning. The name behind the
/// enum's is that of the method which tells the word.
macro_rules! words {
    ($(#[doc = $about:literal])* $set:ident . $word:ident {
        $($(#[doc = $doc:literal])* $name:ident = $text:literal,)*
    }) => {
        $(#[doc = $about])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
        )]
        pub enum $set {
            $($(#[doc = $doc])* #[serde(rename = $text)] $name,)*
        }

        impl $set {
            /// All of them, in the order in which they are told.
            pub const ALL: [Self; [$($text),*].len()] = [$(Self::$name),*];

            /// Its word.
            pub fn $word(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }

            /// What is documented of it, as a sentence for pages that are printed.
            pub fn meaning(self) -> &'static str {
                match self {
                    $(Self::$name => concat!($($doc,)*).trim_ascii(),)*
                }
            }
        }
    };
}

pub(crate) use words;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::event::Outcome;
    use crate::event::attestation::Category;
    use crate::integrity::answer::{Action, Ended, Reason};

    #[test]
    fn words_are_written_as_they_are_told_and_read_again() {
        let outcomes = ["delivered", "duplicate", "ignored", "filtered", "superseded", "parked", "discarded"];
        assert_eq!((Outcome::ALL.map(Outcome::label), json!(Outcome::ALL)), (outcomes, json!(outcomes)));
        assert_eq!(json!(Action::ALL), json!(["relearn", "stop", "suspend"]));
        let read = serde_json::from_value::<Category>(json!("ATTESTATION_TCB_OUT_OF_DATE"));
        assert_eq!(read.unwrap(), Category::AttestationTcbOutOfDate);
        assert_eq!(serde_json::from_value::<Reason>(json!("early_report")).unwrap(), Reason::Early);
        assert_eq!(Ended::DryRun.meaning(), "It would have been done; this is a dry run.");
    }
}
