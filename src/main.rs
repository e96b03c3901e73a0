//! The program: arguments, exit code.

fn main() {}
