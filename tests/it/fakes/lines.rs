//! A log in memory.

use std::sync::{Arc, Mutex};

use tracing_subscriber::Layer;
use tracing_subscriber::registry::LookupSpan;

/// Keeps what is logged.
#[derive(Clone, Default)]
pub struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    /// The layer that writes here.
    pub fn printed<S: tracing::Subscriber + for<'a> LookupSpan<'a>>(&self) -> impl Layer<S> + use<S> {
        let lines = self.clone();
        tracing_subscriber::fmt::layer().with_ansi(false).with_writer(move || lines.clone())
    }

    /// All of it.
    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
