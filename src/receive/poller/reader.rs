//! One window of the events feed, page by page into the intake. A window with too many pages is read in halves.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;
use serde_json::value::RawValue;

use super::error::PollError;
use super::window::halves;
use crate::normalize::{self, Element, NormalizeError};
use crate::receive::{Door, Intake, IntakeError, Receipt};
use crate::sysdig::{Client, SysdigError, Window};

/// Where events that were read go.
pub trait Destination: Send + Sync {
    /// Takes the elements of one page; what it answered `Ok` to is durable.
    fn take(&self, elements: Vec<Element>) -> BoxFuture<'_, Result<Receipt, IntakeError>>;
}

impl Destination for Intake {
    fn take(&self, elements: Vec<Element>) -> BoxFuture<'_, Result<Receipt, IntakeError>> {
        Box::pin(self.take(Door::Poller, elements))
    }
}

/// Is told of every part of a window that has gone through whole, in order.
pub trait Progress: Send {
    /// `part` has gone through.
    fn done(&mut self, part: Window) -> BoxFuture<'_, Result<(), PollError>>;
}

/// Reads windows into a destination.
pub struct Reader {
    client: Client,
    destination: Arc<dyn Destination>,
    filter: Option<String>,
    recent: Recent,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("client", &self.client).field("filter", &self.filter).finish_non_exhaustive()
    }
}

impl Reader {
    /// A reader of the events that match `filter`.
    pub fn new(client: Client, destination: Arc<dyn Destination>, filter: Option<String>) -> Self {
        Self { client, destination, filter, recent: Recent::default() }
    }

    /// The client it reads with.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Reads `window` whole. `received` stands in where an event has no time.
    pub async fn read(
        &mut self,
        window: Window,
        received: DateTime<Utc>,
        progress: &mut dyn Progress,
    ) -> Result<Receipt, PollError> {
        let mut total = Receipt::default();
        let mut parts = vec![window];
        while let Some(part) = parts.pop() {
            match self.walk(part, received, &mut total).await {
                Ok(()) => progress.done(part).await?,
                Err(PollError::Sysdig(SysdigError::TooManyPages { pages })) => {
                    let (first, second) = halves(part).ok_or(PollError::Sysdig(SysdigError::TooManyPages { pages }))?;
                    tracing::info!(window = %part, "The window has too many events for one walk, it is read in halves.");
                    parts.extend([second, first]);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(total)
    }

    async fn walk(&mut self, part: Window, received: DateTime<Utc>, total: &mut Receipt) -> Result<(), PollError> {
        let mut walk = self.client.walk(part, self.filter.as_deref());
        while let Some(mut page) = walk.next_page().await? {
            page.retain(|element| !self.recent.holds(element.get()));
            if page.is_empty() {
                continue;
            }
            let elements = elements(&page, walk.had_bad_bytes(), received)?;
            add(total, self.destination.take(elements).await?);
            page.iter().for_each(|element| self.recent.add(element.get()));
        }
        Ok(())
    }
}

/// What a page holds. Of one with bytes that were not UTF-8, the elements that have them are kept as unreadable, as at the
/// webhook.
fn elements(
    page: &[Box<RawValue>],
    had_bad_bytes: bool,
    received: DateTime<Utc>,
) -> Result<Vec<Element>, NormalizeError> {
    if !had_bad_bytes {
        return normalize::delivery(&as_array(page), received);
    }
    let mut all = Vec::new();
    for element in page {
        match element.get().contains(char::REPLACEMENT_CHARACTER) {
            true => {
                let (reason, body) = (normalize::BAD_BYTES.to_owned(), element.get().to_owned());
                all.push(Element::Unreadable { reason, body });
            }
            false => all.extend(normalize::delivery(&as_array(std::slice::from_ref(element)), received)?),
        }
    }
    Ok(all)
}

fn as_array(page: &[Box<RawValue>]) -> Vec<u8> {
    let texts: Vec<&str> = page.iter().map(|element| element.get()).collect();
    format!("[{}]", texts.join(",")).into_bytes()
}

fn add(total: &mut Receipt, receipt: Receipt) {
    total.accepted += receipt.accepted;
    total.duplicates += receipt.duplicates;
    total.ignored += receipt.ignored;
    total.parked += receipt.parked;
}

/// What went through lately: the overlap brings the same elements again with every poll, and they need not be
/// written again. Two generations bound its size; what it has forgotten is a duplicate to the outbox.
#[derive(Debug, Default)]
struct Recent {
    keys: RandomState,
    young: HashSet<u64>,
    old: HashSet<u64>,
}

/// Elements a generation remembers.
const GENERATION: usize = 50_000;

impl Recent {
    fn holds(&self, element: &str) -> bool {
        let key = self.keys.hash_one(element);
        self.young.contains(&key) || self.old.contains(&key)
    }

    fn add(&mut self, element: &str) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(self.keys.hash_one(element));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recent_elements_are_known_and_the_memory_is_bounded() {
        let mut recent = Recent::default();
        for n in 0..3 * GENERATION {
            recent.add(&n.to_string());
        }
        assert!(recent.holds(&(3 * GENERATION - 1).to_string()) && !recent.holds("0"));
        assert!(recent.young.len() + recent.old.len() <= 2 * GENERATION);
    }
}
