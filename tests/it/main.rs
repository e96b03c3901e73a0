//! Stories against the real program between small fakes. One binary, so that it links once.

mod outbox;
