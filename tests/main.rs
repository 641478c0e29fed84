//! The whole program, seen from outside: its commands, and calls through real peers.

mod cli;
mod e2e;
mod install;
