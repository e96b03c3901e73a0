//! A state store in which something happens beside what is asked of it.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use sysdig_scc::state::{Body, Document, Expected, Listing, Page, StateError, Store, Version};

/// What happens. By default nothing.
pub trait Trouble: std::fmt::Debug + Send + Sync {
    /// Once a fact was read.
    fn after_read<'a>(&'a self, _kind: &'a str, _found: Option<&'a Document>) -> BoxFuture<'a, ()> {
        Box::pin(std::future::ready(()))
    }

    /// When facts are listed.
    fn list(&self) -> Result<(), StateError> {
        Ok(())
    }
}

/// A store with trouble.
#[derive(Debug)]
pub struct Troubled<T>(pub Arc<dyn Store>, pub T);

impl<T: Trouble> Store for Troubled<T> {
    fn read<'a>(&'a self, kind: &'a str, key: &'a str) -> BoxFuture<'a, Result<Option<Document>, StateError>> {
        Box::pin(async move {
            let found = self.0.read(kind, key).await?;
            self.1.after_read(kind, found.as_ref()).await;
            Ok(found)
        })
    }

    fn write<'a>(
        &'a self,
        kind: &'a str,
        key: &'a str,
        body: &'a Body,
        expected: Expected,
    ) -> BoxFuture<'a, Result<Version, StateError>> {
        self.0.write(kind, key, body, expected)
    }

    fn remove<'a>(
        &'a self,
        kind: &'a str,
        key: &'a str,
        expected: Expected,
    ) -> BoxFuture<'a, Result<bool, StateError>> {
        self.0.remove(kind, key, expected)
    }

    fn list<'a>(&'a self, kind: &'a str, page: Page) -> BoxFuture<'a, Result<Listing, StateError>> {
        Box::pin(async move {
            self.1.list()?;
            self.0.list(kind, page).await
        })
    }

    fn ping(&self) -> BoxFuture<'_, Result<(), StateError>> {
        self.0.ping()
    }
}
