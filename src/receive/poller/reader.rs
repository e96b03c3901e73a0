//! One window of the events feed, page by page into the intake. A window with too many pages is read in halves.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

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

/// How often a call that takes long is told of.
const TELL_EVERY: Duration = Duration::from_secs(15);

/// Is told of every part of a window that has gone through whole, in order.
pub trait Progress: Send {
    /// A page has gone through, or a call takes long.
    fn goes_on(&mut self) -> BoxFuture<'_, Result<(), PollError>> {
        Box::pin(async { Ok(()) })
    }

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
            match self.walk(part, received, &mut total, progress).await {
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

    async fn walk(
        &mut self,
        part: Window,
        received: DateTime<Utc>,
        total: &mut Receipt,
        progress: &mut dyn Progress,
    ) -> Result<(), PollError> {
        let mut walk = self.client.walk(part, self.filter.as_deref());
        while let Some(mut page) = telling(progress, walk.next_page()).await?? {
            page.retain(|element| !self.recent.holds(element.get()));
            if !page.is_empty() {
                let elements = elements(&page, walk.had_bad_bytes(), received)?;
                *total += telling(progress, self.destination.take(elements)).await??;
                page.iter().for_each(|element| self.recent.add(element.get()));
            }
            progress.goes_on().await?;
        }
        Ok(())
    }
}

/// What `work` comes to; as long as that takes, `progress` is told that it goes on.
async fn telling<T>(progress: &mut dyn Progress, work: impl Future<Output = T>) -> Result<T, PollError> {
    let mut work = pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return Ok(done),
            () = tokio::time::sleep(TELL_EVERY) => progress.goes_on().await?,
        }
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

    /// Counts; the last one that it bears is told by an error.
    struct Count(u32, u32);

    impl Progress for Count {
        fn goes_on(&mut self) -> BoxFuture<'_, Result<(), PollError>> {
            self.0 += 1;
            let outcome = if self.0 > self.1 { Err(PollError::TakenOver) } else { Ok(()) };
            Box::pin(async { outcome })
        }

        fn done(&mut self, _: Window) -> BoxFuture<'_, Result<(), PollError>> {
            Box::pin(async { Ok(()) })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_wait_is_told_of_and_ends_when_nobody_wants_it() {
        let long = || tokio::time::sleep(TELL_EVERY * 20 + TELL_EVERY / 2);
        let mut patient = Count(0, 100);
        telling(&mut patient, long()).await.unwrap();
        assert_eq!(patient.0, 20);
        let mut other = Count(0, 3);
        assert!(matches!(telling(&mut other, long()).await, Err(PollError::TakenOver)));
    }

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
